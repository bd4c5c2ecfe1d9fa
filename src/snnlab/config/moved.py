"""Where the classes that configs name have gone: a run stored before a move is read as if it were stored today."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ROOMS = {  # old module: new module
    **{
        f"snnlab.data.{name}": f"snnlab.data.images.{name}"
        for name in ("cifar10", "cifar100", "digits", "emnist", "fashion_mnist", "mnist", "svhn", "tiny_imagenet")
    },
    **{
        f"snnlab.data.{name}": f"snnlab.data.events.{name}"
        for name in ("cifar10_dvs", "dvs_gesture", "mnist_dvs", "nmnist", "shd", "ssc")
    },
    **{
        f"snnlab.data.{name}": f"snnlab.data.tasks.{name}"
        for name in ("adding", "drifting_blobs", "randman", "store_recall", "yin_yang")
    },
    "snnlab.layers.deep_rewiring": "snnlab.weights.deep_rewiring",
}


def today(node: Any) -> Any:
    """Return a stored config, or a part of one, with every ``_target_`` where its class lies now."""
    if isinstance(node, Mapping):
        return {key: _target(value) if key == "_target_" else today(value) for key, value in node.items()}
    return [today(value) for value in node] if isinstance(node, list) else node


def _target(path: Any) -> Any:
    if not isinstance(path, str):
        return path
    module, dot, name = path.rpartition(".")
    return f"{ROOMS.get(module, module)}{dot}{name}" if re.fullmatch(r"[\w.]+", path) else path
