"""Fixtures of all tests: a quiet machine, a cache of their own, real data where SNNLAB_DATA names it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

REAL = {
    "mnist": "mnist/train-images-idx3-ubyte.gz",
    "fashion_mnist": "fashion-mnist/train-images-idx3-ubyte.gz",
    "nmnist": "nmnist-small/NMNISTsmall.zip",
}

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Keep what tests cache out of the user's folder, and W&B quiet and offline."""
    if "SNNLAB_CACHE" not in os.environ:
        monkeypatch.setenv("SNNLAB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.fixture(autouse=True)
def _own_log():
    """What a command sets up for its messages ends with the test: later ones look at what they print alone."""
    yield
    logger = logging.getLogger("snnlab")
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture
def empty_data(monkeypatch, tmp_path):
    """A data root that holds nothing."""
    root = tmp_path / "no_data"
    root.mkdir()
    monkeypatch.setenv("SNNLAB_DATA", str(root))
    return root


@pytest.fixture
def run_command(monkeypatch, tmp_path, capsys):
    """Run one command line in an empty folder; returns (exit code, stdout, stderr)."""
    from snnlab.train import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """``real_data("mnist")`` returns the data root that holds it, or skips the test."""

    def find(name: str) -> Path:
        root = os.environ.get("SNNLAB_DATA")
        if not root or not (Path(root) / REAL[name]).exists():
            reason = f"{name} not found: set SNNLAB_DATA to a folder that holds {REAL[name]}"
            if os.environ.get("SNNLAB_REQUIRE_DATA"):  # CI has the data, so there a skip would hide a failure
                pytest.fail(reason)
            pytest.skip(reason)
        return Path(root)

    return find


@pytest.fixture
def full_disk(monkeypatch):
    """A context in which every file that is written whole or not at all meets a full disk."""
    from snnlab import atomic
    from snnlab.data import files

    def open_beside(path: Path) -> tuple[int, Path]:
        return os.open("/dev/full", os.O_WRONLY), path.parent / ".nothing.part"

    @contextmanager
    def full():
        with monkeypatch.context() as patch:
            for module in (atomic, files):
                patch.setattr(module, "open_beside", open_beside)
            patch.setattr(files, "TOLD", set())
            yield

    return full
