"""Implicit differentiation of spike times, any reset: the card's invariants, and against the other simulators."""

import math

import pytest
import torch

from snnlab.errors import InputError
from snnlab.simulators.current_based import CurrentBased
from snnlab.simulators.event import ClosedForm
from snnlab.simulators.implicit import Implicit
from snnlab.simulators.simulator import Firing

PAIRS = [(20.0, 5.0), (10.0, 5.0), (5.0, 5.0), (5.0, 8.0), (5.0 * 1.0001, 5.0)]
RESETS = [
    {},
    {"reset": "hard"},
    {"height": 0.5},
    {"height": 1.7},
    {"tau_reset": 12.0},
    {"tau_reset": 3.0, "height": 0.8},
]
FIRING = Firing(1.0, 5.0, 60.0, 20)
STEP = 1e-4  # of the finite differences, fourth order


def epsilon(s, tau_m, tau_s):
    """The postsynaptic potential, from its definition."""
    s = s.clamp(min=0)
    if tau_m == tau_s:
        return s / tau_m * torch.exp(-s / tau_m)
    return tau_s / (tau_m - tau_s) * (torch.exp(-s / tau_m) - torch.exp(-s / tau_s))


def layer(tau_m=20.0, tau_s=5.0, seed=0, samples=2, units=6, neurons=3, slots=1):
    """Weights under which each neuron fires several times."""
    draw = torch.Generator().manual_seed(seed)
    times = 30 * torch.rand(samples, units, slots, generator=draw, dtype=torch.float64)
    largest = epsilon(torch.linspace(0, 100, 10001, dtype=torch.float64), tau_m, tau_s).max().item()
    weight = 0.55 / largest + torch.randn(neurons, units, generator=draw, dtype=torch.float64)
    return times, weight


def finite(times):
    return torch.where(times.isfinite(), times, torch.zeros_like(times))


def by_differences(loss, variable):
    """d loss / d variable [..., outputs] by central differences, and where no spike was made or lost by them."""
    flat, columns, stays = variable.view(-1), [], []
    before = loss().isfinite()
    for i, kept in enumerate(flat.tolist()):
        sums = []
        for sign in (2, 1, -1, -2):
            flat[i] = kept + sign * STEP
            sums.append(loss())
        flat[i] = kept
        stays.append(all(torch.equal(before, changed.isfinite()) for changed in sums))
        two, one, minus, minus_two = map(finite, sums)
        columns.append((-two + 8 * one - 8 * minus + minus_two) / (12 * STEP))
    return torch.stack(columns), torch.tensor(stays)


@pytest.mark.parametrize("reset", RESETS, ids=str)
@pytest.mark.parametrize(("tau_m", "tau_s"), PAIRS)
def test_every_spike_by_every_weight_and_input_time(tau_m, tau_s, reset):
    """Invariant 1, one number each, relative to the largest of its spike."""
    times, weight = layer(tau_m, tau_s, samples=1)
    simulator, firing = Implicit(tau_m, **reset), FIRING._replace(tau_synapse=tau_s, most=8)

    def spikes():
        return simulator.simulate(times, weight, firing).times[0].flatten()

    numeric = [by_differences(spikes, variable) for variable in (times, weight)]
    for variable in (times, weight):
        variable.requires_grad_()
    fired, checked = spikes(), 0
    for k in fired.isfinite().nonzero().flatten().tolist():
        mine = torch.autograd.grad(fired[k], [times, weight], retain_graph=True)
        for grad, (found, stays) in zip(mine, numeric, strict=True):
            scale = found[:, k].abs().max()
            assert ((grad.view(-1) - found[:, k])[stays].abs().max() <= 1e-6 * scale).item()
            checked += int(stays.sum())
    assert checked >= 100


