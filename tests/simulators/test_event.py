"""Exact spike times against bisection of u(t), exact gradients against finite differences, and their limits."""

import math

import pytest
import torch

from snnlab.errors import InputError
from snnlab.simulators.event import membrane, raster, spike_times

THRESHOLD, TAU = 1.0, 1.0


def layer(seed=0, units=6, neurons=5, samples=3, slots=2, scale=1.5, mean=0.6, dtype=torch.float64):
    """Random input spikes in 0 to 3 and weights that let most neurons fire several times."""
    draw = torch.Generator().manual_seed(seed)
    times = 3 * torch.rand(samples, units, slots, generator=draw, dtype=torch.float64)
    weight = mean + scale * torch.randn(neurons, units, generator=draw, dtype=torch.float64)
    return times.to(dtype), weight.to(dtype)


def u(t, times, weight, own):
    """u(t) of one neuron, its own spikes given, from the definition with no common code."""
    drive = sum(
        w * (math.exp(-(t - s) / (2 * TAU)) - math.exp(-(t - s) / TAU))
        for w, row in zip(weight, times, strict=True)
        for s in row
        if s < t
    )
    return 2 * TAU * drive - THRESHOLD * sum(math.exp(-(t - s) / (2 * TAU)) for s in own if s < t)


def by_bisection(times, weight, duration, step=2e-3):
    """Upward crossings of the threshold on a fine grid, each narrowed to 1e-13."""
    own, t, below = [], 0.0, 0.0
    while t < duration:
        t, before = min(t + step, duration), t
        now = u(t, times, weight, own)
        if now >= THRESHOLD > below:
            low, high = before, t
            while high - low > 1e-13:
                middle = (low + high) / 2
                low, high = (middle, high) if u(middle, times, weight, own) < THRESHOLD else (low, middle)
            own.append(high)
            t, now = high + 1e-12, 0.0  # the reset subtracts all of it
        below = now
    return own


def test_spike_times_equal_bisection():
    times, weight = layer(samples=2, neurons=4)
    got = spike_times(times, weight, THRESHOLD, TAU, 8.0, 30)
    counts = []
    for b in range(2):
        for j in range(4):
            expected = by_bisection(times[b].tolist(), weight[j].tolist(), 8.0)
            found = [t for t in got[b, j].tolist() if math.isfinite(t)]
            assert found == pytest.approx(expected, abs=1e-9)
            counts.append(len(found))
    assert max(counts) >= 5 and sum(counts) >= 12


def test_the_potential_meets_the_threshold_at_every_spike():
    times, weight = layer(samples=1, neurons=1, mean=1.5)
    own = spike_times(times, weight, THRESHOLD, TAU, 8.0, 30)
    spikes = own[own < 8.0]
    assert len(spikes) >= 4
    before = membrane(spikes, times, weight, own, THRESHOLD, TAU)[:, 0, 0]  # at t_k, the spike itself excluded
    torch.testing.assert_close(before, torch.ones_like(before), atol=1e-12, rtol=0)


def loss_of(parts, times, weights, duration=8.0, most=30):
    for weight in weights:
        times = spike_times(times, weight, THRESHOLD, TAU, duration, most)
    finite = times < float("inf")
    return (parts * torch.where(finite, times, torch.zeros_like(times))).sum(), finite


def check_gradient(times, weights, most=30, step=1e-6, tolerance=1e-8):
    draw = torch.Generator().manual_seed(9)
    parts = torch.ones(len(times), len(weights[-1]), most, dtype=torch.float64)
    parts += torch.rand(parts.shape, generator=draw, dtype=torch.float64)
    variables = [times.requires_grad_(), *(w.requires_grad_() for w in weights)]
    loss, finite = loss_of(parts, times, weights, most=most)
    grads = torch.autograd.grad(loss, variables)
    with torch.no_grad():
        for variable, grad in zip(variables, grads, strict=True):
            flat = variable.view(-1)
            numeric = torch.empty_like(flat)
            for i, value in enumerate(flat.tolist()):
                sums = []
                for sign in (2, 1, -1, -2):  # fourth order
                    flat[i] = value + sign * step
                    changed, still = loss_of(parts, times, weights, most=most)
                    assert torch.equal(finite, still)
                    sums.append(changed.item())
                flat[i] = value
                numeric[i] = (-sums[0] + 8 * sums[1] - 8 * sums[2] + sums[3]) / (12 * step)
            error = (grad.view(-1) - numeric).abs().max() / numeric.abs().max()
            assert error < tolerance, (tuple(variable.shape), error.item())
    return finite


