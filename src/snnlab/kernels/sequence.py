"""A program run over a whole sequence, forward and backward, as one operation of autograd."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.kernels.offer import accept, first_derivative
from snnlab.kernels.path import current
from snnlab.kernels.program import Program
from snnlab.kernels.record import inputs
from snnlab.kernels.watch import watched_by

HALF = {torch.float32: torch.float16, torch.float64: torch.float32}


class Pass(NamedTuple):
    """One sequence through one neuron layer.

    steps: T; state: fields before the first step, [M] each, and in their place those after the last; same: the current
    is one step that stays; keep: a backward will follow; over: what it needs may be written over the currents.
    """

    backend: Any  # cpu.py or gpu.py
    program: Program
    steps: int
    state: list[Tensor]
    same: bool
    keep: bool
    over: bool


def unroll(neuron: nn.Module, program: Program, currents: Tensor, backend: Any) -> Tensor:
    """Outputs [T, B, ...] of a neuron whose step is ``program``, for currents [T, B, ...]."""
    held = inputs(neuron)
    keep = torch.is_grad_enabled() and program.graded and (currents.requires_grad or any(t.requires_grad for t in held))
    with torch.no_grad():
        first = list(neuron.initial_state(currents[0]))  # type: ignore[operator]
        state = [field.detach().reshape(-1).clone() for field in first]
    once = _once(currents)
    over = accept(currents) and keep and currents.is_contiguous()
    plan = Pass(backend, program, len(currents), state, once is not None, keep, over)
    with nullcontext() if keep else torch.no_grad():  # outputs that no gradient reaches do not ask for one
        outputs: Tensor = _Fused.apply(plan, currents if once is None else once, *held)
    if (watch := watched_by()) is not None:
        watch.started(neuron, first)
        watch.ended(neuron, state)
    return outputs


def _once(currents: Tensor) -> Tensor | None:
    """The one step [1, B, ...] behind currents that are the same at every step, or None."""
    if len(currents) == 1 or currents.stride(0) != 0:
        return None
    base = None if currents.grad_fn is None else currents._base  # expanded without a gradient: base takes none
    step = currents[0]
    if base is not None and base.numel() == step.numel() and base.is_contiguous() and step.is_contiguous():
        return base.view(1, *step.shape)  # its gradient needs no sum over a copy for each step
    return currents[:1]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Pass, x: Tensor, *held: Tensor) -> Tensor:
        program, shape = plan.program, (plan.steps, *x.shape[1:])
        flat = x.detach().contiguous().view(len(x), -1)
        values = [value.to(x.dtype) for value in program.prologue(*held)]
        numbers = plan.backend.numbers(program, [value for value in values if value.ndim == 0], flat)
        arrays = [v.expand(shape[1:]).reshape(-1) for v in values if v.ndim]
        kernel = plan.backend.kernel(program, tuple(value.ndim > 0 for value in values), plan.same)
        outputs = x.new_empty(shape)
        given_outputs = outputs.view(plan.steps, -1)
        place = program.place(plan.same) if plan.over else None  # of what is kept in the place of the currents
        own = [torch.empty_like(given_outputs) for i in range(len(program.kept)) if plan.keep and i != place]
        run = kernel.infer if not plan.keep else kernel.forward if place is None else kernel.forward_over
        given = [flat, given_outputs, *arrays, *plan.state, *own]
        kept = own if place is None else [*own[:place], flat, *own[place:]]
        plan.backend.run(run, plan.steps, flat.shape[1], numbers, given)
        if place is not None:
            torch.autograd.graph.increment_version(x)  # whoever saved the currents must not use what is there now
        ctx.save_for_backward(*(map(halved, kept) if current().half else kept), *held)
        ctx.plan, ctx.kernel, ctx.numbers = plan._replace(state=[]), kernel, numbers
        ctx.arrays, ctx.shape = arrays, shape
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        first_derivative()
        program, same = ctx.plan.program, ctx.plan.same
        kept, held = list(ctx.saved_tensors[: len(program.kept)]), ctx.saved_tensors[len(program.kept) :]
        grad = grads[0].contiguous().view(len(grads[0]), -1)
        place = program.place(same)
        if place is None:
            out = grad.new_zeros(1, grad.shape[1]) if same else torch.empty_like(grad)
        else:  # written over what was kept, unless somebody will come back for it
            if kept[place].dtype == grad.dtype and torch._C._autograd._get_current_graph_task_keep_graph():
                kept[place] = kept[place].clone()
            out = kept[place] = kept[place].to(grad.dtype)
        kept = [k.to(grad.dtype) for k in kept]
        sums = [grad.new_zeros(grad.shape[1], dtype=torch.float64) for _ in program.sums]
        given = [grad, *([out] if place is None else []), *ctx.arrays, *kept, *sums]
        ctx.plan.backend.run(ctx.kernel.backward, len(grad), grad.shape[1], ctx.numbers, given)
        learned = program.epilogue(*(s.view(ctx.shape[1:]) for s in sums), *held)
        gradients = [None if g is None else g.to(t.dtype) for g, t in zip(learned, held, strict=False)]
        buffers = [None] * (len(held) - len(gradients))
        return (None, out.view(-1, *ctx.shape[1:]), *gradients, *buffers)


def halved(kept: Tensor) -> Tensor:
    """In half the bits: off by 2^-11 of itself at most (float32); what 16 bits cannot hold becomes their largest."""
    small = HALF[kept.dtype]
    largest = torch.finfo(small).max
    return kept.clamp_(-largest, largest).to(small)
