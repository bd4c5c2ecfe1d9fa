"""Presentations of a batch, compiled: the loop of vdsp.py over samples and steps, with the neurons' equations in it.

Same numbers as ``VDSP.step_by_step`` up to the order in which synaptic currents are summed (tests). Numbers in brackets
are those of neurons/signed_reset_lif.py, neurons/winner_take_all_lif.py and rules.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from snnlab.kernels.cpu import compiled
from snnlab.methods.vdsp.rules import Memristor, Plain

if TYPE_CHECKING:
    from snnlab.neurons.signed_reset_lif import SignedResetLIF
    from snnlab.neurons.winner_take_all_lif import WinnerTakeAllLIF

PLAIN, MEMRISTOR, NONE = 0, 1, 2


def present(
    currents: Tensor,
    steps: int,
    inputs: SignedResetLIF,
    outputs: WinnerTakeAllLIF,
    weight: Tensor,
    rule: Plain | Memristor,
    lr: float | None,
    carry: bool,
    counts: Tensor,
    fired: Tensor,
) -> None:
    """Show samples for ``steps`` steps each, in order, and fill ``counts`` and ``fired``; ``lr`` None: weights rest.

    ``carry``: the adaptation goes on from sample to sample and its end is stored; else each starts from the stored one.

    Shapes: currents [T, B, I] or, where they are the same at every step, [1, B, I]; weight [N, I]; counts [B, N];
    fired [B], input spikes of each sample. All of one dtype, contiguous, on the CPU.
    """
    dtype = weight.detach().numpy().dtype
    kind = NONE if lr is None else PLAIN if isinstance(rule, Plain) else MEMRISTOR
    if isinstance(rule, Plain):
        of_rule = [rule.alpha] + [0.0] * 8  # as long as the other
    else:
        of_rule = [rule.v_prog, rule.vthp, rule.vthn, math.exp(rule.vthp), math.exp(rule.vthn)]
        of_rule += [rule.alpha_p, rule.alpha_n, rule.x_p, rule.x_n]
    of_inputs = [*_neuron(inputs), inputs.bias, inputs.v_floor]
    of_outputs = [*_neuron(outputs.membrane), outputs.decay_synapse, 1 - outputs.decay_synapse]
    of_outputs += [outputs.leak_adaptation, outputs.adaptation]
    whole = (inputs.refractory_steps, outputs.membrane.refractory_steps, outputs.inhibition_steps)
    arrays = [t.detach().numpy() for t in (currents, weight, outputs.adaptation_start, counts, fired)]
    parts = [tuple(np.array(part, dtype)) for part in ([0.0, 1.0, lr or 0.0], of_inputs, of_outputs, of_rule)]
    _present(steps, kind, carry, whole, *parts, *arrays)


def _neuron(neuron: SignedResetLIF) -> list[float]:
    return [neuron.gain, neuron.pull, neuron.pull_after, neuron.threshold, neuron.v_reset]


@compiled
def _present(
    steps: Any,
    kind: Any,
    carry: Any,
    whole: Any,
    common: Any,
    of_inputs: Any,
    of_outputs: Any,
    of_rule: Any,
    currents: Any,
    weight: Any,
    stored: Any,
    counts: Any,
    fired: Any,
) -> None:
    zero, one, lr = common
    gain, pull, pull_after, threshold, v_reset, bias, v_floor = of_inputs
    gain_out, pull_out, pull_after_out, threshold_out, v_reset_out, decay, rest, leak, tire = of_outputs
    refractory, refractory_out, inhibition = whole
    neurons, width = weight.shape
    v, resting = np.empty(width, weight.dtype), np.empty(width, np.int32)
    u, resting_out = np.empty(neurons, weight.dtype), np.empty(neurons, np.int32)
    synaptic, inhibited = np.empty(neurons, weight.dtype), np.empty(neurons, np.int32)
    places, adaptation = np.empty(width, np.int32), stored.copy()
    for b in range(currents.shape[1]):
        v[:], resting[:], u[:], resting_out[:], synaptic[:], inhibited[:] = zero, 0, zero, 0, zero, 0
        if not carry:
            adaptation[:] = stored
        for t in range(steps):
            current = currents[t if currents.shape[0] > 1 else 0, b]
            for i in range(width):  # input neurons, (1) to (3)
                k = pull if resting[i] == 0 else (pull_after if resting[i] == 1 else zero)
                v[i] = v[i] + ((gain * current[i] + bias) - v[i]) * k
                resting[i] = max(resting[i] - 1, 0)
            found = 0
            for i in range(width):  # (4)
                if v[i] >= threshold:
                    places[found] = i
                    found += 1
                    v[i] = v_reset
                    resting[i] = refractory
                elif v[i] < v_floor:
                    v[i] = v_floor
            fired[b] += found
            winner, highest = 0, -one
            for j in range(neurons):  # output neurons, (1) to (4)
                total = zero
                row = weight[j]
                for f in range(found):
                    total += row[places[f]]
                synaptic[j] = decay * synaptic[j] + rest * total
                k = pull_out if resting_out[j] == 0 else (pull_after_out if resting_out[j] == 1 else zero)
                u[j] = u[j] + ((gain_out * synaptic[j] - adaptation[j]) - u[j]) * k
                if u[j] < v_reset_out:
                    u[j] = v_reset_out
                if inhibited[j] > 0:
                    u[j] = zero
                    inhibited[j] -= 1
                resting_out[j] = max(resting_out[j] - 1, 0)
                adaptation[j] = adaptation[j] - leak * adaptation[j]
                if j == 0 or u[j] > highest:
                    winner, highest = j, u[j]
            if highest < threshold_out:
                continue
            u[:], inhibited[:] = zero, inhibition  # (5)
            u[winner], inhibited[winner], resting_out[winner] = v_reset_out, 0, refractory_out
            adaptation[winner] += tire
            counts[b, winner] += one
            row = weight[winner]
            if kind == 0:
                alpha = of_rule[0]
                for i in range(width):
                    w, x = row[i], v[i]
                    if x < zero:
                        w += lr * ((one - w) * np.exp(-alpha * w) * (np.exp(-x) - one))
                    elif x > zero:
                        w += lr * -(w * np.exp(alpha * (w - one)) * (np.exp(x) - one))
                    row[i] = min(max(w, zero), one)
            elif kind == 1:
                v_prog, vthp, vthn, least_p, least_n, alpha_p, alpha_n, x_p, x_n = of_rule
                for i in range(width):
                    w, across = row[i], v_prog - v[i]
                    if across > vthp:
                        f = one if w < x_p else np.exp(-alpha_p * (w - x_p)) * (one - w) / (one - x_p)
                        w += lr * (f * (np.exp(across) - least_p))
                    elif across < -vthn:
                        f = one if w > one - x_n else np.exp(alpha_n * (w + x_n - one)) * w / (one - x_n)
                        w += lr * -(f * (np.exp(-across) - least_n))
                    row[i] = min(max(w, zero), one)
    if carry:
        stored[:] = adaptation