def test_gradient_of_the_card_six_inputs_one_neuron():
    times, weight = layer(seed=4, samples=1, neurons=1, slots=1, mean=1.0, scale=0.5)
    finite = check_gradient(times, [weight], step=1e-4)
    assert finite.sum() == 5  # output spikes, as in the card


@pytest.mark.parametrize("most", [30, 1])
def test_gradient_through_two_layers(most):
    times, first = layer(seed=1, samples=2, units=4, neurons=3, slots=1, mean=1.5, scale=0.5)
    _, second = layer(seed=2, units=3, neurons=2, mean=1.2, scale=0.4)
    finite = check_gradient(times, [first, second], most, step=1e-4)
    assert finite.sum() >= (10 if most == 30 else 4)


def fast_and_deep(times, weight):
    """First spike and its derivatives of Goeltz et al., tau_m = 2 tau_s: a_n and b over the causal set of inputs."""
    order = times.argsort()
    for n in range(1, len(order) + 1):
        causal = order[:n]
        a1 = (weight[causal] * torch.exp(times[causal] / TAU)).sum()
        a2 = (weight[causal] * torch.exp(times[causal] / (2 * TAU))).sum()
        root = a2**2 - 4 * a1 * THRESHOLD / (2 * TAU)
        if root <= 0 or a1 <= 0:
            continue
        t = 2 * TAU * torch.log(2 * a1 / (a2 + torch.sqrt(root)))
        following = times[order[n]] if n < len(order) else torch.tensor(float("inf"))
        if times[causal[-1]] < t < following:
            return t
    return None


def test_one_spike_each_is_fast_and_deep():
    times, weight = layer(seed=5, samples=1, neurons=8, slots=1)
    times.requires_grad_()
    weight.requires_grad_()
    got = spike_times(times, weight, THRESHOLD, TAU, 100.0, 1)[0, :, 0]
    assert 3 <= got.isfinite().sum() < 8
    for j in range(8):
        expected = fast_and_deep(times[0, :, 0], weight[j])
        if expected is None:
            assert got[j] == float("inf")
            continue
        assert got[j].item() == pytest.approx(expected.item(), abs=1e-12)
        ours = torch.autograd.grad(got[j], (times, weight), retain_graph=True)
        theirs = torch.autograd.grad(expected, (times, weight))
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


def test_a_silent_neuron_has_a_zero_gradient_and_finite_values():
    times, weight = layer(neurons=3)
    weight[0] = -weight[0].abs()
    weight[1] = 1e-3
    times[:, 2] = float("inf")  # a silent input
    times.requires_grad_()
    weight.requires_grad_()
    got = spike_times(times, weight, THRESHOLD, TAU, 8.0, 30)
    assert got[:, :2].isinf().all() and got[:, 2].isfinite().any()
    torch.exp(-got).sum().backward()
    assert weight.grad.isfinite().all() and times.grad.isfinite().all()
    assert not weight.grad[:2].any() and weight.grad[2].any()
    assert not weight.grad[:, 2].any() and not times.grad[:, 2].any()


@pytest.mark.parametrize(("weight", "slope"), [(2 * (1 + 1e-12), 0.0005), (2.001, None)])
def test_a_grazed_threshold_bounds_the_gradient(weight, slope):
    """One spike at 0, tau_s = theta = 1: u = 2 w (y - y^2) with y = e^(-t/2) touches the threshold at w = 2."""
    w = torch.tensor([[weight]], dtype=torch.float64, requires_grad=True)
    times = spike_times(torch.zeros(1, 1, 1, dtype=torch.float64), w, 1.0, 1.0, 10.0, 1)
    times.sum().backward()
    y = (1 + math.sqrt(1 - 2 / weight)) / 2
    assert times.item() == pytest.approx(-2 * math.log(y), rel=1e-6)
    steep = weight * y * (2 * y - 1)  # du/dt
    assert (steep < 0.0005) == (slope is not None)  # 0.001 theta / tau, tau = 2 tau_s
    assert w.grad.item() == pytest.approx(-(1 / weight) / (slope or steep), rel=1e-6)


