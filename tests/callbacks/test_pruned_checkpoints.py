"""Few checkpoints stay: what a resume, the test and a damaged last one need."""

from types import SimpleNamespace

import pytest

from snnlab.callbacks.checkpoints import EpochCheckpoints, name
from snnlab.callbacks.history import History
from snnlab.kernels.path import Path

NETWORK = SimpleNamespace(path=Path())


def saved(folder, values, keep_all=False, at=()):
    """Save an epoch for each value of the figure; return the epochs that have a checkpoint after each."""
    history = History(folder, "val/accuracy", "max")
    checkpoints = EpochCheckpoints(folder, history, NETWORK, keep_all)
    checkpoints.folder.mkdir()
    trainer = SimpleNamespace(save_checkpoint=lambda path: path.write_text(""), is_global_zero=True)
    seen = []
    for epoch, value in enumerate(values):
        history.rows.append({"epoch": epoch} | ({} if value is None else {"val/accuracy": value}))
        checkpoints.save(trainer)
        seen.append({int(path.stem.removeprefix("epoch")) for path in checkpoints.folder.glob("epoch*.ckpt")})
        if epoch in at:  # as a resume does
            state = checkpoints.state_dict()
            checkpoints = EpochCheckpoints(folder, history, NETWORK, keep_all)
            checkpoints.load_state_dict(state)
    return seen


@pytest.mark.parametrize("at", [(), (1, 3)])
def test_the_last_and_the_best_stay_and_those_of_one_epoch_before(tmp_path, at):
    assert saved(tmp_path, [0.5, 0.7, 0.6, 0.6, 0.9, 0.8], at=at) == [{0}, {0, 1}, {1, 2}, {1, 2, 3}, {1, 3, 4}, {4, 5}]


def test_before_anything_is_validated_the_last_ones_stay(tmp_path):
    assert saved(tmp_path, [None, None, None])[-1] == {1, 2}


def test_all_of_them_where_that_is_asked_for(tmp_path):
    assert saved(tmp_path, [0.5, 0.7, 0.6, 0.8], keep_all=True)[-1] == {0, 1, 2, 3}


def test_what_is_no_epochs_stays(tmp_path):
    checkpoints = EpochCheckpoints(tmp_path, History(tmp_path, None, "max"), NETWORK)
    checkpoints.folder.mkdir()
    for other in ("interrupted.ckpt", "epoch_mine.ckpt", name(7)):
        (checkpoints.folder / other).write_text("")
    checkpoints.prune(set())
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["epoch_mine.ckpt", "interrupted.ckpt"]
