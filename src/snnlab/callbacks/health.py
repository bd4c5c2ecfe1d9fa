"""A notice on the terminal when a layer is dead or saturated, or its gradient vanishes or explodes, by name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch

from snnlab.callbacks.checkpoints import last_whole
from snnlab.callbacks.checkpoints import read as read_checkpoint
from snnlab.layers.chain import Chain
from snnlab.layers.network import Network

log = logging.getLogger("snnlab")

DEAD, SATURATED = 1e-4, 0.95  # spikes per neuron and step
VANISHING, EXPLODING = 1e-9, 1e3  # root mean square of a weight's gradient
LOOKS = 4  # an epoch, evenly spread
LASTING = 4  # looks in a row that find the same; many a layer is silent at first and wakes up


class Health(L.Callback):
    """Look at four batches of every epoch. What lasts is told, once a run; a gradient that explodes, at once.

    Args:
        method: the group ``method`` of the config: what is told names its keys and values.
    """

    def __init__(self, method: Mapping[str, Any] | None = None) -> None:
        self.method = method or {}
        self.told: set[tuple[str, str]] = set()
        self.found: dict[tuple[str, str], int] = {}  # looks in a row
        self.rates: dict[str, list[tuple[float, float]]] = {}  # of each layer, pairs (epochs so far, rate)
        self._open: ExitStack | None = None
        self._seen: Mapping[str, torch.Tensor] = {}
        self._sends: dict[str, str] = {}  # by layer, as Neuron.sends
        self._gradients: dict[str, torch.Tensor] = {}  # largest of the batch's optimizer steps, by layer

    def tell(self, layer: str, kind: str, text: str) -> None:
        if (layer, kind) not in self.told:
            self.told.add((layer, kind))
            log.warning("health: %s %s", layer, text)

    def find(self, layer: str, kind: str, there: bool, text: str) -> None:
        """Tell what is there for the ``LASTING``-th time in a row."""
        self.found[layer, kind] = self.found.get((layer, kind), 0) + 1 if there else 0
        if self.found[layer, kind] == LASTING:
            self.tell(layer, kind, text)

    def threshold(self, factor: float) -> str:
        """The override that changes the threshold, where the method has one that is a number."""
        now = self.method.get("threshold")
        return f"method.threshold={now * factor:g} (now {now:g})" if isinstance(now, float) else "another threshold"

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % max(int(trainer.num_training_batches) // LOOKS, 1) == 0:
            self._open = ExitStack()
            self._seen = self._open.enter_context(pl_module.network.observe())
            self._sends = {name: neuron.sends for name, neuron in pl_module.network.neurons().items()}
            for optimizer in trainer.optimizers:  # a method may take its steps without Lightning's backward
                handle = optimizer.register_step_pre_hook(lambda *_: self.look(pl_module.network))
                self._open.callback(handle.remove)

    def on_after_backward(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self._open is not None:
            self.look(pl_module.network)

    def look(self, network: Network) -> None:
        """Keep the largest gradient that each weight had in the steps of this batch."""
        for name, values in Chain(network).values().items():
            gradient = values.stored.grad
            if gradient is not None:
                size = gradient.pow(2).mean().sqrt()
                self._gradients[name] = torch.maximum(size, self._gradients.get(name, size))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._open is None:
            return
        sends = self._sends
        rates = {
            layer: spikes.detach().mean() for layer, spikes in self._seen.items() if sends.get(layer) != "values"
        }  # what sends values at every step is neither dead nor saturated
        found = [*self._gradients.values(), *rates.values()]
        read = torch.stack(found).tolist() if found else []  # at once: a GPU waits with every read
        for layer, size in zip(self._gradients, read, strict=False):
            self.find(
                layer,
                "vanishing",
                size < VANISHING,
                f"gets almost no gradient (rms {size:.1e}), look after look: if the layer after it is dead, wake that; "
                "else try a wider surrogate or init=kaiming init.gain=2",
            )
            if size > EXPLODING:
                self.tell(layer, "exploding", f"gets a huge gradient (rms {size:.1e}): try trainer.gradient_clip_val=1")
        read, self._gradients = read[len(self._gradients) :], {}
        for layer, rate in zip(rates, read, strict=True):
            if trainer is not None:
                done = trainer.current_epoch + batch_idx / max(int(trainer.num_training_batches), 1)
                self.rates.setdefault(layer, []).append((done, rate))
            what = "spikes" if sends.get(layer, "spikes") == "spikes" else "events"
            self.find(
                layer,
                "dead",
                rate < DEAD,
                f"is dead: {rate:.1e} {what} per neuron and step, look after look: try {self.threshold(0.5)} or "
                "init=kaiming init.gain=2",
            )
            self.find(
                layer,
                "saturated",
                rate > SATURATED,
                f"is saturated: {rate:.2f} {what} per neuron and step, look after look: try {self.threshold(2)} or "
                "init=kaiming init.gain=0.5",
            )
        self._open.close()
        self._open = None

    def state_dict(self) -> dict[str, Any]:
        rates = {layer: [list(point) for point in points] for layer, points in self.rates.items()}
        return {"rates": rates, "told": sorted(self.told), "found": dict(self.found)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rates = {layer: [(done, rate) for done, rate in points] for layer, points in state_dict["rates"].items()}
        self.told, self.found = {(layer, kind) for layer, kind in state_dict["told"]}, dict(state_dict["found"])

    def read(self, folder: Path, most: int) -> None:
        """Take the rates of a run that is over from its last checkpoint, of at most so many bytes."""
        last = last_whole(folder, most)
        content = None if last is None else read_checkpoint(last, most)
        if content is not None and type(self).__name__ in content["callbacks"]:
            self.load_state_dict(content["callbacks"][type(self).__name__])

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
