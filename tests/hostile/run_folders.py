"""Hostile run folders: a small run that is sound, changed in one place each, and asked for something.

``python tests/hostile/run_folders.py [--only WORD] [--seed N]`` makes and tries all of them (some minutes).
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from harness import Outcome, attempt, command

RUN = ["method=stbp", "data=digits", "model=mlp", "model.hidden=[8]", "logger=none", "callbacks.progress=false"]
RUN += ["callbacks.figures=false", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "encoder.time_steps=2"]
CANARY = "canary"


class Case(NamedTuple):
    """One hostile folder: how a good one is spoiled, given the folder and a place for a canary."""

    name: str
    spoil: Callable[[Path, Path], None]


def calls(canary: Path) -> list[dict[str, Any]]:
    """Nodes that run something when they are built, or when the module that they name is imported."""
    path, touch = str(canary), f"open({str(canary)!r}, 'w')"
    return [
        {"_target_": "snnlab.bench.workloads.start_up.process", "command": ["touch", path], "limit": 10.0},
        {"_target_": "os.system", "command": f"touch {path}"},
        {"_target_": "subprocess.run", "args": ["touch", path]},
        {"_target_": "subprocess.Popen", "args": ["touch", path]},
        {"_target_": "builtins.eval", "_args_": [touch]},
        {"_target_": "builtins.exec", "_args_": [touch]},
        {"_target_": "builtins.open", "_args_": [path, "w"]},
        {"_target_": "pathlib.Path.touch", "_args_": [path]},
        {"_target_": "snnlab.atomic.write_text", "path": path, "text": "x"},
        {"_target_": "snnlab.atomic.Path.touch", "_args_": [path]},
        {"_target_": "snnlab.runs.record.subprocess.run", "args": ["touch", path]},
        {"_target_": "hydra.utils.call", "_args_": [{"_target_": "os.system", "command": f"touch {path}"}]},
        {"_target_": "hydra.utils.get_method", "path": "os.system"},
        {"_target_": "hydra.utils.instantiate", "_args_": [{"_target_": "os.mknod", "path": path}]},
        {"_target_": "torch.hub.load", "repo_or_dir": str(canary.parent), "model": "x", "source": "local"},
        {"_target_": "torch.save", "obj": 1, "f": path},
        {"_target_": "torch.utils.bottleneck.__main__.main"},
        {"_target_": "torch.optim.Optimizer.__init__"},
        {"_target_": "numpy.savetxt", "fname": path, "X": [1]},
        {"_target_": "evil.Method"},
        {"_target_": "evil.inner.Method", "_partial_": True},
        {"_target_": "snnlab.__main__.main"},
        {"_target_": "snnlab.train.main", "arguments": ["method=stbp"]},
        {"_target_": "logging.FileHandler", "filename": path},
        {"_target_": "functools.partial", "_args_": [touch]},
        {"_target_": "torch.optim.adam.torch.save", "obj": 1, "f": path},
        {"_target_": "snnlab.data.publish.downloads.download", "urls": [], "target": path, "checksum": "md5:0"},
        {"_target_": 7},
        {"_target_": ["os.system"]},
        {"_target_": ""},
        {"_target_": "os"},
        {"_target_": ".os.system"},
        {"_target_": "snnlab.neurons.lif.LIF"},
        {"_target_": "snnlab.methods.stbp.STBP"},
    ]


PLACES = (
    *("encoder", "model", "init", "data", "method", "method.optimizer", "method.scheduler", "method.surrogate"),
    *("data.augmentation", "model.hidden", "model.hidden.0", "method.neuron_options", "method.neuron_options.x"),
    *(
        "trainer.logger",
        "trainer.callbacks",
        "logger",
        "callbacks",
        "hardware",
        "paths",
        "hydra",
        "new",
        "encoder.deep.er",
    ),
    *("method.optimizer.params", "data.root", "seed", "defaults"),
)
WORDS = (
    *("${oc.env:HOME}", "${oc.env:X,y}", "${snnlab_cache:}", "${oc.decode:'1'}", "${.seed}", "???", "${", "${a:${b}}"),
    *(
        "os.system",
        "evil.Neuron",
        "evil.inner.Neuron",
        "snnlab.__main__.main",
        "torch.hub.load",
        "\x1b[31mred",
        "a" * 20_000,
    ),
)
KEYS = ("_args_", "_recursive_", "_convert_", "_mode_", "_partial_", "_target_", "__class__", "${x}", "\x1b[2J", "")
VALUES: dict[str, Any] = {
    "null": None,
    "list": [],
    "lists": [[[]]],
    "text": "x",
    "empty": "",
    "mapping": {"a": 1},
    "true": True,
    "minus": -1,
    "huge": 10**18,
    "more": 10**400,
    "float": 1.5,
    "big": 1e308,
    "escape": "\x1b]0;x\x07\n",
    "deep": None,  # see ``nested``
}
FIELDS = (
    *(
        "schema",
        "status",
        "method",
        "model",
        "data",
        "encoder",
        "hardware",
        "label",
        "seed",
        "config",
        "identity",
        "overrides",
    ),
    *("provenance", "provenance.sizes", "provenance.hash", "provenance.source", "provenance.sizes.train", "metrics"),
    *(
        "metrics.test",
        "metrics.test.accuracy",
        "metrics.test.\x1b[31m",
        "timing",
        "timing.fit_seconds",
        "started",
        "process",
    ),
    *(
        "checkpoint",
        "machine",
        "parameters",
        "config.seed",
        "config.trainer",
        "config.trainer.max_epochs",
        "config.method",
    ),
    *(
        "config.data.batch_size",
        "config.encoder.time_steps",
        "config.model.hidden",
        "config.paths",
        "config.method.decay",
    ),
    *(
        "config.data.root",
        "config.data.cache",
        "config.paths.output",
        "parent",
        "recipe",
        "git",
        "kernels",
        "process.id",
    ),
)
SIZES: tuple[tuple[str, Any], ...] = (
    *(("model.hidden", value) for value in ([10**9], [10**12], [10**6, 10**6], [1] * 20_000, [-1], [10**5] * 9)),
    *(("encoder.time_steps", value) for value in (10**9, 10**15, -5)),
    *(("data.batch_size", value) for value in (10**9, 10**15)),
    *(("data.num_workers", value) for value in (10**4, -1)),
)


def put(tree: Any, place: str, value: Any) -> None:
    """Set a dotted place of a record, making what is not there."""
    *path, last = place.split(".")
    for key in path:
        if isinstance(tree, list):
            tree = tree[int(key)] if key.isdigit() and int(key) < len(tree) else tree
        elif isinstance(tree, dict):
            if not isinstance(tree.get(key), dict | list):
                tree[key] = {}
            tree = tree[key]
    if isinstance(tree, list):
        tree.append(value)
    else:
        tree[last] = value


def record(change: Callable[[dict[str, Any], Path], None]) -> Callable[[Path, Path], None]:
    """Spoil a folder by changing the content of its run.json."""

    def spoil(folder: Path, canary: Path) -> None:
        content = json.loads((folder / "run.json").read_text())
        change(content, canary)
        (folder / "run.json").write_text(json.dumps(content))

    return spoil


def field(place: str, value: Any) -> Callable[[Path, Path], None]:
    return record(lambda content, _: put(content, place, copy.deepcopy(value)))


def nested(place: str) -> Callable[[Path, Path], None]:
    """A value nested so deeply that whoever walks it by recursion falls."""

    def spoil(folder: Path, _: Path) -> None:
        content = json.loads((folder / "run.json").read_text())
        put(content, place, "HERE")
        text = json.dumps(content).replace('"HERE"', "[" * 900 + "]" * 900)
        (folder / "run.json").write_text(text)

    return spoil


def file(name: str, content: bytes | Callable[[Path], object]) -> Callable[[Path, Path], None]:
    """Replace one file of the folder."""

    def spoil(folder: Path, _: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        path.write_bytes(content) if isinstance(content, bytes) else content(path)

    return spoil


def sparse(path: Path, size: int, start: bytes = b"") -> None:
    with path.open("wb") as out:
        out.write(start)
        out.truncate(size)


class Touch:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def checkpoints(canary: Path) -> dict[str, Callable[[Path, Path], None]]:
    """What may lie where the chosen checkpoint should."""
    import torch

    def saved(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Path], None]:
        def spoil(folder: Path, _: Path) -> None:
            path = folder / "checkpoints/epoch000.ckpt"
            content = torch.load(path, weights_only=True)
            change(content)
            torch.save(content, path)

        return spoil

    def bomb(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02]q\x00.")
            archive.writestr("archive/data/0", bytes(3 * 10**8))

    name = "checkpoints/epoch000.ckpt"
    weights = {
        key: lambda c, v=value: c["state_dict"].update(dict.fromkeys(c["state_dict"], v))
        for key, value in {
            "text weights": "x",
            "huge weights": torch.zeros(1).expand(10**12),
            "no weights": torch.zeros(0),
            "list": [1],
        }.items()
    }
    return {
        **{f"checkpoint with {key}": saved(change) for key, change in weights.items()},
        "checkpoint without weights": saved(lambda c: c.pop("state_dict")),
        "checkpoint whose states are text": saved(lambda c: c.update(optimizer_states="x", callbacks="y", loops="z")),
        "checkpoint whose callbacks are lists": saved(
            lambda c: c.update(callbacks={key: [1] for key in c["callbacks"]})
        ),
        "checkpoint that is a pickle": file(name, pickle.dumps({"state_dict": Touch(canary)})),
        "checkpoint that is torch's pickle": file(name, lambda p: torch.save({"state_dict": Touch(canary)}, p)),
        "checkpoint of the old form": file(
            name, lambda p: torch.save({"state_dict": Touch(canary)}, p, _use_new_zipfile_serialization=False)
        ),
        "checkpoint that is a bomb": file(name, bomb),
        "checkpoint that is sparse": file(name, lambda p: sparse(p, 1 << 40, b"PK\x03\x04")),
        "checkpoint that is empty": file(name, b""),
        "checkpoint that is a pipe": file(name, os.mkfifo),
        "checkpoint that is a folder": file(name, Path.mkdir),
        "checkpoint that is a device": file(name, lambda p: p.symlink_to("/dev/zero")),
        "checkpoint that leads out": file(name, lambda p: p.symlink_to(canary.parent / "outside.ckpt")),
        **{
            f"checkpoint at {path!r:.30}": field("checkpoint", path)
            for path in (
                "../outside.ckpt",
                "/etc/passwd",
                "checkpoints/../../outside.ckpt",
                "a\0b",
                "",
                ".",
                "x" * 5000,
            )
        },
    }


def links(outside: Path) -> dict[str, Callable[[Path, Path], None]]:
    names = (
        "figures",
        "checkpoints",
        "evaluations",
        "wandb",
        "run.json",
        "metrics.csv",
        "config.yaml",
        ".lock",
        "figures/a.png",
    )

    def lead(name: str, to: str | Path) -> Callable[[Path, Path], None]:
        def spoil(folder: Path, _: Path) -> None:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            path.symlink_to(to)

        return spoil

    return {
        **{f"{name} leads out": lead(name, outside) for name in names},
        **{f"{name} in a circle": lead(name, Path(name).name) for name in ("figures", "run.json", "evaluations")},
        "run.json leads to a file of the system": lead("run.json", "/etc/passwd"),
        "metrics.csv is a pipe": file("metrics.csv", os.mkfifo),
        ".lock is a pipe": file(".lock", os.mkfifo),
        "config.yaml is a device": file("config.yaml", lambda p: p.symlink_to("/dev/zero")),
    }


FILES: dict[str, bytes | Callable[[Path], object]] = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "number": b"7",
    "text": b'"x"',
    "cut": b'{"schema": 1, "st',
    "zeros": bytes(99),
    "twice": b'{"schema": 1, "schema": 1}',
    "not UTF-8": b'{"schema": "\xff"}',
    "UTF-16": '{"schema": 1}'.encode("utf-16"),
    "deep": b"[" * 10**6,
    "deep mapping": b'{"a":' * 10**5,
    "digits": b'{"schema": ' + b"9" * 10**6 + b"}",
    "NaN": b'{"schema": NaN}',
    "infinite": b'{"schema": 1e999}',
    "large": b" " * 10**8,
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda p: p.symlink_to("/dev/zero"),
    "sparse": lambda p: sparse(p, 1 << 42, b"{"),
    "escape": b'{"\x1b[2J": 1}',
}


def cases(canary: Path, seed: int = 0) -> Iterator[Case]:
    """All of them, in a fixed order; the places of the calls are drawn."""
    draw = random.Random(seed)
    nodes = calls(canary)
    for number in range(len(nodes)):
        for place in ["encoder", *draw.sample(PLACES, 2)]:
            what = f"{nodes[number]['_target_']!r:.50} at config.{place}"
            yield Case(what, record(lambda content, c, n=number, p=place: put(content["config"], p, calls(c)[n])))
    for word in WORDS:
        for place in draw.sample(
            ("method.neuron", "data.root", "paths.cache", "kernels", "encoder._target_", "model.x"), 2
        ):
            yield Case(f"{word!r:.30} at config.{place}", field(f"config.{place}", word))
    for key in KEYS:
        place = draw.choice(("encoder", "method", "method.optimizer", "data"))
        yield Case(
            f"key {key!r} at config.{place}", field(f"config.{place}.{key}", [["os.system"], {"x": 1}][len(key) % 2])
        )
    for place in FIELDS:
        for name in draw.sample(sorted(VALUES), 2):
            yield Case(f"{place!r} is {name}", nested(place) if name == "deep" else field(place, VALUES[name]))
    for place, value in SIZES:
        yield Case(f"config.{place} = {value!r:.30}", field(f"config.{place}", value))
    for name, content in FILES.items():
        yield Case(f"run.json: {name}", file("run.json", content))
    for name, spoil in (checkpoints(canary) | links(canary.parent / "outside")).items():
        yield Case(name, spoil)


def good_run(folder: Path) -> Path:
    """A small run that is sound."""
    from snnlab.train import main

    assert main([*RUN, f"paths.output={folder}"]) == 0
    (run,) = folder.glob("2*")
    return run


ACTIONS = ("evaluate", "question", "load", "tables", "resume", "auto", "against", "values")


def act(action: str, run: Path, good: Path) -> Callable[[], object]:
    """What is asked of a folder."""
    import snnlab
    from snnlab.evaluate.__main__ import main as evaluate
    from snnlab.tables.__main__ import main as tables
    from snnlab.train import main as train

    return {
        "evaluate": lambda: evaluate([str(run)]),
        "question": lambda: evaluate([str(run), "spikes_over_time"]),
        "against": lambda: evaluate([str(good), "comparison", f"against={run}"]),
        "load": lambda: snnlab.load(run),
        "tables": lambda: tables([str(run.parent), "--metrics", "test/accuracy,fit_seconds"]),
        "resume": lambda: train([*RUN, f"resume={run}", f"paths.output={run.parent}"]),
        "auto": lambda: train([*RUN, "resume=auto", f"paths.output={run.parent}"]),
        "values": lambda: tables(["--values", str(run / "run.json"), "accuracy"]),
    }[action]


def try_all(chosen: list[tuple[Case, str]], base: Path, good: Path) -> list[Outcome]:
    """Make each folder, ask it, and say what came of it; canary and outside lie beside them in ``base``."""
    outcomes: list[Outcome] = []
    canary, outside = base / CANARY, base / "outside"
    for number, (case, action) in enumerate(chosen):
        home = base / f"{number:04d}"
        shutil.copytree(good, home / "outputs" / good.name, symlinks=True)
        outside.mkdir()
        for place in (base, home / "outputs"):
            shutil.copy(good / "checkpoints/epoch000.ckpt", place / "outside.ckpt")
        (home / "evil").mkdir()
        (home / "evil/__init__.py").write_text(f"open({str(canary)!r}, 'w')\n")
        (home / "evil/inner.py").write_text(f"open({str(canary)!r}, 'w')\n")
        run = home / "outputs" / good.name
        if action in ("resume", "auto"):
            content = json.loads((run / "run.json").read_text())
            (run / "run.json").write_text(json.dumps({**content, "status": "interrupted"}))
        case.spoil(run, canary)
        outcome = attempt(f"{action}: {case.name}", act(action, run, good), home, canary)
        if any(outside.iterdir()):
            outcome.faults.append("wrote outside")
        outcomes.append(outcome)
        canary.unlink(missing_ok=True)
        for folder in (home, outside):
            shutil.rmtree(folder, ignore_errors=True)
    return outcomes


def chosen(canary: Path, seed: int, only: str = "") -> list[tuple[Case, str]]:
    found = [(case, ACTIONS[number % len(ACTIONS)]) for number, case in enumerate(cases(canary, seed))]
    return [(case, action) for case, action in found if only in f"{action}: {case.name}"]


def tried(base: Path, seed: int, only: str) -> list[Outcome]:
    good = good_run(base / "good")
    return try_all(chosen(base / CANARY, seed, only), base, good)


if __name__ == "__main__":
    command(__doc__, tried)
