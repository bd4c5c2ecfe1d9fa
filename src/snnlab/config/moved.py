"""Where the classes that configs name have gone, and what their values are called now.

A run that was stored before a move is read as if it were stored today. An entry may change a name, never a number.
"""

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
    "snnlab.methods.step_schedule": "snnlab.methods.base.step_schedule",
}
VALUES: dict[tuple[str, str], dict[str, Any]] = {  # (class or group, key): old value: new value
    ("snnlab.methods.stbp.STBP", "readout"): {"membrane": "leaky"},
    ("trainer", "devices"): {"auto": 1},  # a run has always had one
}


def today(node: Any, group: str = "") -> Any:
    """Return a stored config, or the part of one below the key ``group``, as it would be stored today."""
    if isinstance(node, Mapping):
        owner = _target(node.get("_target_")) or group
        return {
            key: _target(value) if key == "_target_" else _value(owner, key, today(value, str(key)))
            for key, value in node.items()
        }
    return [today(value) for value in node] if isinstance(node, list) else node


def _value(owner: Any, key: Any, value: Any) -> Any:
    known = VALUES.get((owner, key), {})
    return known.get(value, value) if isinstance(value, str) else value


def _target(path: Any) -> Any:
    if not isinstance(path, str):
        return path
    module, dot, name = path.rpartition(".")
    return f"{ROOMS.get(module, module)}{dot}{name}" if re.fullmatch(r"[\w.]+", path) else path
