"""``python -m snnlab.data``: list the data sets, prepare one (download, film, check), show a picture, time the binning.

The data root is SNNLAB_DATA, else ./data; the cache is SNNLAB_CACHE, else the user's cache folder.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from snnlab.data.contract import DataModule
from snnlab.data.events.cifar10_dvs import CIFAR10DVS
from snnlab.data.events.dvs_gesture import DVSGesture
from snnlab.data.events.films import BLOCK, Films
from snnlab.data.events.heidelberg import Heidelberg
from snnlab.data.events.mnist_dvs import MNISTDVS, export_aedat
from snnlab.data.events.nmnist import NMNIST
from snnlab.data.events.shd import SHD
from snnlab.data.events.ssc import SSC
from snnlab.data.frames import disk_use
from snnlab.data.images.cifar10 import CIFAR10
from snnlab.data.images.cifar100 import CIFAR100
from snnlab.data.images.digits import Digits
from snnlab.data.images.emnist import EMNIST
from snnlab.data.images.fashion_mnist import FashionMNIST
from snnlab.data.images.mnist import MNIST
from snnlab.data.images.module import ImageModule, PublishedImages
from snnlab.data.images.svhn import SVHN
from snnlab.data.images.tiny_imagenet import TinyImageNet
from snnlab.data.tasks.adding import Adding
from snnlab.data.tasks.drifting_blobs import DriftingBlobs
from snnlab.data.tasks.randman import Randman
from snnlab.data.tasks.store_recall import StoreRecall
from snnlab.data.tasks.yin_yang import YinYang
from snnlab.errors import InputError, RunFailure, nearest

DATASETS: dict[str, type[DataModule]] = {
    "digits": Digits,
    "mnist": MNIST,
    "fashion_mnist": FashionMNIST,
    "emnist": EMNIST,
    "svhn": SVHN,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "tiny_imagenet": TinyImageNet,
    "nmnist": NMNIST,
    "mnist_dvs": MNISTDVS,
    "cifar10_dvs": CIFAR10DVS,
    "dvs_gesture": DVSGesture,
    "shd": SHD,
    "ssc": SSC,
    "drifting_blobs": DriftingBlobs,
    "randman": Randman,
    "yin_yang": YinYang,
    "adding": Adding,
    "store_recall": StoreRecall,
}


def folders() -> tuple[Path, Path]:
    """Return the data root and the cache."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("SNNLAB_DATA") or "data"), Path(
        os.environ.get("SNNLAB_CACHE") or user_cache_path("snnlab")
    )


def build(name: str, overrides: Sequence[str] = ()) -> DataModule:
    """Return the data set ``name`` with ``key=value`` overrides of its constructor's arguments.

    Raises: InputError: unknown name or key, a value of the wrong type or out of range.
    """
    if name not in DATASETS:
        raise InputError(f"data = {name!r} is unknown; nearest: {nearest(name, DATASETS)}")
    cls = DATASETS[name]
    hints = get_type_hints(cls.__init__)
    hints.pop("return", None)
    values: dict[str, Any] = dict(zip(("root", "cache"), folders(), strict=True))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or key not in hints:
            raise InputError(
                f"data.{name}: {override!r} is no key=value of this data set; nearest keys: {nearest(key, hints)}"
            )
        values[key] = parse(f"data.{name}: {key}", text, hints[key])
    return cls(**values)


def parse(key: str, text: str, hint: Any) -> Any:
    """Return ``text`` as a value of the type ``hint``; raise InputError where it is none."""
    if get_origin(hint) in (Union, types.UnionType):
        choices = get_args(hint)
        if type(None) in choices and text.lower() in ("null", "none"):
            return None
        return parse(key, text, next(choice for choice in choices if choice is not type(None)))
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise InputError(f"{key} = {text} must be one of {', '.join(get_args(hint))}")
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise InputError(f"{key} = {text} must be true or false")
        return text.lower() == "true"
    try:
        return hint(text)
    except ValueError:
        raise InputError(f"{key} = {text} must be of type {hint.__name__}") from None


