"""Fused neurons against the loop over ``step``: outputs identical, every gradient equal to rounding."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.callbacks.memory import LiveBytes
from snnlab.kernels import backends
from snnlab.kernels.program import ONE, ZERO, Program, trace
from snnlab.kernels.record import Unsupported, inputs
from snnlab.kernels.sequence import halved
from snnlab.neurons.filtered_lif import FilteredLIF
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.neurons.low_pass import LowPass
from snnlab.neurons.neuron import Neuron, Temporal
from snnlab.neurons.plif import PLIF
from snnlab.neurons.straight_through_integrator import StraightThroughIntegrator
from snnlab.neurons.surrogate import CURVES, Triangle, make_surrogate
from snnlab.neurons.winner_take_all import WinnerTakeAll
from take import take

CASES = list(itertools.product(("soft", "hard", "none"), ("first", "scaled", "last"), (False, True), CURVES))
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    take(monkeypatch, True)


def both(
    neuron: Temporal, currents: Tensor, monkeypatch: pytest.MonkeyPatch, fused: str = "auto"
) -> list[tuple[Tensor, ...]]:
    """Outputs, gradient of the currents and of each parameter: fused, then step by step."""
    results = []
    for choice in (fused, "step"):
        take(monkeypatch, choice)
        leaf = currents.clone().requires_grad_()
        outputs = neuron(leaf)
        assert bool(kernels.current().fused) is (choice != "step")
        weights = torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype).view_as(outputs)
        grads = torch.autograd.grad((outputs * weights).sum(), [leaf, *neuron.parameters()])
        results.append((outputs.detach(), *grads))
    return results


def close(grads: Any, expected: Any, dtype: torch.dtype) -> None:
    for grad, other in zip(grads, expected, strict=True):
        scale = max(float(other.abs().max()), 1.0)
        torch.testing.assert_close(grad, other, rtol=0, atol=TOLERANCE[dtype] * scale)


def agree(neuron: Temporal, currents: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    (outputs, *grads), (expected, *expected_grads) = both(neuron, currents, monkeypatch)
    assert torch.equal(outputs, expected)
    close(grads, expected_grads, currents.dtype)


# a program worked out by PyTorch: what the kernels are written from, for every variant and without compiling it
MEANING: dict[str, Any] = {
    **{name: getattr(torch, name) for name in ("add", "sub", "mul", "div", "neg", "abs", "exp", "maximum", "where")},
    **{name: getattr(torch, name) for name in ("ge", "gt", "le", "lt", "eq", "ne", "minimum", "sigmoid", "reciprocal")},
    "and": torch.logical_and,
    "number": lambda x: x.double(),
    "fma": lambda a, b, c: c + a * b,
}


def work_out(program: Program, neuron: Neuron, currents: Tensor, grads: Tensor) -> tuple[Tensor, ...]:
    """Outputs, gradient of the currents and of each parameter by the lines of ``program``, in float64."""
    held = inputs(neuron)
    fixed: dict[str, Tensor] = {ZERO: torch.zeros(()).double(), ONE: torch.ones(()).double()}
    fixed |= {f"c{i}": torch.tensor(c, dtype=torch.float64) for i, c in enumerate(program.constants)}
    fixed |= {f"p{i}": p.double() for i, p in enumerate(program.prologue(*held))}
    state, kept, outputs = list(neuron.initial_state(currents[0])), [], []
    for x in currents:
        numbers = fixed | {"x": x} | {f"s{i}": s for i, s in enumerate(state)}
        for line in program.forward:
            numbers[line.name] = MEANING[line.operation](*(numbers[o] for o in line.operands))
        state = [numbers[name] for name in program.after]
        outputs.append(numbers[program.output])
        kept.append({name: numbers[name] for name in program.kept})
    flow, found = [torch.zeros_like(currents[0]) for _ in state], []
    sums = [torch.zeros_like(currents[0]) for _ in program.sums]
    for t in reversed(range(len(currents))):
        numbers = fixed | kept[t] | {"gy": grads[t]} | {f"gn{i}": g for i, g in enumerate(flow)}
        for line in program.backward:
            numbers[line.name] = MEANING[line.operation](*(numbers[o] for o in line.operands))
        found.append(numbers[program.grad_current])
        flow = [numbers[name].expand_as(g) for name, g in zip(program.grad_state, flow, strict=True)]
        sums = [total + numbers[name] for name, total in zip(program.sums, sums, strict=True)]
    return torch.stack(outputs), torch.stack(found[::-1]), *program.epilogue(*sums, *held)


def programmed(neuron: Neuron, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program of a neuron, held against its loop over ``step``."""
    torch.manual_seed(1)
    neuron, currents = neuron.double(), torch.randn(9, 2, 3, 5, dtype=torch.float64).requires_grad_()
    grads = torch.randn_like(currents)
    program = trace(neuron, (3, 5), torch.float64)
    outputs, *found = work_out(program, neuron, currents.detach(), grads)
    take(monkeypatch, False)
    expected = neuron(currents)
    assert torch.equal(outputs, expected) and outputs.any()
    close(found, torch.autograd.grad(expected, [currents, *neuron.parameters()], grads), torch.float64)
    return program


