"""What a run is: values that decide nothing, or that its class would take by itself, leave it the same run."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from snnlab.config.compose import compose
from snnlab.runs.identity import deciding, defaults, differences, digest, identity, less_seed, recorded, row, same

OWN = Path(__file__).parents[1] / "own_package"
BASE = ["method=stbp", "data=digits"]


@functools.cache
def config(*overrides):
    from omegaconf import OmegaConf

    return OmegaConf.to_container(compose([*BASE, *overrides]).config)


def test_what_is_left_of_a_small_config_by_hand():
    left = deciding(config("seed=3", "model.hidden=[16]", "encoder.time_steps=4", "method.threshold=0.5"))
    assert left["seed"] == 3 and "kernels" not in left and "hardware" not in left and "init" not in left
    assert left["data"] == {"_target_": "snnlab.data.images.digits.Digits", "batch_size": 50}
    assert left["model"] == {"_target_": "snnlab.models.mlp.MLP", "hidden": [16]}
    assert left["encoder"] == {"_target_": "snnlab.data.encoders.Rate", "time_steps": 4}
    assert left["method"] == {
        "_target_": "snnlab.methods.stbp.STBP",
        "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True},
        "scheduler": {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "_partial_": True, "T_max": 25},
    }
    assert left["trainer"] == {"devices": 1, "max_epochs": 25, "num_sanity_val_steps": 0, "deterministic": True}


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.num_workers=2", "data.root=elsewhere", "data.cache=elsewhere"],
        ["paths.output=elsewhere", "logger=none", "callbacks.figures=false", "debug=true", "resume=auto"],
        ["trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1", "trainer.profiler=simple"],
        ["method.optimizer.lr=1e-3"],
        ["method.optimizer.lr=0.0010"],
        ["trainer.gradient_clip_val=null", "kernels=auto", "hardware=none", "init=default"],
        ["data.seed=0"],
    ],
)
def test_what_decides_no_number_leaves_it_the_same_run(overrides):
    assert identity(config(*overrides)) == identity(config())


@pytest.mark.parametrize(
    "override",
    [
        "method.scheduler=null",
        "method.optimizer.lr=2e-3",
        "+method.optimizer.weight_decay=0.1",
        "method.threshold=1",
        "model.dropout=0.1",
        "trainer.max_epochs=2",
        "trainer.limit_train_batches=3",
        "data.batch_size=10",
        "data.seed=1",
        "encoder=direct",
        "init=kaiming",
        "kernels=step",
        "kernels=half",
    ],
)
def test_what_decides_numbers_makes_another_row(override):
    other = config(override, *(["encoder.time_steps=10"] if override == "encoder=direct" else []))
    assert row(other) != row(config()) and identity(other) != identity(config())


def test_download_is_no_part_of_a_run():
    from omegaconf import OmegaConf

    now = OmegaConf.to_container(compose(["method=stbp", "data=mnist"]).config)
    assert now["data"]["download"] and identity({**now, "data": {**now["data"], "download": False}}) == identity(now)


def test_a_row_is_a_run_less_its_seed_and_what_repeats_it():
    one, two = config("seed=1"), config("seed=2")
    assert (one["data"]["seed"], two["data"]["seed"]) == (1, 2)
    assert identity(one) != identity(two) and row(one) == row(two)
    assert row(config("seed=1", "data.seed=7")) == row(config("seed=2", "data.seed=7")) != row(one)


def test_a_seed_of_the_data_that_is_the_usual_one_is_not_the_runs():
    assert identity(config("seed=3", "data.seed=0")) != identity(config("seed=3"))


def test_parts_of_data_at_their_defaults_leave_the_run_the_same():
    now = config()
    assert "augmentation" not in deciding(now)["data"] and "augmentation" in now["data"]
    (flat := json.loads(json.dumps(now)))["data"].pop("augmentation")
    assert identity({**flat, "data": {**flat["data"], "crop_padding": 0, "flip": 0.0, "cutout": 0}}) == identity(now)
    changed = identity(config("data.augmentation.crop_padding=1"))
    assert identity({**flat, "data": {**flat["data"], "crop_padding": 1}}) == changed != identity(now)
    films = [config("data=mnist_dvs", *more) for more in ([], ["data.camera.threshold=0.3"], ["data.camera.seed=1"])]
    assert identity(films[0]) == identity(films[1]) != identity(films[2])


def test_a_key_that_was_not_there_yet_counts_as_its_default():
    now = config()
    for dotted in ("kernels", "hardware", "init", "method.regularizer", "method.neuron_options", "model.dropout"):
        *path, last = dotted.split(".")
        old = json.loads(json.dumps(now))
        node = functools.reduce(dict.__getitem__, path, old)
        del node[last]
        assert identity(old) == identity(now), dotted
    del (old := json.loads(json.dumps(now)))["method"]["scheduler"]  # has no scheduler: the class's own default
    assert identity(old) == identity(config("method.scheduler=null")) != identity(now)


def test_spellings_of_one_number_are_equal_and_true_is_not_one():
    assert same(1, 1.0) and same((1, 2.5), [1.0, 2.5]) and same({}, None) and same(1e-3, 0.001)
    assert not same(True, 1) and not same(0, False) and not same("1", 1) and not same([], None)
    assert digest({"a": 1.0, "b": (2,)}) == digest({"b": [2], "a": 1})


class Base:
    def __init__(self, batch: int = 7, size: int = 3) -> None: ...


SMALL = functools.partial(Base, batch=2, size=3)


class Handing(Base):
    def __init__(self, size: int = 4, optimizer=SMALL, **options) -> None: ...


def test_defaults_of_arguments_that_are_handed_on_are_the_bases():
    found = defaults(Handing)
    assert (found["batch"], found["size"]) == (7, 4)


def test_a_default_that_is_itself_a_config_is_taken_away_whole(monkeypatch):
    module = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "snnlab.made_up", module)  # of the house, so that its defaults are read
    node = {"_target_": "snnlab.made_up.Handing", "size": 4.0}
    given = {"_target_": f"{__name__}.Base", "_partial_": True, "batch": 2, "size": 3}
    assert deciding({"model": {**node, "optimizer": given}}) == {"model": {"_target_": "snnlab.made_up.Handing"}}
    left = deciding({"model": {**node, "optimizer": {**given, "batch": 5}}})["model"]["optimizer"]
    assert left == {"_target_": f"{__name__}.Base", "_partial_": True, "batch": 5}


def test_a_strangers_package_is_not_imported_to_read_its_run_and_its_own_reduction_is_kept(tmp_path):
    """The run that knows the classes has stored what is left of them."""
    (tmp_path / "stranger.py").write_text("raise SystemExit('imported')")
    code = (
        "import json, sys\nfrom snnlab.runs.identity import recorded\n"
        "part = {'_target_': 'stranger.Method', 'rate': 0.1, 'later': 0}\n"
        "config = {'seed': 1, 'method': part}\n"
        "left = {'_target_': 'stranger.Method', 'rate': 0.1}\n"
        "assert recorded({'config': config}) == config, recorded({'config': config})\n"
        "assert recorded({'config': config, 'identity': {'seed': 1, 'method': left}})['method'] == left\n"
        "assert 'stranger' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_key_added_later_to_a_class_of_ones_own_leaves_its_run_the_same(monkeypatch):
    monkeypatch.syspath_prepend(str(OWN))
    from omegaconf import OmegaConf

    now = OmegaConf.to_container(compose(["method=mine", "data=two_rates"], OWN / "my_conf").config)
    left = deciding(now)
    assert set(left["method"]) < set(now["method"])  # its defaults are known to the run itself
    content = {"config": now, "identity": left}
    assert digest(recorded(content)) == identity(now)
    old = json.loads(json.dumps(now))
    dropped = next(key for key in now["method"] if key not in left["method"])
    del old["method"][dropped]
    assert digest(recorded({"config": old, "identity": left})) == identity(now)


def test_differences_name_keys_and_both_values():
    one, two = deciding(config()), deciding(config("method.threshold=1", "method.scheduler=null", "seed=4"))
    found = differences(less_seed(one), less_seed(two))
    assert found["method.threshold"] == (None, 1) and set(found) == {"method.threshold", "method.scheduler"}


def test_one_batch_is_not_all_of_them():
    one, whole = (config("trainer.limit_train_batches=" + value) for value in ("1", "1.0"))
    assert identity(one) != identity(whole) and row(one) != row(whole)
    assert differences(deciding(one), deciding(whole)) == {"trainer.limit_train_batches": (1, 1.0)}
