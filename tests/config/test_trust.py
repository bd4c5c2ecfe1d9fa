"""A stored config builds what its places declare, from packages that the user named, and refuses the rest unbuilt."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from snnlab.checkpoint import check_links, inside
from snnlab.config import trust
from snnlab.config.compose import compose
from snnlab.config.moved import today
from snnlab.errors import InputError

ROOT = Path(__file__).parents[2]
RAN = {"_target_": "snnlab.bench.workloads.start_up.process", "command": ["touch", "x"], "limit": 10.0}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("SNNLAB_CACHE", str(tmp_path / "cache"))
    return compose(["method=stbp", "data=digits"]).plain()


def told(config) -> str:
    with pytest.raises(InputError) as caught:
        trust.check_stored(config, "run.json")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_every_stored_run_of_the_house_is_built():
    for path in sorted((ROOT / "results").rglob("run.json")):
        trust.check_stored(today(json.loads(path.read_text())["config"]), path)


@pytest.mark.parametrize("method", sorted(path.stem for path in (ROOT / "conf/method").glob("*.yaml")))
def test_every_method_is_built(method):
    trust.check_stored(compose([f"method={method}"]).plain(), method)


@pytest.mark.parametrize("group", ["encoder", "model", "init", "data", "method"])
@pytest.mark.parametrize(
    "target", [RAN["_target_"], "snnlab.neurons.lif.LIF", "torch.optim.Adam", "snnlab.errors.plain"]
)
def test_a_group_takes_its_own_base_alone(config, group, target):
    config[group] = {"_target_": target}
    assert f"config.{group}._target_" in told(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer", RAN),
        ("optimizer", {"_target_": "snnlab.models.mlp.MLP", "hidden": []}),
        ("surrogate", RAN),
        ("optimizer", {"_target_": "torch.optim.SGD", "params": [RAN]}),
        ("optimizer", {"_target_": "torch.optim.SGD", "deep": {"er": [{"x": RAN}]}}),
        ("new", [RAN]),
    ],
)
def test_what_is_declared_holds_at_every_depth(config, key, value):
    config["method"][key] = value
    assert "_target_" in told(config)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"_target_": "os.system"}, "SNNLAB_PACKAGES=os"),
        ({"_target_": "torch.hub.load"}, "builds classes of snnlab"),
        ({"_target_": "snnlab.__main__.main"}, "builds classes of snnlab"),
        ({"_target_": 7}, "builds classes of snnlab"),
        ({"_args_": [1]}, "has no place"),
        ({"_recursive_": False}, "has no place"),
        ({"_partial_": "x"}, "must be true or false"),
        ("${oc.env:HOME}", "refers to something else"),
        ("???", "refers to something else"),
        ("os.system", "SNNLAB_PACKAGES=os"),
        ([0] * 1001, "at most 1,000"),
    ],
)
def test_words_that_would_be_followed_are_refused(config, value, words):
    config["method"]["x"] = value
    assert words in told(config)


def test_nothing_is_built_where_no_class_reads(config):
    for key in ("trainer", "hardware", "logger", "hydra", "new"):
        assert "is not built" in told({**config, key: {"x": [RAN]}})


def test_a_package_is_imported_once_it_is_named_and_only_where_it_lay(config, tmp_path, monkeypatch):
    for place in ("mine", "other"):
        (tmp_path / place / "theirs").mkdir(parents=True)
        (tmp_path / place / "theirs/__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
        (tmp_path / place / "theirs/model.py").write_text(
            "from snnlab.models.mlp import MLP\nclass Mine(MLP):\n    pass\nclass Other:\n    pass\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    config["model"]["_target_"] = "theirs.model.Mine"
    assert "SNNLAB_PACKAGES=theirs" in told(config) and not (tmp_path / "ran").exists()
    monkeypatch.setenv("SNNLAB_PACKAGES", "yours, theirs")
    trust.check_stored(config, "run.json")
    config["model"]["_target_"] = "theirs.model.Other"
    assert "is no subclass of snnlab.models.model.Model" in told(config)
    monkeypatch.delenv("SNNLAB_PACKAGES")
    config["model"]["_target_"] = "theirs.model.Mine"
    trust.name(config)  # as a run made here does
    trust.check_stored(config, "run.json")
    (tmp_path / "cache/packages").chmod(0o777)
    assert "SNNLAB_PACKAGES" in told(config)
    (tmp_path / "cache/packages").chmod(0o700)
    for module in ("theirs", "theirs.model"):
        sys.modules.pop(module, None)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "other"), *sys.path])
    assert "SNNLAB_PACKAGES" in told(config)


def test_no_path_and_no_link_leads_out_of_a_run(tmp_path):
    run = tmp_path / "run"
    (run / "figures").mkdir(parents=True)
    assert inside(run, "figures/../figures/a.png").parent.name == "figures"
    for name in ("../x", "/etc/passwd", "figures/../../x", "a\0b"):
        with pytest.raises(InputError):
            inside(run, name)
    check_links(run)
    (run / "figures/a.png").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="leads out"):
        check_links(run)
