"""``dry_run=true``: shapes, parameters, memory and time of a run, from a step on made-up numbers; no data is read."""

from __future__ import annotations

import time
from typing import Any

import torch

from snnlab.callbacks.memory import LiveBytes
from snnlab.config.build import Parts, batches_of_epoch, build
from snnlab.config.compose import Composition
from snnlab.data.contract import Batch
from snnlab.neurons.neuron import Temporal
from snnlab.runs.post_training import start_from
from snnlab.runs.record import shown
from snnlab.runs.warm_start import warm_start
from snnlab.runs.wiring import try_trainer


def dry_run(composition: Composition) -> str:
    """Return a report of the composed run: one row a layer, then totals and estimates.

    Raises:
        InputError: when the parts cannot be built.
    """
    parts = build(composition.config)
    try_trainer(parts.config)
    start_from(parts)
    warm_start(parts)
    method, spec, config = parts.method, parts.data.spec, parts.config
    frames = make_frames(parts)
    rows = layer_rows(method.network, frames)
    seconds, peak, backward = time_step(method.network, frames)
    what = "forward and backward" if backward else "forward (this method's own updates come on top)"
    name = shown(method, composition.choices["method"])
    lines = [f"{name} on {spec.name}: frames {list(frames.shape)} (time, batch, ...)"]
    width = max(len(row[0]) for row in rows)
    lines += [f"  {name:{width}}  {shape:<22} {count:>12,} parameters" for name, shape, count in rows]
    total = sum(p.numel() for p in method.parameters() if p.requires_grad)
    lines.append(f"parameters   {total:,} ({total * 4 / 2**20:.1f} MiB in float32)")
    lines.append(f"memory       {peak / 2**20:,.0f} MiB of live tensors in one step, {what}")
    epochs = config["trainer"]["max_epochs"]
    if batches := batches_of_epoch(spec, config):
        lines.append(
            f"time         {seconds * 1000:.0f} ms a step, {batches} steps an epoch, {epochs} epochs: "
            f"about {seconds * batches * epochs / 60:.1f} minutes for the network's {what}"
        )
    else:
        lines.append(f"time         {seconds * 1000:.0f} ms a step for the network's {what}")
    if parts.fit is not None:
        lines += [*parts.changed, *parts.fit.lines()]
    return "\n".join(lines)


def make_frames(parts: Parts) -> torch.Tensor:
    """What the network sees of a random batch [T, B, ...]: images, or 5 % of ones for data with a time axis."""
    spec, batch = parts.data.spec, parts.config["data"]["batch_size"]
    inputs = torch.rand(batch, *spec.input_shape)
    if parts.method.encoder is None:
        inputs = (torch.rand(spec.time_steps or 1, batch, *spec.input_shape) < 0.05).float()
    return parts.method.frames(Batch(inputs, torch.zeros(batch, dtype=torch.long)))


def layer_rows(network: Any, frames: torch.Tensor) -> list[tuple[str, str, int]]:
    """Name, output shape of one step and parameter count of each layer, those inside composite layers included."""
    leaves = network.leaves()
    shapes: dict[str, torch.Size] = {}
    hooks = []
    for name, layer in leaves.items():

        def hook(_module: Any, _inputs: Any, output: torch.Tensor, name: str = name) -> None:
            shapes[name] = output.shape[1:]

        if not isinstance(layer, Temporal):
            hooks.append(layer.register_forward_hook(hook))
    with torch.no_grad():
        _, record = network.unroll(frames[:2, :1])  # two steps: what returns to a layer does so at the second
    for handle in hooks:
        handle.remove()
    shapes |= {name: outputs.shape[2:] for name, (outputs, _) in record.items()}
    return [
        (name, str(list(shapes.get(name, ()))), sum(p.numel() for p in layer.parameters()))
        for name, layer in leaves.items()
    ]


def time_step(network: Any, frames: torch.Tensor) -> tuple[float, int, bool]:
    """Seconds of a step (the second of two), most live bytes of the first, and whether it had a backward."""
    with LiveBytes() as counted:
        _forward_backward(network, frames)
    started = time.perf_counter()
    backward = _forward_backward(network, frames)
    seconds = time.perf_counter() - started
    return seconds, counted.peak, backward


def _forward_backward(network: Any, frames: torch.Tensor) -> bool:
    outputs = network(frames)
    if outputs.requires_grad:
        outputs.sum().backward()
    network.zero_grad()
    return bool(outputs.requires_grad)
