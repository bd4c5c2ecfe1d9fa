"""Stored runs to ask: BNTT on the bundled digits, its norm-free twin, and STBP."""

import os

import pytest

from snnlab.config.compose import compose
from snnlab.runs.wiring import run


def train(tmp_path_factory, *options):
    with pytest.MonkeyPatch.context() as patch:
        if "SNNLAB_CACHE" not in os.environ:  # what is compiled once is there for all tests
            patch.setenv("SNNLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        output = tmp_path_factory.mktemp("outputs")
        common = ["data=digits", "logger=none", "callbacks.figures=false", "encoder.time_steps=8", "model.hidden=[40]"]
        return run(compose([*options, *common, f"paths.output={output}"])).folder


@pytest.fixture(scope="session")
def bntt_run(tmp_path_factory):
    return train(tmp_path_factory, "method=bntt", "trainer.max_epochs=6")


@pytest.fixture(scope="session")
def norm_free_run(tmp_path_factory):
    return train(tmp_path_factory, "method=bntt", "method.norm=none", "trainer.max_epochs=1")


@pytest.fixture(scope="session")
def stbp_run(tmp_path_factory):
    return train(tmp_path_factory, "method=stbp", "trainer.max_epochs=2")
