"""Conversion of a rectified network into a spiking one by data-based threshold balancing.

    a_l = max(0, W_l a_{l-1})                          the network that learns (methods/ann.py), without biases
    v[t] = v[t-1] + W_l s_{l-1}[t];  s_l[t] = 1 where v[t] >= V_l;  v[t] = v[t] - V_l s_l[t]    its spiking twin
    rate of s_l  ->  a_l / (V_1 ... V_l)               for long T, where V_l is at least the largest current
    scores = V_1 ... V_L (mean over t of W s_L[t])     the readout sums and never fires

Balancing, on training images, layer by layer from the input:
    balance="spike"         V_l = largest current W_l s_{l-1}[t] of a step, the layers before it already spiking
    balance="activation"    V_l = A_l / V_{l-1}, A_l the largest activation of the rectified network, V_0 = 1
    balance="robust"        V_l = A_l / A_{l-1}, A_0 = 1: no unit's rate is above 1; with ``percentile`` 99.9

Sources:    activation: Diehl, Neil, Binas, Cook, Liu, Pfeiffer, IJCNN 2015, and their code; spike: Sengupta, Ye, Wang,
            Liu, Roy, Front. Neurosci. 13:95, 2019, the baseline of Lee et al. 2020, from memory, unverified; robust:
            Rueckauer, Lungu, Hu, Pfeiffer, Liu, Front. Neurosci. 11:682, 2017, from memory, unverified.
Departures: Diehl et al. rescale weights, here the thresholds carry the same factors; they take the largest weight where
            it exceeds the largest activation. ``percentile`` below 100 takes that percentile of the units' peaks
            instead of the largest. Soft reset; reset="hard" is the older choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnlab.checkpoint import inside, load_weights, read_record
from snnlab.data.contract import Batch, DataModule, DataSpec
from snnlab.data.encoders import Direct, Rate
from snnlab.errors import InputError, RunFailure
from snnlab.layers.blocks import Blocks
from snnlab.layers.chain import Chain
from snnlab.methods.ann import RectifiedBlocks
from snnlab.methods.base.autograd import Autograd
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.methods.base.two_phase import TwoPhase
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.neurons.surrogate import make_surrogate


class ConvertibleBlocks(RectifiedBlocks):
    """Rectified blocks without biases, their readout behind a sum over time."""

    def __init__(self) -> None:
        super().__init__(bias=False)

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        return [*super().readout(inputs, outputs), ("readout", Integrator(1.0))]


class Conversion(TwoPhase, Autograd):
    """Learn with rectified units, then test with spikes.

    Training and validation score the rectified network; ``finish`` balances the thresholds and makes it spike.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method; the encoder makes the frames of the spiking network.
        run: folder of a stored ``method=ann`` run whose weights are converted; null learns them first.
        balance: spike, activation or robust, see above.
        percentile: of the units' peaks, in (0, 100]; 100 takes the largest.
        calibration: how many training images the thresholds are balanced on.
        reset: of the spiking neurons, soft or hard.
        strict: whether v == V_l stays silent (the code of Lee et al.'s group) or fires (Diehl et al.).

    Raises:
        InputError: for data that no encoder makes, an encoder whose rates are not the image, a network with branches
            or loops, and a ``run`` that cannot be converted.
    """

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        run: str | None = None,
        balance: Literal["spike", "activation", "robust"] = "spike",
        percentile: float = 100.0,
        calibration: int = 500,
        reset: Literal["soft", "hard"] = "soft",
        strict: bool = False,
    ) -> None:
        self.check_data(data, encoder)
        if data.kind != "image":
            raise InputError(
                f"data={data.name} has no still images: conversion needs an encoder, whose rates are the image the "
                "rectified network sees; use method=ann or method=spike_bp for this data"
            )
        if encoder is not None and not isinstance(encoder, Rate | Direct):
            raise InputError(
                f"encoder={type(encoder).__name__.lower()}: conversion needs frames whose mean is the image; "
                "use encoder=rate or direct"
            )
        if not 0 < percentile <= 100:
            raise InputError(f"method.percentile = {percentile} must lie in (0, 100]; 100 takes the largest current")
        if calibration < 1:
            raise InputError(f"method.calibration = {calibration} must be at least 1 image; 500 is usual")
        self.balance, self.percentile, self.calibration = balance, percentile, calibration
        self.reset, self.strict = reset, strict
        super().__init__(model, data, encoder, optimizer, scheduler)
        for link in Chain(self.network).links:
            if link.composite:
                raise InputError(
                    f"conversion balances a plain chain of layers, and {link.name} has branches; use model=mlp"
                )
        self.rectified = [link.name for link in Chain(self.network).of(nn.ReLU)]
        self.thresholds: dict[str, float] = {}  # empty: not converted yet
        self.trains = run is None
        if run is not None:
            self.take_weights(Path(run).expanduser())
        self.rectified_metrics = self.make_metrics()

    def blocks(self) -> Blocks:
        return ConvertibleBlocks()

    def take_weights(self, folder: Path) -> None:
        """Load the weights of a stored run of ``method=ann``.

        Raises:
            InputError: when it is none, saw other data, or has other layers.
        """
        try:
            content: dict[str, Any] = read_record(inside(folder, "run.json"))
            given = {key: content.get(key) for key in ("status", "method", "data")}
            stored = content["config"]["model"].items(), content["config"]["method"].get("bias")
        except (InputError, AttributeError, LookupError, TypeError) as error:
            raise InputError(
                f"method.run = {folder} holds no readable run.json; give the folder of a method=ann run, or null"
            ) from error
        if (
            given["method"] != "ann"
            or given["data"] != self.data.name
            or not isinstance(content.get("checkpoint"), str)
        ):
            raise InputError(
                f"method.run = {folder} is a {given['status']} run of method={given['method']} on data="
                f"{given['data']}; conversion needs a completed one of method=ann on data={self.data.name}"
            )
        model = {key: value for key, value in stored[0] if key != "_target_"}
        misfit = (
            f"method.run = {folder}: its weights do not fit; it has model={content.get('model')} {model} and "
            f"method.bias={str(stored[1]).lower()}, conversion needs the same model and "
            "bias=false"
        )
        load_weights(self, inside(folder, content["checkpoint"]), misfit)

    # rectified or spiking --------------------------------------------------------------------------------------------
    @property
    def finished(self) -> bool:
        """Whether the network spikes now."""
        return bool(self.thresholds)

    def make_neuron(self, threshold: float) -> LIF:
        neuron = LIF(1.0, threshold, self.reset, surrogate=make_surrogate("rectangle", strict=self.strict))
        if self.limit_neuron is not None:
            self.limit_neuron(neuron)
        return neuron

    def rectify(self) -> None:
        """Put the rectified units back."""
        for name in self.rectified:
            self.network.layers[name] = nn.ReLU()
        self.thresholds = {}

    def spike(self, thresholds: dict[str, float]) -> None:
        """Put IF neurons with these thresholds in the place of the rectified units."""
        for name, threshold in thresholds.items():
            self.network.layers[name] = self.make_neuron(threshold)
        self.thresholds = thresholds

    @contextmanager
    def as_rectified(self) -> Iterator[None]:
        """Work with rectified units while the context is open."""
        thresholds = self.thresholds
        self.rectify()
        try:
            yield
        finally:
            self.spike(thresholds)

    # balancing -------------------------------------------------------------------------------------------------------
    def prepare(self, data: DataModule) -> None:
        self.rectify()

    @torch.no_grad()
    def finish(self, data: DataModule) -> None:
        self.eval()
        self.rectify()
        with torch.random.fork_rng():
            images = calibration_images(data, self.calibration)
            torch.manual_seed(0)  # thresholds follow from weights and images alone
            balance = self.by_spikes if self.balance == "spike" else self.by_activations
            weight = next(self.network.parameters())
            self.spike(balance([batch.to(weight) for batch in images]))

    def by_spikes(self, images: list[Tensor]) -> dict[str, float]:
        """Thresholds by layer, each from currents that the layers before it make with theirs."""
        assert self.encoder is not None
        thresholds: dict[str, float] = {}
        for name in self.rectified:
            peaks = [self.current(name, self.encoder(batch)).amax(0).flatten() for batch in images]
            thresholds[name] = self.largest(name, peaks)
            self.network.layers[name] = self.make_neuron(thresholds[name])
        return thresholds

    def by_activations(self, images: list[Tensor]) -> dict[str, float]:
        """Thresholds by layer, each the ratio of its largest activation to the threshold, or activation, before."""
        thresholds, before = {}, 1.0
        for name in self.rectified:
            activation = self.largest(name, [self.current(name, batch[None])[0].flatten() for batch in images])
            thresholds[name] = activation / before
            before = activation if self.balance == "robust" else thresholds[name]
        return thresholds

    def current(self, name: str, frames: Tensor) -> Tensor:
        """Input [T, B, ...] of the layer ``name``."""
        return Chain(self.network).through(frames, until=name)

    def largest(self, name: str, peaks: list[Tensor]) -> float:
        """The chosen percentile of the units' peaks, over all calibration images."""
        joined = torch.cat(peaks)
        value = float(joined.kthvalue(rank(self.percentile, len(joined))).values)
        if not value > 0:
            raise RunFailure(
                f"conversion: the {self.percentile} percentile of the currents of {name} is {value:.3g}, and a "
                "threshold must be positive; raise method.percentile or method.calibration"
            )
        return value

    # scoring ---------------------------------------------------------------------------------------------------------
    def frames(self, batch: Batch) -> Tensor:
        return self.encoded(batch) if self.finished else batch.inputs[None]

    def scores(self, frames: Tensor) -> Tensor:
        return self.scores_over_time(frames)[-1]

    def scores_over_time(self, frames: Tensor) -> Tensor:
        outputs: Tensor = self.network(frames)  # v [T, B, K]
        steps = torch.arange(1, len(outputs) + 1, device=outputs.device, dtype=outputs.dtype)
        return math.prod(self.thresholds.values()) * outputs / steps[:, None, None]

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(scores, labels)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        super().test_step(batch, batch_idx)
        with self.as_rectified():
            scores = self.scores(self.frames(batch))
        for name, metric in self.rectified_metrics.items():
            metric.update(scores, batch.labels)  # type: ignore[operator]
            self.log(f"test/ann_{name}", metric, on_step=False, on_epoch=True)  # type: ignore[arg-type]


def rank(percentile: float, count: int) -> int:
    """Place, from 1, of the percentile among ``count`` sorted values: 999 for 99.9 of 1,000."""
    return max(1, math.ceil(round(percentile * count / 100, 6)))


def calibration_images(data: DataModule, count: int) -> list[Tensor]:
    """The first ``count`` images of the training batches, in batches."""
    images: list[Tensor] = []
    for batch in data.train_dataloader():
        images.append(batch.inputs[:count])
        count -= len(batch.inputs)
        if count <= 0:
            break
    return images
