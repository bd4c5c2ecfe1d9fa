"""What the distribution is called, what is said of installing it, and whose licences come with it."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

import snnlab
from snnlab.runs.record import versions

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = (".md", ".py", ".sh", ".yaml", ".yml", ".toml", ".txt", ".cff", ".ipynb", "", ".cfg")
# a package index asked for our name: `snnlab` there is somebody else's, `snnlab-lightning` is not published
FROM_THE_INDEX = re.compile(
    r"pip3?\W+(?:install|download|wheel)\b(?:[^\n`|;&)]|\n +){0,160}?"  # the words of one command, a line broken or not
    r"[\s'\"](?<!-m )snnlab(?:[-_]lightning)?(?:\[|==|[\s'\"`),;.]|$)"
)
A_CHECKOUT_OR_A_WHEEL = re.compile(r"snnlab_lightning-[\w.*-]+\.whl|pip3? install[^`\n]*-e ")


def texts() -> list[Path]:
    """The files that people read: of the root, of the folders that hold words or code; nothing that was made."""
    folders = ("src", "conf", "docs", "benchmarks", "results", "notebooks", "examples", ".ci", "docker")
    found = [path for path in ROOT.iterdir() if path.is_file()]
    found += [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    made = {"__pycache__", ".ruff_cache", ".ipynb_checkpoints"}
    return [path for path in found if path.suffix in WRITTEN and not made & set(path.parts)]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("pip install snnlab", True),
        ("`pip install\n  'snnlab[onnx]'`", True),
        ("pip install -U --no-deps snnlab==0.1", True),
        ("python -m pip install snnlab-lightning", True),
        ('["pip", "install", "snnlab"]', True),
        ("pip install -c constraints.txt -e '.[onnx]'", False),
        ("pip install dist/snnlab_lightning-0.1.0-py3-none-any.whl", False),
        ("pip install onnx\npython -m snnlab", False),
        ("pip install onnx; snnlab --help", False),
    ],
)
def test_the_pattern_finds_what_it_should(text, wrong):
    assert bool(FROM_THE_INDEX.search(text)) == wrong


def test_nothing_says_to_install_snnlab_from_the_package_index():
    found = [
        f"{path.relative_to(ROOT)}: {match.group()!r}"
        for path in texts()
        for match in FROM_THE_INDEX.finditer(path.read_text())
        if not A_CHECKOUT_OR_A_WHEEL.search(match.group())
    ]
    assert len(texts()) > 400 and not found, found
    extras = [f"{path.relative_to(ROOT)}" for path in texts() if "snnlab[" in path.read_text()]
    assert not extras, extras


def test_the_distribution_is_snnlab_lightning_and_the_command_is_snnlab():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "snnlab-lightning" and list(project["scripts"]) == ["snnlab"]
    assert versions()["snnlab"] == snnlab.__version__  # not of whatever distribution is called snnlab here
    readme = (ROOT / "README.md").read_text()
    assert f"snnlab_lightning-{snnlab.__version__}-py3-none-any.whl" in readme
    extras = re.search(r"how extras come \(([^)]*)\)", readme)
    assert extras
    named = set(re.findall(r"`([\w-]+)`", extras.group(1)))
    assert named == set(project["optional-dependencies"]) - {"dev", "docs"}


def test_the_notice_is_what_its_command_makes():
    spec = importlib.util.spec_from_file_location("notice", ROOT / "docs/notice.py")
    notice = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(notice)
    text = (ROOT / "NOTICE").read_text()
    assert text == notice.notice(), "make notice"
    listed = dict(re.findall(r"^  (\S+) +(\S.*)$", text, re.MULTILINE))
    assert listed["tonic"] == "GPL-3.0-only" and "Version 2" in listed["expelliarmus"] and "torch" in listed
    assert "not stated" not in listed.values() and "ruff" not in listed
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0" and "NOTICE" in project["license-files"]
