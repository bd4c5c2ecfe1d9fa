"""A run from the command line to its record: written whole, equal to the bit, resumed, loaded, scored again."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
import yaml

import snnlab
from snnlab.config.compose import compose
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError
from snnlab.evaluate.ask import evaluate
from snnlab.runs.wiring import run

QUICK = ["method=stbp", "data=digits", "logger=none", "trainer.max_epochs=2", "model.hidden=[64]"]


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


@pytest.fixture
def quick_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return run(compose(QUICK))


def test_the_run_folder_holds_what_the_design_promises(quick_run):
    folder = quick_run.folder
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"config.yaml", "run.json", "metrics.csv", "checkpoints/epoch000.ckpt", "checkpoints/epoch001.ckpt"} <= names
    for picture in ("input", "spikes", "membranes", "learning_curves", "confusion_matrix"):
        assert (folder / f"figures/{picture}.png").stat().st_size > 5000
    content = record(folder)
    assert content["status"] == "completed" and content["schema"] == 1
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in folder.rglob("*") if path.is_file())  # others may read
    assert (content["method"], content["model"], content["data"], content["encoder"]) == (
        "stbp",
        "mlp",
        "digits",
        "rate",
    )
    assert content["config"] == yaml.safe_load((folder / "config.yaml").read_text())
    assert content["overrides"] == QUICK and content["seed"] == 0
    assert content["provenance"]["source"] == "bundled" and len(content["provenance"]["hash"]) == 64
    assert content["metrics"]["test"]["accuracy"] == quick_run.metrics["test"]["accuracy"] > 0.5
    assert set(content["metrics"]["test"]["firing_rate"]) == {"hidden1", "readout"}
    assert content["timing"]["fit_seconds"] > 0 and content["memory"]["peak_bytes"] > 10_000
    assert content["parameters"] == 64 * 64 + 64 + 64 * 10 + 10
    assert content["kernels"] == {"fused": ["LIF"], "step": []} and content["versions"]["torch"].startswith("2.")
    checkpoint = torch.load(folder / content["checkpoint"], weights_only=True)
    assert "layers.weight1.weight" in "".join(checkpoint["state_dict"])


def test_same_seed_same_numbers_to_the_bit(quick_run):
    again = run(compose(QUICK))
    assert again.metrics == quick_run.metrics
    assert run(compose([*QUICK, "seed=1"])).metrics != quick_run.metrics
    assert again.folder != quick_run.folder


def test_load_gives_the_trained_network(quick_run):
    network = snnlab.load(quick_run.folder)
    assert not network.training and network(torch.zeros(4, 2, 1, 8, 8)).shape == (4, 2, 10)


def test_evaluate_scores_again_and_takes_overrides(quick_run):
    again = evaluate(quick_run.folder)
    assert again["metrics"]["test"] == quick_run.metrics["test"]
    assert again["provenance"] == record(quick_run.folder)["provenance"]
    longer = evaluate(quick_run.folder, ["encoder.time_steps=30"])
    assert longer["metrics"]["test"]["spikes_per_inference"] > 2 * quick_run.metrics["test"]["spikes_per_inference"]
    direct = evaluate(quick_run.folder, ["encoder=direct", "encoder.time_steps=10"])
    assert direct["metrics"]["test"]["accuracy"] > 0.5
    with pytest.raises(InputError, match="the stored weights do not fit the overridden config"):
        evaluate(quick_run.folder, ["model.hidden=[65]"])
    with pytest.raises(InputError, match=r"encoder.timesteps: there is no such key; nearest: encoder.time_steps"):
        evaluate(quick_run.folder, ["encoder.timesteps=3"])


def test_a_stored_run_answers_questions(quick_run, capsys):
    from snnlab.evaluate.__main__ import main

    assert main([str(quick_run.folder), "accuracy_over_time", "encoder.time_steps=4"]) == 0
    (path,) = Path(quick_run.folder).glob("evaluations/*/evaluation.json")
    values = json.loads(path.read_text())["values"]
    assert len(values["accuracy"]) == 4 and values["accuracy"][-1] > values["accuracy"][0]
    assert values["spikes_per_inference"] == sorted(values["spikes_per_inference"])
    assert (path.parent / "accuracy_over_time.png").stat().st_size > 5000
    assert "accuracy" in capsys.readouterr().out
    assert main([str(quick_run.folder), "acuracy_over_time"]) == 2
    assert "is no question to ask of a run; nearest: accuracy_over_time" in capsys.readouterr().err


def test_an_interrupted_run_resumed_equals_one_that_was_not(quick_run, monkeypatch):
    import lightning as L

    options = [*QUICK, "trainer.max_epochs=4"]
    options.remove("trainer.max_epochs=2")
    whole = run(compose(options))

    class Stop(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 2 and batch_idx == 5:
                os.kill(os.getpid(), signal.SIGINT)

    from snnlab.callbacks import progress

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where tests run in the background
    try:
        with monkeypatch.context() as patch:
            patch.setattr(progress, "make_progress", lambda *_: [Stop()])
            with pytest.raises(KeyboardInterrupt):
                run(compose(options))
    finally:
        signal.signal(signal.SIGINT, before)
    stopped = max(Path("outputs").glob("*/run.json"), key=lambda p: p.stat().st_mtime).parent
    assert record(stopped)["status"] == "interrupted"
    assert (stopped / "checkpoints/midway.ckpt").exists()
    resumed = run(compose([*options, "resume=auto"]))
    assert resumed.folder == stopped and resumed.metrics == whole.metrics
    assert (stopped / "metrics.csv").read_text() == (whole.folder / "metrics.csv").read_text()
    assert record(stopped)["status"] == "completed"


def test_interrupt_exits_with_130(run_command, monkeypatch):
    from snnlab.runs import wiring

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(wiring, "run", interrupted)
    code, _, error = run_command(*QUICK)
    assert code == 130 and "resume=auto" in error


def test_sweep_runs_every_combination_in_one_folder(run_command):
    code, out, _ = run_command("-m", *QUICK[:3], "trainer.max_epochs=1", "model.hidden=[8],[16]", "seed=0,1")
    assert code == 0 and out.startswith("sweep-")
    records = [json.loads(path.read_text()) for path in Path("outputs").glob("sweep-*/*/run.json")]
    assert {(tuple(r["config"]["model"]["hidden"]), r["seed"]) for r in records} == {
        ((8,), 0),
        ((8,), 1),
        ((16,), 0),
        ((16,), 1),
    }
    assert all(r["config"]["encoder"]["time_steps"] == 10 for r in records)  # the method's recipe reaches every job


def test_a_wrong_value_in_a_sweep_stops_it_before_the_first_run(run_command):
    code, _, error = run_command("-m", *QUICK, "method.threshold=0.5,-1")
    assert code == 2 and "threshold = -1 must be positive" in error
    assert not list(Path().glob("outputs/sweep-*/*/run.json"))


def test_dry_run_reads_and_writes_nothing(run_command, empty_data):
    code, out, _ = run_command("method=stbp", "data=mnist", "dry_run=true")
    assert code == 0 and not Path("outputs").exists() and not list(empty_data.iterdir())
    for words in ("784", "[800]", "636,010", "MiB of live tensors", "ms a step", "minutes"):
        assert words in out


def test_wandb_offline_run_lies_in_the_run_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    options = ["method=stbp", "data=digits", "logger.mode=offline", "trainer.max_epochs=1", "model.hidden=[8]"]
    result = run(compose(options))
    assert list((result.folder / "wandb").glob("offline-run-*/*.wandb"))


METHODS = sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml"))


@pytest.mark.parametrize("precision", ["64", "bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_with_any_precision_or_says_that_it_does_not(method, precision, run_command, tmp_path):
    data = {"vdib": "drifting_blobs", "variational_spin": "transverse_ising"}.get(method, "digits")
    few = [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
    quiet = ["logger=none", "callbacks.progress=false", "callbacks.figures=false", "trainer.max_epochs=1"]
    code, _, error = run_command(f"method={method}", f"data={data}", f"trainer.precision={precision}", *few, *quiet)
    spike_times = dict.fromkeys(("multispike_fast_deep", "multispike_timing", "eventprop"), ("bf16-true",))
    # numbers of their own, in 32 or 64 bits
    counted = ("biolcnet", "blitnet", "desire_bp", "pal", "variational_spin", "vdsp")
    refused = (dict.fromkeys(counted, ("bf16-mixed", "bf16-true")) | spike_times).get(method, ())
    assert code == (2 if precision in refused else 0), error
    assert (tmp_path / "outputs").exists() == (code == 0)


def test_help_and_cfg(run_command):
    code, out, _ = run_command("--help")
    assert code == 0 and "method=" in out and "stbp" in out and "exit codes" in out
    code, out, _ = run_command("--cfg", "method=stbp", "data=mnist")
    config = yaml.safe_load(out)
    assert code == 0 and config["model"]["hidden"] == [800] and config["encoder"]["time_steps"] == 10


def test_user_values_win_over_the_recipe_and_a_chosen_model_drops_its_values():
    composition = compose(["method=stbp", "data=digits", "model=lenet", "trainer.max_epochs=7"])
    assert composition.config.model.channels == [20, 50] and composition.config.trainer.max_epochs == 7
    assert composition.config.data.batch_size == 50


def test_a_config_folder_of_ones_own(run_command, tmp_path):
    """A method, a data set and an experiment of one's own run beside those of snnlab, singly and in a sweep."""
    folder = tmp_path / "my_conf"
    (folder / "method").mkdir(parents=True)
    (folder / "experiment").mkdir()
    mine = yaml.safe_load((conf_dir() / "method" / "stbp.yaml").read_text())
    mine["recipes"]["digits"]["trainer.max_epochs"] = 1
    mine["recipes"]["digits"]["model.hidden"] = [8]
    (folder / "method" / "mine.yaml").write_text(yaml.safe_dump(mine))
    (folder / "experiment" / "quick.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /method: mine\n  - override /data: digits\n"
        "encoder: {time_steps: 3}\n"
    )
    flags = ("--config-dir", str(folder), "logger=none", "callbacks.figures=false")
    assert run_command(*flags, "method=mine", "data=digits")[0] == 0
    assert run_command(*flags, "experiment=quick")[0] == 0
    assert run_command("-m", *flags, "experiment=quick", "seed=1,2")[0] == 0
    records = [record(path.parent) for path in Path("outputs").rglob("run.json")]
    assert sorted((r["method"], r["seed"], r["config"]["encoder"]["time_steps"]) for r in records) == [
        ("mine", 0, 3),
        ("mine", 0, 10),
        ("mine", 1, 3),
        ("mine", 2, 3),
    ]
    assert all(r["config"]["model"]["hidden"] == [8] for r in records)  # the recipe reaches all of them


