"""A run goes on where it was left, on its data, in one process at a time; a longer one names its parent."""

import csv
import errno
import json
import os
import signal

import lightning as L
import pytest
import torch

from snnlab.callbacks.figures import Figures
from snnlab.callbacks.history import History
from snnlab.config.compose import compose
from snnlab.errors import InputError, RunFailure
from snnlab.runs import lock
from snnlab.runs.resume import other_data
from snnlab.runs.stored import here, of_run
from snnlab.runs.wiring import run
from snnlab.train import train

TINY = ["method=stbp", "data=digits", "logger=none", "callbacks.figures=false", "callbacks.progress=false"]
TINY += ["model.hidden=[4]", "encoder.time_steps=2", "data.batch_size=50"]
TINY += [f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]
CONSTANT = "method.scheduler=null"


def record(folder):
    return json.loads((folder / "run.json").read_text())


def rewrite(folder, **changes):
    (folder / "run.json").write_text(json.dumps(record(folder) | changes))


def last_weights(folder):
    return torch.load(max(folder.glob("checkpoints/epoch*.ckpt")), weights_only=True)["state_dict"]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.fixture
def here_(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_child(work):
    """The exit code of ``work`` in a forked process."""
    child = os.fork()
    if not child:
        code = 99
        try:
            code = int(work() or 0)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# whose folder it is ---------------------------------------------------------------------------------------------------
def test_a_folder_is_one_runs_at_a_time_and_free_once_its_process_is_gone(tmp_path):
    taken = lock.take(tmp_path)
    assert lock.take(tmp_path) is None and in_child(lambda: lock.take(tmp_path) is None) == 1
    taken.release()

    def die():
        assert lock.take(tmp_path) is not None
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die) == -signal.SIGKILL
    again = lock.take(tmp_path)
    assert again is not None
    ready, told = os.pipe()
    child = os.fork()  # as a loader's worker, which outlives a killed parent
    if not child:
        os.close(ready)
        os.write(told, b"x")
        signal.pause()
    os.read(ready, 1)
    again.release()
    assert lock.take(tmp_path) is not None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_process_is_named_by_its_start_too(monkeypatch):
    mine = lock.process()
    content = {"status": "running", "process": mine | {"id": os.getppid(), "started": lock.started(os.getppid())}}
    assert lock.is_alive(content)
    assert not lock.is_alive(content | {"status": "interrupted"})
    for other in ({"started": "another boot 5"}, {"started": None}, {"host": "elsewhere"}, {"id": None}):
        assert not lock.is_alive(content | {"process": content["process"] | other})
    assert not lock.is_alive({"status": "running", "process": {"id": os.getppid(), "host": mine["host"]}})


def test_the_number_of_a_dead_process_given_to_another_program_does_not_hide_a_run(here_):
    result = run(compose([*TINY, "trainer.max_epochs=1"]))
    process = lock.process() | {"id": os.getppid(), "started": "of an older process"}
    rewrite(result.folder, status="running", process=process, metrics={"train": {}, "val": {}, "test": {}})
    assert run(compose([*TINY, "trainer.max_epochs=1", "resume=auto"])).folder == result.folder


# what is completed, and what longer ---------------------------------------------------------------------------------
def test_a_completed_run_is_shown_not_repeated(here_, capsys):
    options = [*TINY, "trainer.max_epochs=1"]
    first = run(compose(options))
    before = (first.folder / "run.json").read_bytes()
    assert run(compose([*options, "resume=auto"])).metrics == first.metrics
    assert train([f"resume={first.folder}"]) == 0  # the line that began it is in its record
    assert (first.folder / "run.json").read_bytes() == before and len(list(here_.glob("outputs/*"))) == 1
    assert f"record   {first.folder / 'run.json'}" in capsys.readouterr().out


