"""Two processes against one, for every method: 20 steps of one epoch, then weights, counters and test accuracy.

    python tests/ranks/compare.py [CASE ...]      prints the table of docs/distributed.md

A batch has 65 samples, the last one 62, so that the processes have shares of different sizes; the three batches of the
test are an odd number. Rates are drawn: the processes draw the numbers that one process draws.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
FEW = "logger=none callbacks.progress=false callbacks.figures=false callbacks.health=false kernels=step "
FEW += "trainer.max_epochs=1 trainer.accelerator=cpu model.hidden=[16] data.batch_size=65 trainer.limit_val_batches=2 "
FEW += "trainer.limit_test_batches=3"
DIGITS = "data=digits encoder=direct encoder.time_steps=4 "
BLOBS = "data=drifting_blobs model.hidden=[8] data.batch_size=5 data.train_sequences=97 data.val_sequences=15 "
BLOBS += "data.test_sequences=15 data.steps_train=10 data.steps_test=10 method.warmup=5 "
DOUBLE = "trainer.precision=64-true"  # in 32 bits a sum taken apart may turn a spike, and all that follows
CASES = {  # by what the table calls it; a method's own config comes first
    "stbp": f"method=stbp {DIGITS}",
    "stbp, rates, dropout": f"method=stbp {DIGITS} encoder=rate model.dropout=0.2",
    "stbp, clipped, two batches a step": f"method=stbp {DIGITS} trainer.gradient_clip_val=0.1 "
    "trainer.accumulate_grad_batches=2",
    "stbp, homeostasis": f"method=stbp {DIGITS} "
    "method.regularizer={_target_:snnlab.regularizers.homeostasis.Homeostasis}",
    "stbp, rewiring": f"method=stbp {DIGITS} method.rewiring={{_target_:snnlab.weights.deep_rewiring.DeepRewiring}}",
    "stbp, int8": f"method=stbp {DIGITS} hardware=int8",
    "stbp, memristor": f"method=stbp {DIGITS} hardware=memristor",
    "ann": "method=ann data=digits",
    "spike_bp": f"method=spike_bp {DIGITS}",
    "sparse_bp": f"method=sparse_bp {DIGITS}",
    "bntt": f"method=bntt {DIGITS}",
    "bntt, shared": f"method=bntt {DIGITS} method.norm=shared",
    "conversion": f"method=conversion {DIGITS} method.calibration=10",
    "multispike_fast_deep": "method=multispike_fast_deep data=digits method.silent_share=0.5",
    "eventprop": "method=eventprop data=digits method.input_dropout=0.2 method.lbd_upper=0.01",
    "multispike_timing": "method=multispike_timing data=digits method.silent_share=0.5",
    "memprop": f"method=memprop {DIGITS}",
    "ottt": f"method=ottt {DIGITS}",
    "ottt, online, 64 bits": f"method=ottt {DIGITS} method.update=online trainer.gradient_clip_val=0.5 {DOUBLE}",
    "ottt, online": f"method=ottt {DIGITS} method.update=online trainer.limit_train_batches=5",
    "fptt": f"method=fptt {DIGITS} method.parts=2",
    "burstccn": "method=burstccn data=digits",
    "vdib, 64 bits": f"method=vdib {BLOBS} {DOUBLE}",
    "vdib, centred, sampled": f"method=vdib {BLOBS} {DOUBLE} method.samples=1 method.baseline=none method.kl=sampled "
    "method.score=mean method.centred=true method.feedback=exact",
    "vdib, hidden layers learn": f"method=vdib {BLOBS} {DOUBLE} method.gain=measured method.hidden_bias=-0.5 "
    "method.surrogate=triangle method.readout_start=prior method.feedback=initial",
    "vdib, one by one": f"method=vdib {DIGITS} method.samples=1 method.baseline=ema",
    "ssnn_bp": "method=ssnn_bp data=digits encoder.time_steps=6",
    "ssnn_bp, backprop": "method=ssnn_bp data=digits encoder.time_steps=6 method.gradient=backprop",
    "biolcnet": "method=biolcnet data=digits model.hidden=[8] encoder.time_steps=12",
    "desire_bp": "method=desire_bp data=digits model.hidden=[8] encoder.time_steps=8",
    "blitnet": "method=blitnet data=digits",
    "pal": "method=pal data=digits model.hidden=[8]",
    "variational_spin": "method=variational_spin data=transverse_ising model.hidden=[] encoder=none method.samples=500",
    "vdsp": "method=vdsp data=digits method.neurons=5 encoder.time_steps=4",
}


def run_of(case: str, output: Path, devices: int) -> Any:
    """The result of a case, or the line with which it is refused."""
    from snnlab.config.compose import compose
    from snnlab.errors import InputError
    from snnlab.runs.wiring import run

    own = CASES[case].split(" ")
    keys = [override.partition("=")[0] for override in own]
    few = [override for override in FEW.split() if override.partition("=")[0] not in keys]
    if case in ("vdsp", "blitnet"):
        few.remove("model.hidden=[16]")
    try:
        return run(compose([*filter(None, own), *few, f"trainer.devices={devices}", f"paths.output={output}"]))
    except InputError as error:
        return str(error)


def shared(cases: list[str], rank: int, port: int, output: Path) -> None:
    """What each of the two processes does; the first one then makes the same runs alone, and prints a row each."""
    import torch

    for number, case in enumerate(cases):
        os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port + number)}
        together: Any = None
        try:
            together = run_of(case, output, 2)
        except SystemExit:
            pass
        finally:
            for key in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
                os.environ.pop(key, None)
        if rank:
            continue
        if isinstance(together, str):
            print(json.dumps({"case": case, "refused": together}), flush=True)
            continue
        alone = run_of(case, output, 1)
        weights = [
            torch.load(result.folder / "checkpoints/epoch000.ckpt", weights_only=True)["state_dict"]
            for result in (together, alone)
        ]
        assert weights[0].keys() == weights[1].keys()
        off = {
            name: float((weights[0][name].double() - value.double()).abs().max()) for name, value in weights[1].items()
        }
        tests = [flat(result.metrics["test"]) for result in (together, alone)]
        apart = {
            key: abs(tests[0][key] - value) / max(abs(value), 1e-12)
            for key, value in tests[1].items()
            if tests[0][key] != value
        }
        print(
            json.dumps(
                {
                    "case": case,
                    "weights": max(off.values()),
                    "worst": max(off, key=lambda name: off[name]),
                    "accuracy": [test.get("accuracy", test.get("judge_accuracy")) for test in tests],
                    "metrics": max(apart.values(), default=0.0),
                    "metric": max(apart, key=lambda name: apart[name], default=""),
                    "epoch": [result.metrics["train"].get("loss") for result in (together, alone)],
                    "moved": moved(alone.folder, weights[1]),
                }
            ),
            flush=True,
        )


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}/") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def moved(folder: Path, weights: Any) -> float:
    """The largest change of a weight since the start: what was compared has learned something."""
    from snnlab.config.build import build
    from snnlab.config.compose import compose

    record = json.loads((folder / "run.json").read_text())
    start = build(compose(record["overrides"]).config).method.state_dict()
    return max(float((weights[name] - value).abs().max()) for name, value in start.items() if value.is_floating_point())


def table(row: dict[str, Any]) -> str:
    both = "equal" if row["accuracy"][0] == row["accuracy"][1] else str(row["accuracy"])
    return f"{row['weights']:.1e} | {row['metrics']:.1e} | {both} |"


def compare(cases: list[str]) -> list[dict[str, Any]]:
    """Start the two processes; a row for each case."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = min(found.getsockname()[1], 65000)
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, __file__, "--rank", str(port), output, json.dumps(cases)]
        started = [
            subprocess.Popen(
                [*command, str(rank)], stdout=subprocess.PIPE if rank == 0 else None, text=True, env=os.environ
            )
            for rank in (0, 1)
        ]
        text, _ = started[0].communicate()
        started[1].wait()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        shared(json.loads(sys.argv[4]), int(sys.argv[5]), int(sys.argv[2]), Path(sys.argv[3]))
    else:
        rows = compare(sys.argv[1:] or list(CASES))
        print("| case | weights | figures of the test, relative | accuracy |\n| --- | --- | --- | --- |")
        for row in rows:
            said = f"refused: {row['refused']} | | |" if "refused" in row else ""
            print(f"| {row['case']} | {said or table(row)}")