def availability(data: DataModule) -> str:
    """Tell in a word or two where the samples would come from, without reading them."""
    if isinstance(data, PublishedImages):
        return "found" if data.found() else "downloadable"
    if isinstance(data, Heidelberg):
        return "found" if data.find(data.root) else "downloadable"
    if isinstance(data, CIFAR10DVS | DVSGesture):
        return "recorded, found" if data.find() else "downloadable"
    if isinstance(data, MNISTDVS):
        return "recorded, found" if data.recorded else f"simulated from {data.image_source}"
    if isinstance(data, NMNIST):
        return "recorded, found" if data.spec.sizes else "not found"
    return "bundled" if isinstance(data, Digits) else "synthetic"


def list_datasets() -> None:
    table = Table(
        "name", "kind", "sample", "classes", "train", "val", "test", "where", title=f"data root: {folders()[0]}"
    )
    for name in DATASETS:
        data = build(name)
        spec = data.spec
        steps = "" if spec.time_steps is None else f"T={spec.time_steps} "
        sizes = [f"{spec.sizes[split]:,}" if split in spec.sizes else "?" for split in ("train", "val", "test")]
        table.add_row(
            name, spec.kind, steps + "x".join(map(str, spec.input_shape)), str(spec.classes), *sizes, availability(data)
        )
    Console().print(table)
    print(cache_line(folders()[1]))


def cache_line(cache: Path) -> str:
    """Tell what the cache takes of the disk, folder by folder; any of it can be deleted."""
    use = disk_use(cache)
    parts = ", ".join(f"{name} {size / 1e6:,.1f}" for name, size in use.items())
    return f"cache: {cache}, {sum(use.values()) / 1e6:,.1f} MB" + (f" ({parts})" if parts else "")


def prepare(data: DataModule, aedat: Path | None) -> None:
    """Download, check and film everything, so that a run finds it ready."""
    if aedat is not None:
        if not isinstance(data, MNISTDVS):
            raise InputError(f"--aedat writes films of mnist_dvs, not {data.spec.name}; leave it out")
        print(f"wrote {export_aedat(data, aedat)} recordings under {aedat}")
    data.setup()
    assert data.splits is not None
    for split in (data.splits.train, data.splits.test):
        recordings = getattr(getattr(split, "dataset", split), "recordings", None)
        if isinstance(recordings, Films):
            recordings.take(range(0, len(recordings), BLOCK))
    print(describe(data))
    print(cache_line(data.cache))


def describe(data: DataModule) -> str:
    spec, provenance = data.spec, data.provenance
    sizes = ", ".join(f"{name} {size}" for name, size in provenance.sizes.items())
    flags = "".join(f"; {flag}" for flag in provenance.flags())
    verified = f"verified: {provenance.verified}" if provenance.verified else "verified against nothing"
    return f"data.{spec.name}: {sizes}; {list(spec.input_shape)}; sha256 {provenance.hash[:8]}...; {verified}{flags}"


