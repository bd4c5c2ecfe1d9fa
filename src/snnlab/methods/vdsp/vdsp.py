"""Voltage-dependent synaptic plasticity (Garg et al., Front. Neurosci. 16:983950, 2022; arXiv:2203.11022).

    v_i    input neurons, one per pixel, driven by gain * pixel + bias          neurons/signed_reset_lif.py
    w_ji   weights in [0, 1], drawn uniformly
    u_j    output neurons: adaptive, winner-take-all                            neurons/winner_take_all_lif.py
    when j fires, for every i:  w_ji += change(w_ji, v_i), clipped to [0, 1]    rules.py

The sign of v_i stands for the sign of the time between the spikes of i and j: v_i < 0 has just fired, v_i near the
threshold is about to. So one update per postsynaptic spike does what pair STDP does with one per spike of either side
and a trace per neuron; ``train/updates`` and ``train/stdp_updates`` count both, in weight updates per presentation.

Departures: every presentation starts from rest (the authors' simulation runs on from image to image); the adaptation is
            carried from one training presentation to the next, as theirs, and rests at its last value in evaluation.
            A spike is at the end of its step. Constants of the recipes are ours, found on validation images.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.data.contract import DataModule, DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.chain import Chain
from snnlab.layers.over_time import watched
from snnlab.methods.base.local_plasticity import LocalPlasticity
from snnlab.methods.base.method import Model, Scheduler
from snnlab.methods.vdsp.rules import Memristor, Plain
from snnlab.neurons.signed_reset_lif import SignedResetLIF
from snnlab.neurons.whole import OnLevels
from snnlab.neurons.winner_take_all_lif import WinnerTakeAllLIF
from snnlab.weights.weight import Weight


class VDSP(LocalPlasticity):
    """Voltage-dependent synaptic plasticity; the rule is in the docstring of this file.

    Args:
        model, data, encoder, lr, scheduler, neurons, learn, label_samples: as in LocalPlasticity; the model has no
            hidden layer. A presentation lasts encoder.time_steps (or the bins of an event) times time_step.
        rule: plain, or memristor (the device).
        alpha: of the plain rule.
        v_prog, vthp, vthn, alpha_p, alpha_n, x_p, x_n: of the device, see rules.py.
        time_step: seconds.
        gain, bias, tau_input: of the input neurons; gain > 0.
        gain_output, tau_output, tau_synapse, inhibition_time, tau_adaptation, adaptation: of the output neurons; the
            gain, > 0, is that of the mean of w_ji s_i over all inputs i.
        tau_refractory: of both, seconds.

    Raises:
        InputError: when an argument leaves its range, or the model has a hidden layer.
    """

    writes_weights = True

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        lr: float = 6.0e-5,
        scheduler: Scheduler | None = None,
        neurons: int = 100,
        learn: bool = True,
        label_samples: int | None = None,
        rule: Literal["plain", "memristor"] = "plain",
        alpha: float = 2.0,
        v_prog: float = 0.0,
        vthp: float = 0.5,
        vthn: float = 0.5,
        alpha_p: float = 1.0,
        alpha_n: float = 5.0,
        x_p: float = 0.3,
        x_n: float = 0.5,
        time_step: float = 0.005,
        gain: float = 2.0,
        bias: float = 0.0,
        tau_input: float = 0.06,
        gain_output: float = 147.0,
        tau_output: float = 0.06,
        tau_synapse: float = 0.005,
        inhibition_time: float = 0.01,
        tau_adaptation: float = 1.0,
        adaptation: float = 0.01,
        tau_refractory: float = 0.002,
    ) -> None:
        if rule not in ("plain", "memristor"):
            raise InputError(f"method.rule = {rule!r} must be plain or memristor")
        for name, number in (("time_step", time_step), ("tau_input", tau_input), ("tau_output", tau_output)):
            if not number > 0:
                raise InputError(
                    f"method.{name} = {number} must be positive, in seconds; 0.005 and 0.06 are the authors'"
                )
        for name, number in (("gain", gain), ("gain_output", gain_output)):
            if not number > 0:
                raise InputError(f"method.{name} = {number} must be positive, or nobody would fire; 6 and 147 are ours")
        device = Memristor(v_prog, vthp, vthn, alpha_p, alpha_n, x_p, x_n)
        device.check_ranges()
        self.rule: Plain | Memristor = Plain(alpha) if rule == "plain" else device
        self.time_step, self.tau_refractory = time_step, tau_refractory
        self.gain, self.bias, self.tau_input = gain, bias, tau_input
        self.gain_output, self.tau_output, self.tau_synapse = gain_output, tau_output, tau_synapse
        self.inhibition_time, self.tau_adaptation, self.adaptation = inhibition_time, tau_adaptation, adaptation
        super().__init__(model, data, encoder, lr, scheduler, neurons, learn, label_samples)
        self.check_layers()
        inputs = self.parts()[0]
        self.rule.check(lr, max(inputs.threshold, -inputs.v_floor))

    def blocks(self) -> Blocks:
        return VDSPBlocks(self)

    def check_layers(self) -> None:
        """Refuse a network that is not flatten - input neurons - weight - output neurons."""
        used = Chain(self.network).without(nn.Flatten)
        kinds = [type(link.layer) for link in used if link.weight is None]
        weights = [position for position, link in enumerate(used) if link.weight is not None and link.weight.dense]
        if kinds != [SignedResetLIF, WinnerTakeAllLIF] or weights != [1]:
            names = " - ".join(type(link.layer).__name__ for link in used)
            raise InputError(
                f"method=vdsp trains one layer of weights, and this model is {names}; use model=mlp model.hidden=[]"
            )

    def parts(self) -> tuple[SignedResetLIF, nn.Module, WinnerTakeAllLIF]:
        """Input neurons, weights, output neurons."""
        layers: Any = self.network.layers
        return layers["input"], layers["readout_weight"], layers["readout"]

    @property
    def weight(self) -> Weight:
        """The weight of ``parts``."""
        return Chain(self.network).weights()["readout_weight"]

    def output_weight(self) -> Tensor:
        return self.weight.used.detach()

    def prepare(self, data: DataModule) -> None:
        weight = self.output_weight()
        if not bool(((weight >= 0) & (weight <= 1)).all()):
            raise InputError("method=vdsp: init gives weights outside [0, 1]; use init=default, which draws them there")

    def count(self, frames: Tensor) -> Tensor:
        """As LocalPlasticity.count; by the kernel, unless somebody watches the layers."""
        inputs, layer, outputs = self.parts()
        if not self.compiled() or any(watched(part) for part in (inputs, layer, outputs)):
            return super().count(frames)
        counts, _ = self.run_kernel(frames, None, carry=False)
        return counts

    # the training step ------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def present(self, frames: Tensor, lr: float | None) -> tuple[Tensor, dict[str, Tensor]]:
        weight = self.weight
        if self.compiled() and (lr is None or not weight.constrained):  # the kernel writes what the product takes
            counts, fired = self.run_kernel(frames, lr, carry=True)
        else:
            self.network.path.looped.add("VDSP")
            shown = [self.step_by_step(frames[:, b : b + 1], lr) for b in range(frames.shape[1])]
            counts, fired = (torch.stack(part) for part in zip(*shown, strict=True))
        post, pre = counts.sum(1).mean(), fired.mean()
        learned = float(lr is not None)
        updates = {"updates": learned * post * weight.inputs}
        updates["stdp_updates"] = updates["updates"] + learned * pre * weight.outputs
        return counts, {"input_spikes": pre, **updates}

    def compiled(self) -> bool:
        """Whether the kernel holds here: not without numba, on a GPU, with ``kernels: step`` or limited states."""
        inputs, _, outputs = self.parts()
        limited = isinstance(inputs, OnLevels) or isinstance(outputs, OnLevels)
        return self.network.path.enabled and kernels.on_cpu(self.weight.used) and not limited

    def run_kernel(self, frames: Tensor, lr: float | None, carry: bool) -> tuple[Tensor, Tensor]:
        """Present frames [T, B, ...] by kernel.py: spikes of the output neurons [B, N], of all input neurons [B].

        ``carry``: the adaptation goes on from sample to sample, and stays; else each starts from the stored one.
        """
        from snnlab.methods.vdsp.kernel import present

        self.network.path.fused.add("VDSP")
        inputs, _, outputs = self.parts()
        used = self.weight.used.detach()
        held = frames.stride(0) == 0  # direct coding: one image in memory, seen T times
        currents = (frames[:1] if held else frames).flatten(2).to(used.dtype).contiguous()
        counts, fired = currents.new_zeros(frames.shape[1], self.neurons), currents.new_zeros(frames.shape[1])
        present(currents, len(frames), inputs, outputs, used, self.rule, lr, carry, counts, fired)
        return counts, fired

    @torch.no_grad()
    def step_by_step(self, frames: Tensor, lr: float | None) -> tuple[Tensor, Tensor]:
        """Show one sample [T, 1, ...]: spikes of the output neurons [N] and number of input spikes; the reference."""
        outputs, weight = self.parts()[2], self.weight
        states, counts, fired = None, weight.used.new_zeros(self.neurons), weight.used.new_zeros(())
        for frame in frames:
            with self.network.observe() as seen:
                spikes, states = self.network.step(frame, states)
            counts += spikes[0]
            fired += seen["input"].sum()
            winner = spikes[0].nonzero()[:, 0]  # none or one
            if lr is not None and len(winner):
                change = self.rule.change(weight.used[winner], states["input"].v, lr)  # [1, I]
                values = weight.latent
                values[winner] = (values[winner] + change).clamp(0, 1)
                weight.write(values)
        assert states is not None
        outputs.adaptation_start.copy_(states["readout"].adaptation[0])
        return counts, fired


class VDSPBlocks(Blocks):
    """Input neurons, weights in [0, 1], output neurons; hidden layers exist so that the method can refuse them."""

    def __init__(self, method: VDSP) -> None:
        super().__init__(self.make_input, nn.Identity, bias=False)
        self.method = method

    def make_input(self) -> SignedResetLIF:
        m = self.method
        return SignedResetLIF(m.gain, m.bias, m.tau_input, m.tau_refractory, m.time_step)

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        m, weight = self.method, self.linear(inputs, outputs)
        nn.init.uniform_(weight.get_parameter("weight"))
        winners = WinnerTakeAllLIF(
            outputs,
            m.gain_output / inputs,
            m.tau_output,
            m.tau_refractory,
            m.time_step,
            tau_synapse=m.tau_synapse,
            inhibition_time=m.inhibition_time,
            tau_adaptation=m.tau_adaptation,
            adaptation=m.adaptation,
        )
        return [("input", self.make_input()), ("readout_weight", weight), ("readout", winners)]
