"""A callback that only looks does not end a run."""

import logging

import lightning as L
import pytest
import torch

from snnlab.callbacks.harmless import harmless
from snnlab.callbacks.memory import LiveBytes
from snnlab.errors import RunFailure


class Broken(L.Callback):
    def __init__(self, error):
        self.error, self.calls = error, 0

    def on_fit_start(self, trainer, pl_module):
        self.calls += 1
        raise self.error


def test_it_is_told_once_and_looks_no_more(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("snnlab"), "propagate", True)
    callback = harmless(Broken(ValueError("no\nsuch thing")))
    for _ in range(3):
        callback.on_fit_start(None, None)
    assert callback.calls == 1
    assert [r.getMessage() for r in caplog.records] == ["Broken stopped (no such thing); the run goes on without it"]


@pytest.mark.parametrize("error", [RunFailure("stop"), KeyboardInterrupt(), BrokenPipeError()])
def test_what_is_to_end_a_run_ends_it(error):
    with pytest.raises(type(error)):
        harmless(Broken(error)).on_fit_start(None, None)


def test_memory_of_sparse_tensors_is_counted_by_their_parts():
    with LiveBytes() as counted:
        sparse = torch.eye(100).to_sparse()
        (sparse @ torch.ones(100, 1)).sum()
    assert counted.peak >= 100 * 100 * 4
