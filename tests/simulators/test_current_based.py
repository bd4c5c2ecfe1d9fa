"""The general event simulator: crossings against bisection, the adjoint against finite differences, its closed form."""

import math

import pytest
import torch

from snnlab.errors import InputError
from snnlab.simulators.current_based import CurrentBased
from snnlab.simulators.event import ClosedForm
from snnlab.simulators.simulator import Firing

PAIRS = [(20.0, 5.0), (10.0, 5.0), (5.0, 5.0), (5.0, 8.0), (5.0 * 1.0001, 5.0), (50.0, 1.0)]
FIRING = Firing(1.0, 5.0, 60.0, 20)


def layer(seed=0, units=6, neurons=4, samples=2, slots=1, mean=3.0, spread=2.0):
    draw = torch.Generator().manual_seed(seed)
    times = 30 * torch.rand(samples, units, slots, generator=draw, dtype=torch.float64)
    weight = mean + spread * torch.randn(neurons, units, generator=draw, dtype=torch.float64)
    recurrent = 0.6 * torch.randn(neurons, neurons, generator=draw, dtype=torch.float64)
    return times, weight, recurrent


def peak_of_one(tau_m, tau_s):
    """The largest potential after a spike through a weight of 1, from its definition, by golden section."""

    def v(s):
        if tau_m == tau_s:
            return s / tau_m * math.exp(-s / tau_m)
        return tau_s / (tau_m - tau_s) * (math.exp(-s / tau_m) - math.exp(-s / tau_s))

    low, high = 0.0, 5 * max(tau_m, tau_s)
    for _ in range(200):
        a, b = low + 0.382 * (high - low), low + 0.618 * (high - low)
        low, high = (a, high) if v(a) < v(b) else (low, b)
    return v((low + high) / 2)


def by_bisection(times, weight, recurrent, tau_m, tau_s, duration, step=4e-3):
    """Spikes of one sample [M][...]: V and I of every neuron stepped exactly on a fine grid, crossings narrowed."""

    def after(v, i, s):
        phi = s / tau_m * math.exp(-s / tau_m)
        if tau_m != tau_s:
            phi = tau_s / (tau_m - tau_s) * (math.exp(-s / tau_m) - math.exp(-s / tau_s))
        return v * math.exp(-s / tau_m) + i * phi, i * math.exp(-s / tau_s)

    events = sorted((t, n) for n, row in enumerate(times.tolist()) for t in row)
    count = len(weight)
    state = [(0.0, 0.0)] * count
    found = [[] for _ in range(count)]
    now = 0.0
    while now < duration:
        while events and events[0][0] <= now:
            _, n = events.pop(0)
            state = [(v, i + w) for (v, i), w in zip(state, weight[:, n].tolist(), strict=True)]
        gap = min(step, duration - now, events[0][0] - now if events else step)
        crossed = [j for j in range(count) if after(*state[j], gap)[0] >= 1.0]
        if crossed:
            ends = {}
            for j in crossed:
                low, high = 0.0, gap
                for _ in range(60):
                    middle = (low + high) / 2
                    low, high = (middle, high) if after(*state[j], middle)[0] < 1.0 else (low, middle)
                ends[j] = high
            first = min(ends, key=ends.get)
            gap = ends[first]
        state = [after(v, i, gap) for v, i in state]
        now += gap
        if crossed:
            found[first].append(now)
            state[first] = (0.0, state[first][1])
            if recurrent is not None:
                state = [(v, i + r) for (v, i), r in zip(state, recurrent[:, first].tolist(), strict=True)]
    return found


@pytest.mark.parametrize(("tau_m", "tau_s"), PAIRS)
@pytest.mark.parametrize("recurs", [False, True])
def test_spike_times_equal_bisection(tau_m, tau_s, recurs):
    times, weight, recurrent = layer(samples=1, mean=1.2 / peak_of_one(tau_m, tau_s) / 3, spread=1.0)
    recurrent = recurrent if recurs else None
    got = CurrentBased(tau_m).simulate(times, weight, FIRING._replace(tau_synapse=tau_s), recurrent)
    expected = by_bisection(times[0], weight, recurrent, tau_m, tau_s, 60.0)
    total = 0
    for j, mine in enumerate(expected):
        spikes = [t for t in got.times[0, j].tolist() if math.isfinite(t)]
        assert spikes == pytest.approx(mine[:20], abs=1e-9 if abs(tau_m - tau_s) > 0.1 or tau_m == tau_s else 1e-6)
        assert got.counts[0, j] == len(spikes)
        total += len(spikes)
    assert total >= 4