def test_more_epochs_are_a_new_run_that_names_its_parent(here_):
    long = run(compose([*TINY, CONSTANT, "trainer.max_epochs=3"]))
    short = run(compose([*TINY, CONSTANT, "trainer.max_epochs=1"]))
    before = (short.folder / "run.json").read_bytes()
    line = [*TINY, CONSTANT, "trainer.max_epochs=3", f"resume={short.folder}"]
    child = run(compose(line))
    assert child.folder not in (long.folder, short.folder) and (short.folder / "run.json").read_bytes() == before
    assert equal(last_weights(child.folder), last_weights(long.folder)) and child.metrics == long.metrics
    parent = record(child.folder)["parent"]
    assert (parent["run"], parent["epochs"]) == (str(short.folder), 1)
    assert run(compose(line)).folder == child.folder  # asked again, it is there
    assert run(compose([*TINY, CONSTANT, "trainer.max_epochs=3", "resume=auto"])).folder == long.folder


def test_a_schedule_of_a_lengthened_run_goes_on_as_that_of_a_long_one(here_):
    short = run(compose([*TINY, "trainer.max_epochs=2"]))
    child = run(compose([*TINY, "trainer.max_epochs=4", f"resume={short.folder}"]))
    long = run(compose([*TINY, "trainer.max_epochs=4"]))

    def rate(folder, epoch):
        stored = torch.load(folder / f"checkpoints/epoch{epoch:03d}.ckpt", weights_only=True)
        return stored["optimizer_states"][0]["param_groups"][0]["lr"], stored["lr_schedulers"][0]["T_max"]

    assert rate(short.folder, 1) == (0.0, 2) and rate(child.folder, 2) == rate(long.folder, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["trainer.max_epochs=1"], "trainer.max_epochs = 1 must be more than the 2 epochs that it has"),
        (["trainer.max_epochs=4", "seed=5"], "that run has another config: seed = 0, not 5; more epochs"),
        (["method.threshold=0.7"], "that run has another config: method.threshold = 0.5, not 0.7"),
    ],
)
def test_other_changes_of_a_run_are_refused(changes, words, here_):
    short = run(compose([*TINY, "trainer.max_epochs=2"]))
    with pytest.raises(InputError) as refusal:
        train([f"resume={short.folder}", *changes])
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


def test_only_names_and_numbers_of_a_stored_line_are_taken(tmp_path):
    stored = ["method=stbp", "model.hidden=[4,5]", "method.optimizer.lr=1e-3", "paths.data=/x", "seed=3", "debug=true"]
    hostile = [
        "method.neuron=os.system",
        "+method.x={_target_:os.system}",
        "method.encoder._target_=os.system",
        "a=$(x)",
    ]
    record = {"schema": 1, "status": "failed", "method": "stbp", "data": "digits", "seed": 3, "config": {}}
    record |= {"provenance": {}, "metrics": {}, "overrides": [*stored, *hostile]}
    (tmp_path / "run.json").write_text(json.dumps(record))
    typed = [f"resume={tmp_path}", "seed=4"]
    assert of_run(typed) == ["method=stbp", "model.hidden=[4,5]", "method.optimizer.lr=1e-3", *typed]
    assert of_run(["seed=1", "resume=auto"]) == ["seed=1", "resume=auto"]


# the data -------------------------------------------------------------------------------------------------------------
def test_a_run_does_not_go_on_with_other_data(here_):
    options = [*TINY, "trainer.max_epochs=1"]
    first = run(compose(options))
    rewrite(first.folder, status="interrupted", provenance=record(first.folder)["provenance"] | {"hash": "0" * 64})
    for resume in ("auto", first.folder):
        with pytest.raises(InputError, match="was begun on other data: hash = 0000") as refusal:
            run(compose([*options, f"resume={resume}"]))
        assert "\n" not in str(refusal.value)
    assert record(first.folder)["status"] == "interrupted" and len(list(here_.glob("outputs/*"))) == 1


def test_what_differs_between_two_data_sets_is_named():
    one = {"source": "original", "hash": "a", "sizes": {"train": 5}, "notes": ["x"]}
    assert other_data(one, one | {"notes": []}) == ""
    assert other_data(one, one | {"sizes": {"train": 4}}) == "sizes = {'train': 5}, not {'train': 4}"
    assert other_data(one, one | {"source": "simulated", "hash": "b"}).startswith(
        "source = original, not simulated; hash"
    )


