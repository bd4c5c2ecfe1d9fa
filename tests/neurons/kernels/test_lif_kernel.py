"""The fused LIF family against the loop over ``step``: spikes identical, every gradient equal to rounding."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from snnlab.neurons import kernels
from snnlab.neurons.lif import LIF
from snnlab.neurons.neuron import Neuron
from snnlab.neurons.plif import PLIF
from snnlab.neurons.surrogate import CURVES, Triangle, make_surrogate

CASES = list(itertools.product(("soft", "hard", "none"), ("first", "scaled", "last"), (False, True), CURVES))
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}


def both(neuron: Neuron, currents: Tensor, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, ...]]:
    """Spikes, gradient of the currents and of each parameter: fused, then step by step."""
    results = []
    for fused in (True, False):
        monkeypatch.setattr(kernels, "enabled", fused)
        kernels.used.clear()
        leaf = currents.clone().requires_grad_()
        spikes = neuron(leaf)
        assert bool(kernels.used) is fused
        weights = torch.linspace(-1, 1, spikes.numel(), dtype=spikes.dtype).view_as(spikes)
        grads = torch.autograd.grad((spikes * weights).sum(), [leaf, *neuron.parameters()])
        results.append((spikes.detach(), *grads))
    return results


def agree(neuron: Neuron, currents: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    (spikes, *grads), (expected, *expected_grads) = both(neuron, currents, monkeypatch)
    assert torch.equal(spikes, expected)
    for grad, other in zip(grads, expected_grads, strict=True):
        scale = max(float(other.abs().max()), 1.0)
        torch.testing.assert_close(grad, other, rtol=0, atol=TOLERANCE[currents.dtype] * scale)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("reset", "leak", "detach", "curve"), CASES)
def test_every_lif_equals_its_step(reset, leak, detach, curve, dtype, monkeypatch):
    torch.manual_seed(len(reset) + 10 * len(leak))
    surrogate = make_surrogate(curve, strict=detach)
    neuron = LIF(0.8, 0.7, reset, detach, leak=leak, v_reset=-0.1, surrogate=surrogate)
    agree(neuron, torch.randn(9, 3, 37, dtype=dtype), monkeypatch)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("reset", "detach"), itertools.product(("soft", "hard", "none"), (False, True)))
def test_every_plif_equals_its_step(reset, detach, dtype, monkeypatch):
    torch.manual_seed(5)
    neuron = PLIF(2.5, 0.5, reset, detach, v_reset=0.1, surrogate=Triangle(1.0)).to(dtype)
    agree(neuron, torch.randn(12, 5, 7, dtype=dtype), monkeypatch)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 3), (30, 2, 1023), (3, 1, 1025), (2, 3, 4, 5, 6)])
def test_any_shape(shape, monkeypatch):
    torch.manual_seed(0)
    agree(LIF(), torch.randn(shape), monkeypatch)
    agree(PLIF().double(), torch.randn(shape, dtype=torch.float64), monkeypatch)


def test_currents_that_are_not_contiguous_and_gradients_that_are_expanded(monkeypatch):
    torch.manual_seed(0)
    agree(LIF(), torch.randn(5, 4, 6).transpose(0, 2), monkeypatch)
    monkeypatch.setattr(kernels, "enabled", True)
    leaf = torch.randn(4, 2, 3, requires_grad=True)
    LIF(surrogate=Triangle())(leaf).mean().backward()  # the gradient of a mean is one number, expanded
    assert leaf.grad is not None and torch.isfinite(leaf.grad).all()


def test_a_curve_with_a_peak_of_its_own(monkeypatch):
    torch.manual_seed(0)
    agree(LIF(0.95, surrogate=Triangle(1.0, peak=0.3)), torch.randn(6, 2, 9), monkeypatch)


def test_detached_state_is_spatial_only(monkeypatch):
    torch.manual_seed(0)
    agree(LIF(detach_state=True, surrogate=Triangle()), torch.randn(6, 2, 9), monkeypatch)


def test_without_numba_there_is_one_notice_and_the_step_path(monkeypatch):
    import builtins

    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if "kernels" in name and args[2:] and args[2] and "lif" in args[2]:
            raise ImportError("No module named 'numba'")
        return real(name, *args, **kwargs)

    notices = []
    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.setattr(kernels, "_looked", False)
    monkeypatch.setattr(kernels, "_module", None)
    monkeypatch.setattr(kernels, "enabled", True)
    monkeypatch.setattr(kernels.log, "warning", lambda text, *values: notices.append(text % values))
    kernels.used.clear()
    for _ in range(2):
        assert LIF()(torch.ones(2, 1, 1)).tolist() == [[[1.0]], [[1.0]]]
    assert notices == ["kernels: numba is not usable (No module named 'numba'); neurons run step by step"]
    assert kernels.path() == "step"
