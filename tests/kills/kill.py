"""Kill a run where it hurts, go on with ``resume=auto``, and hold what comes out against a run that nobody killed.

usage: python tests/kills/kill.py [--only WORD ...]

Every line is a method and a moment; a run comes to the bits of its twin when every number of its last checkpoint
(weights, optimizers, schedulers, rows), metrics.csv, and the metrics, memory and kernels of run.json are equal, and
nothing half-written is left. Each run is a process of its own, forked once the libraries have been imported.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FEW = (
    "logger=none callbacks.progress=false callbacks.figures=false trainer.max_epochs=3 data.batch_size=50 "
    "trainer.limit_train_batches=4 trainer.limit_val_batches=2 trainer.limit_test_batches=2"
)
DIGITS = "data=digits"
METHODS = {
    "stbp": f"method=stbp {DIGITS} model.hidden=[16] encoder.time_steps=4",
    "bntt": f"method=bntt {DIGITS} encoder.time_steps=4",
    "spike_bp": f"method=spike_bp {DIGITS} encoder.time_steps=6",
    "ottt": f"method=ottt {DIGITS} encoder.time_steps=3",
    "ann": f"method=ann {DIGITS} model.dropout=0",
    "conversion": f"method=conversion {DIGITS} method.calibration=50 method.run={{ann}}",
    "ssnn_bp": f"method=ssnn_bp {DIGITS} encoder.time_steps=10",
    "vdib": f"method=vdib {DIGITS} method.warmup=1 method.n_out=16 encoder.time_steps=5",
    "fptt": f"method=fptt {DIGITS} model.hidden=[16]",
    "sparse_bp": f"method=sparse_bp {DIGITS} encoder.time_steps=20",
    "multispike_fast_deep": f"method=multispike_fast_deep {DIGITS} model.hidden=[16]",
    "eventprop": f"method=eventprop {DIGITS} model.hidden=[16] method.input_dropout=0.2",
    "multispike_timing": f"method=multispike_timing {DIGITS} model.hidden=[16]",
    "biolcnet": f"method=biolcnet {DIGITS} model.hidden=[10] encoder.time_steps=30 method.stdp_samples=500",
    "desire_bp": f"method=desire_bp {DIGITS} model.hidden=[16] model.dropout=0.3",
    "blitnet": f"method=blitnet {DIGITS} method.noise=0.1",
    "vdsp": f"method=vdsp {DIGITS} method.neurons=10 encoder.time_steps=10 method.label_samples=100",
    "burstccn": f"method=burstccn {DIGITS}",
    "variational_spin": "method=variational_spin data=transverse_ising method.samples=200",
    "memprop": f"method=memprop {DIGITS} encoder.time_steps=10",
    "pal": f"method=pal {DIGITS} model.hidden=[8]",
}
MORE = {  # what a resume may forget, each beside a kill in the middle of an epoch
    "rewired, accumulated": "experiment=ahp_store_recall_rewired trainer.accumulate_grad_batches=3 model.hidden=[24] "
    "data.train_sequences=128 data.val_sequences=32 data.test_sequences=32 data.batch_size=16",
    "accumulated over 3 of 4": f"{METHODS['stbp']} trainer.accumulate_grad_batches=3",
    "validated every 2nd epoch": f"{METHODS['stbp']} trainer.check_val_every_n_epoch=2 trainer.max_epochs=4",
    "loader processes": f"{METHODS['stbp']} data.num_workers=2",
    "ema baseline": f"method=vdib {DIGITS} method.warmup=1 method.n_out=8 encoder.time_steps=5 method.baseline=ema "
    "method.samples=1 method.kl=sampled method.score=mean method.signal_memory=0.5 data.batch_size=5",
}
CHIP = f"method=stbp {DIGITS} model.hidden=[16] encoder=rate encoder.time_steps=4 method.bias=false method.reset=soft"
TARGETS = {  # states and weights of a target are there again, too
    f"under {target}": f"{CHIP} hardware={target} {more}".strip()
    for target, more in {
        "ternary": "",
        "loihi2": "",
        "rpu": "hardware.device_options={stuck:0.05}",
        "memristor": "",
        "brainscales2": "hardware.sampling=false",
        "xylo": "",
    }.items()
}
Injection = Callable[[], None]
EPOCH = 1  # whose checkpoint, or the batch of which, the kill comes in


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def alone(path: Any) -> bool:
    """Whether the run that this belongs to has one epoch only, as one that does not train."""
    return "_conversion_" in str(path)


def half_a_checkpoint(whole_name: bool = False) -> None:
    """Die when half of a checkpoint is written; with ``whole_name`` under its last name, as after a power cut."""
    replace = os.replace

    def cut(source: Any, target: Any) -> None:
        if str(target).endswith("epoch000.ckpt" if alone(target) else f"epoch{EPOCH:03d}.ckpt"):
            os.truncate(source, os.path.getsize(source) // 2)
            if whole_name:
                replace(source, target)
            die()
        replace(source, target)

    os.replace = cut  # type: ignore[assignment]


def broken_checkpoint() -> None:
    half_a_checkpoint(whole_name=True)


def other_file_system() -> None:
    """TMPDIR lies in memory, where nothing of a checkpoint may go."""
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="snnlab-kills-", dir="/dev/shm")
    half_a_checkpoint()


def after_metrics() -> None:
    """Die when metrics.csv knows an epoch that no checkpoint has."""
    from snnlab.callbacks.history import History

    write = History.write

    def once(self: Any) -> None:
        write(self)
        if self.last >= EPOCH or alone(self.folder):
            die()

    History.write = once  # type: ignore[method-assign]


def in_test() -> None:
    """Die in the second batch of the test."""
    import lightning as L

    def hook(module: Any, batch: Any, batch_idx: int, *_: Any) -> None:
        if batch_idx == 1:
            die()

    L.LightningModule.on_test_batch_start = hook  # type: ignore[assignment, method-assign]


def sigterm() -> None:
    """SIGTERM in the second batch of an epoch, or of the validation of what does not train."""
    import lightning as L

    def hook(module: Any, batch: Any, batch_idx: int, *_: Any) -> None:
        there = not module.trains or module.current_epoch == EPOCH
        if batch_idx == 1 and there and not module.trainer.sanity_checking:
            os.kill(os.getpid(), signal.SIGTERM)

    L.LightningModule.on_train_batch_start = hook  # type: ignore[assignment, method-assign]
    L.LightningModule.on_validation_batch_start = hook  # type: ignore[assignment, method-assign]


def in_pictures() -> None:
    """Die when the first picture is saved."""
    from snnlab.callbacks.figures import Figures

    save = Figures.save

    def once(self: Any, *arguments: Any) -> Any:
        save(self, *arguments)
        die()

    Figures.save = once  # type: ignore[method-assign]


KILLS: dict[str, Injection] = {
    "mid-checkpoint": half_a_checkpoint,
    "between checkpoint and metrics.csv": after_metrics,
    "across file systems": other_file_system,
    "SIGTERM": sigterm,
    "during test": in_test,
    "during pictures": in_pictures,
}


def run(line: str, folder: Path, inject: Injection | None = None, log: Path | None = None) -> int:
    """Run ``python -m snnlab`` in a process of its own; return its exit code, or minus the signal that ended it.

    What it says goes to ``log``, default log.txt in its folder.
    """
    import shlex

    folder.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if not child:
        code = 99
        try:
            os.chdir(folder)
            with open(log or "log.txt", "a") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            if inject is not None:
                inject()
            from snnlab.train import main

            code = main(shlex.split(line))
            sys.stdout.flush()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def outcome(folder: Path) -> dict[str, Any]:
    """All that has to be equal of the one run below a folder, by name."""
    import torch

    (path,) = folder.glob("outputs/*/run.json")
    content, last = json.loads(path.read_text()), max(path.parent.glob("checkpoints/epoch*.ckpt"))
    stored = torch.load(last, map_location="cpu", weights_only=True)
    names = ("state_dict", "optimizer_states", "lr_schedulers", "vdib", "angles", "global_step")
    found = {name: stored.get(name) for name in names}
    found |= {key: content[key] for key in ("status", "metrics", "memory", "kernels", "checkpoint")}
    history = stored["callbacks"]["History"]
    found |= {"rows": history["rows"], "samples": history["samples"], "epochs": content["timing"]["epochs"]}
    found["metrics.csv"] = (path.parent / "metrics.csv").read_text()
    found["checkpoints"] = sorted(each.name for each in path.parent.glob("checkpoints/*"))
    found["half-written"] = sorted(each.name for each in path.parent.rglob("*.part"))
    return found


def different(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """The places where two outcomes differ."""
    import torch

    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from different(one.get(key), other.get(key), f"{path}/{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from different(a, b, f"{path}/{i}")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.shape != other.shape or not torch.equal(one.nan_to_num(), other.nan_to_num()):
            yield path
    elif one != other and not (one != one and other != other):
        yield f"{path}: {str(one)[:60]} | {str(other)[:60]}"


def killed(line: str, folder: Path, inject: Injection, twin: dict[str, Any], figures: bool = False) -> str:
    """Kill a run, go on with it, and say how it differs from its twin; "" where it does not."""
    line += " callbacks.figures=true" if figures else ""
    code = run(line, folder, inject)
    if code not in (-signal.SIGKILL, 130):
        return f"was not killed, it ended with {code}"
    scored = [json.loads(path.read_text())["metrics"]["test"] for path in folder.glob("outputs/*/run.json")]
    code = run(f"{line} resume=auto", folder)
    if code:
        return f"resume ended with {code}: {(folder / 'log.txt').read_text()[-300:]}"
    found = list(different(twin, outcome(folder)))
    if figures and not any(scored):
        found.append("the test was not in the record before the pictures")
    return "; ".join(found)


def cases(words: list[str]) -> Iterator[tuple[str, str, str, Injection]]:
    """Name, command line, kill."""
    for name, line in METHODS.items():
        for kill, inject in KILLS.items():
            if any(word in f"{name}: {kill}" for word in words):
                yield name, line, kill, inject
    for name, line in {**MORE, **TARGETS}.items():
        more = {"SIGTERM": sigterm, "broken checkpoint": broken_checkpoint}
        for kill, inject in more.items():
            if any(word in f"{name}: {kill}" for word in words):
                yield name, line, kill, inject


def check(words: list[str], root: Path, told: Callable[[str], None] = print) -> int:
    """Try every case whose name holds one of ``words``; return how many differ."""
    for module in ("lightning", "snnlab.runs.wiring", "snnlab.runs.resume", "snnlab.callbacks.figures", "numba"):
        __import__(module)
    twins: dict[str, dict[str, Any]] = {}
    bad = 0
    for name, line, kill, inject in cases(words):
        started = time.perf_counter()
        if "{ann}" in line:
            if not (root / "ann_for_conversion").exists():
                run(f"{FEW} {METHODS['ann']}", root / "ann_for_conversion")
            (path,) = (root / "ann_for_conversion").glob("outputs/*/run.json")
            line = line.format(ann=path.parent)
        keys = {word.split("=")[0] for word in line.split()}
        line = " ".join([*(word for word in FEW.split() if word.split("=")[0] not in keys), line])
        place = root / name.replace(" ", "_").replace(",", "")
        if name not in twins:
            if code := run(line, place / "twin"):
                told(f"{name}: the twin ended with {code}: {(place / 'twin/log.txt').read_text()[-300:]}")
                bad += 1
                continue
            twins[name] = outcome(place / "twin")
        words_of = kill.replace(" ", "_")
        said = killed(line, place / words_of, inject, twins[name], kill == "during pictures")
        bad += bool(said)
        told(f"{name}: {kill}: {said or 'the bits of its twin'} ({time.perf_counter() - started:.1f} s)")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser("tests/kills/kill.py", description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=[""], help="cases whose name holds one of these words")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bad = check(given.only, Path(scratch), lambda line: print(line, flush=True))
    print(f"{bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
