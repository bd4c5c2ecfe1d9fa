"""Most live tensor bytes of one training step, above those before it."""

from __future__ import annotations

import math
import weakref
from typing import Any

import lightning as L
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from snnlab.errors import InputError


class LiveBytes(TorchDispatchMode):
    """While active, count the bytes of every storage that is made and still alive.

    Raises: InputError: they are more than ``most``; a storage that is only declared so far takes no memory yet.
    """

    def __init__(self, most: float = math.inf) -> None:
        super().__init__()
        self.most = most
        self.live = self.peak = 0
        self.known: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {storage._cdata for storage in storages((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for storage in storages(result):
            key = storage._cdata
            if key not in before and key not in self.known:
                self.known[key] = storage.nbytes()
                self.live += storage.nbytes()
                weakref.finalize(storage, self._free, key)
        self.peak = max(self.peak, self.live)
        if self.live > self.most:
            raise InputError(f"the network takes more than {self.most:,} bytes; it is not built from a stored config")
        return result

    def _free(self, key: int) -> None:
        self.live -= self.known.pop(key, 0)


def storages(tree: Any) -> list[torch.UntypedStorage]:
    """The storages of the tensors in ``tree``; a sparse tensor has none of its own, but for its parts."""
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided]
    return [tensor.untyped_storage() for tensor in tensors]


class PeakMemory(L.Callback):
    """Measure the second training step of the run (the first one also makes the optimizer's state)."""

    measured_step = 1

    def __init__(self) -> None:
        self.peak_bytes: int | None = None
        self._mode: LiveBytes | None = None
        self._before = 0

    def state_dict(self) -> dict[str, Any]:
        """A resumed run has the peak of its first part: later steps may hold other things."""
        return {"peak_bytes": self.peak_bytes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.peak_bytes = state_dict["peak_bytes"]

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.peak_bytes is not None or batch_idx != min(self.measured_step, trainer.num_training_batches - 1):
            return
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
            self.peak_bytes = 0
        else:
            self._mode = LiveBytes()
            self._mode.__enter__()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.device.type == "cuda" and self.peak_bytes == 0:
            self.peak_bytes = torch.cuda.max_memory_allocated() - self._before
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self.peak_bytes, self._mode = self._mode.peak, None
