"""Compiled functions are kept in the cache folder, or in one of this process where that cannot be written."""

import subprocess
import sys

from snnlab.kernels.compiled import folder

COMPILES = """
from pathlib import Path
from snnlab.kernels import compiled
@compiled.njit()
def twice(x):
    return 2 * x
assert twice(21) == 42
print(compiled.folder(), sum(path.suffix == ".nbc" for path in compiled.folder().rglob("*")))
"""


def printed(tmp_path, cache):
    (tmp_path / "mine.py").write_text(COMPILES)
    environment = {"SNNLAB_CACHE": str(cache), "PATH": "", "TMPDIR": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, tmp_path / "mine.py"], capture_output=True, text=True, env=environment, timeout=120
    )
    assert found.returncode == 0, found.stderr
    where, count = found.stdout.split()
    return where, int(count)


def test_machine_code_lies_in_the_cache_folder(tmp_path):
    assert printed(tmp_path, tmp_path / "cache") == (str(tmp_path / "cache/kernels"), 1)


def test_a_cache_that_cannot_be_written_is_replaced_for_one_process(tmp_path):
    (tmp_path / "file").write_text("no folder")
    where, count = printed(tmp_path, tmp_path / "file")
    assert where.startswith(str(tmp_path / "snnlab-kernels-")) and count == 1
    assert not list(tmp_path.glob("snnlab-kernels-*"))  # gone with the process


def test_the_folder_is_asked_once(monkeypatch, tmp_path):
    before = folder()
    monkeypatch.setenv("SNNLAB_CACHE", str(tmp_path))
    assert folder() == before
