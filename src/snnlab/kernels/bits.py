"""What a backward pass saves, one bit a number where it is spikes.

Layers save their input for the gradient of their weights. Where every number of it is 0 or one other value (spikes;
spikes after dropout or a scale), a bit each and that value say the same, 32 times smaller. The content decides, not
where a tensor comes from, and unpacking is exact. Linear layers call ``pack`` themselves (layers/spike_linear.py);
convolutions save through the hooks of ``saved_as_bits``. To look at the content makes a GPU wait with every layer, so
there it is done with ``kernels: half`` alone, which asks for less memory.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.kernels import backends, threads
from snnlab.kernels.path import current
from snnlab.kernels.watch import read_freely

LEAST = 4096  # numbers that are worth packing
PROBED = 512  # of these, spread over the tensor, tell most analog tensors at once


class Packed(NamedTuple):
    """``value`` where the bit is set, else 0."""

    bits: Tensor  # uint8; bit k of byte i is number k len(bits) + i
    value: float
    shape: torch.Size
    dtype: torch.dtype


def saved_as_bits() -> AbstractContextManager[Any]:
    """Pack what is saved for a backward pass while the context is open; with ``kernels: step`` nothing changes."""
    if not (current().enabled and torch.is_grad_enabled()) or torch.compiler.is_compiling():
        return nullcontext()
    return torch.autograd.graph.saved_tensors_hooks(keep, give)


class Whole(NamedTuple):
    """A tensor that is saved as it is; autograd does not see through hooks whether it is changed before it is used."""

    tensor: Tensor
    version: int


def keep(tensor: Tensor) -> Whole | Packed:
    packed = pack(tensor)
    return packed if isinstance(packed, Packed) else Whole(packed, packed._version)


def give(saved: Whole | Packed) -> Tensor:
    """Raises RuntimeError where the tensor was changed in place since it was saved."""
    if isinstance(saved, Whole):
        if saved.tensor._version != saved.version:
            raise RuntimeError(
                f"one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"{list(saved.tensor.shape)} is at version {saved.tensor._version}, expected {saved.version}"
            )
        return saved.tensor
    return unpack(saved)


def pack(tensor: Tensor) -> Tensor | Packed:
    """Return ``tensor`` as bits; itself where it is small, not contiguous, or has more than one value beside 0."""
    if tensor.numel() < LEAST or not tensor.is_floating_point() or not tensor.is_contiguous():
        return tensor.detach()
    if not (read_freely(tensor.device) or current().half):
        return tensor.detach()
    flat = tensor.detach().view(-1)
    probe = flat[:: max(1, len(flat) // PROBED)]
    value = float(probe.max())
    if not bool(((probe == 0) | (probe == value)).all()):
        return tensor.detach()
    if value == 0:  # none of the probed numbers fired
        value = float(flat.max())
    bits = _pack(flat, value) if value else torch.zeros(-(-len(flat) // 8), dtype=torch.uint8, device=flat.device)
    if bits is None or (not value and bool((flat != 0).any())):
        return tensor.detach()
    return Packed(bits, value, tensor.shape, tensor.dtype)


def unpack(saved: Packed) -> Tensor:
    """The inverse of ``pack``."""
    flat = torch.empty(saved.shape.numel(), dtype=saved.dtype, device=saved.bits.device)
    if backends.on_cpu(flat):
        from snnlab.kernels import cpu

        threads.share(cpu.unpack, len(flat), saved.bits.numpy(), cpu.number(saved.value, flat), 0, flat.numpy())
    else:
        places = torch.arange(8, device=flat.device, dtype=torch.uint8)
        flat.copy_(((saved.bits >> places[:, None]) & 1).view(-1)[: len(flat)]).mul_(saved.value)
    return flat.view(saved.shape)


def unpack_rows(saved: Packed, first: int, rows: Tensor) -> None:
    """Fill ``rows`` with those of a packed matrix [N, m] on the CPU, from row ``first`` on."""
    from snnlab.kernels import cpu

    flat = rows.view(-1)
    value = cpu.number(saved.value, flat)
    threads.share(cpu.unpack, len(flat), saved.bits.numpy(), value, first * saved.shape[1], flat.numpy())


def _pack(flat: Tensor, value: float) -> Tensor | None:
    """The bits of a tensor, or None where it holds another number than 0 and ``value``."""
    if backends.on_cpu(flat):
        from snnlab.kernels import cpu

        bits = torch.empty(-(-len(flat) // 8), dtype=torch.uint8)
        wrong = torch.zeros(1, dtype=torch.uint8)
        given = (flat.numpy(), cpu.number(value, flat), bits.numpy(), wrong.numpy())
        threads.share(cpu.pack, len(bits), *given)
        return None if wrong.item() else bits
    fired = flat != 0
    if not torch.equal(flat, fired * flat.new_tensor(value)):
        return None
    planes = torch.nn.functional.pad(fired, (0, -len(flat) % 8)).view(8, -1)
    weights = 2 ** torch.arange(8, device=flat.device)
    return (planes * weights[:, None]).sum(0).to(torch.uint8)