@pytest.mark.parametrize("reset", RESETS, ids=str)
@pytest.mark.parametrize(("tau_m", "tau_s"), [(20.0, 5.0), (5.0, 5.0), (5.0, 8.0)])
def test_the_recursion_is_the_card_written_out(tau_m, tau_s, reset):
    """dt_k/dw of every spike through each earlier one, as a double sum, from u's definition alone."""
    times, weight = layer(tau_m, tau_s, samples=1, neurons=1, slots=2)
    firing = FIRING._replace(tau_synapse=tau_s)
    weight.requires_grad_()
    fired = Implicit(tau_m, **reset).simulate(times, weight, firing).times[0, 0]
    spikes = fired[fired.isfinite()].detach()
    assert len(spikes) >= 3
    w, inputs, hard = weight.detach()[0], times[0], reset.get("reset") == "hard"
    height, tau_r = reset.get("height", 1.0), reset.get("tau_reset", tau_m)
    of_weights = []
    for k, t in enumerate(spikes):
        began = spikes[k - 1] if hard and k else -math.inf
        s = torch.where((inputs < t) & (inputs > began), t - inputs, torch.zeros_like(inputs))
        nudge = 1e-6
        rise = (epsilon(s + nudge, tau_m, tau_s) - epsilon(s - nudge, tau_m, tau_s)) / (2 * nudge)
        slope = (w[:, None] * torch.where(s > 0, rise, torch.zeros_like(rise))).sum()
        total = epsilon(s, tau_m, tau_s).sum(1)
        u = (w * total).sum()
        for n in range(0 if hard else k):
            left = height * torch.exp((spikes[n] - t) / tau_r)  # eta(t_k - t_n); eta' is -eta / tau_r
            u, slope = u - left, slope + left / tau_r
            total = total - left / tau_r * of_weights[n]
        assert u.item() == pytest.approx(1.0, abs=1e-9)
        of_weights.append(-total / slope)
        (mine,) = torch.autograd.grad(fired[k], weight, retain_graph=True)
        torch.testing.assert_close(mine[0], of_weights[k], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("tau_m", "tau_s"), PAIRS)
