"""A full disk is one line and exit code 1; nothing half-written is there, and later the same line works."""

import pytest

from snnlab.bench import __main__ as bench
from snnlab.config.compose import compose
from snnlab.data import __main__ as data
from snnlab.evaluate import __main__ as evaluate
from snnlab.runs.wiring import run
from snnlab.tables import __main__ as tables

LINE = ["method=stbp", "data=digits", "logger=none", "callbacks.figures=false", "model.hidden=[4]"]
LINE += ["encoder.time_steps=2", "data.batch_size=50", "trainer.max_epochs=1"]
LINE += [f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = run(compose(LINE)).folder
    (tmp_path / "page.md").write_text(f"<!-- table: {folder} -->\n")
    return folder


@pytest.mark.parametrize(
    ("main", "arguments", "place"),
    [
        (evaluate.main, ["RUN"], "outputs/*/evaluations/*"),
        (evaluate.main, ["RUN", "accuracy_over_time"], "outputs/*/evaluations/*"),
        (data.main, ["show", "digits"], "digits.png"),
        (tables.main, ["--page", "page.md"], "page.md"),
    ],
)
def test_commands(main, arguments, place, stored, tmp_path, full_disk, capfd):
    arguments = [str(stored) if argument == "RUN" else argument for argument in arguments]
    before = {path: path.read_bytes() for path in tmp_path.glob(place)}
    with full_disk():
        assert main(arguments) == 1
    told = capfd.readouterr().err
    assert "disk full while writing " in told and "; free some space" in told and told.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.glob(place)} == before
    assert not list(tmp_path.rglob(".*.part"))
    assert main(arguments) == 0
    assert {path: path.is_dir() or path.read_bytes() for path in tmp_path.glob(place)} != before


def test_a_result_of_the_bench(tmp_path, full_disk):
    with full_disk(), pytest.raises(OSError, match="No space left on device"):
        bench.write(tmp_path, "linear_lif", {}, {})
    assert not list(tmp_path.iterdir())


def test_an_evaluation_that_is_stopped_leaves_nothing(stored, monkeypatch, capfd):
    from snnlab import atomic

    def stop(path, content):
        path.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "write_bytes", stop)
    assert evaluate.main([str(stored), "accuracy_over_time"]) == 130
    assert "interrupted; nothing was written" in capfd.readouterr().err
    assert not list((stored / "evaluations").iterdir())


def test_a_quota_that_is_used_up_is_a_full_disk(tmp_path, monkeypatch, run_command):
    import errno
    from pathlib import Path

    def mkdir(self, *_, **__):
        raise OSError(errno.EDQUOT, "Disk quota exceeded", str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    code, _, told = run_command(*LINE)
    assert code == 1 and "disk full while writing" in told and told.count("\n") == 1