def show(data: DataModule, out: Path) -> Path:
    """Write a picture of some training samples to ``out`` and return its path.

    Images: one column per class (20 at most), augmented as training batches are. Events: one row per sample, ON red and
    OFF blue, columns are times. Tasks and lines of sensors: spikes.
    """
    from matplotlib.figure import Figure

    data.setup()
    assert data.splits is not None
    spec, train = data.spec, data.splits.train
    if isinstance(data, ImageModule):
        pictures = data.images()
        assert isinstance(pictures, ImageModule) and pictures.splits is not None
        rows, columns = 4, min(spec.classes, 20)
        labels = pictures.splits.train.labels  # type: ignore[attr-defined]
        places = {
            (row, label): index
            for label in range(columns)
            for row, index in enumerate((labels == label).nonzero()[:rows, 0].tolist())
        }
        images = pictures.augmented(pictures.splits.train.batch(list(places.values()))).inputs
        cells = {place: image.permute(1, 2, 0).numpy() for place, image in zip(places, images, strict=True)}
    elif spec.kind == "event" and spec.input_shape[1] > 1:
        rows, columns = min(6, len(train)), 8
        batch = train.batch(range(rows))
        steps = np.linspace(0, len(batch.inputs) - 1, columns).round().astype(int)
        frames = batch.inputs[steps].clamp(max=1)  # [columns, rows, P, H, W]
        off, on = frames[:, :, 0], frames[:, :, -1]
        coloured = torch.stack([on, torch.zeros_like(on) if frames.shape[2] == 2 else on, off], -1).numpy()
        cells = {(row, column): coloured[column, row] for row in range(rows) for column in range(columns)}
    elif spec.kind == "image":
        rows, columns = min(6, len(train)), 1
        images = train.batch(range(rows)).inputs
        cells = {(row, 0): image.permute(1, 2, 0).numpy() for row, image in enumerate(images)}
    else:
        rows, columns = min(4, len(train)), 1
        batch = train.batch(range(rows))
        cells = {(row, 0): batch.inputs[:, row].flatten(1).T.numpy() for row in range(rows)}

    figure = Figure(figsize=(max(6, columns), rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, axis in np.ndenumerate(axes):
        axis.set_axis_off()
        if place in cells:
            cell = cells[place]
            axis.imshow(cell, cmap="gray", vmin=0, vmax=1, aspect="auto" if columns == 1 else "equal")
        if spec.kind == "event" and columns > 1 and place[0] == 0:
            axis.set_title(f"t = {steps[place[1]]}", fontsize=8)
    flags = ", ".join(data.provenance.flags())
    figure.suptitle(f"{spec.name}" + (f" ({flags})" if flags else ""))
    try:
        figure.savefig(out, dpi=120)
    except (OSError, ValueError) as error:
        raise InputError(f"--out {out} cannot be written ({error}); choose a .png in a folder that exists") from error
    return out


def bench() -> None:
    from snnlab.data.binning import events_per_second
    from snnlab.data.camera import films_per_second

    torch.set_num_threads(1)
    table = Table("what", "snnlab", "tonic ToFrame", "times", title="one core, best of 10 runs")
    for count, recordings in ((4_000, 100), (100_000, 20)):
        speed = events_per_second(recordings, count)
        million = [f"{speed[name] / 1e6:.1f} M events/s" for name in ("snnlab", "tonic")]
        table.add_row(
            f"binning, {recordings} x {count:,} events, T=30, 34x34",
            *million,
            f"{speed['snnlab'] / speed['tonic']:.1f}",
        )
    table.add_row("camera, films of 2 s, 26x26", f"{films_per_second():.0f} films/s", "", "")
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m snnlab.data", description=inspect.getdoc(sys.modules[__name__]))
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="a table of the data sets and where each would come from")
    commands.add_parser("bench", help="speed of binning beside tonic's, and of the camera")
    for command, text in (
        ("prepare", "download, check and film a data set"),
        ("show", "write a picture of its samples"),
    ):
        sub = commands.add_parser(command, help=text)
        sub.add_argument("name", help=f"one of {', '.join(DATASETS)}")
        sub.add_argument(
            "overrides", nargs="*", metavar="key=value", help="arguments of the data set, e.g. val_size=1000"
        )
        if command == "prepare":
            sub.add_argument(
                "--aedat", type=Path, metavar="DIR", help="mnist_dvs: also write the films as AEDAT 2.0 there"
            )
        else:
            sub.add_argument("--out", type=Path, metavar="PNG", help="the picture, default ./<name>.png")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        if options.command == "list":
            list_datasets()
        elif options.command == "bench":
            bench()
        elif options.command == "prepare":
            prepare(build(options.name, options.overrides), options.aedat)
        else:
            print(show(build(options.name, options.overrides), options.out or Path(f"{options.name}.png")))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except RunFailure as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
