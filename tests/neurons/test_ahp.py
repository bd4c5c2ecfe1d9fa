"""The AHP neuron against its card: the kernel, plain LIF as a special case, intervals, the gradient's memory."""

import math

import pytest
import torch

from snnlab.neurons.ahp import AHP, BETA
from snnlab.neurons.lif import LIF
from snnlab.neurons.surrogate import DampedTriangle, Rectangle

RELEASED = {"ahp": 1.0, "decay": 1 - 1 / 20, "tau_a": 700.0}


def single(**options):
    return AHP(1, **{**RELEASED, **options}).double()


def spikes_of(neuron, currents):
    return neuron.unroll(currents)[0]


def kick(steps, lag, current=1.0):
    """One current at step steps - 1 - lag, silence else: [T, 1, 1]."""
    currents = torch.zeros(steps, 1, 1, dtype=torch.float64)
    currents[steps - 1 - lag] = current
    return currents


def test_the_released_constants_give_their_weight():
    """beta 1,390,000, tau_a 700, tau_v 20 and the threshold 127 * 64 of the chip: w_a = int(96.449)."""
    neuron = single(threshold=127.0 * 64)
    assert neuron.threshold * neuron.beta == pytest.approx(1_390_000)
    assert int(neuron.w_a) == 96
    assert float(neuron.w_a) == pytest.approx(1_390_000 * (1 / (700 * 20) - 1 / 700**2), rel=1e-6)


def test_pull_of_one_spike_is_the_kernel_of_an_adaptive_threshold():
    """Card, invariant 1: exact in closed form, and within 0.7 % of the jump beta / tau_a after 5 tau_v."""
    neuron, steps = single(), 1500
    spikes, states = neuron.unroll(kick(steps, steps - 1))
    assert spikes.sum() == 1 and spikes[0] == 1  # v == threshold fires, and the soft reset leaves 0
    t = torch.arange(1, steps, dtype=torch.float64)
    slow, fast = (1 - 1 / 700) ** t, (1 - 1 / 20) ** t
    pull = -states.v[1:, 0, 0]
    torch.testing.assert_close(pull, BETA / 700 * (slow - fast), rtol=0, atol=1e-7)  # w_a is held in float32
    gap = (pull / (BETA / 700 * slow) - 1).abs()
    assert gap[99:].max() < 0.007 and gap[98] > 0.006  # from t = 100 on; the transient is just not over


@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
@pytest.mark.parametrize("none", [{"ahp": 0}, {"beta": 0.0}])
def test_without_the_current_it_is_plain_lif(reset, none):
    """Card, invariant 2: the same bits."""
    torch.manual_seed(0)
    currents = 0.6 * torch.randn(200, 3, 5)
    spikes, states = AHP(5, **{"decay": 0.95, "reset": reset, "refractory": False, **none}).unroll(currents)
    expected, expected_states = LIF(0.95, 1.0, reset, surrogate=Rectangle()).unroll(currents)
    assert expected.sum() > 50
    assert torch.equal(spikes, expected) and torch.equal(states.v, expected_states.v)


@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
def test_without_the_current_the_refractory_step_is_all_that_is_left(reset):
    """The twin of 40 LIF neurons: a plain LIF that may not fire twice in a row."""
    torch.manual_seed(0)
    currents = 0.6 * torch.randn(200, 3, 5)
    found = [AHP(5, decay=0.95, reset=reset, **none).unroll(currents)[0] for none in ({"ahp": 0}, {"beta": 0.0})]
    assert torch.equal(*found) and found[0].sum() > 20
    v, last = torch.zeros(3, 5), torch.zeros(3, 5)
    for current, spikes in zip(currents, found[0], strict=True):
        v = 0.95 * v + current
        last = ((v >= 1) & (last == 0)).float()
        v = {"soft": v - last, "hard": v * (1 - last), "none": v}[reset]
        assert torch.equal(spikes, last)


def test_a_layer_of_both_kinds_holds_what_each_does_alone():
    torch.manual_seed(0)
    currents = 0.3 + 0.5 * torch.randn(300, 2, 6)
    both = AHP(6, ahp=2)
    assert both.units == 2 and AHP(6, ahp=0.34).units == 2
    assert both.w_a.count_nonzero() == 2 and both.w_a[:4].sum() == 0
    spikes = spikes_of(both, currents)
    assert torch.equal(spikes[..., :4], spikes_of(AHP(4, ahp=0), currents[..., :4]))
    assert torch.equal(spikes[..., 4:], spikes_of(AHP(2, ahp=1.0), currents[..., 4:]))
    assert spikes[..., 4:].sum() < 0.8 * spikes[..., :2].sum()


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_intervals_grow_to_a_limit_under_a_constant_current(reset):
    """Card, invariant 3; time is in steps, so that an interval between two whole numbers alternates at the end."""
    spikes, _ = single(reset=reset).unroll(torch.full((8000, 1, 1), 0.3, dtype=torch.float64))
    times = spikes[:, 0, 0].nonzero()[:, 0]
    intervals = times.diff()
    limit = intervals[-20:]
    settled = int((intervals >= limit.min()).nonzero()[0])
    assert settled > 5 and bool((intervals[: settled + 1].diff() >= 0).all())
    assert bool((intervals[settled:] >= limit.min()).all())
    assert limit.max() - limit.min() <= 1 and intervals.max() == limit.max() and limit.min() > 2 * intervals[0]