def check_gradient(tau_m, tau_s, recurs, step=1e-4, tolerance=1e-7):
    times, weight, recurrent = layer(mean=1.6 / peak_of_one(tau_m, tau_s) / 3, spread=1.0)
    simulator, firing = CurrentBased(tau_m), FIRING._replace(tau_synapse=tau_s)
    parts = torch.rand(2, 4, 20, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    variables = [times, weight, *([recurrent] if recurs else [])]

    def loss():
        got = simulator.simulate(times, weight, firing, recurrent if recurs else None).times
        finite = got.isfinite()
        return (parts * torch.where(finite, got, torch.zeros_like(got))).sum(), finite

    for variable in variables:
        variable.requires_grad_()
    value, finite = loss()
    grads = torch.autograd.grad(value, variables)
    worst = 0.0
    with torch.no_grad():
        for variable, grad in zip(variables, grads, strict=True):
            flat, numeric = variable.view(-1), torch.empty_like(variable).view(-1)
            for i, kept in enumerate(flat.tolist()):
                sums = []
                for sign in (2, 1, -1, -2):  # fourth order
                    flat[i] = kept + sign * step
                    changed, still = loss()
                    assert torch.equal(finite, still)  # no spike made or lost
                    sums.append(changed.item())
                flat[i] = kept
                numeric[i] = (-sums[0] + 8 * sums[1] - 8 * sums[2] + sums[3]) / (12 * step)
            worst = max(worst, ((grad.view(-1) - numeric).abs().max() / numeric.abs().max()).item())
    assert worst < tolerance, worst
    return int(finite.sum())


@pytest.mark.parametrize(("tau_m", "tau_s"), PAIRS)
@pytest.mark.parametrize("recurs", [False, True])
def test_gradient_equals_finite_differences(tau_m, tau_s, recurs):
    assert check_gradient(tau_m, tau_s, recurs) >= 8


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_two_to_one_is_the_closed_form(dtype):
    """tau_m = 2 tau_s with w tau_m: the net of event.py, its times and its gradients."""
    times, weight, _ = layer(samples=5, units=12, neurons=9, slots=2, mean=0.06, spread=0.1)
    found = []
    for simulator, factor in ((ClosedForm(), 1.0), (CurrentBased(10.0), 10.0), (CurrentBased(10.0 * (1 + 1e-9)), 10.0)):
        t, w = times.to(dtype, copy=True).requires_grad_(), weight.to(dtype, copy=True).requires_grad_()
        got = simulator.simulate(t, factor * w, FIRING).times
        torch.where(got.isfinite(), got, torch.zeros_like(got)).sum().backward()
        found.append((got.detach(), w.grad, t.grad))
    assert found[0][0].isfinite().sum() >= 40
    for mine in found[1:]:
        assert torch.equal(found[0][0].isfinite(), mine[0].isfinite())
        for a, b in zip(found[0], mine, strict=True):
            finite = a.isfinite()
            assert (a[finite] - b[finite]).norm() < (1e-6 if dtype is torch.float64 else 1e-3) * a[finite].norm()


@pytest.mark.parametrize(("tau_m", "tau_s"), PAIRS)
def test_one_spike_each_at_a_thousandth_above_the_peak_and_none_at_it(tau_m, tau_s):
    """The card's normalisation: weights in units of 1 / the largest potential of one spike."""
    unit = 1 / peak_of_one(tau_m, tau_s)
    firing = Firing(1.0, tau_s, 20000.0, 5)
    times = torch.tensor([[[0.0], [5000.0], [10000.0]]], dtype=torch.float64)  # far apart
    for factor, expected in ((1.001, 3), (1.0 - 1e-9, 0)):
        weight = torch.full((1, 3), factor * unit, dtype=torch.float64)
        assert CurrentBased(tau_m).simulate(times, weight, firing).counts.item() == expected


def test_equal_time_constants_are_the_limit():
    times, weight, recurrent = layer(mean=2.2, spread=1.0)
    found = []
    for tau_m in (5.0, 5.0 * (1 + 1e-7), 5.0 * (1 - 1e-7), 5.05):
        w = weight.clone().requires_grad_()
        got = CurrentBased(tau_m).simulate(times, w, FIRING, recurrent).times
        finite = got.isfinite()
        torch.where(finite, got, torch.zeros_like(got)).sum().backward()
        found.append((got.detach()[finite], w.grad, got.detach()[..., 0]))
    assert len(found[0][0]) >= 10
    for near in found[1:3]:
        torch.testing.assert_close(near[0], found[0][0], rtol=1e-6, atol=0)
        assert (near[1] - found[0][1]).norm() < 1e-5 * found[0][1].norm()
    first, at_a_hundredth = found[0][2], found[3][2]
    assert (first - at_a_hundredth)[first.isfinite()].abs().max() < 0.02 * 5


def test_counts_pull_at_every_spike():
    """dL/dn goes into the jump: lower V at the spikes, which smaller positive weights make."""
    times, weight, _ = layer(mean=2.2, spread=0.5)
    w = weight.clone().requires_grad_()
    spikes = CurrentBased(20.0).simulate(times, w, FIRING)
    assert spikes.counts.sum() >= 4
    spikes.counts[:, 0].sum().backward()
    assert (w.grad[0] >= 0).all() and (w.grad[0] > 0).any() and not w.grad[1:].any()


@pytest.mark.parametrize("recurs", [False, True])
def test_the_buffer_ends_a_neuron_and_silence_is_harmless(recurs):
    times, weight, recurrent = layer(mean=4.0)
    recurrent = recurrent if recurs else None
    whole = CurrentBased(20.0).simulate(times, weight, FIRING, None).times
    weight[0] = -weight[0].abs()
    weight.requires_grad_()
    few = CurrentBased(20.0).simulate(times, weight, FIRING._replace(most=2), recurrent)
    assert few.times[:, 0].isinf().all() and few.counts.max() == 2
    if not recurs:
        assert torch.equal(few.times[:, 1:], whole[:, 1:, :2])
    torch.exp(-few.times).sum().backward()
    assert weight.grad.isfinite().all()
    silent = CurrentBased(20.0).simulate(torch.full_like(times, math.inf), weight, FIRING, recurrent)
    assert silent.times.isinf().all() and not silent.counts.any()


@pytest.mark.parametrize("recurs", [False, True])
def test_a_sample_does_not_see_its_batch_and_threads_give_the_same_numbers(recurs):
    times, weight, recurrent = layer(samples=40)
    recurrent = recurrent if recurs else None

    def run(x):
        w = weight.clone().requires_grad_()
        got = CurrentBased(20.0).simulate(x, w, FIRING, recurrent).times
        torch.exp(-got).sum().backward()
        return got.detach(), w.grad

    together, grad = run(times)
    alone = [run(times[i : i + 1]) for i in range(40)]
    assert torch.equal(together, torch.cat([got for got, _ in alone]))
    torch.testing.assert_close(grad, sum(g for _, g in alone), atol=1e-12, rtol=1e-12)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        threaded, threaded_grad = run(times)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(together, threaded)
    torch.testing.assert_close(grad, threaded_grad, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("recurs", [False, True])
def test_the_membrane_meets_the_threshold_at_every_spike(recurs):
    times, weight, recurrent = layer(samples=1, neurons=3)
    recurrent = recurrent if recurs else None
    simulator = CurrentBased(20.0)
    own = simulator.simulate(times, weight, FIRING, recurrent).times
    for j in range(3):
        spikes = own[0, j][own[0, j] < 60.0]
        before = simulator.membrane(spikes, times, weight, own, FIRING, recurrent)[:, 0, j]
        torch.testing.assert_close(before, torch.ones_like(before), atol=1e-10, rtol=0)


def test_bad_arguments():
    times, weight, recurrent = layer()
    for tau in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="tau_membrane"):
            CurrentBased(tau)
    with pytest.raises(ValueError, match=r"recurrent \[3, 3\] must be \[4, 4\]"):
        CurrentBased(20.0).simulate(times, weight, FIRING, recurrent[:3, :3])
    with pytest.raises(InputError, match="float32 or float64"):
        CurrentBased(20.0).simulate(times, weight.half(), FIRING)
    with pytest.raises(InputError, match="no recurrent weights"):
        ClosedForm().simulate(times, weight, FIRING, recurrent)
