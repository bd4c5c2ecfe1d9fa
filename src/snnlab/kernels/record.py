"""One ``step`` of a neuron and its gradient, recorded by PyTorch as a graph; what a graph cannot hold is refused.

A step that draws random numbers, changes its own module or anything else that it can see raises Unsupported, and leaves
no trace of having been recorded.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from snnlab.kernels.sight import Sight, Unseen, sight


class Unsupported(Exception):
    """The step cannot be written as arithmetic on each neuron by itself."""


def inputs(neuron: nn.Module) -> list[Tensor]:
    """Parameters, then buffers: what the prologue and the epilogue are given."""
    return [*neuron.parameters(), *neuron.buffers()]


def record(
    neuron: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str
) -> tuple[fx.Graph, int, int, bool]:
    """The graph of one step and its gradient; inputs: current, states, parameters, buffers, grads of the outputs.

    Also the numbers of states and of tensors, and whether a gradient reaches the output.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    current = torch.zeros(3, *shape, dtype=dtype, device=device)
    with torch.enable_grad():
        state = neuron.initial_state(current.clone().requires_grad_())  # type: ignore[operator]
    fields = list(state)
    if not all(isinstance(f, Tensor) and f.shape == current.shape and f.dtype == dtype for f in fields):
        raise Unsupported("a state that is not one number per neuron")
    if any(f.requires_grad for f in fields):
        raise Unsupported("an initial state that is learned, or follows from the current")
    names = [name for name, _ in neuron.named_parameters()]
    buffers = [name for name, _ in neuron.named_buffers()]
    caller = Step(neuron, type(state))
    graded = []

    def joint(current: Tensor, state: list[Tensor], held: list[Tensor], grads: list[Tensor]) -> list[Any]:
        leaf = current.detach().requires_grad_()
        before = [s.detach().requires_grad_() for s in state]
        parameters = [p.detach().requires_grad_() for p in held[: len(names)]]
        values = dict(zip([f"neuron.{n}" for n in names + buffers], parameters + held[len(names) :], strict=True))
        outputs = torch.func.functional_call(caller, values, (leaf, *before))
        wanted = [leaf, *before, *parameters]
        graded.append(outputs[0].requires_grad)
        paths = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.requires_grad]
        found: Any = [None] * len(wanted)
        if paths:
            reached, cotangents = map(list, zip(*paths, strict=True))
            found = torch.autograd.grad(reached, wanted, cotangents, allow_unused=True)
        return [o.detach() for o in outputs] + list(found)

    held = [t.detach().clone() for t in inputs(neuron)]
    grads = [torch.zeros_like(current) for _ in range(1 + len(fields))]
    with torch.enable_grad():
        module = make_fx(joint)(current, [torch.zeros_like(current) for _ in fields], held, grads)
    return module.graph, len(fields), len(held), graded[-1]


class Step(nn.Module):
    """``step`` with its state as plain arguments, so that parameters can be put in its place."""

    def __init__(self, neuron: nn.Module, state: type) -> None:
        super().__init__()
        self.neuron, self.state = neuron, state

    def forward(self, current: Tensor, *fields: Tensor) -> tuple[Tensor, ...]:
        before = [(module, dict(vars(module)), dict(module._buffers)) for module in self.neuron.modules()]
        outside = Outside(self.neuron)
        output, after = self.neuron.step(current, self.state(*fields))  # type: ignore[operator]
        changed = []
        for module, attributes, buffers in before:
            changed += [k for k in vars(module).keys() | attributes if vars(module).get(k) is not attributes.get(k)]
            changed += [k for k in module._buffers if module._buffers[k] is not buffers.get(k)]
            vars(module).clear()
            vars(module).update(attributes)
        if changed:
            raise Unsupported(f"step sets {changed[0]}")
        outside.restore()
        return (output, *after)


class Outside:
    """What a step may change without a word to PyTorch: lists and dicts of its own, generators of random numbers."""

    def __init__(self, neuron: nn.Module) -> None:
        self.neuron = neuron
        self.seen, self.kept = self.look(), self.contents()
        self.python, self.numpy = random.getstate(), np.random.get_state()

    def look(self) -> Any:
        try:
            return sight(self.neuron)[0]
        except Unseen as error:
            raise Unsupported(f"step can see {error}") from error

    def contents(self) -> list[tuple[Any, Any]]:
        """Every list, dict, set and array that the step can see, and what it holds."""
        seen = Sight()
        seen.look(self.neuron)
        return [(found, found.copy()) for found in seen.containers]

    def restore(self) -> None:
        """Put back what the step has changed.

        Raises:
            Unsupported: when it has changed something.
        """
        drew = random.getstate() != self.python or str(np.random.get_state()) != str(self.numpy)
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        changed = self.look() != self.seen
        for found, kept in self.kept if changed else ():
            if isinstance(found, np.ndarray):
                found[...] = kept
            else:
                found.clear()
                found.update(kept) if isinstance(found, dict | set) else found.extend(kept)
        if drew or changed:
            raise Unsupported("step draws random numbers" if drew else "step changes what it can see")
