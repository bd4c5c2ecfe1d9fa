"""The processes that share the batches of one run: what each needs of the others to learn from the whole batch.

In a run of one process every function here gives back what it was given, to the bit. All processes must ask the same
questions in the same order, or they wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist


def number() -> int:
    """How many processes share each batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is; 0 writes, draws and speaks for all."""
    return dist.get_rank() if number() > 1 else 0


@torch.no_grad()
def total(values: Tensor) -> Tensor:
    """The sum of ``values`` [...] over the processes, without gradient."""
    if number() == 1:
        return values
    summed = values.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(summed)
    return summed


class _Total(torch.autograd.Function):
    """The sum over the processes, whose gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return total(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return total(grads[0])


def total_with_gradient(values: Tensor) -> Tensor:
    """The sum of ``values`` [...] over the processes; its gradient is that of the sum of all processes' losses."""
    summed: Tensor = values if number() == 1 else _Total.apply(values)  # type: ignore[no-untyped-call]
    return summed


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Put the mean over the processes into each of ``tensors``; one message for all of a dtype."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors) if number() > 1 else ():
        own = [tensor for tensor in tensors if tensor.dtype == dtype]
        joined = total(torch.cat([tensor.flatten() for tensor in own])) / number()
        for tensor, part in zip(own, joined.split([tensor.numel() for tensor in own]), strict=True):
            tensor.copy_(part.view_as(tensor))


class Part(NamedTuple):
    """What this process has of the batch that is learned from."""

    first: int  # the place of its first sample in the whole batch
    own: int
    whole: int


_part: list[Part] = []  # empty in a run of one process, and while nothing is learned


def begin(samples: int, device: torch.device) -> None:
    """Say that a batch begins, of which this process has so many samples, in the order of the processes."""
    counts = torch.zeros(number(), dtype=torch.int64, device=device)
    counts[rank()] = samples
    every = total(counts).tolist()
    _part[:] = [Part(sum(every[: rank()]), samples, sum(every))]


def end() -> None:
    """Say that the batch is over."""
    _part.clear()


def whole(samples: int) -> int:
    """The samples of the whole batch, of which this process has so many."""
    return _part[0].whole if _part else samples


def share() -> float:
    """The samples of this process over the mean of all processes': what makes of a mean over them a term of the mean
    over the whole batch, once the processes' terms are averaged."""
    return _part[0].own * number() / _part[0].whole if _part else 1.0


def of_whole(draw: Callable[[Tensor], Tensor], like: Tensor, axis: int) -> Tensor:
    """Random numbers ``draw(like)``, one for each sample along ``axis``.

    While processes learn from a batch, each makes the draw for all of it and keeps its samples' part: they get the
    numbers that one process would have drawn for them, and the generators of the processes stay alike.
    """
    if not _part or like.shape[axis] != _part[0].own:
        return draw(like)
    part, shape = _part[0], list(like.shape)
    shape[axis % like.dim()] = part.whole
    if axis == 0 and like.stride(0) == like[0].numel():  # whatever the order within a sample, it is kept
        every = like.new_empty_strided(shape, like.stride())
    else:
        every = like.new_empty(shape)
    return draw(every).narrow(axis, part.first, part.own)


def from_first(value: Any) -> Any:
    """What process 0 gives as ``value``."""
    if number() == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held, 0)
    return held[0]


def agree(values: Tensor) -> bool:
    """Whether all processes hold the same ``values`` [...], to the bit."""
    if number() == 1:
        return True
    first = values.detach().clone()
    dist.broadcast(first, 0)
    return not bool(total((first != values).any().double()))


def wait() -> None:
    """Wait until every process has come here."""
    if number() > 1:
        dist.barrier()


def part() -> None:
    """Wait for all, and go on alone from here."""
    wait()
    leave()


def leave() -> None:
    """Go on alone from here, whatever the others do."""
    end()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
