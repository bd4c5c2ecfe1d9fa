"""What a run would take of this machine's memory, told before it is taken."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from snnlab.errors import InputError

KEPT = 4  # a weight, its gradient and the two moments of Adam


def memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def gibibytes(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 2**30:,.1f} GiB"


@contextmanager
def weights_that_fit(name: str) -> Iterator[None]:
    """Refuse what allocates more than a ``KEPT``-th of this machine's memory: weights that could not be trained.

    Raises:
        InputError: in the place of an allocation that is refused; ``name`` is the part that asks for it.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        limit = _taken() + memory() // KEPT
        resource.setrlimit(resource.RLIMIT_AS, (min(x for x in (limit, soft, hard) if x >= 0), hard))
    except (OSError, ValueError):  # a system that does not tell or keep it
        pass
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search("allocate|Storage size|overflow", str(error)):
            raise
        found = re.search(r"(\d{4,}) bytes", str(error))
        asked = gibibytes(int(found.group(1))) if found else "more than that"
        raise InputError(
            f"{name} needs {asked} at once for weights, of which training keeps {KEPT} copies, and this machine has "
            f"{gibibytes(memory())}; fewer units or channels need less"
        ) from error
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _taken() -> int:
    """Bytes of address space of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def check_memory(method: Any, spec: Any, batch_size: int) -> None:
    """Refuse a batch that this machine cannot hold: its frames, the outputs of each layer, the weights.

    What is counted is the least that a step takes: kernels, gradients and optimizers come on top.

    Raises:
        InputError: naming T, B, the units, and what they take.
    """
    steps = int(getattr(method.encoder, "time_steps", None) or spec.time_steps or 1)
    steps = steps if method.automatic_optimization else 1  # who takes own steps may see one frame at a time
    batch = min(batch_size, spec.sizes.get("train") or batch_size) * int(getattr(method, "samples", 1))
    units = math.prod(spec.input_shape) + method.units()
    weights = sum(parameter.numel() for parameter in method.parameters())
    if (need := 4 * (steps * batch * units + 2 * weights)) > memory():
        raise InputError(
            f"a batch of T = {steps:,} steps and B = {batch:,} samples over {units:,} units, with {weights:,} "
            f"parameters, takes at least {gibibytes(need)}, and this machine has {gibibytes(memory())}; lower "
            "data.batch_size, time_steps or the model's width"
        )
