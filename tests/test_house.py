"""The house keeps its rules: imports flow one way, every config composes and builds, the README's commands exist."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from pathlib import Path

import pytest
import yaml

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.config.parts import instantiate_part
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError
from snnlab.methods.base.method import QUESTIONS

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "snnlab"

# A room may import from itself, from snnlab.errors, and from the rooms named here.
MAY_IMPORT = {
    "kernels": set(),
    "neurons": {"kernels"},
    "simulators": {"kernels"},
    "weights": {"kernels", "neurons"},
    "layers": {"kernels", "neurons", "simulators", "weights"},
    "models": {"layers", "neurons"},
    "metrics": {"weights", "layers", "neurons"},
    "initializers": {"weights", "layers", "neurons"},
    "regularizers": set(),
    "hardware": {"weights", "layers", "neurons"},
    "data": {"kernels", "command"},  # numba's compiler; __main__ is a command
    "config": {"data", "methods", "kernels"},
    "methods": {"kernels", "weights", "layers", "neurons", "data", "metrics"},
    "callbacks": {"layers", "neurons", "data", "methods", "metrics"},
    "runs": {"kernels", "neurons", "data", "methods", "callbacks", "config", "command"},
    "tables": {"runs", "command"},
    "evaluate": {
        *("kernels", "layers", "neurons", "simulators", "data", "methods", "metrics", "callbacks"),
        *("config", "runs", "command"),
    },
    "bench": {
        *("kernels", "layers", "neurons", "models", "data", "methods", "callbacks", "config", "runs"),
        "command",
        "train",  # a workload times a whole command
    },
}


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"snnlab.{a.name}" for a in node.names] if node.module == "snnlab" else [node.module]
        rooms |= {name.split(".")[1] for name in names if name.startswith("snnlab.")}
    return rooms


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_flow_one_way(room):
    files = list((SOURCE / room).rglob("*.py"))
    assert files
    for path in files:
        foreign = imported_rooms(path) - MAY_IMPORT[room] - {room, "errors", "atomic"}
        assert not foreign, f"{path.relative_to(ROOT)} imports snnlab.{', snnlab.'.join(sorted(foreign))}"


def test_only_the_composition_rooms_read_configs():
    allowed = {"stored.py", "sweep.py"}
    for path in SOURCE.rglob("*.py"):
        if path.name not in allowed and path.parent.name != "config":
            assert not re.search(r"^\s*(from|import) (hydra|omegaconf)", path.read_text(), re.MULTILINE), path


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


# data without still images, and data without one natural image per class
NO_IMAGES = ("cifar10_dvs", "dvs_gesture", "mnist_dvs", "nmnist", "randman", "shd", "ssc", "store_recall")
NO_SIGNALS = ("dvs_gesture", "randman", "shd", "ssc")
# Pairs that make no sense, and the words with which they are refused; beside them a method refuses what a data set asks
# for and it does not answer.
REFUSED = {
    **{("vdib", data): "needs one natural image per class" for data in NO_SIGNALS},
    ("vdib", "yin_yang"): "needs the natural image behind each sample",
    **{("conversion", data): "has no still images" for data in NO_IMAGES},
}
RATES = {"ann", "burstccn", "conversion"}  # no spiking layer: never, or not before the learning is over


@pytest.mark.parametrize(("method", "data"), itertools.product(choices("method"), choices("data")))
def test_every_method_composes_and_builds_with_every_data_set(method, data, empty_data):
    from hydra.utils import get_object

    config = compose([f"method={method}", f"data={data}"]).config
    asked, answers = instantiate_part("data", config.data).spec.asks, get_object(config.method._target_).answers
    words = REFUSED.get((method, data)) if asked in answers else f"asks for {QUESTIONS[asked]}"
    if words:
        with pytest.raises(InputError, match=words) as refusal:
            build(config)
        if asked not in answers:
            named = str(refusal.value).split("choose method=")[1].split(" or ")
            assert named
            assert all(asked in get_object(compose([f"method={m}"]).config.method._target_).answers for m in named)
        return
    parts = build(config)
    assert parts.data.spec.name == data
    assert len(parts.method.network.neurons()) >= 1 or method in RATES


@pytest.mark.parametrize(
    ("group", "choice"), [(g, c) for g in ("model", "encoder", "init", "hardware", "logger") for c in choices(g)]
)
def test_every_other_choice_composes(group, choice):
    config = compose(
        ["method=stbp", "data=digits", f"{group}={choice}"]
        + (["encoder.time_steps=4"] if group == "encoder" and choice != "none" else [])
    ).config
    refusals = {("encoder", "none"): "still images", ("model", "vgg11"): "too small for 4 pools"}  # digits are 8 x 8
    if (group, choice) in refusals:
        with pytest.raises(InputError, match=refusals[group, choice]):
            build(config)
    else:
        build(config)


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_composes_and_builds(experiment, empty_data):
    build(compose([f"experiment={experiment}"]).config)


@pytest.mark.parametrize("path", sorted(conf_dir().glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_config_lists_every_argument_of_its_class(path):
    from hydra.utils import get_object

    node = yaml.safe_load(path.read_text()) or {}
    if "_target_" not in node:
        return
    arguments = set(inspect.signature(get_object(node["_target_"])).parameters) - {"model", "encoder"}
    if path.parent.name == "method":
        arguments -= {"data"}
    assert arguments <= set(node), f"missing: {arguments - set(node)}"
    assert set(node) - {"_target_", "recipes"} <= arguments


def test_the_commands_of_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    assert text.index("make run") < text.index("make test")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+)", text)) <= targets
    for module in set(re.findall(r"python -m (snnlab[\w.]*)", text)):
        relative = Path(*module.split(".")[1:])
        assert (SOURCE / relative / "__main__.py").exists() or (SOURCE / relative).with_suffix(".py").exists(), module
    for command in re.findall(r"python -m snnlab((?: [\w.]+=[^\s`]+)+)", text):
        options = [option for option in command.split() if "," not in option]
        compose(options)


def test_public_classes_and_functions_say_what_they_do():
    missing = []
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        if not ast.get_docstring(tree) and path.name != "__init__.py":
            missing.append(str(path.relative_to(ROOT)))
        missing += [
            f"{path.relative_to(ROOT)}:{node.name}"
            for node in tree.body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)
        ]
    assert not missing, missing


def test_the_console_script_and_the_version_agree():
    import tomllib

    import snnlab

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["snnlab"] == "snnlab.train:main" and project["version"] == snnlab.__version__
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().split()
