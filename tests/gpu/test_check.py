"""The commands for a GPU on the CPU: one method, one workload, and what they say of a step that fails."""

import itertools
import json
import os
import sys
from pathlib import Path

import pytest
import torch

from snnlab.bench import gpu, steps
from snnlab.bench.steps import Plan, Step

LIMITS = {"broken": 9, "slow": 0.3, "dies": 9}  # seconds; ten times that on a CPU
HERE = Path(__file__).resolve().parent
SCRIPT = """
import os, sys, time
from snnlab.bench.steps import Plan, Row, Step, checked, main

def broken(device):
    yield Row("before", True, {"speed": 1})
    yield checked("error", lambda: [][1])
    yield Row("after", True, {"note": f"a|b {os.environ['WORD']}"})

def slow(device):
    yield Row("begun", None, {})
    time.sleep(60)

def dies(device):
    os.abort()
    yield

MADE = {"broken": Step(broken, 9), "slow": Step(slow, 9), "dies": Step(dies, 9)}
sys.exit(main(Plan([], "trial", lambda device: MADE, 60)))
"""


@pytest.fixture(autouse=True)
def _own_environment():
    """A step is a process of its own on a GPU's machine; here it shares this one."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def written(folder: Path, name: str) -> tuple[dict, str]:
    (found,) = folder.glob("*_gpu_trial_on_a_cpu")
    return json.loads((found / f"{name}.json").read_text()), (found / f"{name}.md").read_text()


def test_a_step_that_fails_hangs_or_dies_is_told_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    script = tmp_path / "trial.py"
    script.write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", str(Path(steps.__file__).parents[2]))
    made = {name: Step(lambda device: iter(()), limit, {"WORD": "said"}) for name, limit in LIMITS.items()}
    plan = Plan([sys.executable, str(script)], "trial", lambda device: made, 60)
    assert steps.main(plan, ["device=cpu", f"output={tmp_path}/out"]) == 1
    content, page = written(tmp_path / "out", "trial")
    found = {(row["step"], row["name"]): row for row in content["rows"]}
    assert [row["ok"] for row in found.values()] == [True, False, True, None, False, False]
    assert found["broken", "error"]["note"] == "IndexError: list index out of range"
    assert found["slow", "process"]["note"] == "it had not ended after 3 s"
    assert found["dies", "process"]["note"].startswith("its process ended with -6")
    assert "| broken | after | yes |  | a/b said |" in page and "| slow | process | **no** |" in page
    assert content["machine"]["cpu"] and content["versions"]["torch"] and "commit" in content["git"]
    assert "3 failed" in capsys.readouterr().out


def test_one_method_and_one_workload_pass_on_the_cpu(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    import check

    monkeypatch.setattr(check, "METHODS", {"stbp": check.METHODS["stbp"]})
    rows = list(check.steps("cpu")["stbp"].run("cpu"))
    assert [(row.name, row.ok) for row in rows] == [
        (name, True) for name in ("digits", "same seed twice", "resume", "evaluate", "question", "films")
    ], rows
    rows = [*itertools.islice(check.steps("cpu")["kernels/plif"].run("cpu"), 2)]
    assert all(row.ok and row.values["path"] == "fused" for row in rows), rows
    rows = list(gpu.steps("cpu")["mlp"].run("cpu"))
    assert [row.name for row in rows] == ["floor", "snnlab", "snnlab step", "snnlab half"]
    assert all(row.ok for row in rows[1:]) and all(int(row.values["largest batch"]) >= 2 for row in rows), rows


def test_a_run_that_is_no_twin_and_a_method_that_breaks_are_failures(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    import check

    def called(module, words, expected=0):
        if "data=mnist_dvs" in words:
            raise RuntimeError("no films")
        Path("outputs/run").mkdir(parents=True, exist_ok=True)
        Path("outputs/run/run.json").touch()

    weights = iter("abcd")
    monkeypatch.setattr(check, "call", called)
    monkeypatch.setattr(check, "run_result", lambda run: {"kernels": {"fused": []}, "weights": next(weights)})
    monkeypatch.setattr(check, "finite", lambda run: True)
    rows = {row.name: row for row in check.method_rows("stbp", "cpu")}
    assert [rows[name].ok for name in ("digits", "same seed twice", "resume", "films")] == [True, False, False, False]
    assert rows["films"].values["note"] == "RuntimeError: no films"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_cuda_device_there_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert steps.main(gpu.PLAN, []) == 2
    assert capsys.readouterr().err == f"bench: {steps.NONE}\n"
    assert not list(tmp_path.iterdir())
