"""``make test-gpu``: what the CPU's tests hold, on a GPU: kernels, every method, resume, evaluation.

usage: python tests/gpu/check.py [device=cuda|cpu] [output=FOLDER] [STEP ...]

kernels/X   neuron or surrogate X: spikes of kernels=auto equal to those of step, gradients close, both dtypes
METHOD      two epochs of a few batches on digits; the same again, to the bit; stopped and resumed, to the bit;
            evaluated; one question; an epoch on films
"""

from __future__ import annotations

import contextlib
import csv
import inspect
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from snnlab.bench.steps import Plan, Row, Step, checked, main
from snnlab.neurons.choice import NEURONS, choose_neuron
from snnlab.neurons.neuron import Neuron
from snnlab.neurons.surrogate import CURVES, make_surrogate

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "kills"), str(HERE.parent / "golden")]
from cases import FILMS  # noqa: E402
from kill import FEW, METHODS  # noqa: E402
from record import call, interrupted, run_result  # noqa: E402

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}  # of a gradient, over its largest value or 1
# the others are asked for their accuracy over time
QUESTION = {"ann": "robustness samples=50", "burstccn": "robustness samples=50", "vdib": "spikes_over_time samples=50"}
UNITS = 300  # more than one block of the kernels

Result = tuple[bool | None, dict[str, Any]]


def steps(device: str) -> dict[str, Step]:
    kernels = {f"kernels/{name}": Step(partial(neuron_rows, name), 100) for name in [*NEURONS, "surrogates"]}
    return kernels | {name: Step(partial(method_rows, name), 120) for name in METHODS}


def neuron_rows(name: str, device: str) -> Iterator[Row]:
    """Every reset of a neuron, or every surrogate curve of LIF."""
    if name == "surrogates":
        cases = {curve: ("lif", {"surrogate": make_surrogate(curve)}) for curve in CURVES}  # type: ignore[arg-type]
    else:
        resets = ("soft", "hard", "none")
        cases = {f"{name} {reset}": (name, {"reset": reset}) for reset in resets}
    for label, (neuron, options) in cases.items():
        for dtype in TOLERANCE:
            for same in (False, True):
                about = f"{label}, {dtype}{', one current for all steps' if same else ''}"
                yield checked(about, partial(agree, partial(made, neuron, options), dtype, same, device))


def made(name: str, options: dict[str, Any]) -> Neuron:
    make = choose_neuron(name, {}, options)
    return make(UNITS) if "features" in inspect.signature(make).parameters else make()


def agree(make: Callable[[], Neuron], dtype_name: str, same: bool, device: str) -> Result:
    """One neuron along kernels=auto and kernels=step, 9 steps of [4, UNITS] on the device."""
    import torch

    from snnlab import kernels

    dtype = getattr(torch, dtype_name)
    torch.manual_seed(0)
    neuron = make().to(device, dtype)
    drawn = torch.randn((1 if same else 9, 4, UNITS), dtype=dtype, generator=torch.Generator().manual_seed(1))
    found, path = [], kernels.Path("auto")
    for choice in (path, kernels.Path("step")):
        leaf = drawn.to(device).requires_grad_()
        with kernels.using(choice):
            outputs = neuron(leaf.expand(9, 4, UNITS))
            weights = torch.linspace(-1, 1, outputs.numel(), dtype=dtype, device=device).view_as(outputs)
            found.append((outputs, *torch.autograd.grad((outputs * weights).sum(), [leaf, *neuron.parameters()])))
    (spikes, *grads), (expected, *expected_grads) = found
    pairs = zip(grads, expected_grads, strict=True)
    error = max(float((a - b).abs().max()) / max(1.0, float(b.abs().max())) for a, b in pairs)
    differing = int((spikes != expected).sum())
    values = {"path": "fused" if path.fused else "step", "spikes": int(expected.sum()), "differing": differing}
    fine = differing == 0 < values["spikes"] and error <= TOLERANCE[dtype_name]
    return fine, {**values, "gradient error": f"{error:.1e}"}


def method_rows(name: str, device: str) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "no_data").mkdir()
        os.environ.update(SNNLAB_DATA=str(folder / "no_data"), WANDB_SILENT="true")
        trainer = f"trainer.accelerator={'gpu' if device == 'cuda' else 'cpu'} trainer.deterministic=true"
        few = [*FEW.split(), *trainer.split(), "trainer.max_epochs=2"]
        first: dict[str, Any] = {}

        def train(place: str, words: str, *more: str, expected: int = 0) -> Path:
            """The folder of the run that ``words`` train in the folder ``place``."""
            (folder / place).mkdir(exist_ok=True)
            with contextlib.chdir(folder / place):
                call("snnlab", [*few, *words.split(), *more], expected)
            return max((folder / place / "outputs").glob("*/run.json")).parent

        def words() -> str:
            if "{ann}" not in METHODS[name]:
                return METHODS[name]
            return METHODS[name].format(ann=folder / "ann/outputs" / train("ann", METHODS["ann"]).name)

        def digits() -> Result:
            first["words"] = words()
            first["run"] = train("first", first["words"])
            first["result"] = run_result(first["run"])
            fused = first["result"]["kernels"]["fused"]
            return finite(first["run"]), {"path": f"fused: {', '.join(fused)}" if fused else "step"}

        def twin() -> Result:
            return run_result(train("twin", first["words"])) == first["result"], {}

        def resumed() -> Result:
            if name == "conversion":
                return None, {"note": "it does not train"}
            with interrupted(1):
                train("stopped", first["words"], expected=130)
            return run_result(train("stopped", first["words"], "resume=auto")) == first["result"], {}

        def evaluated() -> Result:
            call("snnlab.evaluate", [str(first["run"])])
            return True, {}

        def question() -> Result:
            asked = QUESTION.get(name, "accuracy_over_time")
            call("snnlab.evaluate", [str(first["run"]), *asked.split()])
            return True, {"note": asked.split()[0]}

        def films() -> Result:
            if name == "conversion":
                return None, {"note": "it needs still images"}
            kept = [w for w in METHODS[name].split() if not w.startswith(("data=", "encoder."))]
            return finite(train("films", f"{FILMS} {' '.join(kept)}", "trainer.max_epochs=1")), {}

        checks = {"digits": digits, "same seed twice": twin, "resume": resumed, "evaluate": evaluated}
        for label, check in {**checks, "question": question, "films": films}.items():
            if label in ("digits", "films") or "result" in first:
                yield checked(label, check)


def finite(run: Path) -> bool:
    """Whether the run is completed and every number of metrics.csv is finite; where it trains there is a loss."""
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    numbers = [float(value) for row in rows for key, value in row.items() if value]
    return run_result(run)["status"] == "completed" and bool(numbers) and all(map(math.isfinite, numbers))


PLAN = Plan([sys.executable, str(HERE / "check.py")], "test", steps, seconds=280, jobs=4)

if __name__ == "__main__":
    sys.exit(main(PLAN))
