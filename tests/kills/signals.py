"""Stop a run, a sweep or one with loader processes by a signal, at moments spread over it, and go on with it.

usage: python tests/kills/signals.py [--moments N] [--only WORD ...]

However it is stopped it ends with 130 and one line, with a record that says interrupted where a run had begun, with
nothing half-written, and ``resume=auto`` brings it to the bits of a run that nobody stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from kills.kill import FEW, METHODS, different, outcome, run

LINES = {
    "stbp": METHODS["stbp"],
    "vdib": METHODS["vdib"],
    "loader processes": f"{METHODS['stbp']} data.num_workers=2",
    "sweep": f"-m {METHODS['stbp']} seed=0,1",
}
SIGNALS = {"SIGTERM": os.kill, "SIGINT": os.kill, "SIGINT to all": os.killpg}


def stopped(line: str, folder: Path, after: float, name: str, twin: dict[str, object] | None) -> str:
    """Say how a run that is stopped after so many seconds went wrong; "" where it did not."""

    def set_up() -> None:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        number, send = getattr(signal, name.split()[0]), SIGNALS[name]
        timer = threading.Timer(after, lambda: send(os.getpid(), number))
        timer.daemon = True
        timer.start()

    code, said = run(line, folder, set_up), (folder / "log.txt").read_text()
    states = [json.loads(path.read_text())["status"] for path in folder.rglob("run.json")]
    if "Traceback" in said or "ignored" in said:
        return f"it said {said[-300:]}"
    if left := [path.name for path in folder.rglob("*.part")]:
        return f"half-written: {left}"
    if code == 0 and set(states) == {"completed"}:
        return ""  # it was faster
    if code != 130 or not set(states) <= {"completed", "interrupted"} or states.count("interrupted") > 1:
        return f"it ended with {code}, and its records say {states}"
    if code := run(f"{line} resume=auto", folder):
        return f"resume ended with {code}"
    return "; ".join(different(twin, outcome(folder))) if twin else ""


def main() -> int:
    parser = argparse.ArgumentParser("tests/kills/signals.py", description=__doc__.split("\n")[0])
    parser.add_argument("--moments", type=int, default=12, help="of each run and signal")
    parser.add_argument("--only", nargs="*", default=[""], help="runs whose name holds one of these words")
    given, bad = parser.parse_args(), 0
    for module in ("lightning", "snnlab.runs.wiring", "snnlab.runs.resume", "snnlab.callbacks.figures", "numba"):
        __import__(module)
    with tempfile.TemporaryDirectory() as scratch:
        for name, own in LINES.items():
            if not any(word in name for word in given.only):
                continue
            line = f"{FEW} {own} callbacks.figures=true".replace("callbacks.figures=false ", "")
            for twin in ("first", "twin"):  # the first one compiles
                started = time.perf_counter()
                run(line, Path(scratch) / name / twin)
            seconds = time.perf_counter() - started
            expected = outcome(Path(scratch) / name / "twin") if name != "sweep" else None
            for way in SIGNALS:
                for moment in range(given.moments):
                    after = seconds * (moment + 0.5) / given.moments
                    said = stopped(line, Path(scratch) / name / f"{way} {moment}", after, way, expected)
                    bad += bool(said)
                    print(f"{name}: {way} after {after:.2f} s: {said or 'as it should'}", flush=True)
    print(f"{bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