def test_a_sweep_over_what_only_the_recipe_brings(run_command):
    options = ("method=stbp", "data=digits", "logger=none", "callbacks.figures=false", "trainer.max_epochs=1")
    code, _, error = run_command("-m", *options, "encoder.time_steps=2,3", "+method.optimizer.weight_decay=0.0,0.1")
    assert code == 0, error
    records = [record(path.parent) for path in Path("outputs").rglob("run.json")]
    assert (
        len(
            {
                (r["config"]["encoder"]["time_steps"], r["config"]["method"]["optimizer"]["weight_decay"])
                for r in records
            }
        )
        == 4
    )


def test_naming_the_default_choice_changes_nothing():
    plain = compose(["method=stbp", "data=digits"]).config
    assert compose(["method=stbp", "data=digits", "model=mlp", "encoder=rate"]).config == plain


def test_a_picture_that_fails_does_not_lose_the_run(monkeypatch, tmp_path):
    from snnlab.callbacks import figures

    def broken(*_):
        raise RuntimeError("no ink")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figures, "curves_figure", broken)
    result = run(compose(QUICK))
    assert record(result.folder)["status"] == "completed"
    assert "learning_curves" not in {path.stem for path in result.figures} and len(result.figures) == 6


def test_resume_leaves_a_run_alone_that_is_still_running(quick_run):
    from snnlab.runs.lock import take

    path = quick_run.folder / "run.json"
    path.write_text(json.dumps(record(quick_run.folder) | {"status": "running"}))
    lock = take(quick_run.folder)
    assert run(compose([*QUICK, "resume=auto"])).folder != quick_run.folder
    with pytest.raises(InputError, match="is still running it"):
        run(compose([*QUICK, f"resume={quick_run.folder}"]))
    lock.release()


def test_evaluation_refuses_other_data_than_the_run_saw(quick_run):
    path = quick_run.folder / "run.json"
    content = record(quick_run.folder)
    content["provenance"]["hash"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="the data is not what the run saw"):
        evaluate(quick_run.folder)


def test_the_way_from_the_command_line_to_the_arithmetic_is_short(run_command, monkeypatch):
    """Calls of the house between ``main`` and a compiled kernel; whoever follows a run reads that many functions."""
    import traceback

    from snnlab.kernels import cpu

    ways, compiled = [], cpu.run

    def watched(*arguments):
        calls = [call for call in traceback.extract_stack() if "/snnlab/" in call.filename]
        ways.append([f"{Path(call.filename).name}:{call.name}" for call in calls])
        return compiled(*arguments)

    monkeypatch.setattr(cpu, "run", watched)
    few = [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
    code, *_ = run_command(*QUICK, *few, "callbacks.figures=false", "trainer.max_epochs=1")
    assert code == 0 and len(ways[0]) <= 11, ways[0]
