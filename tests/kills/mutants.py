"""Damage what a run keeps - checkpoints, config.yaml and run.json, caches - and see that no wrong number comes of it.

usage: python tests/kills/mutants.py [--each 8] [--seed 0] [--only WORD ...]

After every damage, each with its own draw, the command that reads the file is given again. It holds where it comes to
the bits of its twin, or ends in one line with exit code 1 or 2; and where nothing of the file was executed.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from data.test_folder import pictures
from kills.kill import FEW, METHODS, different, outcome, run
from kills.midway import OFTEN, at_batch
from snnlab.methods.vdib import judge

FILMS = "data=mnist_dvs data.source=simulated data.train_films=40 data.val_films=20 data.test_films=20"
VDIB = f"method=vdib {FILMS} data.time_steps=10 data.batch_size=10 model.hidden=[8] method.n_out=8 method.warmup=1"
Damage = Callable[[Path, random.Random], None]


class Executed:
    """A pickle that makes a file where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


# of any file ---------------------------------------------------------------------------------------------------------
def bit_flip(path: Path, source: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[source.randrange(len(content))] ^= 1 << source.randrange(8)
    path.write_bytes(content)


def cut(path: Path, source: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: source.randrange(path.stat().st_size)])


def zeros(path: Path, source: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start = source.randrange(len(content))
    content[start : start + 512] = bytes(len(content[start : start + 512]))
    path.write_bytes(content)


def executed(path: Path, source: random.Random) -> None:
    path.write_bytes(pickle.dumps(Executed(path.parents[1] / "executed")))


ANY: dict[str, Damage] = {"a bit": bit_flip, "cut": cut, "zeros": zeros, "a pickle": executed}


# of checkpoints ------------------------------------------------------------------------------------------------------
def changed(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(path: Path, source: random.Random) -> None:
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    return damage


def weights(change: Callable[[torch.Tensor], Any]) -> Damage:
    return changed(lambda c: c["state_dict"].update({k: change(v) for k, v in c["state_dict"].items()}))


def swapped(other: str) -> Damage:
    """With the file of the same name of another run, or of another epoch of this one."""

    def damage(path: Path, source: random.Random) -> None:
        (path_,) = path.parents[4].glob(f"{other}/outputs/*/{path.parent.name}/{path.name}")
        shutil.copyfile(path_, path)

    return damage


def of_another_epoch(path: Path, source: random.Random) -> None:
    shutil.copyfile(path.with_name("epoch000.ckpt"), path)


CHECKPOINT: dict[str, Damage] = {
    **ANY,
    "other dtype": weights(lambda v: v.half()),
    "other shape": weights(lambda v: v.reshape(-1)[:1]),
    "other names": changed(lambda c: c.update(state_dict={f"x{k}": v for k, v in c["state_dict"].items()})),
    "text for weights": weights(lambda _: "x"),
    "no optimizer": changed(lambda c: c.pop("optimizer_states")),
    "another optimizer": changed(lambda c: c.update(optimizer_states=[{"state": {}, "param_groups": []}])),
    "no loops": changed(lambda c: c.update(loops={})),
    "no rows": changed(lambda c: c["callbacks"]["History"].update(rows=[])),
    "rows of text": changed(lambda c: c["callbacks"]["History"].update(rows="x")),
    "lists for callbacks": changed(lambda c: c.update(callbacks={k: [1] for k in c["callbacks"]})),
    "another seed's": swapped("seed"),
    "another method's": swapped("method"),
    "of another epoch": of_another_epoch,
}


# of caches -----------------------------------------------------------------------------------------------------------
def of_another(path: Path, source: random.Random) -> None:
    """With another file of its kind, where there is one."""
    others = [other for other in path.parents[1].rglob(f"*{path.suffix}") if other != path]
    if others:
        shutil.copyfile(source.choice(sorted(others)), path)


CACHE: dict[str, Damage] = {**ANY, "another's": of_another}


# of records ----------------------------------------------------------------------------------------------------------
def text(old: str, new: str) -> Damage:
    def damage(path: Path, source: random.Random) -> None:
        path.write_text(path.read_text().replace(old, new))

    return damage


def of_run(other: str) -> Damage:
    def damage(path: Path, source: random.Random) -> None:
        (path_,) = path.parents[3].glob(f"{other}/outputs/*/{path.name}")
        shutil.copyfile(path_, path)

    return damage


RECORD: dict[str, Damage] = {
    **{name: damage for name, damage in ANY.items() if name != "a pickle"},
    "another seed's": of_run("seed"),
    "another method's": of_run("method"),
    "another seed": text('"seed": 0', '"seed": 3'),
    "another class": text("torch.optim.Adam", "os.system"),
    "text for numbers": text("0.01", '"x"'),
}


class Ground:
    """The runs that are damaged: each case gets a copy of one, and of the cache."""

    def __init__(self, root: Path) -> None:
        self.root = root
        own = {word.split("=")[0] for word in METHODS["stbp"].split()}
        few = " ".join(word for word in FEW.split() if word.split("=")[0] not in own)
        self.line, self.films = f"{few} {METHODS['stbp']} {OFTEN}", f"{few.replace('data.batch_size=50 ', '')} {VDIB}"
        stop = at_batch("on_train_batch_start", 2, 3)
        for name, line in {
            "killed": self.line,
            "seed": f"{self.line} seed=3",
            "method": f"{few} {METHODS['ottt']} {OFTEN}",
        }.items():
            run(line, root / name, stop)
        run(self.line, root / "whole")
        os.environ["SNNLAB_CACHE"] = str(root / "cache")
        run(self.films, root / "films")
        own = few.replace("data.batch_size=50", "data.batch_size=4")
        self.own = f"{own} method=stbp data=folder data.folder={pictures(root / 'mine')} model.hidden=[8]"
        run(self.own, root / "own")
        self.twins = {name: outcome(root / name) for name in ("whole", "films", "own")}
        self.twins["killed"], self.hash = self.twins["whole"], self.hash_of(root / "own")
        self.test = self.twins["killed"]["metrics"]["test"]

    def copy(self, name: str, place: Path) -> Path:
        shutil.copytree(self.root / name, place)
        (folder,) = place.glob("outputs/*")
        return folder

    def cases(self, each: int) -> Iterator[tuple[str, Callable[[Path, random.Random], str]]]:
        """Name, and what makes the damage in a folder and says what came of it."""
        for file in ("epoch001.ckpt", "midway.ckpt"):
            for name, damage in CHECKPOINT.items():
                for i in range(each if name in ANY else 1):
                    yield f"{file}: {name} {i}", self.resumed(f"checkpoints/{file}", damage)
        for name, damage in CHECKPOINT.items():
            if name not in ("another seed's", "another method's", "of another epoch", "no optimizer", "no loops"):
                yield f"evaluate, the checkpoint: {name}", self.evaluated("checkpoints", damage)
        for file in ("run.json", "config.yaml"):
            for name, damage in RECORD.items():
                for i in range(each if name in ANY else 1):
                    yield f"{file}: {name} {i}", self.resumed(file, damage)
                    yield f"evaluate, {file}: {name} {i}", self.evaluated(file, damage)
        for kind in ("films", "frames", "judges", "checked", "images", "kernels"):
            for name, damage in CACHE.items():
                for i in range(each):
                    yield f"cache, {kind}: {name} {i}", self.from_cache(kind, damage)

    def resumed(self, file: str, damage: Damage) -> Callable[[Path, random.Random], str]:
        def case(place: Path, source: random.Random) -> str:
            damage(self.copy("killed", place) / file, source)
            code = run(f"{self.line} resume=auto", place)
            if code:
                return self.line_of(place, code)
            runs = sorted(place.glob("outputs/*/run.json"))
            done = [path for path in runs if '"completed"' in path.read_text(errors="replace")]
            if not done:
                return "it ended with 0, and no run is completed"
            for path in runs:
                if path != done[-1]:
                    shutil.rmtree(path.parent)
            return "; ".join(different(self.twins["killed"], outcome(place)))

        return case

    def evaluated(self, file: str, damage: Damage) -> Callable[[Path, random.Random], str]:
        def case(place: Path, source: random.Random) -> str:
            folder = self.copy("whole", place)
            path = folder / file
            if file == "checkpoints":
                path = folder / json.loads((folder / "run.json").read_text())["checkpoint"]
            damage(path, source)
            code = run(f"{folder}", place, lambda: use("snnlab.evaluate.__main__"))
            if code:
                return self.line_of(place, code)
            (answer,) = folder.glob("evaluations/*/evaluation.json")
            return "; ".join(different(self.test, json.loads(answer.read_text())["metrics"]["test"]))

        return case

    def from_cache(self, kind: str, damage: Damage) -> Callable[[Path, random.Random], str]:
        def case(place: Path, source: random.Random) -> str:
            place.mkdir()
            shutil.copytree(self.root / "cache", place / "cache")
            files = [p for p in (place / "cache" / kind).rglob("*") if p.is_file() and p.stat().st_size > 64]
            damage(source.choice(sorted(files)), source)
            os.environ["SNNLAB_CACHE"] = str(place / "cache")
            twin = "own" if kind in ("checked", "images") else "films"
            code = run(self.own if twin == "own" else self.films, place)
            if code:
                return self.line_of(place, code)
            found = list(different(self.twins[twin], outcome(place)))
            found += ["another hash of the data"] if twin == "own" and self.hash_of(place) != self.hash else []
            return "; ".join(found)

        return case

    def hash_of(self, place: Path) -> str:
        """The hash of the data of the one run below a folder."""
        (path,) = place.glob("outputs/*/run.json")
        return str(json.loads(path.read_text())["provenance"]["hash"])

    def line_of(self, place: Path, code: int) -> str:
        """What is wrong with how a command ended that did not come to its end."""
        said = (place / "log.txt").read_text()
        if code not in (1, 2) or "Traceback" in said:
            return f"it ended with {code}: {said[-400:]}"
        return ""


def use(module: str) -> None:
    """Let ``run`` call another command."""
    import importlib

    import snnlab.train

    snnlab.train.main = importlib.import_module(module).main


def check(each: int, seed: int, words: list[str], root: Path, told: Callable[[str], None] = print) -> int:
    """Try every case whose name holds one of ``words``; return how many went wrong."""
    for module in ("lightning", "snnlab.runs.wiring", "snnlab.runs.resume", "snnlab.evaluate.ask", "numba"):
        __import__(module)
    judge.MOST_EPOCHS = 1  # it is trained again whenever it was damaged
    ground = Ground(root / "ground")
    chosen = [case for case in ground.cases(each) if any(word in case[0] for word in words)]
    bad, of_kind = 0, Counter[str]()
    for count, (name, case) in enumerate(chosen, 1):
        started, place = time.perf_counter(), root / "ground" / f"case{count}"
        said = case(place, random.Random(f"{seed} {name}"))
        said += "; it was executed" * any(True for _ in place.rglob("executed"))
        ended = (place / "log.txt").read_text().strip().rpartition("\n")[2]
        shutil.rmtree(place)
        bad, kind = bad + bool(said), re.split(r"[:,] ", name)[0]
        of_kind[kind] += 1
        came = f"{said or 'holds'} ({time.perf_counter() - started:.1f} s)"
        told(f"{count}/{len(chosen)}, {bad} wrong: {name}: {came} | {ended[:150]}")
    told(", ".join(f"{kind} {number}" for kind, number in of_kind.items()))
    told(f"{bad} of {count} went wrong")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser("tests/kills/mutants.py", description=__doc__.split("\n")[0])
    parser.add_argument("--each", type=int, default=4, help="damages of a kind that chance has a part in")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[""], help="cases whose name holds one of these words")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        return bool(check(given.each, given.seed, given.only, Path(scratch), lambda line: print(line, flush=True)))


if __name__ == "__main__":
    sys.exit(main())
