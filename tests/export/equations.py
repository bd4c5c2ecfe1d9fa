"""NIR's own equations, stepped by forward Euler, in float64: what any importer that follows them does."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional


def run(graph, frames, soft=()):
    """Frames [T, ...] of one sample -> outputs by node, [T, ...]; nodes in ``soft`` subtract their threshold."""
    step = float(graph.metadata["time_step"])
    order = []
    while len(order) < len(graph.nodes):
        order += [
            name
            for name in graph.nodes
            if name not in order and all(a in order or a.endswith(".w_rec") for a, b in graph.edges if b == name)
        ]
    states, before = {}, {}
    found = {name: [] for name in graph.nodes}
    for frame in frames:
        made = {}
        for name in order:
            node, kind = graph.nodes[name], type(graph.nodes[name]).__name__
            fed = [made.get(a, before.get(a)) for a, b in graph.edges if b == name]
            x = frame.double().numpy() if kind == "Input" else sum(value for value in fed if value is not None)
            made[name] = advance(node, kind, x, states, name, step, name in soft)
            found[name].append(made[name])
        before = made
    return {name: torch.from_numpy(np.stack(values)) for name, values in found.items()}


def advance(node, kind, x, states, name, step, soft):
    """One node, one step."""
    if kind in ("Input", "Output"):
        return x
    if kind in ("Linear", "Affine"):
        return node.weight.astype(float) @ x + (node.bias if kind == "Affine" else 0)
    if kind == "Scale":
        return node.scale * x
    if kind == "Flatten":
        return x.reshape(-1)
    if kind == "Conv2d":
        given = torch.from_numpy(np.asarray(x, float))[None]
        weight, bias = (torch.from_numpy(part).double() for part in (node.weight, node.bias))
        form = (tuple(int(s) for s in size) for size in (node.stride, node.padding, node.dilation))
        return functional.conv2d(given, weight, bias, *form, int(node.groups))[0].numpy()
    if kind == "AvgPool2d":
        sizes = (tuple(int(s) for s in size) for size in (node.kernel_size, node.stride, node.padding))
        return functional.avg_pool2d(torch.from_numpy(np.asarray(x, float))[None], *sizes)[0].numpy()
    if kind == "CubaLIF":
        v, i = states.get(name, (0.0, 0.0))
        v, i = (
            v + step / node.tau_mem * (node.v_leak - v + node.r * i),
            i + step / node.tau_syn * (node.w_in * x - i),
        )
        spikes = (v > node.v_threshold).astype(float)
        states[name] = v - spikes * node.v_threshold if soft else np.where(spikes > 0, node.v_reset, v), i
        return spikes
    v = states.get(name, 0.0)
    leaks = kind not in ("IF", "I")
    v = v + step * (((node.v_leak - v) + node.r * x) / node.tau if leaks else node.r * x)
    if kind in ("I", "LI"):
        states[name] = v
        return v
    spikes = (v > node.v_threshold).astype(float)
    states[name] = v - spikes * node.v_threshold if soft else np.where(spikes > 0, node.v_reset, v)
    return spikes
