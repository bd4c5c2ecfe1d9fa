from __future__ import annotations

import pytest
import torch

from snnlab.data.encoders import Direct, IntegrateAndFire, Latency, Rate, SignedPoisson
from snnlab.errors import InputError

ENCODERS = [Direct(6), Rate(6), Rate(6, random_bits=16), SignedPoisson(6), Latency(6), IntegrateAndFire(6)]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: type(e).__name__)
def test_frames_are_the_forward_numbers(encoder) -> None:
    images = torch.rand(3, 2, 5, 4)
    torch.manual_seed(1)
    whole = encoder(images)
    torch.manual_seed(1)
    assert whole.shape == (6, 3, 2, 5, 4)
    assert whole.dtype == images.dtype
    assert torch.equal(whole, torch.stack(list(encoder.frames(images))))


def test_rate() -> None:
    torch.manual_seed(0)
    images = torch.tensor([0.0, 0.3, 1.0]).reshape(1, 3)
    rates = Rate(20_000)(images).mean(0)[0]
    assert rates[0] == 0
    assert rates[2] == 1
    assert rates[1].item() == pytest.approx(0.3, abs=0.01)


def test_signed_poisson() -> None:
    torch.manual_seed(0)
    spikes = SignedPoisson(20_000)(torch.tensor([[0.0, 0.5, 0.9]]))
    assert set(spikes.unique().tolist()) == {-1, 0, 1}
    mean = spikes.mean(0)[0]
    assert mean.tolist() == pytest.approx([-0.5, 0.0, 0.4], abs=0.011)  # z / 2 with z = -1, 0, 0.8
    assert spikes[:, 0, 1].abs().sum() == 0


def test_normalisation_per_channel() -> None:
    """CIFAR-10's mean and the deviation of spike-based backpropagation: z = (x - mean) / std, channel by channel."""
    mean, std = [0.4914, 0.4822, 0.4465], [0.557, 0.549, 0.5534]
    images = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    whole = Direct(5, mean, std)(images)
    assert whole.dtype == torch.float64
    for channel in range(3):
        expected = (images[:, channel] - mean[channel]) / std[channel]
        assert torch.allclose(whole[:, :, channel], expected.expand(5, 2, 4, 4), atol=1e-6)
    assert torch.equal(Direct(5)(images)[4], images)  # null leaves the image
    assert torch.allclose(Direct(2, mean=0.5)(images)[0], images - 0.5)
    assert torch.allclose(Direct(2, std=[1.0, 2.0, 4.0])(images)[0, :, 2], images[:, 2] / 4)
    assert not Direct(5, mean, std).state_dict()  # constants of the config, not of the checkpoint


def test_signed_poisson_per_channel() -> None:
    torch.manual_seed(0)
    spikes = SignedPoisson(20_000, mean=[0.5, 0.2, 0.9], std=[0.25, 1.0, 0.5])(torch.full((1, 3, 1, 1), 0.6))
    assert spikes.mean(0).flatten().tolist() == pytest.approx([0.2, 0.2, -0.3], abs=0.011)  # z / 2, z = .4, .4, -.6


def test_channels_are_checked_before_anything_is_read(empty_data) -> None:
    from snnlab.config.build import build
    from snnlab.config.compose import compose

    for encoder in ("direct", "signed_poisson"):
        options = ["method=stbp", "data=mnist", f"encoder={encoder}", "encoder.mean=[0.5,0.5,0.5]"]
        with pytest.raises(InputError, match=r"are for 3 channels, the images have 1") as error:
            build(compose([*options, "encoder.std=[0.2,0.2,0.2]"]).config)
        assert "\n" not in str(error.value)
        build(compose(["data=cifar10", *options[:1], *options[2:], "encoder.std=0.2"]).config)
    with pytest.raises(InputError, match=r"encoder\.Direct: mean = .* must have one number for all channels"):
        Direct(4, [0.1, 0.2], [0.1, 0.2, 0.3])
    with pytest.raises(InputError, match=r"encoder\.Direct: std = \[0\.1, 0\.0\] must be positive"):
        Direct(4, std=[0.1, 0.0])


def test_latency_as_in_the_vdib_card() -> None:
    steps = 30
    images = torch.linspace(0, 1, 500).reshape(1, 500)
    spikes = Latency(steps)(images)
    level = (images[0] * (steps - 1)).round()
    assert torch.equal(spikes.sum(0)[0], (level > 0).float())  # exactly one spike, none where the level is 0
    assert spikes[0].sum() == 0  # index 0 is never used
    fired = level > 0
    assert torch.equal(spikes[:, 0, fired].argmax(0), (steps - level[fired]).long())
    assert spikes[:, 0, -1].argmax() == 1  # pixel 1 comes at index 1
    assert Latency(steps, reverse=True)(images)[:, 0, -1].argmax() == steps - 1


def test_integrate_and_fire_counts() -> None:
    """A constant pixel x sends floor(x T) spikes, one more or less where x T is whole but for rounding."""
    images = torch.cat([torch.linspace(0, 1, 301), torch.rand(500)])[None]
    for steps in (1, 20, 97):
        counts, exact = IntegrateAndFire(steps)(images).sum(0), images.double() * steps
        near = (exact - exact.round()).abs() < 1e-4
        assert torch.equal(counts[~near].double(), exact[~near].floor())
        assert ((counts - exact).abs()[near] <= 1 + 1e-4).all()
    assert IntegrateAndFire(5)(torch.tensor([[0.5]]))[:, 0, 0].tolist() == [0, 1, 0, 1, 0]


def test_spiking_flag_and_ranges() -> None:
    assert not Direct.spiking
    assert Rate.spiking
    assert SignedPoisson.spiking
    assert Latency.spiking
    assert IntegrateAndFire.spiking
    with pytest.raises(InputError, match=r"encoder\.Rate: time_steps = 0 must be at least 1"):
        Rate(0)
    with pytest.raises(InputError, match=r"encoder\.Latency: time_steps = 1 must be at least 2"):
        Latency(1)
    with pytest.raises(InputError, match=r"encoder\.SignedPoisson: std = 0 must be positive"):
        SignedPoisson(4, std=0)


def test_rate_from_sixteen_bits() -> None:
    torch.manual_seed(0)
    steps, images = 40_000, torch.tensor([[0.0, 0.3, 0.9, 1.0, 2.0**-16]])
    rates = Rate(400, random_bits=16)(images.expand(100, -1)).mean((0, 1))
    assert rates[0] == 0 and rates[3] > 0.999
    for rate, wanted in zip(rates.tolist(), images[0].tolist(), strict=True):
        assert abs(rate - wanted) <= 5 * (max(wanted * (1 - wanted), 2**-16) / steps) ** 0.5 + 2**-16
    with pytest.raises(InputError, match="random_bits = 8 must be 16"):
        Rate(4, random_bits=8)  # type: ignore[arg-type]
