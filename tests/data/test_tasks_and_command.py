"""Drifting blobs, and the command ``python -m snnlab.data``."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from snnlab.data.__main__ import DATASETS, build, main
from snnlab.data.tasks.drifting_blobs import BINS, PAIRS, DriftingBlobs, pair_index, positions
from snnlab.errors import InputError

CONF = Path(__file__).parents[2] / "conf"
CONFIGS = [
    p for p in sorted(CONF.glob("data/*.yaml")) + sorted(CONF.glob("encoder/*.yaml")) if "_target_" in p.read_text()
]


def test_pairs_are_210_classes() -> None:
    bins = np.array([(i, j) for i in range(BINS) for j in range(i, BINS)])
    assert pair_index(bins).tolist() == list(range(PAIRS))
    assert PAIRS == 210
    assert np.array_equal(pair_index(bins[:, ::-1]), pair_index(bins))


def test_positions_without_noise() -> None:
    """With eta = 0: theta[t] = theta0 + 10 (1 - 0.9^t) and A[t] = 0.5 * 0.99^t after t updates."""
    bins = positions(np.zeros((50, 1, 2, 3)), np.array([[0.0, 1.0]]))
    t = np.arange(1, 51)
    for blob, start in enumerate((0.0, 1.0)):
        place = 0.5 * 0.99**t * (start + 10 * (1 - 0.9**t))
        assert np.array_equal(bins[:, 0, blob], np.rint(place * BINS / (2 * np.pi)).astype(int) % BINS)


def test_blobs() -> None:
    data = DriftingBlobs("x", "x", delta=3, steps_test=40, train_sequences=50)
    assert data.spec.kind == "task"
    assert data.spec.input_shape == (20,)
    assert data.spec.classes == 210
    batch = next(iter(data.train_dataloader()))
    assert batch.inputs.shape == (100, 32, 20)
    assert batch.labels.shape == (100, 32)
    assert batch.signals is None
    assert set(batch.inputs.sum(-1).unique().tolist()) <= {1, 2}
    assert next(iter(data.test_dataloader())).inputs.shape == (40, 32, 20)
    assert data.provenance.flags() == ["synthetic"]
    now = DriftingBlobs("x", "x", delta=0)
    now.setup()
    # the same noise begins both, so labels at t + 3 are the labels three steps later
    one, other = now.splits.train.batch([4]), data.splits.train.batch([4])
    pairs = [torch.nonzero(step)[:, 0] for step in one.inputs[:, 0]]
    assert one.labels[:, 0].tolist() == [int(pair_index(np.array([int(p[0]), int(p[-1])]))) for p in pairs]
    assert torch.equal(one.inputs, other.inputs)
    assert torch.equal(one.labels[3:], other.labels[:-3])


def test_blob_sequences_do_not_depend_on_their_batch() -> None:
    data = DriftingBlobs("x", "x")
    data.setup()
    together = data.splits.val.batch([5, 9])
    assert torch.equal(together.inputs[:, 1], data.splits.val.batch([9]).inputs[:, 0])
    assert not torch.equal(data.splits.val.batch([9]).inputs, data.splits.train.batch([9]).inputs)


def test_blob_ranges() -> None:
    with pytest.raises(InputError, match=r"data\.drifting_blobs: delta = -1 must lie in 0 to 1000"):
        DriftingBlobs("x", "x", delta=-1)


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real" not in tmp_path.name:
        monkeypatch.setenv("SNNLAB_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("SNNLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in DATASETS)
    assert all(word in out for word in ("bundled", "downloadable", "not found", "simulated from digits", "synthetic"))


@pytest.mark.parametrize(
    ("name", "overrides"), [("digits", []), ("mnist_dvs", ["train_films=20", "val_films=5", "test_films=5"])]
)
def test_show_writes_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, overrides: list[str]
) -> None:
    out = tmp_path / "picture.png"
    assert main(["show", name, *overrides, "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert out.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("task", ["drifting_blobs", "adding"])
def test_show_a_task_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["show", task]) == 0
    assert (tmp_path / f"{task}.png").exists()


def test_prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films = ["train_films=20", "val_films=5", "test_films=5"]
    assert main(["prepare", "mnist_dvs", *films, "--aedat", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "wrote 25 recordings" in out
    assert "simulated; subset" in out
    assert len(list((tmp_path / "out").rglob("mnist_?_scale04_????.aedat"))) == 25


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare", "mnst"], "data = 'mnst' is unknown; nearest: mnist"),
        (["prepare", "digits", "val_sise=3"], "'val_sise=3' is no key=value of this data set; nearest keys: val_size"),
        (["prepare", "digits", "val_size=many"], "data.digits: val_size = many must be of type int"),
        (["prepare", "mnist", "download=perhaps"], "data.mnist: download = perhaps must be true or false"),
        (
            ["prepare", "mnist_dvs", "source=film"],
            "data.mnist_dvs: source = film must be one of auto, recorded, simulated",
        ),
        (["prepare", "mnist", "download=false"], "data.mnist: train-images-idx3-ubyte (.gz or not) is not in"),
        (["prepare", "mnist_dvs", "source=recorded"], "data.mnist_dvs: no recordings"),
        (["prepare", "nmnist"], "data.nmnist: no recordings under"),
        (["prepare", "digits", "--aedat", "x"], "--aedat writes films of mnist_dvs, not digits"),
        (["show", "digits", "--out", "no/such/folder/a.png"], "--out no/such/folder/a.png cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert error.count("\n") == 0
    assert "Traceback" not in error


def test_overrides_have_the_types_of_the_signature() -> None:
    data = build("mnist", ["train_size=null", "unverified=true", "val_size=10"])
    assert data.train_size is None
    assert data.unverified is True
    assert data.val_size == 10
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0


# Configs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_configs_name_every_argument_and_its_default(path: Path) -> None:
    from importlib import import_module

    config = yaml.safe_load(path.read_text())
    module, name = config.pop("_target_").rsplit(".", 1)
    parameters = dict(inspect.signature(getattr(import_module(module), name)).parameters)
    assert set(config) == set(parameters)
    for key, value in config.items():
        if key != "time_steps" and not str(value).startswith("${"):
            assert value == parameters[key].default, key
