"""Run the golden set and keep its numbers, or hold them against those that were kept: ``make golden``.

usage: python tests/golden/record.py [FILE] [--write] [--only WORD ...] [--jobs N]

FILE is tests/golden/golden.json unless given. Without --write every number and every learned weight must equal FILE's
to the bit: that holds on the machine that wrote it, with its one thread. Numbers are those of run.json, metrics.csv and
evaluation.json, weights those of the chosen checkpoint, as a digest.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import re
import runpy
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from cases import CASES

STORED = Path(__file__).with_name("golden.json")


def run_case(name: str, cache: str | None = None) -> list[Any]:
    """Run the lines of a case in an empty folder; one entry a line: what its runs, or its answer, came to."""
    import torch

    torch.set_num_threads(1)
    real, here = os.environ.get("SNNLAB_DATA"), Path.cwd()
    with tempfile.TemporaryDirectory() as scratch, environment(WANDB_SILENT="true", SNNLAB_CACHE=cache):
        folder = Path(scratch)
        (folder / "no_data").mkdir()
        os.chdir(folder)
        try:
            with environment(SNNLAB_DATA=real if name.startswith("real_") else str(folder / "no_data")):
                return [line_result(line, folder) for line in CASES[name]]
        finally:
            os.chdir(here)


@contextlib.contextmanager
def environment(**values: str | None) -> Iterator[None]:
    """Set variables for a while; None leaves one as it is."""
    given = {key: value for key, value in values.items() if value is not None}
    before = {key: os.environ.get(key) for key in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)


def line_result(line: str, folder: Path) -> Any:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    folders = folder_order(folder)
    verb, *words = shlex.split(re.sub(r"\{(\d)\}", lambda m: str(folders[int(m.group(1))]), line))
    if verb == "evaluate":
        call("snnlab.evaluate", words)
    elif verb == "interrupt":
        with interrupted(int(words[0])):
            call("snnlab", words[1:], expected=130)
    else:
        call("snnlab", words)
    changed = sorted(path for path in folder.rglob("*.json") if before.get(path) != path.stat().st_mtime_ns)
    for path in changed:  # the order of the runs, for lines that name one
        if path.name == "run.json" and path.parent not in folders:
            with (folder / "order.txt").open("a") as file:
                file.write(f"{path.parent}\n")
    answers = [numbers(answer(path)) for path in changed if path.name == "evaluation.json"]
    records = [run_result(path.parent) for path in changed if path.name == "run.json"]
    return answers + sorted(records, key=lambda run: json.dumps([run["overrides"], run["seed"]]))


def folder_order(folder: Path) -> list[Path]:
    order = folder / "order.txt"
    return [Path(line) for line in order.read_text().splitlines()] if order.is_file() else []


def call(module: str, arguments: Sequence[str], expected: int = 0) -> None:
    """Run ``python -m module arguments`` in this process; raise RuntimeError when it ends with another exit code."""
    printed, outer = io.StringIO(), sys.argv
    sys.argv = [module, *arguments]
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            runpy.run_module(module, run_name="__main__", alter_sys=False)
        code: Any = 0
    except SystemExit as error:
        code = error.code or 0
    finally:
        sys.argv = outer
    if code != expected:
        raise RuntimeError(f"{module} {' '.join(arguments)} ended with {code}:\n{printed.getvalue()[-2000:]}")


@contextlib.contextmanager
def interrupted(epoch: int) -> Iterator[None]:
    """A Ctrl-C in the second batch of this epoch."""
    import lightning as L

    def stop(module: Any, batch: Any, batch_idx: int) -> None:
        if module.current_epoch == epoch and batch_idx == 1:
            raise KeyboardInterrupt

    before = L.LightningModule.on_train_batch_start
    L.LightningModule.on_train_batch_start = stop  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        L.LightningModule.on_train_batch_start = before  # type: ignore[method-assign]


def run_result(folder: Path) -> dict[str, Any]:
    """What a run came to: its metrics, its rows of metrics.csv and a digest of its weights."""
    content = json.loads((folder / "run.json").read_text())
    rows = (folder / "metrics.csv").read_text().splitlines() if (folder / "metrics.csv").is_file() else []
    kept = {key: content[key] for key in ("status", "method", "data", "seed", "parameters", "kernels", "metrics")}
    overrides = sorted(word for word in content["overrides"] if not word.startswith("resume"))
    result = {**kept, "overrides": overrides, "history": rows}
    if "checkpoint" in content:
        result["weights"] = weights(folder / content["checkpoint"])
    return result


def weights(path: Path) -> str:
    """A digest of every floating-point tensor of a checkpoint that holds more than one number, whatever its name."""
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    tensors = [value for value in state.values() if value.is_floating_point() and value.numel() > 1]
    digests = sorted(hashlib.sha256(t.double().contiguous().numpy().tobytes()).hexdigest() for t in tensors)
    return hashlib.sha256("".join(sorted(set(digests))).encode()).hexdigest()[:16]


def answer(path: Path) -> Any:
    content = json.loads(path.read_text())
    return content.get("values", content.get("metrics"))


def numbers(node: Any) -> Any:
    """The numbers of an answer: folders and other texts are left out."""
    if isinstance(node, dict):
        return {key: numbers(value) for key, value in node.items() if not isinstance(value, str)}
    return [numbers(value) for value in node if not isinstance(value, str)] if isinstance(node, list) else node


def differences(kept: Any, found: Any, path: str = "") -> list[str]:
    """Every place where two results differ, in words."""
    if isinstance(kept, dict) and isinstance(found, dict):
        keys = sorted({*kept, *found})
        return [d for key in keys for d in differences(kept.get(key), found.get(key), f"{path}/{key}")]
    if isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        return [d for i, (a, b) in enumerate(zip(kept, found, strict=True)) for d in differences(a, b, f"{path}/{i}")]
    return [] if kept == found else [f"{path}: {kept!r} was kept, {found!r} was found"]


def machine() -> dict[str, Any]:
    import torch

    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()) if sys.platform == "linux" else None
    cpu = found.group(1) if found else platform.machine()
    return {"cpu": cpu, "threads": 1, "torch": torch.__version__, "python": platform.python_version()}


def main() -> int:
    parser = argparse.ArgumentParser("tests/golden/record.py", description=__doc__.split("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=STORED)
    parser.add_argument("--write", action="store_true", help="keep what is found")
    parser.add_argument("--only", nargs="*", default=[""], help="cases whose name holds one of these words")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    chosen = [name for name in CASES if any(word in name for word in given.only)]
    if not os.environ.get("SNNLAB_DATA"):
        skipped = [name for name in chosen if name.startswith("real_")]
        chosen = [name for name in chosen if name not in skipped]
        print(f"SNNLAB_DATA is not set: {len(skipped)} cases on real data are left out")
    os.environ["OMP_NUM_THREADS"] = "1"
    kept = json.loads(given.file.read_text()) if given.file.is_file() else {"cases": {}}
    found: dict[str, Any] = {}
    bad = 0
    with (
        tempfile.TemporaryDirectory() as cache,
        ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool,
    ):
        cache = os.environ.get("SNNLAB_CACHE", cache)
        jobs = {pool.submit(run_case, name, cache): name for name in chosen}
        for job in as_completed(jobs):
            name = jobs[job]
            try:
                found[name] = json.loads(json.dumps(job.result()))
            except Exception as error:
                bad += 1
                print(f"{name}: {error}")
                continue
            if given.write:
                print(f"{name}: kept")
                continue
            other = differences(kept["cases"].get(name), found[name])
            bad += bool(other)
            print(f"{name}: {'equal to the bit' if not other else f'{len(other)} numbers differ'}")
            print("".join(f"  {line[:240]}\n" for line in other[:12]), end="", flush=True)
    if given.write and not bad:
        cases = {**kept["cases"], **found}
        text = json.dumps({"machine": machine(), "cases": {n: cases[n] for n in CASES if n in cases}}, indent=1)
        given.file.write_text(text + "\n")
    print(f"{len(found)} cases, {bad} differ or failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
