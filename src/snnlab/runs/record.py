"""The record of a run: its folder, ``config.yaml`` and ``run.json``, written atomically at the start and at the end."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from snnlab import ranks
from snnlab.atomic import FULL, write_text
from snnlab.checkpoint import inside, read_record
from snnlab.config import trust
from snnlab.config.moved import today
from snnlab.errors import InputError
from snnlab.runs.identity import deciding
from snnlab.runs.latest import run_folder
from snnlab.runs.lock import process
from snnlab.version import __version__

SCHEMA = 1
SHAPE: dict[str, type] = {  # what every record holds, from its first moment on
    **dict.fromkeys(("config", "provenance", "metrics"), dict),
    **dict.fromkeys(("status", "method", "data"), str),
    "seed": int,
    "overrides": list,
}
MAY_HOLD: dict[str, type] = {  # and what it may hold besides
    **dict.fromkeys(("timing", "memory", "machine", "identity", "process", "parent"), dict),
    **dict.fromkeys(("model", "encoder", "hardware", "label", "started", "checkpoint", "reason", "run", "seal"), str),
    **{
        f"provenance.{key}": kind for key, kind in (("source", str), ("altered", bool), ("subset", bool), ("hash", str))
    },
    **dict.fromkeys(("provenance.sizes", "metrics.train", "metrics.val", "metrics.test"), dict),
    **{f"config.{group}": dict for group in ("method", "model", "data", "encoder", "init", "trainer")},
}
WITHOUT: dict[str, Any] = {"timing": {}, "started": "", "kernels": {}, "memory": {}}
WITHOUT_SOURCE: dict[str, Any] = {"source": "unknown", "altered": False, "subset": False, "hash": "", "sizes": {}}
LARGEST = 1e100  # of a figure: what is computed with it has to be finite, too
WORDS = {dict: "a mapping", str: "text", int: "a whole number", list: "a list", bool: "true or false"}
PACKAGES = ("torch", "lightning", "hydra-core", "torchmetrics", "tonic", "numpy", "wandb")


class RunRecord:
    """One run's folder and the content of its run.json."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        self.folder, self.content = folder, content

    @classmethod
    def new(cls, folder: Path, composition: Any, config: dict[str, Any], parts: Any) -> RunRecord:
        """The record of a run that begins, not yet written."""
        trust.name(config)
        model_parameters = sum(p.numel() for p in parts.method.parameters() if p.requires_grad)
        return cls(
            folder,
            {
                "schema": SCHEMA,
                "status": "running",
                **{group: composition.choices[group] for group in ("method", "model", "data", "encoder", "hardware")},
                "label": shown(parts.method, composition.choices["method"]),
                "seed": config["seed"],
                "config": config,
                "identity": deciding(config),
                "overrides": composition.overrides,
                "recipe": composition.recipe,
                "git": git_state(),
                "versions": versions(),
                "machine": machine() | ({"threads": config["threads"]} if config["threads"] else {}),
                "kernels": {},
                "provenance": parts.data.provenance.as_dict(),
                "metrics": {"train": {}, "val": {}, "test": {}},
                "timing": {},
                "memory": {},
                "parameters": model_parameters,
                "fit_report": None if parts.fit is None else parts.fit.as_dict(),
                "process": process(),
                "started": f"{datetime.now():%Y-%m-%dT%H:%M:%S}",
                "resumed": False,
            },
        )

    @classmethod
    def read(cls, folder: str | Path) -> RunRecord:
        """Read a stored run.

        Raises:
            InputError: when the folder holds no readable run.json.
        """
        folder = run_folder(folder)
        path = folder / "run.json"
        try:
            there = path.exists() or path.is_symlink()
        except OSError as error:  # a name that is too long
            raise InputError(f"{folder} is no run folder: {error.strerror}") from error
        if not there:
            raise InputError(f"{folder} is no run folder: it holds no run.json; give a folder below paths.output")
        content = read_record(inside(folder, "run.json"))
        if not isinstance(content, dict):
            raise InputError(f"{path} holds a {type(content).__name__} where a record is a mapping; run it again")
        if content.get("schema") != SCHEMA:
            raise InputError(f"{path}: schema = {content.get('schema')}, this snnlab reads {SCHEMA}")
        for key, kind in SHAPE.items():
            if not isinstance(content.get(key), kind) or isinstance(content[key], bool):
                raise InputError(f"{path}: {key} = {content.get(key)!r:.60} must be {WORDS[kind]}; run it again")
        if not all(isinstance(word, str) for word in content["overrides"]):
            raise InputError(f"{path}: overrides = {content['overrides']!r:.60} must be a list of texts; run it again")
        content = WITHOUT | {key: value for key, value in content.items() if value is not None}
        content["provenance"] = WITHOUT_SOURCE | content["provenance"]
        for place, kind in MAY_HOLD.items():
            group, _, key = place.rpartition(".")
            held = content[group] if group else content
            if key in held and type(held[key]) is not kind:
                raise InputError(f"{path}: {place} = {held[key]!r:.60} must be {WORDS[kind]}; run it again")
        content["memory"] = {key: value for key, value in content["memory"].items() if value is not None}
        sizes = content["provenance"]["sizes"]
        check_numbers(flat(content["metrics"]), f"{path}: metrics")
        for key, figures in (("timing", content["timing"]), ("memory", content["memory"]), ("provenance.sizes", sizes)):
            check_numbers(figures, f"{path}: {key}")
        if content.get("seal", "") not in ("", seal(content)) and content["metrics"].get("test"):
            raise InputError(f"{path}: its config or its numbers are not those that were written; run it again")
        content["config"] = today(content["config"])
        return cls(folder, content)

    @property
    def path(self) -> Path:
        return self.folder / "run.json"

    def write(self) -> None:
        self.content["seal"] = seal(self.content)
        write_text(self.folder / "run.json", json.dumps(self.content, indent=2, allow_nan=False) + "\n")

    def write_all(self) -> None:
        """Write run.json after all that belongs to a run from its first moment on."""
        (self.folder / "checkpoints").mkdir(exist_ok=True)
        (self.folder / "figures").mkdir(exist_ok=True)
        write_text(self.folder / "config.yaml", yaml.safe_dump(self.content["config"], sort_keys=False))
        self.write()

    def announcement(self) -> str:
        """One line: what runs on what, and where it is recorded."""
        c = self.content
        sizes = ", ".join(f"{split} {size}" for split, size in c["provenance"]["sizes"].items())
        flags = "".join(f" [{flag}]" for flag in flags_of(c["provenance"]))
        return f"run: {label_of(c)} on {c['data']}{flags} ({sizes}), {c['parameters']:,} parameters -> {self.folder}"

    def title(self) -> str:
        """Heading of every figure: the run, and what is simulated, synthetic, altered or a subset."""
        c = self.content
        flags = flags_of(c["provenance"])
        return f"{label_of(c)} on {c['data']}" + (f" ({', '.join(flags)})" if flags else "") + f", seed {c['seed']}"

    def scored(
        self, wired: Any, fit_seconds: float, best: int, kernels: dict[str, list[str]], scores: Mapping[str, float]
    ) -> None:
        """Write the metrics of the best epoch and of the test, which is not made again; pictures may still come."""
        history = wired.history
        self.content["metrics"] = nested({**history.at(best), **scores})
        self.content["timing"] = {
            "fit_seconds": round(fit_seconds, 3),
            "samples_per_second": round(history.samples / fit_seconds, 1),
            "epochs": history.epochs,
        }
        patience = self.content["config"]["callbacks"].get("early_stopping")
        if patience is not None:  # and whether it has ended the run
            asked = self.content["config"]["trainer"]["max_epochs"]
            self.content["early_stopping"] = {"patience": patience, "stopped": history.epochs < asked}
        self.content["kernels"] = kernels
        self.content["memory"] = {"peak_bytes": wired.memory.peak_bytes}
        self.content["checkpoint"] = f"checkpoints/epoch{best:03d}.ckpt"
        self.write()

    def end(self, status: str) -> None:
        """Write how a run that went well ended: completed, or validated or pruned by a search, which tests nothing."""
        self.content["status"] = status
        self.write()

    def fail(self, status: str, reason: str) -> None:
        """Write how the run ended; a disk that is full now must not hide why it failed."""
        self.content["status"], self.content["reason"] = status, reason
        try:
            self.write()
        except OSError:
            return


