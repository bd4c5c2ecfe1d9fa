"""MEMprop, a reconstruction (Zhou, Eshraghian, Choi, Lu, Kang, IEEE JETCAS 2022; arXiv:2206.12992).

    I     = W y_below + b, W = scale (G+ - G-)                      (1) pairs of conductances: weights/pairs.py
    v, x1, x2 of a capacitor and two memristors, driven by I        (2) neurons/memristive.py
    y     = code(v)                                                 (3) what a hidden neuron sends: no surrogate
    score = mean over t of (v_out - rest) / readout_width           (4) the readout's own voltage
    L     = cross-entropy of the scores                             (5)

Gradient:   backpropagation through time of (1) to (5) as they stand. The voltage is smooth, so nothing stands in for
            the derivative of a spike: autograd agrees with finite differences.
Twins:      ``held`` (memristors that stay at rest: every neuron is a linear RC circuit), ``weights="plain"``, and
            ``method.freeze=[weight1]`` (random hidden weights). With code="voltage" the memristors are all that is not
            linear between input and scores, so held is a linear classifier; with code="sigmoid" they are not.
Departures: the abstract says that the membrane voltage of memristive neurons is differentiated; layers, steps, loss,
            the code between layers and the input could not be read. The device constants are those of a released
            package in which the neuron was found, whose authorship is not established; its alpha filter of the input is
            left out (the input is held over time), and so is its threshold. Code, loss, reach, widths, the input
            current, exponential Euler and one conductance pair without variation are ours.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from snnlab.data.contract import DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.methods.base.autograd import Autograd
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.neurons.choice import choose_neuron
from snnlab.neurons.memristive import Code
from snnlab.questions.class_at_end import ClassAtEnd
from snnlab.questions.class_of_sequence import ClassOfSequence
from snnlab.questions.value_at_end import ValueAtEnd
from snnlab.weights.find import weight_of
from snnlab.weights.pairs import clip, keep_in_pairs


class PairBlocks(Blocks):
    """Weights that are pairs of conductances.

    Args:
        reach: largest weight; None leaves the weights plain.
        neuron, readout_neuron, bias: as Blocks.
    """

    def __init__(self, neuron: Any, readout_neuron: Any, bias: bool, reach: float | None) -> None:
        super().__init__(neuron, readout_neuron, bias)
        self.reach = reach

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return self.paired(super().linear(inputs, outputs))

    def conv(self, inputs: int, outputs: int, kernel: int, padding: int = 0, stride: int = 1) -> nn.Module:
        return self.paired(super().conv(inputs, outputs, kernel, padding, stride))

    def paired(self, layer: nn.Module) -> nn.Module:
        """The layer with its weight as pairs."""
        if self.reach is not None:
            weight = weight_of(layer)
            assert weight is not None
            keep_in_pairs(weight, self.reach)
        return layer


class MEMprop(Autograd):
    """Gradients through the voltage of memristive neurons.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method.
        code: what hidden neurons send: voltage, sigmoid or peak; see neurons/memristive.py.
        current: of a weighted input of 1, A, > 0.
        held: whether the memristors stay at rest: the twin whose neurons are linear.
        sub_steps: of a time step.
        neuron_options: other arguments of the neuron, such as device constants; the readout has those, too, but for the
            code, its centre and its width.
        readout_width: volts of the readout that make a score of 1, > 0.
        weights: pairs of conductances, or plain numbers.
        reach: largest weight of a pair, > 0.
        bias: whether weights carry a bias, a plain number.

    Raises:
        ValueError: when an argument leaves its range.
    """

    label = "MEMprop (reconstruction)"
    answers = (ClassOfSequence, ClassAtEnd, ValueAtEnd)

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        code: Code = "voltage",
        current: float = 3e-3,
        held: bool = False,
        sub_steps: int = 1,
        neuron_options: dict[str, Any] | None = None,
        readout_width: float = 20.0,
        weights: Literal["pairs", "plain"] = "pairs",
        reach: float = 1.0,
        bias: bool = True,
    ) -> None:
        if not 0 < readout_width < float("inf"):
            raise InputError(f"method.readout_width = {readout_width} must be positive; 20 V is usual")
        options = neuron_options or {}
        own = {"code": code, "current": current, "held": held, "sub_steps": sub_steps}
        for key in own:
            if key in options:
                raise InputError(f"method.neuron_options.{key}: set method.{key}, which the readout follows, too")
        self.make_neuron = choose_neuron("memristive", options, own)
        shared = {key: value for key, value in options.items() if key not in ("centre", "width", "least")}
        readout = own | {"code": "voltage", "width": readout_width}
        self.make_readout = choose_neuron("memristive", shared, readout)
        self.reach, self.bias = (reach if weights == "pairs" else None), bias
        super().__init__(model, data, encoder, optimizer, scheduler)

    def blocks(self) -> Blocks:
        return PairBlocks(self.make_neuron, self.make_readout, self.bias, self.reach)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        for optimizer in self.trainer.optimizers:
            optimizer.register_step_post_hook(lambda *_: clip(self.network))

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        if not self.data.question.has_classes:
            return self.data.question.loss(scores, labels)
        return nn.functional.cross_entropy(scores, labels)
