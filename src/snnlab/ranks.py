"""The processes that share the batches of one run: what each needs of the others to learn from the whole batch.

In a run of one process every function here gives back what it was given, to the bit. All processes must ask the same
questions in the same order, or they wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def total_with_gradient(values: Tensor) -> Tensor:
    """The sum of ``values`` [...] over the processes; its gradient is that of the sum of all processes' losses."""
    if number() == 1:
        return values
    from torch.distributed.nn import functional

    return functional.all_reduce(values.contiguous())  # type: ignore[no-any-return,no-untyped-call]


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Put the mean over the processes into each of ``tensors``; one message for all of a dtype."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors) if number() > 1 else ():
        own = [tensor for tensor in tensors if tensor.dtype == dtype]
        joined = total(torch.cat([tensor.flatten() for tensor in own])) / number()
        for tensor, part in zip(own, joined.split([tensor.numel() for tensor in own]), strict=True):
            tensor.copy_(part.view_as(tensor))


def share_of(samples: int, device: torch.device) -> Tensor | float:
    """``samples`` of this process over the mean of all processes': what turns a mean over them into a term of the
    mean over the whole batch, once the processes' terms are averaged."""
    if number() == 1:
        return 1.0
    own = torch.tensor(float(samples), device=device)
    return own * number() / total(own)


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
    if number() > 1:
        dist.barrier()
        dist.destroy_process_group()
