"""Analog devices by their equations: steps, asymmetry, spread, ends, pairs, what is stuck; and through the contract."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from snnlab.errors import InputError
from snnlab.weights.devices import PRESETS, Device, Devices, device, devices_inside, keep_in_devices, settle
from snnlab.weights.find import weight_of
from snnlab.weights.signed import keep_signs

ALIKE = {"low_spread": 0.0, "high_spread": 0.0, "step_spread": 0.0, "asymmetry_spread": 0.0}


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def held(kind, values=None, seed=0):
    torch.manual_seed(seed)
    layer = nn.Linear(6, 5)
    if values is not None:
        layer.weight.data.copy_(values)
    keep_in_devices(weight_of(layer), kind, drawn(seed))
    return layer, layer.parametrizations["weight"][0]


def pulsed(part, pulses):
    """Steps up and down, of ``pulses`` pulses that go up and down in turns."""
    ways = {True: [], False: []}
    asked = torch.ones_like(part.conductance[0], dtype=torch.bool)
    for number in range(pulses):
        up = number % 2 == 0
        before = part.conductance[0].clone()
        part._pulse(0, asked, asked if up else ~asked)
        ways[up].append(part.conductance[0] - before)
    return torch.stack(ways[True]), torch.stack(ways[False])


def test_one_device_of_gokmen_and_vlasov_over_ten_thousand_pulses():
    torch.manual_seed(0)
    kind = replace(PRESETS["gokmen_vlasov"], asymmetry=0.2, **ALIKE)
    part = Devices(kind, torch.full((20, 1), -1.0), drawn())  # alike: chance averages out
    part.low.fill_(-100), part.high.fill_(100)
    up, down = pulsed(part, 10_000)
    assert up.mean().item() == pytest.approx(0.0016, rel=0.02)
    assert down.mean().item() == pytest.approx(-0.0016 * 0.8, rel=0.02)  # (6)
    assert up.std().item() == pytest.approx(0.3 * 0.0016, rel=0.02)  # (4)


def test_the_exponential_curve_of_reram_and_its_write_noise():
    kind = replace(PRESETS["reram_es"], cycle=0.0, **ALIKE)
    part = Devices(kind, torch.full((4000, 1), -1.0), drawn())
    asked = torch.ones(4000, 1, dtype=torch.bool)
    for g in (-0.5, 0.0, 0.5):
        part.conductance.fill_(g)
        part._pulse(0, asked, asked)
        z = 2 * -0.5 * g / 2 - 0.5  # by hand from the docstring of aihwkit's ExpStepDevice
        rise = 0.00135 * max(1 + 1.18445 * torch.tensor(5.0 * z).exp().item(), 0)
        assert part.conductance.mean().item() - g == pytest.approx(rise, rel=1e-3)
    torch.manual_seed(0)
    before = part.conductance.clone()
    part.scale.fill_(1.0)
    part._read(asked)
    assert torch.equal(before, part.conductance)
    assert (part.read - before[0]).std().item() == pytest.approx(75 * 0.00135, rel=0.03)


def test_the_noise_of_pcm_grows_with_what_it_holds():
    kind = replace(PRESETS["pcm"], **ALIKE)
    part = Devices(kind, torch.full((40_000, 1), -1.0), drawn())
    part.low.fill_(-100), part.high.fill_(100)
    part.conductance.fill_(1.0)
    width, asked = 200.0, torch.ones(40_000, 1, dtype=torch.bool)
    torch.manual_seed(0)
    part._pulse(0, asked, asked)
    size = 0.01 * (1 + 27.235 * torch.tensor(2.5 * 2 * -1.0 * 1.0 / width).exp().item())
    moved = part.conductance[0] - 1
    assert moved.mean().item() == pytest.approx(size, rel=0.02)
    assert moved.std().item() == pytest.approx(0.6 * (size + 0.042 + 0.108), rel=0.02)  # (4)


def test_devices_differ_by_the_spreads_of_the_preset():
    part = Devices(PRESETS["gokmen_vlasov"], torch.full((300, 300), -0.1), drawn())
    for name, mean, spread in (("high", 1.0, 0.3), ("low", -1.0, 0.3), ("up", 0.0016, 0.3 * 0.0016)):
        values = getattr(part, name)
        assert values.mean().item() == pytest.approx(mean, rel=0.02)
        assert values.std().item() == pytest.approx(spread, rel=0.02)
    tilt = (part.up - part.down) / 2 / 0.0016
    assert tilt.std().item() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_change_becomes_pulses_of_the_mean_step(preset):
    kind = replace(
        PRESETS[preset], curve="constant", cycle=0.0, add=0.0, slope=0.0, write=0.0, states=None, asymmetry=0.0, **ALIKE
    )
    torch.manual_seed(1)
    first = torch.rand(200, 200) - 0.5
    layer = nn.Linear(200, 200)
    layer.weight.data.copy_(first)
    keep_in_devices(weight_of(layer), kind, drawn())
    ((stored, part),) = devices_inside(layer)
    start, quantum = layer.weight.detach().clone(), float(part.scale) * kind.step
    assert torch.allclose(start, first, atol=1e-6)
    with torch.no_grad():
        stored += 2.3 * quantum
    settle(layer)
    steps = (layer.weight.detach() - start) / quantum
    near = steps.round()
    assert torch.allclose(steps, near, atol=0.02) and set(near.unique().tolist()) == {2.0, 3.0}
    assert steps.mean().item() == pytest.approx(2.3, abs=0.02)  # rounded at random
    with torch.no_grad():
        stored -= 1e6 * quantum
    settle(layer)
    assert (layer.weight.detach() >= start - (31 - 2 + 0.1) * quantum).all()  # most pulses of one update


def test_stuck_devices_never_move_and_the_others_stay_within_their_ends():
    kind = device("gokmen_vlasov", {"stuck": 0.3})
    layer, part = held(kind)
    stuck = part.stuck[0]
    assert 0 < int(stuck.sum()) < stuck.numel()
    at = layer.weight.detach().clone()
    for sign in (1, 1, 1, -1, -1, -1, -1, -1):
        weight_of(layer).write(weight_of(layer).latent + sign * 100)
        assert (part.conductance <= part.high).all() and (part.conductance >= part.low).all()
    assert torch.equal(layer.weight[stuck], at[stuck]) and not (layer.weight == at)[~stuck].any()


def test_the_same_seed_gives_the_same_devices_and_a_loaded_state_goes_on_to_the_same_bits():
    kind = PRESETS["reram_es"]
    first, _ = held(kind)
    again, _ = held(kind)
    other, _ = held(kind, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    other.load_state_dict(first.state_dict())
    for layer in (first, other):
        torch.manual_seed(5)
        weight_of(layer).write(weight_of(layer).latent * 1.1)
    assert torch.equal(first.weight, other.weight)


def test_an_optimizer_and_a_rule_move_the_devices_alike():
    kind = PRESETS["gokmen_vlasov"]
    first, _ = held(kind)
    second, _ = held(kind)
    change = torch.randn(5, 6) * 0.01
    optimizer = torch.optim.SGD(first.parameters(), lr=1.0)
    optimizer.register_step_post_hook(lambda *_: settle(first))
    torch.manual_seed(2)
    first(torch.ones(1, 6)).sum().backward()
    with torch.no_grad():
        first.parametrizations["weight"].original.grad.copy_(-change)
    torch.manual_seed(3)
    optimizer.step()
    torch.manual_seed(3)
    weight = weight_of(second)
    values = weight.latent
    values += change
    weight.write(values)
    assert torch.equal(first.weight, second.weight)


def test_a_one_way_pair_falls_by_its_other_device_and_is_set_anew_when_both_are_full():
    kind = replace(PRESETS["pcm"], cycle=0.0, curve="constant", **ALIKE)
    layer, part = held(kind)
    at = layer.weight.detach().clone()
    before = part.conductance.clone()
    weight_of(layer).write(weight_of(layer).latent - 10)
    assert (layer.weight < at).all() and torch.equal(part.conductance[0], before[0])
    part.conductance[0], part.conductance[1] = 1.9, 1.0
    part._refresh()
    assert torch.allclose(part.conductance[0], torch.tensor(0.9)) and not part.conductance[1].any()


def test_a_layer_without_negative_weights_keeps_between_zero_and_its_largest():
    first = torch.rand(5, 6)
    layer, part = held(device("memristor"), first)
    assert len(part.conductance) == 1
    for sign in (1, -1, -1):
        weight_of(layer).write(weight_of(layer).latent + sign)
        assert (layer.weight >= 0).all() and (layer.weight <= first.max() + 1e-6).all()


def test_other_constraints_act_on_what_the_devices_hold():
    layer = nn.Linear(6, 5)
    keep_signs(weight_of(layer), torch.tensor([True] * 3 + [False] * 3))
    keep_in_devices(weight_of(layer), PRESETS["gokmen_vlasov"], drawn())
    stored = weight_of(layer).stored
    assert torch.equal(layer.weight[:, :3], stored[:, :3].abs()) and (layer.weight[:, 3:] <= 0).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"step": 0.0}, "step = 0.0 must lie"),
        ({"steps": 1}, "there is no such number; nearest: step"),
        ({"most": 1.5}, "most = 1.5 cannot stand"),
        ({"stuck": 1.0}, "stuck = 1.0 must be a share"),
        ({"one_way": True}, "one_way needs pair=true"),
        ({"curve": "bent"}, "curve = 'bent' cannot stand"),
        ({"low": 0.5}, "must hold 0"),
    ],
)
def test_numbers_that_no_device_has_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        device("gokmen_vlasov", options)
    with pytest.raises(InputError, match="choose one of"):
        device("mercury")
    assert Device().curve == "constant"