@pytest.mark.parametrize(("reset", "leak", "detach", "curve"), CASES)
def test_the_program_of_every_lif_equals_its_step(reset, leak, detach, curve, monkeypatch):
    surrogate = make_surrogate(curve, strict=detach)
    neuron = LIF(0.8, 0.7, reset, detach, leak=leak, v_reset=-0.1, surrogate=surrogate)
    assert len(programmed(neuron, monkeypatch).kept) == 1  # the membrane before the reset says all


@pytest.mark.parametrize(("reset", "detach"), itertools.product(("soft", "hard", "none"), (False, True)))
def test_the_program_of_every_plif_equals_its_step(reset, detach, monkeypatch):
    programmed(PLIF(2.5, 0.5, reset, detach, v_reset=0.1, surrogate=Triangle(1.0)), monkeypatch)
    programmed(PLIF(2.5, 0.5, reset, detach, learn_threshold=True, surrogate=Triangle(1.0)), monkeypatch)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("curve", CURVES)
def test_compiled_lif_equals_its_step(curve, dtype, monkeypatch):
    torch.manual_seed(3)
    reset = {"triangle": "soft", "box": "none"}.get(curve, "hard")
    neuron = LIF(0.8, 0.7, reset, v_reset=-0.1, surrogate=make_surrogate(curve, peak=0.4))
    agree(neuron, torch.randn(9, 3, 37, dtype=dtype), monkeypatch)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_compiled_neurons_with_parameters_and_several_states_equal_their_step(dtype, monkeypatch):
    torch.manual_seed(5)
    neuron = PLIF(2.5, 0.5, "soft", v_reset=0.1, learn_threshold=True, surrogate=Triangle(1.0))
    currents = torch.randn(12, 5, 7, dtype=dtype)
    (spikes, *grads), (expected, *_) = both(neuron.to(dtype), currents, monkeypatch)
    _, (exact, *exact_grads) = both(neuron.double(), currents.double(), monkeypatch)
    assert torch.equal(spikes, expected) and torch.equal(spikes.double(), exact)
    close([g.double() for g in grads], exact_grads, dtype)  # step's own sums over neurons are 1e-6 off in float32
    filtered = FilteredLIF(3).to(dtype)
    nn.init.normal_(filtered.bias)
    agree(filtered, torch.randn(20, 4, 3, 5, dtype=dtype), monkeypatch)


@pytest.mark.parametrize("readout", [Integrator(0.9), Integrator(1.0), StraightThroughIntegrator(0.9)])
def test_readouts_are_fused_as_well(readout, monkeypatch):
    torch.manual_seed(0)
    agree(readout, torch.randn(7, 3, 10), monkeypatch)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 3), (30, 2, 1023), (3, 1, 1025), (2, 3, 4, 5, 6)])
def test_any_shape(shape, monkeypatch):
    torch.manual_seed(0)
    agree(LIF(), torch.randn(shape), monkeypatch)
    agree(PLIF().double(), torch.randn(shape, dtype=torch.float64), monkeypatch)


