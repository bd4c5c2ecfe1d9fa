"""Let the disk of a run, of its cache or of W&B be full at every size, free it, and hold the run against one with room.

usage: python tests/kills/disks.py [--only WORD ...]     as root: it mounts file systems in memory

A run whose outputs lie there ends in one line with exit code 1 and nothing half-written, and ``resume=auto`` brings it
to the bits of its twin once there is space; where its cache or W&B's files lie there, it comes to them at once.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from kills.kill import FEW, METHODS, different, outcome, run

FILMS = "data=mnist_dvs data.source=simulated data.train_films=60 data.val_films=20 data.test_films=20"
LINES = {
    "stbp": METHODS["stbp"],
    "vdib": METHODS["vdib"],
    "films": f"method=vdib {FILMS} method.n_out=8 method.warmup=1",
}
PLACES = {  # what lies on the small disk, and the KiB that it has
    "outputs": (8, 16, 32, 64, 100, 160, 240, 320, 500),
    "cache": (4, 16, 64, 256, 1024),
    "wandb": (8, 150),
}


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Callable[[], object]]:
    """A file system of so many KiB at ``place``; calling what is yielded gives it room."""

    def mount(*words: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", *words, "tmpfs", str(place)], check=True)

    place.mkdir(parents=True)
    mount(f"size={size}k")
    try:
        yield lambda: mount(f"remount,size={2**20}k")
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # W&B may still be at it


def tried(line: str, what: str, size: int, root: Path, twin: dict[str, object]) -> str:
    """Say how a run beside a full disk went wrong; "" where it did not."""
    place, log = root / "disk", root / "log.txt"
    folder = place if what == "outputs" else root / "run"
    variables = {"cache": "SNNLAB_CACHE", "wandb": "WANDB_DIR"}

    def set_up() -> None:
        if what in variables:
            os.environ[variables[what]] = str(place)

    with small_disk(place, size) as give_room:
        code = run(line, folder, set_up, log)
        said, lines = log.read_text(), log.read_text().splitlines()
        if "Traceback" in said or "ignored" in said:
            return f"it said {said[-300:]}"
        if left := [path.name for path in root.rglob("*.part")]:
            return f"half-written: {left}"
        if code and (what != "outputs" or code != 1 or "disk full while writing" not in lines[-1]):
            return f"it ended with {code}: {lines[-1]}"
        if code:
            give_room()
            code = run(f"{line} resume=auto", folder, set_up, log)
        return f"resume ended with {code}" if code else "; ".join(different(twin, outcome(folder)))


def main() -> int:
    parser = argparse.ArgumentParser("tests/kills/disks.py", description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=[""], help="cases whose name holds one of these words")
    words, bad = parser.parse_args().only, 0
    for module in ("lightning", "snnlab.runs.wiring", "snnlab.runs.resume", "snnlab.callbacks.figures", "numba"):
        __import__(module)
    with tempfile.TemporaryDirectory() as scratch:
        twins: dict[str, dict[str, object]] = {}
        for name, what, size in [(n, w, s) for n in LINES for w, sizes in PLACES.items() for s in sizes]:
            if not any(word in f"{name}: {what}" for word in words):
                continue
            own = {word.split("=")[0] for word in LINES[name].split()} | {"callbacks.figures", "logger"}
            line = " ".join([word for word in FEW.split() if word.split("=")[0] not in own] + [LINES[name]])
            line += " callbacks.figures=true " + ("logger.mode=offline" if what == "wandb" else "logger=none")
            if name not in twins:
                run(line, Path(scratch) / name / "twin")
                twins[name] = outcome(Path(scratch) / name / "twin")
            said = tried(line, what, size, Path(scratch) / name / f"{what}{size}", twins[name])
            bad += bool(said)
            print(f"{name}: {what} on {size} KiB: {said or 'the bits of its twin'}", flush=True)
    print(f"{bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
