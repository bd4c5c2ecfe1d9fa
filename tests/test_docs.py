"""The pages of docs/ that are to be followed: each file is written, each command run at a small size, in order.

And the site that is made of all pages: nothing is left out, no link leads to nothing. `make docs` builds it strictly.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["tutorial", "own_method", "own_neuron", "own_chip"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# ([\w/]+\.(?:py|yaml))\n")
SMALL = ["logger=none", "kernels=step", "callbacks.progress=false", "callbacks.figures=false", "callbacks.health=false"]
SMALL += ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "data.batch_size=20"]
SMALL += ["trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
FILMS = ["data.train_films=24", "data.val_films=4", "data.test_films=4", "data.camera.duration_us=200000"]
FILMS += ["data.time_steps=8"]


def at_small_size(module: str, words: list[str]) -> list[str]:
    """A command's words, one seed of a sweep, and what makes it quick in place of what the page says of the key."""
    if module == "snnlab.data" and words[:2] == ["show", "mnist_dvs"]:
        return [*words, *(option.removeprefix("data.") for option in FILMS)]
    more = [*SMALL, *(FILMS if "data=mnist_dvs" in words else [])] if module == "snnlab" else []
    keys = {word.partition("=")[0] for word in more}
    words = [word.partition(",")[0] if word.startswith("seed=") else word for word in words]
    return [word for word in words if word.partition("=")[0] not in keys] + more


def run(line: str) -> None:
    """Run one line of a page, in this process where it is one of ours, and hold its exit code."""
    expected = int(found[1]) if (found := re.search(r"# exit code (\d+)", line)) else 0
    words = shlex.split(line, comments=True)
    if words[:2] == ["python", "-m"]:
        module, rest = words[2], at_small_size(words[2], words[3:])
        main = importlib.import_module("snnlab.train" if module == "snnlab" else f"{module}.__main__").main
        assert main(rest) == expected, line
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
    elif words[0] == "ls":
        assert Path(words[1]).exists(), line
    else:
        assert line in (". .venv/bin/activate", "export PYTHONPATH=$PWD"), f"{line}: say here what it needs"


@pytest.mark.parametrize("page", PAGES)
def test_whoever_follows_the_page_gets_there(page, tmp_path, monkeypatch, empty_data):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "lab"]:
        monkeypatch.delitem(sys.modules, name)
    blocks, names = BLOCK.findall((ROOT / f"docs/{page}.md").read_text()), {}
    assert {kind for kind, _ in blocks} <= {"sh", "python", "yaml", "text"}
    for kind, text in blocks:
        if file := FILE.match(text):
            path = Path(file[1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif kind == "python":
            exec(compile(text, page, "exec"), names)
        elif kind == "sh":
            for line in filter(None, text.splitlines()):
                run(line)


# the site -----------------------------------------------------------------------------------------------------------
def module(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_every_page_is_in_the_site_and_every_link_of_it_leads_somewhere():
    site = module("site")
    nav = yaml.safe_load((ROOT / "docs/site.yaml").read_text())["nav"]
    named = set(site.sources(nav))
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert there <= named, f"docs/site.yaml names no {sorted(there - named)}"
    pages = site.Pages(nav)  # a broken link ends it
    assert {f"docs/methods/{p.stem}.md" for p in (ROOT / "docs/methods").glob("*.md")} <= pages.named.keys()
    for room in ("neurons", "layers", "weights", "methods", "data", "questions", "metrics", "hardware", "simulators"):
        assert sum(name.startswith(f"snnlab.{room}.") for name in pages.modules) >= 2, room
    assert pages.texts["methods/vdsp.md"].count("](../reference/snnlab/methods/vdsp/") >= 1
    page = pages.texts["python.md"]
    assert "[CONTRIBUTING.md](contributing.md)" in page and "```python\nimport snnlab" in page


def test_a_broken_link_of_a_page_is_said(monkeypatch, tmp_path):
    site = module("site")
    monkeypatch.setattr(site, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("`[not](one.md)` but [one](gone.md)")
    monkeypatch.setattr(site, "public", list)
    with pytest.raises(SystemExit, match=r"docs/a.md: gone.md leads to nothing"):
        site.Pages([{"A": "docs/a.md"}])


def test_what_a_page_leads_to_has_a_page(monkeypatch, tmp_path):
    site = module("site")
    monkeypatch.setattr(site, "ROOT", tmp_path)
    monkeypatch.setattr(site, "public", lambda: ["snnlab.neurons.lif"])
    notebook = {
        "cells": [{"cell_type": "markdown", "source": ["# N"]}, {"cell_type": "code", "source": ["x = 1\n", "x"]}]
    }
    files = {
        "docs/a.md": "[b](../results/b.md#top) [c](../conf/c.yaml) [n](../n.ipynb) [d](../conf) "
        "[l](../src/snnlab/neurons/lif.py)",
        "results/b.md": "[a](../docs/a.md) and ![p](p.png)",
        "results/p.png": "",
        "conf/c.yaml": "x: 1",
        "n.ipynb": json.dumps(notebook),
        "src/snnlab/neurons/lif.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    pages = site.Pages([{"A": "docs/a.md"}])
    links = re.findall(r"\]\(([^)]*)\)", pages.texts["a.md"])
    assert links[:3] == ["results/b.md#top", "files/conf/c.yaml.md", "files/n.ipynb.md"]
    assert links[3:] == ["files/conf.md", "reference/snnlab/neurons/lif.md"]
    assert pages.texts["results/b.md"] == "[a](../a.md) and ![p](p.png)" and "results/p.png" in pages.files
    assert pages.texts["files/conf/c.yaml.md"] == "# conf/c.yaml\n\n```yaml\nx: 1\n```\n"
    assert pages.texts["files/n.ipynb.md"] == "# N\n\n```python\nx = 1\nx\n```\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('<a href="b.html">', "b.html leads to nothing"),
        ('<a href="a.html#x">', "a.html#x: no such heading"),
        ('<script src="https://elsewhere.org/x.js">', "loads https://elsewhere.org/x.js"),
        ('<h2 id="x"></h2><a href="#x"><a href="https://elsewhere.org">', None),
    ],
)
def test_what_a_reader_would_stumble_over_is_found(text, fault, tmp_path):
    (tmp_path / "a.html").write_text(text)
    found = module("site").faults(tmp_path)
    assert [line.removeprefix("a.html: ") for line in found] == ([fault] if fault else [])


def test_docstrings_are_read_as_they_are_meant():
    griffe = pytest.importorskip("griffe")
    mended = module("docstrings").mended
    text = "A neuron.\n\nThree ways:\n    a  b\n    c  d\n\nv:  in\n    units\nlong: one\n\nShapes: x\n    to y\n\n"
    text += "Args:\n    threshold: > 0, of v.\n    decay: of v.\n"
    parsed = griffe.Docstring(mended(text)).parse("google")
    assert [part.kind.value for part in parsed] == ["text", "parameters"]
    for part in ("Three ways:\n\n    a  b\n    c  d", "\n\n- v:  in units\n- long: one\n\nShapes: x to y"):
        assert part in parsed[0].value
    assert [part.description for part in parsed[1].value] == ["\\> 0, of v.", "of v."]