def test_todays_data_root_and_cache_decide_not_those_of_another_machine(monkeypatch):
    stored = {
        "paths": {"data": "/theirs", "cache": "/theirs", "output": "runs"},
        "data": {"root": "/theirs", "cache": "c"},
    }
    monkeypatch.setenv("SNNLAB_DATA", "/ours")
    monkeypatch.setenv("SNNLAB_CACHE", "/our_cache")
    now = here(stored | {"seed": 3})
    assert now["data"] == {"root": "/ours", "cache": "/our_cache"} and now["seed"] == 3
    assert now["paths"] == {"data": "/ours", "cache": "/our_cache", "output": "runs"}
    typed = here(stored, ["paths.data=/typed", "seed=4"])
    assert typed["data"] == {"root": "/typed", "cache": "/our_cache"}


# threads --------------------------------------------------------------------------------------------------------------
def test_the_threads_are_recorded_and_taken_again(here_, caplog, monkeypatch):
    import logging

    monkeypatch.setattr(logging.getLogger("snnlab"), "propagate", True)
    options = [*TINY, "trainer.max_epochs=2"]
    first = run(compose(options))
    assert record(first.folder)["machine"]["threads"] == 1
    rewrite(first.folder, status="interrupted", metrics={"train": {}, "val": {}, "test": {}})
    (first.folder / "checkpoints/epoch001.ckpt").unlink()
    seen = []
    monkeypatch.setattr(L.LightningModule, "on_train_batch_start", lambda *_: seen.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        with caplog.at_level(logging.INFO, "snnlab"):
            again = run(compose([*options, "resume=auto"]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert again.folder == first.folder and set(seen) == {1} and again.metrics == first.metrics
    assert "threads: 1, as the run began" in caplog.text and record(first.folder)["machine"]["threads"] == 1


# what is counted ------------------------------------------------------------------------------------------------------
def stopped_at(monkeypatch, epoch, options):
    """A run stopped in an epoch; its folder."""

    def stop(module, batch, batch_idx):
        if module.current_epoch == epoch:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(L.LightningModule, "on_train_batch_start", stop)
        with pytest.raises(KeyboardInterrupt):
            run(compose(options))


def test_a_run_that_nothing_better_ends_stops_where_it_would_have(here_, monkeypatch):
    options = [*TINY, "trainer.max_epochs=9", "method.optimizer.lr=1e-30", CONSTANT, "callbacks.early_stopping=2"]
    whole = run(compose(options))
    whole.folder.rename("whole")
    for epoch in (1, 2):  # in the first sitting, and in one that had gone on
        stopped_at(monkeypatch, epoch, [*options, "resume=auto"])
    again = run(compose([*options, "resume=auto"]))
    assert record(again.folder)["early_stopping"] == {"patience": 2, "stopped": True}
    assert (again.folder / "metrics.csv").read_text() == (here_ / "whole" / "metrics.csv").read_text()
    assert again.metrics == whole.metrics and equal(last_weights(again.folder), last_weights(here_ / "whole"))


def test_seconds_samples_and_peak_are_those_of_all_parts(here_, monkeypatch):
    options = [*TINY, "trainer.max_epochs=3"]
    stopped_at(monkeypatch, 2, options)
    (path,) = here_.glob("outputs/*/checkpoints/epoch001.ckpt")
    stored = torch.load(path, weights_only=True)
    stored["callbacks"]["History"]["seconds"] += 100
    stored["callbacks"]["PeakMemory"]["peak_bytes"] = 12345
    torch.save(stored, path)
    result = run(compose([*options, "resume=auto"]))
    content = record(result.folder)
    assert 100 < content["timing"]["fit_seconds"] < 200 and content["memory"] == {"peak_bytes": 12345}
    assert content["timing"]["samples_per_second"] == round(300 / content["timing"]["fit_seconds"], 1)


def test_vdib_measures_its_change_from_the_start_after_a_resume_too(here_, monkeypatch):
    options = ["method=vdib", "method.warmup=1", "method.n_out=8", "encoder.time_steps=4", *TINY[1:5]]
    options += [f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test")] + ["trainer.max_epochs=2"]
    whole = run(compose(options))
    stopped_at(monkeypatch, 1, options)
    again = run(compose([*options, "resume=auto"]))
    assert again.folder != whole.folder and again.metrics == whole.metrics
    assert whole.metrics["test"]["readout_change"] > 0


def test_an_epoch_that_was_not_validated_has_no_validation_in_its_row(here_):
    result = run(compose([*TINY, "trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2"]))
    rows = list(csv.DictReader((result.folder / "metrics.csv").open()))
    assert [bool(row["val/accuracy"]) for row in rows] == [False, True, False, True]
    assert all(row["train/accuracy"] for row in rows) and result.metrics["val"]


def test_time_that_is_over_interrupts_a_run_which_then_goes_on(here_, monkeypatch):
    options = [*TINY, "trainer.max_epochs=3"]
    whole = run(compose(options))
    (whole.folder).rename("whole")
    ended = History.on_train_epoch_end

    def over(self, trainer, module):
        ended(self, trainer, module)
        trainer.should_stop = trainer.should_stop or trainer.current_epoch == 1

    with monkeypatch.context() as patch:
        patch.setattr(History, "on_train_epoch_end", over)
        with pytest.raises(KeyboardInterrupt, match=r"trainer.max_time is over after 2 of 3 epochs; go on with"):
            run(compose([*options, "trainer.max_time=00:01:00:00"]))
    (folder,) = here_.glob("outputs/*")
    assert record(folder)["status"] == "interrupted" and "max_time" in record(folder)["reason"]
    again = run(compose([*options, "resume=auto"]))
    assert again.folder.resolve() == folder and again.metrics == whole.metrics


# the end of a run -----------------------------------------------------------------------------------------------------
def test_a_stop_during_the_pictures_is_taken_up_without_a_second_test(here_, monkeypatch):
    options = [*[word for word in TINY if "figures" not in word], "trainer.max_epochs=1"]
    whole = run(compose(options))
    save = Figures.save

    def stop(self, name, figure, note=""):
        if name == "membranes":
            raise KeyboardInterrupt
        return save(self, name, figure, note)

    with monkeypatch.context() as patch:
        patch.setattr(Figures, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            run(compose(options))
    stopped = max(here_.glob("outputs/*"))
    content = record(stopped)
    assert content["status"] == "interrupted" and content["metrics"] == whole.metrics

    def never(*_):
        raise AssertionError("the test was scored twice")

    with monkeypatch.context() as patch:
        patch.setattr(L.Trainer, "test", never)
        patch.setattr(L.Trainer, "fit", never)
        again = run(compose([*options, "resume=auto"]))
    assert again.folder.resolve() == stopped and record(stopped)["status"] == "completed"
    assert record(stopped)["timing"] == content["timing"] and record(stopped)["kernels"] == content["kernels"]
    for picture in whole.figures:
        assert picture.read_bytes() == (stopped / "figures" / picture.name).read_bytes()


@pytest.mark.parametrize("name", ["epoch001.ckpt", "metrics.csv", "run.json", "spikes.png"])
def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_space(name, here_, monkeypatch):
    options = [*TINY, "trainer.max_epochs=2"]
    if name == "spikes.png":
        options.remove("callbacks.figures=false")
    whole = run(compose(options))
    whole.folder.rename("whole")
    replace, count = os.replace, []

    def full(source, target):
        if os.path.basename(target) == name:
            count.append(name)
            if name != "run.json" or len(count) > 1:  # its first writing is the start of the run
                raise OSError(errno.ENOSPC, "No space left on device", str(target))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(RunFailure, match=rf"disk full while writing .*{name}; free some space, then resume=auto"):
            run(compose(options))
    (folder,) = here_.glob("outputs/*")
    assert not list(folder.rglob("*.part")) and not (folder / "figures" / name).exists()
    again = run(compose([*options, "resume=auto"]))
    assert again.folder.resolve() == folder and again.metrics == whole.metrics
    assert record(folder)["status"] == "completed" and equal(last_weights(folder), last_weights(here_ / "whole"))
