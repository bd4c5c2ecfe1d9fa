"""A notice on the terminal when a layer is dead or saturated, or its gradient vanishes or explodes, by name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import lightning as L
import torch

from snnlab.layers.chain import Chain
from snnlab.layers.network import Network

log = logging.getLogger("snnlab")

DEAD, SATURATED = 1e-4, 0.95  # spikes per neuron and step
VANISHING, EXPLODING = 1e-9, 1e3  # root mean square of a weight's gradient


class Health(L.Callback):
    """Look at the first batch of every epoch; each finding is told once a run."""

    def __init__(self) -> None:
        self.told: set[tuple[str, str]] = set()
        self._open: ExitStack | None = None
        self._seen: Mapping[str, torch.Tensor] = {}
        self._gradients: dict[str, float] = {}  # largest of the batch's optimizer steps, by layer

    def tell(self, layer: str, kind: str, text: str) -> None:
        if (layer, kind) not in self.told:
            self.told.add((layer, kind))
            log.warning("health: %s %s", layer, text)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self._open = ExitStack()
            self._seen = self._open.enter_context(pl_module.network.observe())
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
                size = float(gradient.pow(2).mean().sqrt())
                self._gradients[name] = max(size, self._gradients.get(name, 0.0))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._open is None:
            return
        for layer, size in self._gradients.items():
            if size < VANISHING:
                self.tell(
                    layer,
                    "vanishing",
                    f"gets almost no gradient (rms {size:.1e}); raise its input or the width of the surrogate",
                )
            elif size > EXPLODING:
                self.tell(layer, "exploding", f"gets a huge gradient (rms {size:.1e}); set trainer.gradient_clip_val=1")
        self._gradients = {}
        for layer, spikes in self._seen.items():
            rate = float(spikes.detach().mean())
            if rate < DEAD:
                self.tell(
                    layer,
                    "dead",
                    f"is dead: {rate:.1e} spikes per neuron and step; lower its threshold or raise the gain of init",
                )
            elif rate > SATURATED:
                self.tell(
                    layer,
                    "saturated",
                    f"is saturated: {rate:.2f} spikes per neuron and step; raise its threshold or lower init.gain",
                )
        self._open.close()
        self._open = None

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
