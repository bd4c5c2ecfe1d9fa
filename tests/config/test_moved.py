"""Runs stored before a move are read as if they were stored today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from snnlab.config.moved import PARTS, today
from snnlab.config.parts import instantiate_part
from snnlab.config.schema import arguments_of

RESULTS = Path(__file__).parents[2] / "results"


def stored(folder: str) -> list[dict]:
    """The config of the data in each stored run of ``folder``."""
    return [json.loads(path.read_text())["config"]["data"] for path in sorted((RESULTS / folder).rglob("run.json"))]


def test_films_of_a_stored_run_are_filmed_as_they_were(tmp_path):
    found = stored("main_films")
    assert found
    for old in found:
        new = today(old)
        data = instantiate_part("data", {**new, "root": str(tmp_path), "cache": str(tmp_path)})
        given = {"threshold", "mismatch", "refractory_us", "noise_hz", "dark"}
        assert {key: getattr(data.camera, key) for key in given} == {key: old[key] for key in given}
        assert (data.camera.radius, data.camera.period_s) == (old["path_radius"], old["path_period_s"])
        assert (data.camera.seed, data.camera.duration_us) == (old["film_seed"], 2_000_000)
        changed = {"flip", "shift", "jitter_us", "drop"}
        assert {key: getattr(data.augmentation, key) for key in changed} == {key: old[key] for key in changed}
        assert (data.loader.batch_size, data.loader.seed) == (old["batch_size"], old["seed"])
        assert not (given | changed) & set(new)


@pytest.mark.parametrize("folder", ["main_digits", "stbp_fashion_mnist", "stbp_nmnist", "vdib_predictive"])
def test_data_of_other_stored_runs_is_built(folder, tmp_path):
    for old in stored(folder):
        instantiate_part("data", {**today(old), "root": str(tmp_path), "cache": str(tmp_path)})


def test_keys_keep_their_values_and_todays_config_is_left_alone():
    old = {"_target_": "snnlab.data.cifar10.CIFAR10", "crop_padding": 4, "flip": 0.5, "cutout": 16, "val_size": 9}
    new = today({"data": old})["data"]
    assert new == {
        "_target_": "snnlab.data.images.cifar10.CIFAR10",
        "val_size": 9,
        "augmentation": {
            "_target_": "snnlab.data.augmentation.ImageAugmentation",
            "crop_padding": 4,
            "flip": 0.5,
            "cutout": 16,
        },
    }
    assert today(new) == new
    assert old["flip"] == 0.5  # what was given is left as it came


@pytest.mark.parametrize("target", PARTS)
def test_every_part_is_where_the_table_says(target):
    from hydra.utils import get_object

    arguments, _ = arguments_of(get_object(target))
    for part, (cls, keys) in PARTS[target].items():
        assert part in arguments and not set(keys) & set(arguments)
        assert set(keys.values()) <= set(arguments_of(get_object(cls))[0])