def test_refractory_step_is_silent():
    strong = torch.full((20, 1, 1), 30.0, dtype=torch.float64)
    assert spikes_of(single(refractory=False), strong).flatten().tolist() == [1] * 20
    assert spikes_of(single(refractory=True), strong).flatten().tolist() == [1, 0] * 10


def test_gradient_at_a_lag_decays_with_tau_a_and_not_with_tau_v():
    """Card, invariant 5: slope of log |d v[T] / d current[T - lag]| within 5 % of -1 / tau_a."""

    def gradient(lag, **options):
        currents = kick(lag + 1, lag).requires_grad_()
        _, states = single(**options).unroll(currents)
        states.v[-1].sum().backward()
        return abs(currents.grad[0].item())

    slope = (math.log(gradient(1000)) - math.log(gradient(200))) / 800
    assert slope == pytest.approx(-1 / 700, rel=0.05)
    lif = (math.log(gradient(200, ahp=0)) - math.log(gradient(100, ahp=0))) / 100
    assert lif == pytest.approx(math.log(0.95), rel=0.05)
    # by hand: a spike at the peak of the surrogate, 0.3, times the kernel
    assert gradient(1000) == pytest.approx(0.3 * BETA / 700 * (1 - 1 / 700) ** 1000, rel=1e-4)


def test_step_forward_and_kernel_agree():
    torch.manual_seed(0)
    start = 0.2 + 0.4 * torch.randn(60, 4, 6, dtype=torch.float64)
    results = []
    for run in (lambda n, x: n(x), lambda n, x: n.unroll(x)[0]):
        currents = start.clone().requires_grad_()
        spikes = run(AHP(6).double(), currents)
        (spikes * torch.arange(6.0, dtype=torch.float64)).sum().backward()
        results.append((spikes.detach(), currents.grad))
    assert results[0][0].sum() > 20
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-10, rtol=0)


def test_gradient_can_be_cut_in_time():
    torch.manual_seed(0)
    currents = (0.3 + 0.4 * torch.randn(30, 1, 3, dtype=torch.float64)).requires_grad_()
    spikes_of(AHP(3, detach_state=True).double(), currents)[-1].sum().backward()
    assert currents.grad[:-1].abs().sum() == 0 and currents.grad[-1].abs().sum() > 0


def test_channels_and_batch_independence():
    torch.manual_seed(0)
    neuron, currents = AHP(3, ahp=1), 0.3 + 0.5 * torch.randn(50, 2, 3, 4, 4)
    spikes = spikes_of(neuron, currents)
    assert torch.equal(spikes[:, :1], spikes_of(neuron, currents[:, :1]))
    later = currents.clone()
    later[30:] += 1
    assert torch.equal(spikes_of(neuron, later)[:30], spikes[:30])


def test_damped_triangle():
    """0.3 max(0, 1 - |v|) with v = x / a, per unit of x."""
    x = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(
        DampedTriangle(1.0).derivative(x), 0.3 * torch.tensor([0, 0, 0.5, 1, 0.75, 0, 0]).double()
    )
    torch.testing.assert_close(DampedTriangle(2.0).derivative(x)[2], torch.tensor(0.3 * 0.75 / 2).double())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ahp": 7}, r"ahp = 7 units must lie in 0 to 4"),
        ({"ahp": 1.5}, r"ahp = 1\.5 must be a share in \[0, 1\]"),
        ({"tau_a": 20.0}, r"tau_a = 20\.0 steps must be above tau_v"),
        ({"decay": 1.0}, r"decay = 1\.0 must lie in \[0, 1\)"),
        ({"beta": -1.0}, r"beta = -1\.0 must be 0 or more"),
        ({"threshold": 0.0}, r"threshold = 0\.0 must be positive"),
        ({"reset": "loud"}, r"reset = 'loud' must be soft, hard or none"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(ValueError, match=words):
        AHP(4, **options)


def test_a_current_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"current \[2, 5\] must be \[B, 4, ...\]"):
        AHP(4)(torch.zeros(3, 2, 5))
