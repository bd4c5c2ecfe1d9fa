"""SIGKILL runs at random steps, go on with ``resume=auto``, and hold what comes out against runs that nobody killed.

usage: python tests/kills/midway.py [--runs 50] [--seed 0] [--only WORD ...]

Every method and every target has its turn, one after the other; each run saves after every second batch and dies at a
random moment: at one of its training batches, in one of a validation, or when half of a checkpoint is written.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from kills.kill import FEW, METHODS, MORE, TARGETS, Injection, die, different, outcome, run

EPOCHS, BATCHES, VALIDATED = 3, 4, 2  # as in FEW
OFTEN = "callbacks.checkpoint_batches=2"
TRAINED = {name: line for name, line in METHODS.items() if name != "conversion"}  # which takes its weights as they are
TRAINED |= {name: MORE[name] for name in ("accumulated over 3 of 4", "loader processes")} | TARGETS


def at_batch(hook: str, epoch: int, batch: int, number: int = signal.SIGKILL) -> Injection:
    """Send a signal when a batch begins, of training or of validation."""

    def inject() -> None:
        import lightning as L

        def there(module: Any, _: Any, batch_idx: int, *__: Any) -> None:
            if module.trainer.state.fn == "fit" and (module.current_epoch, batch_idx) == (epoch, batch):
                os.kill(os.getpid(), number)

        setattr(L.LightningModule, hook, there)

    return inject


def half_written(count: int) -> Injection:
    """Die when half of the checkpoint of this number, of all that are written, is there."""

    def inject() -> None:
        replace, seen = os.replace, [0]

        def cut(source: Any, target: Any) -> None:
            seen[0] += str(target).endswith(".ckpt")
            if seen[0] == count:
                os.truncate(source, os.path.getsize(source) // 2)
                die()
            replace(source, target)

        os.replace = cut  # type: ignore[assignment]

    return inject


def moment(source: random.Random) -> tuple[str, Injection]:
    """A random one, in words too."""
    kind, epoch = source.choice(["train"] * 4 + ["validation", "half"]), source.randrange(EPOCHS)
    if kind == "half":
        count = source.randrange(1, EPOCHS * BATCHES // 2 - 1)
        return f"checkpoint {count} half-written", half_written(count)
    if kind == "validation":
        batch = source.randrange(VALIDATED)
        return f"epoch {epoch}, validation batch {batch}", at_batch("on_validation_batch_start", epoch, batch)
    batch = source.randrange(BATCHES)
    return f"epoch {epoch}, batch {batch}", at_batch("on_train_batch_start", epoch, batch)


def check(runs: int, seed: int, words: list[str], root: Path, told: Callable[[str], None] = print) -> int:
    """Kill so many runs; return how many do not come to the bits of their twins."""
    for module in ("lightning", "snnlab.runs.wiring", "snnlab.runs.resume", "snnlab.callbacks.figures", "numba"):
        __import__(module)
    names = [name for name in TRAINED if any(word in name for word in words)]
    twins: dict[str, dict[str, Any]] = {}
    source, bad = random.Random(seed), 0
    for i in range(runs):
        name, started = names[i % len(names)], time.perf_counter()
        own = {word.split("=")[0] for word in TRAINED[name].split()}
        line = " ".join([*(word for word in FEW.split() if word.split("=")[0] not in own), TRAINED[name]])
        if name not in twins:
            if code := run(line, root / f"{name} twin"):
                told(f"{name}: the twin ended with {code}")
                return runs
            twins[name] = outcome(root / f"{name} twin")
        words_, inject = moment(source)
        folder = root / f"{name} {i}"
        code = run(f"{line} {OFTEN}", folder, inject)
        if code == -signal.SIGKILL:
            code = run(f"{line} {OFTEN} resume=auto", folder)
            said = f"resume ended with {code}" if code else "; ".join(different(twins[name], outcome(folder)))
        else:
            said = f"was not killed, it ended with {code}"
        bad += bool(said)
        told(f"{name}: {words_}: {said or 'the bits of its twin'} ({time.perf_counter() - started:.1f} s)")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser("tests/kills/midway.py", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[""], help="methods whose name holds one of these words")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bad = check(given.runs, given.seed, given.only, Path(scratch), lambda line: print(line, flush=True))
    print(f"{bad} of {given.runs} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