def test_one_spike_each_is_the_formula_of_time_to_first_spike(tau_m, tau_s):
    """Invariant 2: dt/dw_i = -epsilon(t - t_i) / u', dt/dt_i = w_i epsilon'(t - t_i) / u', no reset in it."""
    times, weight = layer(tau_m, tau_s)
    for variable in (times, weight):
        variable.requires_grad_()
    for reset in RESETS:
        fired = Implicit(tau_m, **reset).simulate(times, weight, FIRING._replace(tau_synapse=tau_s, most=1)).times
        assert fired.isfinite().sum() >= 4
        errors = torch.rand(fired.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        mine = torch.autograd.grad((finite(fired) * errors).sum(), [times, weight])
        s = torch.where(fired.isfinite(), fired, 0.0).detach() - times.detach()[:, None, :, 0]  # [B, M, N]
        slow, fast = (torch.where(s > 0, torch.exp(-s.clamp(min=0) / tau), 0.0) for tau in (tau_m, tau_s))
        brought = epsilon(s, tau_m, tau_s)
        rise = (fast - brought) / tau_m  # of tau_m V' = -V + I
        g = torch.where(fired.isfinite(), errors, 0.0)[..., 0] / (weight.detach() * rise).sum(-1)
        torch.testing.assert_close(mine[1], -(g[..., None] * brought).sum(0), rtol=1e-8, atol=1e-9)
        by_times = (g[..., None] * weight.detach() * rise).sum(1)
        torch.testing.assert_close(mine[0][..., 0], by_times, rtol=1e-8, atol=1e-9)
        assert slow.isfinite().all()


def test_one_spike_each_is_fast_and_deep():
    """Invariant 2 beside the closed form: tau_m = 2 tau_s, w tau_m."""
    times, weight = layer(10.0, 5.0, samples=4, neurons=6)
    check_equal(Implicit(10.0), ClosedForm(), times, weight, FIRING._replace(most=1), factor=10.0)


def check_equal(one, two, times, weight, firing, factor=1.0, tolerance=1e-6):
    """Two simulators of the same net: times and gradients; the second takes weights a ``factor`` smaller."""
    found = []
    for simulator, scale in ((one, 1.0), (two, factor)):
        t, w = times.clone().requires_grad_(), weight.clone().requires_grad_()
        got = simulator.simulate(t, w / scale, firing).times
        errors = torch.rand(got.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        (errors * finite(got)).sum().backward()
        found.append((finite(got.detach()), w.grad, t.grad))
    assert (found[0][0] > 0).sum() >= 8
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() < tolerance * b.norm()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("tau_m", "tau_s"), [*PAIRS, (50.0, 1.0)])
def test_the_adjoint_has_the_same_gradient(tau_m, tau_s, seed):
    """Invariant 4: V -> 0 at the threshold is subtraction of the threshold."""
    times, weight = layer(tau_m, tau_s, seed=seed, samples=5, units=12, neurons=7, slots=2)
    check_equal(Implicit(tau_m), CurrentBased(tau_m), times, weight, FIRING._replace(tau_synapse=tau_s))


@pytest.mark.parametrize("most", [1, 20])
def test_the_three_simulators_of_exact_spike_times_agree(most):
    """Through two layers: implicit differentiation, the adjoint, and the closed form of tau_m = 2 tau_s."""
    times, weight = layer(10.0, 5.0, samples=6, units=9, neurons=8, slots=2)
    second = 0.5 + 0.3 * torch.randn(3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    firing, found = FIRING._replace(most=most), []
    for simulator, scale in ((Implicit(10.0), 1.0), (CurrentBased(10.0), 1.0), (ClosedForm(), 10.0)):
        variables = [x.clone().requires_grad_() for x in (times, weight, second)]
        t, w, u = variables
        hidden = simulator.simulate(t, w / scale, firing).times
        outputs = simulator.simulate(hidden, u / scale, firing).times
        first = torch.softmax(-outputs[..., 0].clamp(max=60.0) / 2.0, 1)
        loss = -first[:, 0].log().sum() + (0.01 * finite(outputs)).sum()
        loss.backward()
        found.append([finite(outputs.detach()), *(x.grad for x in variables)])
    assert (found[0][0] > 0).sum() >= 12
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert (a - b).norm() < 1e-6 * b.norm()


@pytest.mark.parametrize("reset", [{}, {"reset": "hard"}, {"height": 0.5}, {"tau_reset": 12.0}], ids=str)
def test_equal_time_constants_are_the_limit(reset):
    """Invariant 3: spikes and gradients at tau_I -> tau_m."""
    times, weight = layer(5.0, 5.0)

    def run(tau_m):
        w = weight.clone().requires_grad_()
        got = Implicit(tau_m, **reset).simulate(times, w, FIRING).times
        finite(got).sum().backward()
        return got.detach(), w.grad

    fired, grad = run(5.0)
    assert fired.isfinite().sum() >= 8
    for apart in (1e-4, 1e-6, -1e-6, 1e-8):
        near, near_grad = run(5.0 * (1 + apart))
        assert torch.equal(near.isfinite(), fired.isfinite())
        assert (finite(near) - finite(fired)).norm() < 10 * abs(apart) * finite(fired).norm()
        assert (near_grad - grad).norm() < 100 * abs(apart) * grad.norm()


def test_equal_time_constants_of_the_kernel_at_one_percent():
    """Invariant 3: 1 % apart, mean kept, the general kernel is the alpha kernel to 1e-4, and so are its spikes."""
    s = torch.linspace(0, 60, 6001, dtype=torch.float64)
    half = 1.005
    general, alpha = epsilon(s, 5.0 * half, 5.0 / half), epsilon(s, 5.0, 5.0)
    general = general / (5.0 / half) * 5.0  # of the same charge
    assert (general - alpha).abs().max() < 1e-4 * alpha.max()
    times, weight = layer(5.0, 5.0)
    fired = [
        Implicit(tau_m).simulate(times, weight * 5.0 / tau_s, FIRING._replace(tau_synapse=tau_s, most=1)).times
        for tau_m, tau_s in ((5.0, 5.0), (5.0 * half, 5.0 / half))
    ]
    assert (finite(fired[0]) - finite(fired[1])).abs().max() < 1e-4 * finite(fired[0]).max()


@pytest.mark.parametrize("reset", RESETS, ids=str)
def test_a_shift_of_all_inputs_shifts_all_outputs(reset):
    """Invariant 5."""
    times, weight = layer(samples=3, slots=2)
    found = []
    for shift in (0.0, 17.0):
        w = weight.clone().requires_grad_()
        got = Implicit(20.0, **reset).simulate(times + shift, w, FIRING._replace(duration=60.0 + shift)).times
        finite(got).sum().backward()
        found.append((got.detach() - shift, w.grad))
    assert torch.equal(found[0][0].isfinite(), found[1][0].isfinite()) and found[0][0].isfinite().sum() >= 10
    torch.testing.assert_close(finite(found[0][0]), finite(found[1][0]), rtol=0, atol=1e-10)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("reset", RESETS, ids=str)
@pytest.mark.parametrize(("tau_m", "tau_s"), [(20.0, 5.0), (5.0, 5.0)])
def test_the_membrane_meets_the_threshold_at_every_spike_and_never_between(tau_m, tau_s, reset):
    """A spike that was missed would leave u above the threshold: u by its definition, on a fine grid."""
    times, weight = layer(tau_m, tau_s)
    simulator, firing = Implicit(tau_m, **reset), FIRING._replace(tau_synapse=tau_s, most=200)
    own = simulator.simulate(times, weight, firing).times
    grid = torch.linspace(0, 60, 1500, dtype=torch.float64)
    u = simulator.membrane(grid, times, weight, own, firing)
    assert u.max() <= 1 + 1e-9
    by_definition = torch.zeros_like(u)
    for b in range(len(times)):
        for j in range(len(weight)):
            spikes = own[b, j][own[b, j] < 60]
            at = simulator.membrane(spikes, times, weight, own, firing)[:, b, j]
            torch.testing.assert_close(at, torch.ones_like(at), atol=1e-9, rtol=0)
            since, inputs = grid[:, None] - spikes, times[b, :, 0]
            drive = epsilon(grid[:, None] - inputs, tau_m, tau_s)
            if reset.get("reset") == "hard":
                last = torch.where(since > 0, spikes, -math.inf).amax(1, keepdim=True)
                by_definition[:, b, j] = (torch.where(inputs > last, drive, 0.0) * weight[j]).sum(1)
            else:
                tau_r = reset.get("tau_reset", tau_m)
                eta = torch.where(since > 0, reset.get("height", 1.0) * torch.exp(-since.clamp(min=0) / tau_r), 0.0)
                by_definition[:, b, j] = (drive * weight[j]).sum(1) - eta.sum(1)
    torch.testing.assert_close(u, by_definition, atol=1e-9, rtol=1e-9)


def test_a_hard_reset_forgets_the_current_that_a_subtractive_one_keeps():
    times, weight = torch.tensor([[[1.0], [30.0]]], dtype=torch.float64), torch.full((1, 2), 20.0, dtype=torch.float64)
    fired = {
        reset: Implicit(20.0, reset).simulate(times, weight, FIRING).times[0, 0] for reset in ("subtractive", "hard")
    }
    assert fired["hard"].isfinite().sum() == 2 and fired["subtractive"].isfinite().sum() > 4
    assert fired["hard"][0] == fired["subtractive"][0]
    assert fired["hard"][1] - 30.0 == pytest.approx((fired["hard"][0] - 1.0).item(), abs=1e-12)  # as if it were new


@pytest.mark.parametrize("reset", RESETS, ids=str)
def test_float32_gives_the_same_spikes(reset):
    times, weight = layer(samples=20, units=10, neurons=5)
    found = []
    for dtype in (torch.float64, torch.float32):
        w = weight.to(dtype, copy=True).requires_grad_()
        got = Implicit(20.0, **reset).simulate(times.to(dtype), w, FIRING._replace(most=3)).times
        finite(got).sum().backward()
        found.append((got.detach().double(), w.grad.double()))
    assert torch.equal(found[0][0].isfinite(), found[1][0].isfinite())
    assert (finite(found[0][0]) - finite(found[1][0])).abs().max() < 1e-3
    assert (found[0][1] - found[1][1]).norm() < 1e-2 * found[0][1].norm()


@pytest.mark.parametrize("reset", [{}, {"reset": "hard"}, {"tau_reset": 12.0}], ids=str)
def test_a_sample_does_not_see_its_batch_and_silence_is_harmless(reset):
    times, weight = layer(samples=20)
    weight[0] = -weight[0].abs()
    times[3] = math.inf

    def run(x):
        w, x = weight.clone().requires_grad_(), x.clone().requires_grad_()
        got = Implicit(20.0, **reset).simulate(x, w, FIRING._replace(most=2)).times
        torch.exp(-got).sum().backward()
        return got.detach(), w.grad, x.grad

    together, grad, moved = run(times)
    alone = [run(times[i : i + 1]) for i in range(20)]
    assert torch.equal(together, torch.cat([got for got, _, _ in alone]))
    torch.testing.assert_close(grad, sum(g for _, g, _ in alone), atol=1e-12, rtol=1e-12)
    assert together[:, 0].isinf().all() and together[3].isinf().all() and together[:, 1:].isfinite().any()
    assert not grad[0].any() and grad.isfinite().all() and moved.isfinite().all() and not moved[3].any()


def test_bad_arguments():
    times, weight = layer()
    for name in ("tau_membrane", "height", "tau_reset"):
        for value in (0.0, -1.0, math.inf, math.nan):
            with pytest.raises(ValueError, match=f"Implicit: {name} = {value}"):
                Implicit(**({"tau_membrane": 20.0} | {name: value}))
    for shape in ({"height": 0.5}, {"tau_reset": 10.0}):
        with pytest.raises(ValueError, match="a hard reset has no height"):
            Implicit(20.0, "hard", **shape)
    with pytest.raises(InputError, match="no recurrent weights"):
        Implicit(20.0).simulate(times, weight, FIRING, torch.zeros(3, 3))
    with pytest.raises(InputError, match="float32 or float64"):
        Implicit(20.0).simulate(times, weight.half(), FIRING)
    with pytest.raises(ValueError, match="weight"):
        Implicit(20.0).simulate(times, weight[:, :2], FIRING)