def seal(content: Mapping[str, Any]) -> str:
    """A hash of what a record's numbers rest on, and of them: one that was damaged on the way does not fit."""
    kept = {key: content.get(key) for key in ("config", "run", "seed", "checkpoint", "metrics")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def check_numbers(figures: Mapping[str, Any], where: str) -> None:
    """Raise InputError where one of some figures is no number, or one that is not computed with."""
    for key, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
            raise InputError(f"{where}.{key} = {value!r:.60} must be a number below {LARGEST:g}; run it again")


def flat(tree: Mapping[str, Any], prefix: str = "", between: str = ".") -> dict[str, Any]:
    """The leaves of a tree by the way to them, ``method.optimizer.lr``."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        inside = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{key}{between}", between) if inside else {f"{prefix}{key}": value}
    return found


def nested(logged: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """``{"test/firing_rate/hidden1": x}`` to ``{"train": {}, "val": {}, "test": {"firing_rate": {"hidden1": x}}}``.

    Only finite values are kept.
    """
    tree: dict[str, dict[str, Any]] = {"train": {}, "val": {}, "test": {}}
    for key, value in sorted(logged.items()):
        if not math.isfinite(value):
            continue
        *path, leaf = key.split("/")
        if path[0] not in tree:
            continue
        node: dict[str, Any] = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    return tree


def shown(method: Any, name: str | None) -> str:
    """What people are shown in place of ``name``, the config's: the method's label, and whether it sends values."""
    label, sends = method.label or name, method.sends()
    return f"{label} ({sends})" if sends else str(label)


def label_of(content: Mapping[str, Any]) -> str:
    """Name of the run's method as people see it."""
    return str(content.get("label", content["method"]))


def flags_of(provenance: Mapping[str, Any]) -> list[str]:
    words = [provenance["source"]] if provenance["source"] in ("simulated", "synthetic") else []
    words += [word for word in ("altered", "subset") if provenance[word]]
    return words + (["author's protocol: no validation"] if provenance.get("sizes", {}).get("val") == 0 else [])


def make_folder(output: Path, name: str, exist_ok: bool = False) -> Path:
    """Make a folder that no other run has, even when several start in the same second; or take the one of this name."""
    for attempt in range(1, 10_000):
        folder = output / (name if attempt == 1 else f"{name}_{attempt}")
        try:
            folder.mkdir(parents=True, exist_ok=exist_ok)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno in FULL:
                raise
            raise InputError(
                f"paths.output = {output} cannot be written: {error.strerror}; choose another folder"
            ) from error
        return folder
    raise InputError(f"paths.output = {output} holds too many runs named {name}")


def git_state() -> dict[str, Any]:
    """Commit of the checkout this package runs from; null when it is an installed wheel."""
    here = Path(__file__).resolve().parents[3]
    if not (here / ".git").exists():
        return {"commit": None, "dirty": None}
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
        status = subprocess.run(
            ["git", "-C", str(here), "status", "--porcelain"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return {"commit": None, "dirty": None}
    return {"commit": commit.stdout.strip() or None, "dirty": bool(status.stdout.strip())}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "snnlab": __version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, Any]:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    cores, threads = os.cpu_count(), torch.get_num_threads()  # our kernels run in torch's threads
    return {"device": device, "cpu": cpu_name(), "cores": cores, "threads": threads, "processes": ranks.number()}


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else None
    return found.group(1).strip() if found else platform.processor() or platform.machine()