def test_weights_may_change_between_forward_and_backward():
    w = torch.tensor([[3.0]], dtype=torch.float64, requires_grad=True)
    found = []
    for factor in (1, 10):
        times = spike_times(torch.zeros(1, 1, 1, dtype=torch.float64), w, 1.0, 1.0, 10.0, 1)
        with torch.no_grad():
            w *= factor
        (grad,) = torch.autograd.grad(times.sum(), w)
        found.append(grad.item())
    assert found[0] == found[1] != 0


def test_sixteen_bits_are_refused():
    with pytest.raises(InputError, match=r"float32 or float64.*trainer\.precision=32-true"):
        spike_times(torch.zeros(1, 1, 1), torch.ones(1, 1, dtype=torch.bfloat16), 1.0, 1.0, 10.0, 1)


def test_no_spikes_at_all():
    times, weight = torch.full((2, 3, 1), float("inf")), torch.ones(4, 3, requires_grad=True)
    got = spike_times(times, weight, THRESHOLD, TAU, 8.0, 2)
    assert got.shape == (2, 4, 2) and got.isinf().all()
    torch.exp(-got).sum().backward()
    assert not weight.grad.any()


@pytest.mark.parametrize("length", [1.0, 3.0, 10.0, 100.0])
def test_float32_stays_near_float64(length):
    """T / tau_s up to 10, the card's limit, and far beyond it: no exponential grows."""
    draw = torch.Generator().manual_seed(3)
    times = length * torch.rand(4, 40, 1, generator=draw, dtype=torch.float64).sort(1).values
    weight = 0.3 + torch.rand(6, 40, generator=draw, dtype=torch.float64)
    results = []
    for dtype in (torch.float64, torch.float32):
        x, w = times.to(dtype), weight.to(dtype, copy=True).requires_grad_()
        got = spike_times(x, w, THRESHOLD, TAU, length, 30)
        torch.where(got.isfinite(), got, torch.zeros_like(got)).sum().backward()
        results.append((got.double(), w.grad.double()))
    (exact, grad), (single, single_grad) = results
    both = exact.isfinite() & single.isfinite()
    assert both.sum() >= 10 and (exact.isfinite() ^ single.isfinite()).sum() <= 1
    assert (exact[both] - single[both]).abs().max() < 1e-4 * max(1, length / 10)
    assert single_grad.isfinite().all()
    assert (grad - single_grad).norm() < 1e-2 * grad.norm()


def test_a_sample_does_not_see_its_batch_and_threads_give_the_same_numbers():
    times, weight = layer(samples=40)

    def run(x):
        w = weight.clone().requires_grad_()
        got = spike_times(x, w, THRESHOLD, TAU, 8.0, 4)
        torch.exp(-got).sum().backward()
        return got.detach(), w.grad

    together, grad = run(times)
    alone = [run(times[i : i + 1]) for i in range(40)]
    assert torch.equal(together, torch.cat([got for got, _ in alone]))
    torch.testing.assert_close(grad, sum(g for _, g in alone), atol=1e-12, rtol=0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        threaded, threaded_grad = run(times)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(together, threaded)
    torch.testing.assert_close(grad, threaded_grad, atol=1e-12, rtol=0)


def test_raster_counts_every_spike_once():
    times = torch.tensor([[[0.05, 0.05, 0.99], [0.5, float("inf"), float("inf")]]])
    got = raster(times, 1.0, 10)
    assert got.shape == (10, 1, 2) and got.sum() == 4
    assert got[0, 0, 0] == 2 and got[9, 0, 0] == 1 and got[5, 0, 1] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [({"threshold": 0.0}, "threshold = 0.0"), ({"tau_synapse": -1.0}, "tau_synapse"), ({"most": 0}, "most = 0")],
)
def test_bad_arguments(change, words):
    arguments = {"threshold": 1.0, "tau_synapse": 1.0, "duration": 1.0, "most": 1} | change
    with pytest.raises(ValueError, match=words):
        spike_times(torch.zeros(1, 2, 1), torch.zeros(3, 2), **arguments)
    with pytest.raises(ValueError, match=r"must be \[B, N, K\]"):
        spike_times(torch.zeros(1, 4, 1), torch.zeros(3, 2), 1.0, 1.0, 1.0, 1)
