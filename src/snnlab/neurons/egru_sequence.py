"""The equations of neurons/egru.py over a whole sequence, forward and backward, as one operation of autograd.

Forward: those of ``step``, on buffers of all steps. Backward, with dy[t], dc[t], do[t] the gradients of what step t
returns and h = o' the surrogate at c* - threshold:

    dc* = dy (o + c* h) + dc (1 - threshold h) + do h           (1) released: y = o c*, c = c* - o threshold
    dc* = dy (o + c* h) + dc + do h                                 paper: c = c*
    dthreshold = - sum of h (dy c* - dc threshold + do) + dc o  (2) without dc in the paper's form
    dx_u = dc* (c[t-1] - g) u (1 - u)                           (3) paper: the sign changes, as u weighs g
    dx_g = dc* (1 - u) (1 - g^2)                                    paper: u in place of 1 - u
    dx_r = dx_g (R_g y + b_g) r (1 - r)                             paper: (dx_g R_g) y r (1 - r)
    dc[t-1] = dc* u                                             (4) paper: dc* (1 - u)
    dy[t-1] += [dx_u, dx_r] R_ur + (dx_g r) R_g                     paper: [dx_u, dx_r] R_ur + r (dx_g R_g) - dc*

All that does not wait for the step behind it is worked out for all steps at once, and so are the gradients of R and of
the threshold, after the loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab import kernels


class Options(NamedTuple):
    """released: the form; dampening, epsilon: of the surrogate; events: whether there are any."""

    released: bool
    dampening: float
    epsilon: float
    events: bool


def unroll(
    options: Options,
    x: Tensor,
    before: Tensor,
    y: Tensor,
    threshold: Tensor,
    gates: tuple[Tensor, Tensor | None],
    candidate: tuple[Tensor, Tensor | None],
) -> tuple[Tensor, Tensor, Tensor]:
    """y, c and o, all [T, B, H], of currents x [T, B, 3 H], starting from c ``before`` and y [B, H].

    Args:
        threshold: [H], at least 0.
        gates, candidate: weights and biases R_ur [2 H, H], R_g [H, H].
    """
    found: tuple[Tensor, Tensor, Tensor] = _Sequence.apply(options, x, before, y, threshold, *gates, *candidate)
    return found


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        options: Options,
        x: Tensor,
        before: Tensor,
        first: Tensor,
        threshold: Tensor,
        gates: Tensor,
        gates_bias: Tensor | None,
        candidate: Tensor,
        candidate_bias: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        steps, batch, units = len(x), x.shape[1], candidate.shape[0]
        ur, g = x.new_empty(steps, batch, 2 * units), x.new_empty(steps, batch, units)  # gates, candidates
        returned = torch.empty_like(g)  # R_g y + b_g, or r y in the paper's form
        star, sent, state, events = (torch.empty_like(g) for _ in range(4))  # c*, y, c, o
        if not options.events:
            star = sent = state
            events.fill_(1)
        gates_t, candidate_t = gates.t(), candidate.t()
        c, y = before, first
        for t in range(steps):
            u, r = ur[t, :, :units], ur[t, :, units:]
            product(gates_bias, y, gates_t, ur[t])
            ur[t].add_(x[t, :, : 2 * units]).sigmoid_()
            if options.released:
                product(candidate_bias, y, candidate_t, returned[t])
                torch.addcmul(x[t, :, 2 * units :], r, returned[t], out=g[t]).tanh_()
                torch.lerp(g[t], c, u, out=star[t])
            else:
                torch.mul(r, y, out=returned[t])
                product(candidate_bias, returned[t], candidate_t, g[t])
                g[t].add_(x[t, :, 2 * units :]).tanh_()
                torch.lerp(c, g[t], u, out=star[t])
                if options.events:
                    star[t].sub_(y)
            if options.events:
                torch.gt(star[t], threshold, out=events[t])
                torch.mul(events[t], star[t], out=sent[t])
                if options.released:
                    torch.addcmul(star[t], events[t], threshold, value=-1, out=state[t])
                else:
                    state[t].copy_(star[t])
            c, y = state[t], sent[t]
        ctx.options, ctx.set_materialize_grads = options, False
        ctx.save_for_backward(before, first, threshold, gates, candidate, ur, g, returned, star, sent, state, events)
        ctx.biased = gates_bias is not None, candidate_bias is not None
        ctx.mark_non_differentiable(*([] if options.events else [events]))
        return sent, state if options.events else state.clone(), events

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        kernels.first_derivative()
        options: Options = ctx.options
        before, first, threshold, gates, candidate, ur, g, returned, star, sent, state, events = ctx.saved_tensors
        steps, batch, units = g.shape
        u, r = ur[..., :units], ur[..., units:]
        c_before = torch.cat((before[None], state[:-1]))
        y_before = torch.cat((first[None], sent[:-1]))
        of_events = grads[2] if options.events else None
        dy, dc = (torch.zeros_like(g) if grad is None else grad.clone() for grad in grads[:2])
        of_y = of_c = None  # factors of (1); None is 1
        if options.events:
            h = torch.sub(star, threshold).abs_().mul_(-options.epsilon).add_(1).clamp_(min=0)
            h.mul_(options.dampening)
            of_y = torch.addcmul(events, star, h)
            of_c = 1 - threshold * h if options.released else None
        slope = u * (1 - u)
        of_u = slope * (c_before - g if options.released else g - c_before)  # (3)
        of_g = (1 - u if options.released else u) * (1 - g * g)
        of_r = (returned if options.released else y_before) * (r * (1 - r))
        stays = u if options.released else 1 - u  # (4)
        dx, back = g.new_empty(steps, batch, 3 * units), torch.empty_like(g)  # back: gradient of R_g's outputs
        for t in range(steps - 1, -1, -1):
            d = dy[t] if of_y is None else dy[t] * of_y[t]  # (1)
            d = d + dc[t] if of_c is None else torch.addcmul(d, dc[t], of_c[t])
            if of_events is not None:
                d.addcmul_(of_events[t], h[t])
            dx_g = dx[t, :, 2 * units :]
            torch.mul(d, of_u[t], out=dx[t, :, :units])
            torch.mul(d, of_g[t], out=dx_g)
            dx_r = dx[t, :, units : 2 * units]
            if options.released:
                torch.mul(dx_g, of_r[t], out=dx_r)
                torch.mul(dx_g, r[t], out=back[t])
                dy_before = back[t] @ candidate
            else:
                through = dx_g @ candidate
                torch.mul(through, of_r[t], out=dx_r)
                dy_before = through.mul_(r[t])
                if options.events:
                    dy_before.sub_(d)
            dy_before.addmm_(dx[t, :, : 2 * units], gates)
            dc_before = d.mul_(stays[t])
            if t:
                dy[t - 1] += dy_before
                dc[t - 1] += dc_before
        dthreshold = None
        if options.events and ctx.needs_input_grad[4]:
            change = dy.mul_(star) if of_events is None else torch.addcmul(of_events, dy, star)
            if options.released:
                change.addcmul_(dc, threshold, value=-1)
            change.mul_(h)
            if options.released:
                change.addcmul_(dc, events)
            dthreshold = change.sum((0, 1)).neg_()  # (2)
        of_gates = dx[..., : 2 * units].flatten(0, 1)
        of_candidate = (back if options.released else dx[..., 2 * units :]).flatten(0, 1)
        read = y_before if options.released else returned
        learned = (
            of_gates.t() @ y_before.flatten(0, 1),
            of_gates.sum(0) if ctx.biased[0] else None,
            of_candidate.t() @ read.flatten(0, 1),
            of_candidate.sum(0) if ctx.biased[1] else None,
        )
        return (None, dx, dc_before, dy_before, dthreshold, *learned)


def product(bias: Tensor | None, y: Tensor, weight: Tensor, out: Tensor) -> None:
    """out = y weight + bias."""
    if bias is None:
        torch.mm(y, weight, out=out)
    else:
        torch.addmm(bias, y, weight, out=out)
