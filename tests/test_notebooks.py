"""Every notebook runs in a folder of its own, without data and without a network, and comes without its outputs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = 280  # of a cell, and of the kernel's start, on a machine that does other things as well


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    source = str(FOLDER.parent / "src")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SNNLAB_DATA", str(tmp_path / "no_data"))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(path, 4)
    work = tmp_path / "work"
    work.mkdir()
    place = {"metadata": {"path": str(work)}}
    NotebookClient(notebook, timeout=SECONDS, startup_timeout=SECONDS, resources=place).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output["text"] for output in outputs if output.get("name") == "stderr"]


def test_there_are_seven_and_the_page_lists_them():
    assert [path.name[0] for path in NOTEBOOKS] == list("1234567")
    page = (FOLDER / "README.md").read_text()
    assert re.findall(r"\]\((\w+\.ipynb)\)", page) == [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stripped_and_names_no_machine(path):
    text = path.read_text()
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags", "jupyter"}
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert not re.search(r"/(home|root|tmp|work|Users|mnt)/", text)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)#:\s]+)\)", prose)
    assert all((FOLDER / link).exists() for link in links), links
