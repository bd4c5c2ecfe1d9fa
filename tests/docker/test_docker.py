"""What of the image can be held without building it; ``make docker-check`` builds and runs it (check.py)."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = (ROOT / "Dockerfile").read_text()
LINES = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", FILE, flags=re.MULTILINE)).splitlines()
RULES = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
FOR_DEVELOPERS = {"dev", "docs", "notebooks"}  # and who sits at a desk


def let_in(name: str) -> bool:
    """Whether a file gets into the context: the last rule that matches it or a folder above it decides."""
    parts = name.split("/")
    heads = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    kept = True
    for rule in RULES:
        pattern = rule.removeprefix("!")
        deep = pattern.removeprefix("**/")
        tried = parts if deep != pattern else [head for head in heads if head.count("/") == pattern.count("/")]
        if any(fnmatch.fnmatchcase(text, deep) for text in tried):
            kept = rule.startswith("!")
    return kept


def words_of(instruction: str) -> list[list[str]]:
    return [line.split()[1:] for line in LINES if line.startswith(f"{instruction} ")]


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    "name",
    [
        ".env", ".git/config", ".netrc", ".pypirc", ".venv/pip.conf", ".venv-bench/x", "outputs/a/run.json",
        "data/x.gz", "wandb/settings", "multirun/x", "tests/x.py", "docs/x.md", "notebooks/x.ipynb", "site/x.html",
        "pip.conf",
        "src/.env", "conf/.netrc", "src/snnlab/__pycache__/x.pyc", "src/snnlab.egg-info/PKG-INFO", ".ruff_cache/x",
        "results/stbp_mnist/a/checkpoints/last.ckpt", "results/stbp_mnist/a/wandb/run/settings", "results/a/.netrc",
    ],
)  # fmt: skip
def test_what_has_no_place_in_the_image_stays_out_of_the_context(name):
    assert not let_in(name)


def test_what_the_image_is_made_of_is_in_the_context_and_small():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True).stdout.splitlines()
    names = listed or [path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")]
    wanted = [name for name in names if name.startswith(("src/", "conf/", "results/"))]
    assert wanted and not [name for name in wanted if not let_in(name)]
    context = [ROOT / name for name in names if let_in(name) and (ROOT / name).is_file()]
    assert sum(path.stat().st_size for path in context) < 40e6
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    build = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    about = [project["project"]["readme"], *project["project"]["license-files"]]
    for name in (*about, *build["packages"], *build["force-include"], "pyproject.toml", "constraints.txt"):
        assert let_in(name), name
        assert any(fnmatch.fnmatchcase(name, source) or name.startswith(f"{source}/") for source in sources()), name


def sources() -> list[str]:
    """What is copied out of the context."""
    return [word for words in words_of("COPY") if not words[0].startswith("--from") for word in words[:-1]]


def test_every_copy_has_its_source():
    for source in sources():
        assert list(ROOT.glob(source)) or source == "NOTICE*", source


def test_two_stages_an_unprivileged_user_and_signals_for_python():
    assert [words[0] for words in words_of("FROM")] == ["${BASE}", "${BASE}"]
    assert "ARG BASE=python:3.11-slim" in LINES
    last = LINES[max(n for n, line in enumerate(LINES) if line.startswith("FROM")) :]
    assert [line for line in last if line.startswith(("USER", "ENTRYPOINT", "CMD"))] == [
        "USER 1000:1000",
        'ENTRYPOINT ["snnlab"]',  # exec form, so that process 1 is Python
    ]
    assert 'VOLUME ["/data", "/cache", "/work/outputs", "/work/results"]' in last
    assert not words_of("ADD") and not [line for line in last if "pip" in line.split()]


def test_versions_are_pinned_and_no_host_or_secret_is_named():
    installs = [line for line in LINES if "pip install" in line]
    commands = [part for line in installs for part in line.split("&&") if "pip install" in part]
    assert commands and all("-c constraints.txt" in part and "--no-cache-dir" in part for part in commands)
    assert all("--mount=type=secret,id=pip" in line for line in installs)
    assert not re.search(r"https?://|[\w-]+\.(org|com|io|net)/|token|password", FILE, re.IGNORECASE)
    assert [words for words in words_of("ARG") if words[0].startswith("TORCH_INDEX")] == [['TORCH_INDEX=""']]


def test_the_image_has_every_extra_that_is_for_users():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (given,) = [words[0].partition("=")[2] for words in words_of("ARG") if words[0].startswith("EXTRAS=")]
    assert set(given.split(",")) == set(extras) - FOR_DEVELOPERS


def test_the_page_names_every_argument_and_volume():
    page = (ROOT / "docs/docker.md").read_text()
    for words in words_of("ARG"):
        assert f"`{words[0].partition('=')[0]}`" in page or f"--build-arg {words[0].partition('=')[0]}=" in page, words
    for volume in re.findall(r'"(/[\w/]+)"', next(line for line in LINES if line.startswith("VOLUME"))):
        assert f"`{volume}`" in page, volume
    for line in re.findall(r"^docker run .*? snnlab(?: ([^#\n]*))?$", page, re.MULTILINE):
        words = shlex.split(line)
        if words and "=" not in words[0]:
            from snnlab.__main__ import commands

            assert words[0] in commands(), line


@pytest.mark.parametrize(("arguments", "path"), [([], "/nowhere"), (["--now"], os.environ["PATH"])])
def test_the_check_refuses_in_one_line(arguments, path, tmp_path):
    command = [sys.executable, ROOT / "tests/docker/check.py", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path}, cwd=tmp_path)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and not ended.stdout
    assert "--now" in ended.stderr if arguments else "apt-get install" in ended.stderr
