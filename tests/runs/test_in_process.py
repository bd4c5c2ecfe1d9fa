"""``snnlab.run``: the run of the command, in a process that is afterwards what it was."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import warnings
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import snnlab
from snnlab.errors import InputError
from snnlab.runs import wiring

SMALL = ["method=stbp", "data=digits", "model.hidden=[8]", "encoder.time_steps=2", "trainer.max_epochs=1"]
SMALL += ["trainer.limit_train_batches=4", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "logger=none"]
QUICK = [*SMALL, "callbacks.figures=false"]
OF_THE_MOMENT = ("timing", "process", "started", "seal")


def told(folder: Path) -> dict:
    """What a record says, less when and where it was made."""
    content = json.loads((folder / "run.json").read_text())
    content["config"].pop("paths")
    content["overrides"] = [word for word in content["overrides"] if not word.startswith("paths")]
    return {key: value for key, value in content.items() if key not in OF_THE_MOMENT}


def shared() -> dict:
    """What all code of a process shares."""
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),
        "python": random.getstate(),
        "dtype": torch.get_default_dtype(),
        "deterministic": torch.get_deterministic_debug_mode(),
        "precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "environment": dict(os.environ),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "warnings": list(warnings.filters),
        "backend": matplotlib.get_backend(),
        "settings": dict(matplotlib.rcParams),
        "figures": plt.get_fignums(),
    }


def test_it_is_the_run_of_the_command_twice_and_leaves_the_process_as_it_was(run_command, capsys):
    code, lines, _ = run_command(*SMALL, "paths.output=command")
    assert code == 0
    (command,) = Path("command").glob("*")
    snnlab.run([*QUICK, "paths.output=first"])  # what is imported first has its own say
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    with warnings.catch_warnings(), plt.rc_context({"font.size": 20}), torch.no_grad():
        warnings.simplefilter("error")
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        plt.switch_backend("svg")
        try:
            before = shared()
            results = [snnlab.run([*SMALL, "paths.output=python"]) for _ in range(2)]
            after = shared()
        finally:
            torch.set_default_dtype(torch.float32)
            torch.use_deterministic_algorithms(False)
            plt.switch_backend("agg")
    assert {key for key in before if before[key] != after[key]} == set()
    names = sorted(path.relative_to(command) for path in command.rglob("*") if path.is_file())
    for result in results:
        assert told(result.folder) == told(command)
        assert sorted(path.relative_to(result.folder) for path in result.folder.rglob("*") if path.is_file()) == names
        assert all(path.read_bytes() == (command / "figures" / path.name).read_bytes() for path in result.figures)
    assert results[0].folder != results[1].folder
    assert repr(results[0]).splitlines()[:3] == [line for line in lines.splitlines() if line.startswith("test ")][:3]
    written = capsys.readouterr()
    assert "val/accuracy" in written.out and not written.err


def test_what_it_returns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    result = snnlab.run(QUICK, progress=False)
    assert capsys.readouterr().out == ""
    assert result.folder.parent.name == "outputs" and result.figures == []
    assert result.record == json.loads((result.folder / "run.json").read_text())
    assert result.record["metrics"] == result.metrics and result.record["overrides"] == QUICK
    torch.manual_seed(3)
    state = torch.get_rng_state()
    network = result.network
    assert torch.equal(torch.get_rng_state(), state) and not network.training and result.network is network
    again = snnlab.run([*QUICK, "resume=auto"], progress=False)
    assert again.folder == result.folder and again.metrics == result.metrics


def test_a_folder_that_is_no_path_is_told_in_one_line():
    with pytest.raises(InputError, match="load: 5 is no path of a run's folder"):
        snnlab.load(5)
    with pytest.raises(InputError, match="config_dir = 5 is no path of a folder"):
        snnlab.run([*QUICK], 5)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method=stpb"], "nearest: stbp"),
        (["data=digits", "seed=0,1"], "seed"),
        ([*QUICK, "dry_run=true"], "dry_run=true makes no run"),
        ([*QUICK, "trainer.devices=2", "trainer.accelerator=cpu"], "use python -m snnlab"),
        ("method=stbp data=digits", "is no list of texts"),
        (["method=stbp", 3], "is no list of texts"),
        (None, "is no list of texts"),
        ({"method": "stbp"}, "is no list of texts"),
        (["--help"], "--help"),
        ([*QUICK, "model.hidden=[0]"], "hidden"),
    ],
)
def test_what_cannot_work_is_an_exception_of_one_line(tmp_path, monkeypatch, overrides, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refusal:
        snnlab.run(overrides)
    assert words in str(refusal.value) and len(str(refusal.value).splitlines()) == 1
    assert not (tmp_path / "outputs").exists()
    with pytest.raises(InputError, match="config_dir = nowhere: there is no such folder"):
        snnlab.run(QUICK, "nowhere")


@pytest.fixture
def listening():
    """Python's own answer to Ctrl-C: a shell that starts something behind itself lets it hear none."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_leaves_a_record_and_the_signals(tmp_path, monkeypatch, listening):
    monkeypatch.chdir(tmp_path)
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    monkeypatch.setattr(wiring.ReseedEachEpoch, "on_train_epoch_start", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        snnlab.run(QUICK)
    assert [signal.getsignal(number) for number in signal.valid_signals()] == handlers
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    (folder,) = Path("outputs").glob("*")
    assert told(folder)["status"] == "interrupted"
    assert snnlab.run([*QUICK, "resume=auto"]).record["status"] == "completed"


def test_it_runs_in_a_thread_and_beside_a_hydra_of_the_script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("mine: 1\n")
    results: list = []
    thread = threading.Thread(target=lambda: results.append(snnlab.run(QUICK, progress=False)))
    thread.start()
    thread.join()
    with initialize_config_dir(str(tmp_path / "mine"), version_base="1.3"):
        results.append(snnlab.run(QUICK, progress=False))
        assert GlobalHydra.instance().config_loader().get_sources()[1].path == str(tmp_path / "mine")
    assert results[0].metrics == results[1].metrics
