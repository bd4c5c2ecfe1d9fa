"""The command ``python -m snnlab.data``, and the configs that it lists."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra.utils import get_object, instantiate

from snnlab.config.compose import compose
from snnlab.config.parts import instantiate_part
from snnlab.config.paths import conf_dir
from snnlab.config.schema import arguments_of
from snnlab.data.__main__ import build, main, names
from snnlab.errors import InputError

OWN = Path(__file__).parents[1] / "own_package"
CONFIGS = [
    path
    for path in sorted(conf_dir().glob("data/*.yaml")) + sorted(conf_dir().glob("encoder/*.yaml"))
    if "_target_" in path.read_text()
]


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNNLAB_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("SNNLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert len(names(None)) >= 19
    assert all(name in out for name in names(None))
    assert all(word in out for word in ("bundled", "downloadable", "not found", "simulated from digits", "synthetic"))
    assert "broken" not in out
    assert "data.folder = null: name the folder" in " ".join(out.replace("│", " ").split())


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
    assert len(list((tmp_path / "cache" / "films").rglob("*.npz"))) == 2  # of training and of test images


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare", "mnst"], "data=mnst: there is no such data; nearest: mnist"),
        (["prepare", "digits", "val_sise=3"], "data.val_sise: there is no such key; nearest: data.val_size"),
        (["prepare", "digits", "val_size=many"], "data.val_size = 'many' must be a whole number"),
        (["prepare", "mnist", "download=perhaps"], "data.download = 'perhaps' must be true or false"),
        (["prepare", "digits", "batch_size=0"], "data.batch_size = 0 must be at least 1; 100 is usual"),
        (["prepare", "digits", "flip=0.5"], "data.flip: there is no such key; nearest: data.augmentation.flip"),
        (["prepare", "digits", "augmentation.flip=2.0"], "data.augmentation.flip = 2.0 must lie in 0 to 1"),
        (["prepare", "mnist_dvs", "camera.dark=0.0"], "camera: dark = 0.0 must lie in 0.001 to 0.99"),
        (
            ["prepare", "mnist_dvs", "source=film"],
            "data.source = film: choose one of",
        ),
        (["prepare", "mnist", "download=false"], "data.mnist: train-images-idx3-ubyte (.gz or not) is not in"),
        (["prepare", "mnist_dvs", "source=recorded"], "data.mnist_dvs: no recordings"),
        (["prepare", "nmnist"], "data.nmnist: no recordings under"),
        (["prepare", "digits", "--aedat", "x"], "--aedat writes films of mnist_dvs, not digits"),
        (["show", "digits", "--out", "no/such/folder/a.png"], "--out no/such/folder/a.png cannot be written"),
        ([], "what is to be done? give one of list, prepare, show, bench"),
        (["lst"], "lst: there is no such command; nearest: list"),
        (["list", "digits"], "digits: list takes no data set and no key=value"),
        (["show"], "show takes one data set, not 0"),
        (["show", "digits", "--aedat", "x"], "--aedat is for prepare, not for show"),
        (["show", "digits", "--oot", "x"], "--oot: there is no such flag; nearest: --out"),
        (["list", "--config-dir", "no/such"], "--config-dir no/such: there is no such folder"),
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


def test_overrides_have_the_types_of_the_signature(capsys: pytest.CaptureFixture[str]) -> None:
    data = build("mnist", ["train_size=null", "unverified=true", "val_size=10", "batch_size=7", "seed=3"])
    assert (data.train_size, data.unverified, data.val_size) == (None, True, 10)
    assert (data.loader.batch_size, data.loader.seed) == (7, 3)
    assert main(["--help"]) == 0
    assert "list" in capsys.readouterr().out


def test_data_of_somebodys_own_is_listed_prepared_and_shown(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.syspath_prepend(str(OWN))
    own = ["--config-dir", str(OWN / "my_conf")]
    assert main(["list", *own]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "two_rates" in line)
    assert all(word in row for word in ("task", "T=10 20", "600", "synthetic"))
    assert main(["prepare", "two_rates", "inputs=8", *own]) == 0
    assert "data.two_rates: train 600, val 100, test 100; [8]" in capsys.readouterr().out
    assert main(["show", "two_rates", *own, "--out", str(tmp_path / "own.png")]) == 0
    assert (tmp_path / "own.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["prepare", "two_rates", *own, "batch_size=0"]) == 2
    assert "data.batch_size = 0 must be at least 1" in capsys.readouterr().err


def test_a_broken_config_is_one_row_and_does_not_end_the_list(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "conf" / "data"
    folder.mkdir(parents=True)
    (folder / "a_gone.yaml").write_text("_target_: gone.data.Gone\n")
    (folder / "b_torn.yaml").write_text("_target_: [unclosed\n")
    (folder / "c_empty.yaml").write_text("")
    assert main(["list", "--config-dir", str(tmp_path / "conf")]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("a_gone", "b_torn", "c_empty"):
        assert "broken: " in next(line for line in lines if name in line)
    assert any("data._target_ = gone.data.Gone" in line for line in lines)
    assert any("yin_yang" in line for line in lines)  # after them


# Configs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_configs_name_every_argument_and_its_default(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    arguments, _ = arguments_of(get_object(config.pop("_target_")))
    assert set(config) == set(arguments)
    for key, value in config.items():
        if isinstance(value, dict):
            assert set(value) - {"_target_"} == set(arguments_of(get_object(value["_target_"]))[0])
            value = instantiate(value)
        if key not in ("time_steps", "batch_size") and not str(value).startswith("${"):
            assert value == arguments[key].default, key


def seconds(name: str, *overrides: str) -> float | None:
    config = compose([f"data={name}", *overrides]).config
    return instantiate_part("data", config.data).spec.time_step


@pytest.mark.parametrize(
    ("name", "overrides", "step"),
    [
        ("nmnist", [], 0.010),
        ("nmnist", ["data.window_us=2500"], 0.0025),
        ("nmnist", ["data.window_us=null"], None),  # each recording is cut in equal parts
        ("mnist_dvs", [], 0.025),
        ("cifar10_dvs", [], None),
        ("cifar10_dvs", ["data.split=time", "data.window_us=100000"], 0.1),
        ("dvs_gesture", [], None),
        ("dvs_gesture", ["data.split=time", "data.window_us=300000"], 0.3),
        ("shd", [], 0.014),
        ("shd", ["data.window_us=null"], None),
        ("ssc", [], 0.014),
        ("randman", [], 0.002),
        ("store_recall", [], 0.001),
        ("drifting_blobs", [], None),  # its source names no time
        ("adding", [], None),
        ("yin_yang", [], None),
        *((name, [], None) for name in ("teacher_student", "transverse_ising", "heisenberg", "pauli_strings")),
        *((name, [], 0.02) for name in ("expanding_disc", "landing_ramp")),
        *((name, [], None) for name in ("digits", "mnist", "fashion_mnist", "emnist", "svhn")),
        *((name, [], None) for name in ("cifar10", "cifar100", "tiny_imagenet")),
        ("digits", ["data.sequence=rows"], None),
    ],
)
def test_each_data_set_knows_its_time_step(name: str, overrides: list[str], step: float | None) -> None:
    assert seconds(name, *overrides) == step


def test_no_data_set_is_left_out_of_the_time_steps() -> None:
    marks = next(mark for mark in test_each_data_set_knows_its_time_step.pytestmark if mark.name == "parametrize")
    own = {"folder"}  # has none until somebody says what it is: tests/data/test_folder.py
    assert {row[0] for row in marks.args[1]} == set(names(None)) - own


def test_a_name_that_is_none_raises() -> None:
    with pytest.raises(InputError, match="there is no such data"):
        build("nothing")
