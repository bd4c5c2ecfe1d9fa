"""A run against another one: steps, spikes, operations and energy for the same accuracy, accuracy for the same spikes.

    iso-accuracy    ``against`` is stopped at the first step whose accuracy reaches that of ``run`` after its last step;
                    where it never does, at the first that reaches its own maximum less ``margin`` (rule says which)
    speed_up                steps of ``against`` when it is stopped / steps of ``run``
    spike_ratio             spikes per inference of ``against`` until then / those of ``run``
    operation_ratio         the same for synaptic operations (spikes times fan-out)
    iso-spike       both get the smaller of their totals of spikes; accuracy after the last step that keeps within it
    activity/<layer>        spikes / (neurons x steps)
    compute reduction       e_mac MACs of the rectified network / (e_ac operations + e_mac MACs of analog inputs)

The second run is ``against=RUN2``: RUN of method=spike_bp, RUN2 of method=conversion is the comparison of Lee et al.
2020, doi 10.3389/fnins.2020.00119, whose own definitions are known from its section titles and from memory, unverified.
Energies are those usual for 45 nm and 32-bit numbers, 0.9 pJ to accumulate and 4.6 pJ to multiply and accumulate
(table in doi 10.3389/fnins.2023.1091097); memory traffic is not in them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from snnlab import style
from snnlab.errors import InputError
from snnlab.evaluate.accuracy_over_time import Curve, curve
from snnlab.evaluate.analysis import Analysis, Stored
from snnlab.layers.chain import Chain
from snnlab.metrics.multiply_accumulates import multiply_accumulates
from snnlab.metrics.synaptic_operations import SynapticOperations


class Cost(NamedTuple):
    """Of one inference: synaptic operations, MACs of layers with analog input over all steps, energy in joule."""

    operations: float
    analog: float
    joule: float


def analyse(run: Stored, against: Stored, margin: float = 0.01, e_ac: float = 0.9, e_mac: float = 4.6) -> Analysis:
    """Compare ``run`` with ``against`` on the test split of their data.

    Args:
        against: folder of a second run on the same data, e.g. an artificial network.
        margin: accuracy below its own maximum at which ``against`` may stop; 0.01 is one point.
        e_ac, e_mac: pJ to accumulate, and to multiply and accumulate.

    Raises:
        InputError: when the runs are of different data, one has no spikes or no scores at every step, or an option
            leaves its range.
    """
    if run.data.spec.name != against.data.spec.name:
        raise InputError(
            f"comparison: {run.folder} is on data={run.data.spec.name}, {against.folder} on "
            f"data={against.data.spec.name}; compare runs on the same data"
        )
    if not 0 <= margin < 1 or min(e_ac, e_mac) <= 0:
        raise InputError(
            f"comparison: margin = {margin} must lie in [0, 1), e_ac = {e_ac} and e_mac = {e_mac} be positive; "
            "0.01, 0.9 and 4.6 are usual"
        )
    ours, theirs = curve(run.method, run.data), curve(against.method, against.data)
    steps = len(ours.accuracy)
    iso, rule = stopped(ours, theirs, margin)
    cost = costs(run, steps, e_ac, e_mac)
    iso_cost = costs(against, iso, e_ac, e_mac)
    macs = rectified_macs(run)
    budget = min(float(ours.spikes[-1]), float(theirs.spikes[-1]))
    values: dict[str, Any] = {
        "against": against.folder,
        "accuracy": float(ours.accuracy[-1]),
        "accuracy_against": float(theirs.accuracy[-1]),
        "steps": steps,
        "steps_against": len(theirs.accuracy),
        "spikes_per_inference": float(ours.spikes[-1]),
        "spikes_per_inference_against": float(theirs.spikes[-1]),
        "rule": rule,
        "iso_accuracy": float(theirs.accuracy[iso - 1]),
        "iso_steps": iso,
        "iso_spikes": float(theirs.spikes[iso - 1]),
        "speed_up": iso / steps,
        "spike_ratio": ratio(float(theirs.spikes[iso - 1]), float(ours.spikes[-1])),
        "operations": cost.operations,
        "iso_operations": iso_cost.operations,
        "operation_ratio": ratio(iso_cost.operations, cost.operations),
        "ann_macs": macs,
        "analog_macs": cost.analog,
        "iso_analog_macs": iso_cost.analog,
        "joule": cost.joule,
        "iso_joule": iso_cost.joule,
        "ann_joule": macs * e_mac * 1e-12,
        "compute_reduction": ratio(macs * e_mac * 1e-12, cost.joule),
        "compute_reduction_against": ratio(rectified_macs(against) * e_mac * 1e-12, iso_cost.joule),
        "iso_spike_budget": budget,
        "iso_spike_accuracy": accuracy_within(ours, budget),
        "iso_spike_accuracy_against": accuracy_within(theirs, budget),
        "layers": layer_table(ours),
        "layers_against": layer_table(theirs),
        "curves": {"accuracy": ours.accuracy.tolist(), "spikes": ours.spikes.tolist()},
        "curves_against": {"accuracy": theirs.accuracy.tolist(), "spikes": theirs.spikes.tolist()},
    }
    what = "events" if "events" in (run.method.counted(), against.method.counted()) else "spikes"
    return Analysis(values, {"comparison": figure(ours, theirs, iso, run, against, what)})


def stopped(ours: Curve, theirs: Curve, margin: float) -> tuple[int, str]:
    """Return after how many steps the second run is stopped, and by which rule."""
    target, rule = float(ours.accuracy[-1]), "reached the accuracy of the first run"
    best = float(theirs.accuracy.max())
    if best < target:
        target, rule = best - margin, f"reached its own maximum less {margin}"
    return int((theirs.accuracy >= target).nonzero()[0]) + 1, rule


def ratio(above: float, below: float) -> float | None:
    """Their quotient, None where the run did nothing at all."""
    return above / below if below > 0 else None


def accuracy_within(found: Curve, budget: float) -> float | None:
    """Accuracy after the last step within the budget of spikes per sample, None where the first step exceeds it."""
    within = (found.spikes <= budget * (1 + 1e-9)).nonzero()
    return float(found.accuracy[int(within[-1])]) if len(within) else None


def layer_table(found: Curve) -> dict[str, dict[str, float]]:
    """Neurons, spikes per inference and activity of each spiking layer after the last step."""
    steps = len(found.accuracy)
    return {
        name: {
            "neurons": found.neurons[name],
            "spikes_per_inference": float(spikes[-1]),
            "activity": float(spikes[-1]) / (found.neurons[name] * steps),
        }
        for name, spikes in found.layers.items()
    }


@torch.no_grad()
def costs(run: Stored, steps: int, e_ac: float, e_mac: float) -> Cost:
    """Cost of one inference that stops after ``steps``, averaged over the test split."""
    counter = SynapticOperations().to(run.method.device)
    for batch in map(run.method.here, run.data.test_dataloader()):
        frames = run.method.frames(batch)[:steps]
        with counter.watch(run.method.network, run.method.spiking_input):
            run.method.network(frames)
    operations = float(counter.compute())
    analog = 0.0 if run.method.spiking_input else steps * analog_macs(run)
    return Cost(operations, analog, (e_ac * operations + e_mac * analog) * 1e-12)


def macs_by_layer(run: Stored) -> dict[str, float]:
    return multiply_accumulates(
        run.method.network, torch.zeros(1, *run.data.spec.input_shape, device=run.method.device)
    )


def rectified_macs(run: Stored) -> float:
    """MACs of one pass through a network of the same topology without spikes."""
    return sum(macs_by_layer(run).values())


def analog_macs(run: Stored) -> float:
    """MACs of one step of the weights that no spikes reach, where the input is analog."""
    macs = macs_by_layer(run)
    edges = Chain(run.method.network).edges(spikes=False)
    return sum(macs.get(edge.name, 0.0) for edge in edges if not edge.spikes)  # one step: nothing returns in it


def figure(ours: Curve, theirs: Curve, iso: int, run: Stored, against: Stored, what: str = "spikes") -> Any:
    """Accuracy of both against steps and against spikes, or ``what`` they are, and the activity of their layers."""
    import matplotlib.pyplot as plt

    picture, axes = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
    for found, stored in ((ours, run), (theirs, against)):
        name = type(stored.method).__name__
        steps = range(1, len(found.accuracy) + 1)
        (line,) = axes[0].plot(steps, 100 * found.accuracy, marker="o", markersize=2.5, label=name)
        axes[1].plot(found.spikes, 100 * found.accuracy, marker="o", markersize=2.5, color=line.get_color())
        table = layer_table(found)
        activity = [row["activity"] for row in table.values()]
        axes[2].plot(range(len(table)), activity, marker="o", markersize=3, color=line.get_color())
        for place, layer in enumerate(table):
            axes[2].annotate(
                layer, (place, activity[place]), fontsize=style.SMALL, xytext=(2, 3), textcoords="offset points"
            )
    axes[0].axvline(iso, color=style.MUTED, linewidth=0.8)
    axes[0].set(xlabel="steps run", ylabel="test accuracy (%)")
    spent = bool((ours.spikes > 0).any() or (theirs.spikes > 0).any())  # where nothing fires there is no logarithm
    axes[1].set(xlabel=f"{what} per sample until then", xscale="log" if spent else "linear")
    axes[2].set(xlabel="spiking layer", ylabel=f"{what} per neuron and step", ylim=(0, None))
    axes[0].legend(frameon=False, fontsize=style.SMALL)
    return picture
