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
    ("snnlab.methods.vdib.VDIB", "feedback"): {"true": "exact"},  # which a command line reads as a truth value
    ("trainer", "devices"): {"auto": 1},  # a run has always had one
}

CHANGED = "snnlab.data.augmentation."
IMAGES = {"augmentation": (f"{CHANGED}ImageAugmentation", {key: key for key in ("crop_padding", "flip", "cutout")})}
EVENTS = {"augmentation": (f"{CHANGED}EventAugmentation", {key: key for key in ("flip", "shift", "jitter_us", "drop")})}
FILMS = {
    "camera": (
        "snnlab.data.camera.Camera",
        {
            **{key: key for key in ("threshold", "mismatch", "refractory_us", "noise_hz", "dark")},
            "path_radius": "radius",
            "path_period_s": "period_s",
            "film_seed": "seed",
        },
    )
}
PARTS: dict[str, dict[str, tuple[str, dict[str, str]]]] = {  # class: a part of it now: its class, old key: key in it
    **{
        f"snnlab.data.images.{name}": IMAGES
        for name in (
            *("cifar10.CIFAR10", "cifar100.CIFAR100", "digits.Digits", "emnist.EMNIST", "fashion_mnist.FashionMNIST"),
            *("mnist.MNIST", "svhn.SVHN", "tiny_imagenet.TinyImageNet"),
        )
    },
    **{
        f"snnlab.data.events.{name}": EVENTS
        for name in ("cifar10_dvs.CIFAR10DVS", "dvs_gesture.DVSGesture", "nmnist.NMNIST", "shd.SHD", "ssc.SSC")
    },
    "snnlab.data.events.mnist_dvs.MNISTDVS": {**FILMS, **EVENTS},
}


def today(node: Any, group: str = "") -> Any:
    """Return a stored config, or the part of one below the key ``group``, as it would be stored today."""
    if isinstance(node, Mapping):
        target = node.get("_target_")
        owner = _target(target) if isinstance(target, str) and target else group
        moved = {
            key: _target(value) if key == "_target_" else _value(owner, key, today(value, str(key)))
            for key, value in node.items()
        }
        for part, (target, keys) in (PARTS.get(owner, {}) if isinstance(owner, str) else {}).items():
            if old := {new: moved.pop(key) for key, new in keys.items() if key in moved}:
                moved[part] = {"_target_": target, **old}
        return moved
    return [today(value) for value in node] if isinstance(node, list) else node


def _value(owner: Any, key: Any, value: Any) -> Any:
    known = VALUES.get((owner, key), {}) if isinstance(owner, str) else {}
    return known.get(value, value) if isinstance(value, str) else value


def _target(path: Any) -> Any:
    if not isinstance(path, str):
        return path
    module, dot, name = path.rpartition(".")
    return f"{ROOMS.get(module, module)}{dot}{name}" if re.fullmatch(r"[\w.]+", path) else path
