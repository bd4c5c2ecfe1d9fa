"""Checkpoints are whole or not there, hold all that a run goes on with, and the best is found by its epoch."""

import errno
import logging
import os
import tempfile

import pytest
import torch

from snnlab import atomic
from snnlab.callbacks.checkpoints import WholeCheckpoints, last_whole
from snnlab.callbacks.history import History

MOST = 2**20  # bytes of a checkpoint here


def store(folder, epoch, accuracies, **more):
    """A checkpoint as small as one can be."""
    rows = [{"epoch": i, "val/accuracy": value} for i, value in enumerate(accuracies)]
    history = {"rows": rows, "samples": 5, "seconds": 1.0, "of_validation": [], "metric": "val/accuracy", "mode": "max"}
    path = folder / "checkpoints" / f"epoch{epoch:03d}.ckpt"
    content = {"state_dict": {"w": torch.arange(400.0)}, "loops": {}, "callbacks": {"History": history}, **more}
    WholeCheckpoints().save_checkpoint(content, path)
    return path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_write_that_fails_leaves_what_was_there(number, tmp_path, monkeypatch):
    path = store(tmp_path, 0, [0.5])
    before = path.read_bytes()

    def full(_):
        raise OSError(number, "no")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="no") as failure:
        store(tmp_path, 0, [0.6])
    assert failure.value.filename == str(path) and failure.value.errno == number
    assert path.read_bytes() == before and [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_checkpoint_is_written_beside_its_target_and_synced_before_it_takes_the_name(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    done, replace, fsync = [], os.replace, os.fsync
    monkeypatch.setattr(atomic.os, "fsync", lambda handle: (done.append("sync"), fsync(handle))[1])
    monkeypatch.setattr(atomic.os, "replace", lambda a, b: (done.append((a, str(b))), replace(a, b))[1])
    path = store(tmp_path, 0, [0.5])
    first, (part, target), folder = done
    assert first == folder == "sync" and target == str(path) and os.path.dirname(part) == str(path.parent)
    assert not any(elsewhere.iterdir())


@pytest.mark.parametrize("damage", ["cut", "empty", "one byte", "another file", "weights alone"])
def test_a_broken_checkpoint_is_left_for_the_one_before_it(damage, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("snnlab"), "propagate", True)
    whole, broken = store(tmp_path, 0, [0.5]), store(tmp_path, 1, [0.5, 0.6])
    assert last_whole(tmp_path, MOST) == broken
    content = broken.read_bytes()
    if damage == "cut":
        broken.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        broken.write_bytes(b"")
    elif damage == "one byte":  # torch.load does not see it
        at = content.index(torch.arange(400.0).numpy().tobytes()) + 90
        broken.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    elif damage == "another file":
        broken.write_text("nothing of it")
    else:
        torch.save({"state_dict": {}}, broken)
    with caplog.at_level(logging.WARNING, "snnlab"):
        assert last_whole(tmp_path, MOST) == whole
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{broken} is no whole checkpoint (") and "\n" not in message


def test_a_run_goes_back_to_before_its_best_epoch_where_that_is_broken(tmp_path):
    paths = [store(tmp_path, i, accuracies) for i, accuracies in enumerate([[0.5], [0.5, 0.9], [0.5, 0.9, 0.6]])]
    assert last_whole(tmp_path, MOST) == paths[2]
    paths[1].write_bytes(b"")
    assert last_whole(tmp_path, MOST) == paths[0]
    paths[0].unlink()
    assert last_whole(tmp_path, MOST) is None


def test_a_checkpoint_larger_than_its_network_may_have_is_left(tmp_path):
    paths = [store(tmp_path, 0, [0.5]), store(tmp_path, 1, [0.5, 0.6], more=torch.zeros(5000))]
    assert last_whole(tmp_path, paths[1].stat().st_size) == paths[1]
    assert last_whole(tmp_path, paths[1].stat().st_size - 1) == paths[0]


def test_the_best_epoch_is_found_by_its_number_not_its_place(tmp_path):
    history = History(tmp_path, "val/accuracy", "max")
    history.rows = [
        {"epoch": 1, "val/accuracy": 0.5},
        {"epoch": 2},
        {"epoch": 4, "val/accuracy": 0.7},
        {"epoch": 5, "val/accuracy": 0.7},
        {"epoch": 6, "val/accuracy": float("nan")},
    ]
    assert history.best() == 4 and history.at(4) == {"val/accuracy": 0.7} and history.last == 6
    history.mode = "min"
    assert history.best() == 1
    history.metric = "val/loss"
    assert history.best() is None
    history.metric = None
    assert history.best() == 6


def test_leftovers_of_a_cut_write_are_removed(tmp_path):
    (tmp_path / ".run.json-abc.part").write_text("half")
    (tmp_path / "run.json").write_text("whole")
    atomic.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