def test_threads_share_the_neurons(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    agree(LIF(), torch.randn(4, 7, 431), monkeypatch)


def test_currents_that_are_not_contiguous_and_gradients_that_are_expanded(monkeypatch):
    torch.manual_seed(0)
    agree(LIF(), torch.randn(5, 4, 6).transpose(0, 2), monkeypatch)
    take(monkeypatch, True)
    currents, found = torch.randn(4, 2, 3), []
    for fused in (True, False):
        take(monkeypatch, fused)
        leaf = currents.clone().requires_grad_()
        LIF(surrogate=Triangle())(leaf).mean().backward()  # the gradient of a mean is one number, expanded
        found.append(leaf.grad)
    assert found[0].any()
    close(found[:1], found[1:], torch.float32)


@pytest.mark.parametrize("neuron", [LIF(surrogate=Triangle()), PLIF(surrogate=Triangle())])
def test_a_current_that_is_the_same_at_every_step(neuron, monkeypatch):
    results = []
    for fused in (True, False):
        take(monkeypatch, fused)
        torch.manual_seed(0)
        image = torch.randn(3, 8, requires_grad=True)
        weight = torch.randn(6, 8, requires_grad=True)
        spikes = neuron((image @ weight.T).expand(12, 3, 6))
        factors = torch.linspace(-1, 1, spikes.numel()).view_as(spikes)
        grads = torch.autograd.grad((spikes * factors).sum(), [image, weight, *neuron.parameters()])
        results.append((spikes.detach(), *grads))
    assert torch.equal(results[0][0], results[1][0]) and results[0][0].any()
    for grad, expected in zip(*results, strict=True):
        torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-5)


def test_detached_state_is_spatial_only(monkeypatch):
    torch.manual_seed(0)
    agree(LIF(detach_state=True, surrogate=Triangle()), torch.randn(6, 2, 9), monkeypatch)


def test_a_number_that_is_set_later_is_seen(monkeypatch):
    neuron, currents = LIF(surrogate=Triangle()), torch.full((3, 1, 2), 0.6)
    assert neuron(currents)[0].sum() == 0
    neuron.threshold = 0.5
    assert neuron(currents)[0].sum() == 2


def test_without_a_gradient_nothing_is_kept(monkeypatch):
    from snnlab.callbacks.memory import LiveBytes

    currents, peaks = torch.randn(10, 4, 100), []
    for leaf in (currents, currents.clone().requires_grad_()):
        with LiveBytes() as counted:
            LIF()(leaf)
        peaks.append(counted.peak)
    assert peaks[1] - peaks[0] >= currents.nbytes * 0.9 and peaks[0] <= 1.5 * currents.nbytes


class Counter(NamedTuple):
    v: Tensor


class Elementwise(Neuron):
    """Somebody's own neuron: an adaptive step of exp, tanh and where."""

    def initial_state(self, current):
        return Counter(torch.full_like(current, 0.25))

    def step(self, current, state):
        v = torch.where(current > 0, torch.tanh(state.v) + current, state.v - torch.exp(current)).clamp(-2, 2)
        spikes = Triangle()(v - 1)
        return spikes, Counter(v * (1 - spikes))


class Mixing(Elementwise):
    """A neuron that sees its neighbours."""

    def step(self, current, state):
        return super().step(current - current.mean(-1, keepdim=True), state)


def test_a_neuron_of_ones_own_is_fused_and_one_that_mixes_neurons_is_not(monkeypatch):
    torch.manual_seed(0)
    (spikes, grad), (expected, expected_grad) = both(Elementwise(), torch.randn(8, 3, 20).double(), monkeypatch)
    assert torch.equal(spikes, expected) and spikes.any()
    close([grad], [expected_grad], torch.float64)
    take(monkeypatch, True)
    Elementwise()(torch.randn(8, 3, 20))
    Mixing()(torch.randn(8, 3, 20))
    assert kernels.current().taken() == {"fused": ["Elementwise"], "step": ["Mixing"]}
    with pytest.raises(Unsupported, match="mean"):
        trace(Mixing(), (20,), torch.float32)


def test_a_neuron_that_draws_random_numbers_keeps_its_loop():
    with pytest.raises(Unsupported):
        trace(WinnerTakeAll(LowPass(0.1)), (10,), torch.float32)


def test_without_numba_there_is_one_notice_and_the_step_path(monkeypatch):
    def refuse(name):
        raise ImportError("No module named 'numba'")

    notices = []
    monkeypatch.setattr(backends, "import_module", refuse)
    monkeypatch.setattr(backends, "_backends", {})
    monkeypatch.setattr(backends.log, "warning", lambda text, *values: notices.append(text % values))
    for _ in range(2):
        assert LIF()(torch.ones(2, 1, 1)).tolist() == [[[1.0]], [[1.0]]]
    assert notices == ["kernels: numba is not usable (No module named 'numba'); neurons run step by step"]
    assert kernels.current().taken() == {"fused": [], "step": ["LIF"]}


