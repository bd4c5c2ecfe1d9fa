"""A second device that computes on the CPU: what would fail or wait on a GPU shows on a machine without one.

A ``Second`` holds a plain tensor and lies on ``DEVICE``, as torch calls it "lazy:0": the one place besides the CPU for
which autograd needs no threads of its own. While ``second_device()`` is open,
    torch.zeros(2, device=DEVICE), x.to(DEVICE)    make a Second; every operation on a Second makes one
    second + plain                                 raises Mixed, unless the plain one has no dimension
    second.numpy(), np.asarray(second)             raise, as they do for a tensor on a GPU
    float(second), second.nonzero(), second.cpu()  are counted, with the place in snnlab that asked: see READS
    second.cumsum(0)                               is noted, as all that a GPU has no deterministic form of
Other than on a GPU: random numbers are those of the CPU, so a run is equal to the bit to one there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

from without_form import raises

DEVICE = torch.device("lazy", 0)
READS = (
    *("_local_scalar_dense", "is_nonzero", "equal"),  # item, float, int, bool
    *("nonzero", "masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive"),  # the shape is read
    *("repeat_interleave", "bincount"),
)
MOVES = ("_to_copy", "copy_")  # the only ones that go from one device to the other
PLACES = ("index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index")  # may be told where by plain tensors
ALIKE = ("cat", "stack", "mm", "addmm", "bmm", "addmm_", "dot", "mv", "gather", "scatter", "index_select")


class Mixed(RuntimeError):
    """An operation on tensors of both devices."""


reads: list[str] = []  # "operation file:line" of each one since ``second_device`` was opened
without_form: set[str] = set()  # the same of what raises on a GPU where deterministic operations are asked for


class Second(Tensor):
    """See the docstring of this file; ``held`` is the plain tensor."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Any:
        assert not isinstance(held, Second)
        made: Any = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=DEVICE,
            requires_grad=False,
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A checkpoint of a device is read onto the CPU."""
        return self.held.__reduce_ex__(protocol)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Second({self.held!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            made = self.detach().clone().requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                made = torch.nn.Parameter(made, self.requires_grad)
            memo[id(self)] = made
        return memo[id(self)]


def asked_by() -> str:
    """The file and line of snnlab that is computing, or of whoever called torch."""
    frame = sys._getframe(1)
    first = ""
    while frame is not None:
        name = frame.f_code.co_filename
        if "/snnlab/" in name and "/tests/" not in name and not name.endswith("callbacks/memory.py"):
            return f"{name.rpartition('/snnlab/')[2]}:{frame.f_lineno}"
        if not first and "/torch/" not in name and not name.endswith("second_device.py"):
            first = f"{name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return first


def is_second(value: Any) -> bool:
    return isinstance(value, Second)


def dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute ``func`` on what is held; its results lie where its tensors do, or where ``device`` says."""
    name = func._schema.name.removeprefix("aten::")
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    seconds, plain = [t for t in tensors if is_second(t)], [t for t in tensors if not is_second(t)]
    target = kwargs.get("device")
    target = None if target is None else torch.device(target)
    if target is not None and target.type == DEVICE.type:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if not seconds and (target is None or target.type != DEVICE.type):
        return func(*args, **kwargs)
    if raises(name, args, kwargs):
        without_form.add(f"{name} {asked_by()}")
    if seconds and plain and name not in MOVES:
        first = args[0] if isinstance(args[0], Tensor) else args[0][0] if isinstance(args[0], list | tuple) else None
        if name in PLACES and is_second(first):
            plain = [t for t in plain if t is not args[1]] if name == "index" else plain
            plain = [t for t in plain if t.dtype not in (torch.long, torch.bool)]
        into = name.endswith("_") and not is_second(first)
        if into or name in ALIKE or any(t.dim() for t in plain):
            raise Mixed(f"{name} of {[(list(t.shape), t.device.type) for t in tensors]} at {asked_by()}")
    away = (target is not None and target.type != DEVICE.type) or (name == "copy_" and not is_second(args[0]))
    masks = name in PLACES and any(is_second(i) and i.dtype in (torch.bool, torch.uint8) for i in args[1] or ())
    if seconds and (name in READS or masks or (away and name in MOVES)):
        reads.append(f"{name} {asked_by()}")
    held_args, held_kwargs = tree_map(lambda value: value.held if is_second(value) else value, (args, kwargs))
    found = func(*held_args, **held_kwargs)
    if away:
        return args[0] if name == "copy_" else found
    if not seconds and name == "_to_copy" and found is args[0]:
        found = found.clone()
    found = tree_map(
        lambda value: Second(value) if isinstance(value, Tensor) and not is_second(value) else value, found
    )
    return return_and_correct_aliasing(func, args, kwargs, found) if seconds else found


class Factories(TorchDispatchMode):
    """Tensors that are made on DEVICE, and mixtures that are led by a plain tensor."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


@contextmanager
def second_device() -> Iterator[list[str]]:
    """Let DEVICE be there; yields the list of the reads, which starts empty, as ``without_form`` does."""
    reads.clear()
    without_form.clear()
    swapping = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # a module that is moved keeps its parameters
    lifting = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(2, device=DEVICE) is made here and then moved
    autocast: Any = torch.autocast  # which knows no DEVICE
    torch.autocast = lambda kind, **options: autocast("cpu" if kind == DEVICE.type else kind, **options)  # type: ignore[misc, assignment]
    try:
        with Factories():
            yield reads
    finally:
        torch.autocast = autocast  # type: ignore[misc]
        torch._C._set_only_lift_cpu_tensors(lifting)
        torch.__future__.set_swap_module_params_on_conversion(swapping)


class SecondAccelerator(Accelerator):
    """What Lightning asks of a device."""

    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {}

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [DEVICE]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return "second"


class TrainerThere(L.Trainer):
    """A Trainer whose modules and batches lie on DEVICE; it evaluates with no_grad, as inference tensors wrap none."""

    def __init__(self, **arguments: Any) -> None:
        strategy = SingleDeviceStrategy(device=DEVICE, accelerator=SecondAccelerator())
        super().__init__(**{**arguments, "strategy": strategy, "accelerator": "auto", "inference_mode": False})