INTERPRETED = """
import torch
from snnlab.callbacks.memory import LiveBytes
from snnlab import kernels
from snnlab.neurons.filtered_lif import FilteredLIF
from snnlab.kernels import gpu
from snnlab.kernels.program import trace
from snnlab.kernels.sequence import unroll
from snnlab.neurons.lif import LIF
from snnlab.neurons.neuron import Temporal
from snnlab.neurons.plif import PLIF
from snnlab.neurons.surrogate import make_surrogate

kernels.path._current.set(kernels.Path("step"))
cases = [LIF(0.8, 0.7, reset, detach, leak=leak, v_reset=-0.1, surrogate=make_surrogate(curve, strict=detach))
         for reset, detach, leak, curve in (("soft", False, "first", "triangle"), ("hard", True, "last", "box"),
                                            ("none", False, "scaled", "gaussian"), ("hard", False, "first", "sigmoid"))]
cases += [PLIF(2.5, 0.5, "soft", learn_threshold=True, surrogate=make_surrogate("atan")), FilteredLIF(3)]
for neuron in cases:
    for dtype, same in ((torch.float64, False), (torch.float32, False), (torch.float64, True)):
        neuron.to(dtype)
        shape = (1, 4, 3, 70) if same else (9, 4, 3, 70)  # 840 neurons: three blocks and a part
        found = []
        for fused in (True, False):
            leaf = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1)).requires_grad_()
            currents = leaf.expand(9, *shape[1:])
            if fused:
                outputs = unroll(neuron, trace(neuron, (3, 70), dtype), currents, gpu)
            else:
                outputs = Temporal.forward(neuron, currents)
            weights = torch.linspace(-1, 1, outputs.numel(), dtype=dtype).view_as(outputs)
            found.append((outputs, *torch.autograd.grad((outputs * weights).sum(), [leaf, *neuron.parameters()])))
        assert torch.equal(found[0][0], found[1][0]) and found[0][0].any(), neuron
        for grad, expected in zip(*(f[1:] for f in found)):
            limit = (1e-10 if dtype == torch.float64 else 1e-5) * max(1.0, float(expected.abs().max()))
            assert (grad - expected).abs().max() <= limit, (neuron, dtype, same, (grad - expected).abs().max())
print("interpreted", len(cases))
"""


def test_the_kernels_for_a_gpu_equal_step_in_tritons_interpreter():
    pytest.importorskip("triton", reason="triton is not installed; .ci/run installs it")
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED], capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "1"}
    )
    assert done.stdout == "interpreted 6\n", done.stdout + done.stderr


@pytest.mark.parametrize(
    "neuron",
    [
        *(LIF(0.9, 1.0, reset, surrogate=make_surrogate("atan")) for reset in ("soft", "hard")),
        PLIF(2.0),
        FilteredLIF(40),
    ],
)
def test_half_keeps_the_spikes_and_gradients_to_a_thousandth(neuron, monkeypatch):
    torch.manual_seed(0)
    currents = torch.randn(50, 8, 40)
    expected, *gradients = both(neuron, currents, monkeypatch)[1]
    outputs, *found = both(neuron, currents, monkeypatch, "half")[0]
    assert torch.equal(outputs, expected)
    for grad, other in zip(found, gradients, strict=True):
        assert float((grad - other).norm() / other.norm()) < 2e-3


def test_half_needs_less_memory_and_can_go_backward_twice(monkeypatch):
    take(monkeypatch, "half")
    currents = torch.randn(100, 8, 500)
    alive, twice = {}, []
    for half in (False, True):
        take(monkeypatch, "half" if half else "auto")
        leaf = currents.clone().requires_grad_()
        with LiveBytes() as counted:
            given = leaf * 1
            kernels.offer(given)
            outputs = PLIF(2.0)(given)
            del given
        alive[half] = counted.live
        for _ in range(2):
            twice.append(torch.autograd.grad(outputs.sum(), leaf, retain_graph=True)[0])
    size = currents.nbytes
    assert (alive[False] - alive[True]) / size == pytest.approx(1, abs=0.1)  # two numbers of 16 bits less
    assert torch.equal(twice[0], twice[1]) and torch.equal(twice[2], twice[3])


def test_half_saturates_in_place_of_overflowing(monkeypatch):
    grads = []
    for half in (True, False):
        take(monkeypatch, "half" if half else "auto")
        leaf = torch.full((5, 2, 8), 1e6).requires_grad_()
        LIF(0.9, 1.0, "soft", surrogate=make_surrogate("atan", 1e6))(leaf).sum().backward()  # wide: a slope even there
        grads.append(leaf.grad)
    assert torch.isfinite(grads[0]).all() and grads[1].abs().min() > 0
    largest = torch.finfo(torch.float16).max
    kept = torch.full((1,), 1e6)
    assert halved(kept.clone()).item() == largest and halved(-kept).item() == -largest
