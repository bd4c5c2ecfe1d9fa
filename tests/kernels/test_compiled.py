"""Compiled functions are kept in the cache folder, or in one of this process where that cannot be written."""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import pytest

from snnlab.kernels import compiled
from snnlab.kernels.compiled import folder, open_to_others
from snnlab.kernels.module import load

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
    *_, where, count = found.stdout.split()
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


@pytest.fixture
def twice(tmp_path, monkeypatch):
    """Compile a function in this process, as a new one would: the second time what is kept is loaded."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)
    monkeypatch.setenv("SNNLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(compiled, "folder", lambda: folder.__wrapped__())
    (tmp_path / "mine.py").write_text("def twice(x):\n    return 2 * x\n")

    def compiled_twice() -> bool:
        module = {}
        exec(compile((tmp_path / "mine.py").read_text(), str(tmp_path / "mine.py"), "exec"), module)
        function = compiled.njit()(module["twice"])
        assert function(21) == 42
        return bool(sum(function.stats.cache_hits.values()))

    return compiled_twice


@pytest.mark.parametrize("size", [0, 7])
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_code_that_is_cut_short_is_made_again(tmp_path, twice, suffix, size):
    assert not twice() and twice()
    (kept,) = (tmp_path / "cache").rglob(f"*{suffix}")
    assert kept.stat().st_size > size
    kept.write_bytes(kept.read_bytes()[:size])
    assert not twice()
    assert kept.stat().st_size > size  # made again; two compilations may differ by a byte
    assert twice()


def test_code_that_cannot_be_kept_is_gone_without(tmp_path, twice, monkeypatch):
    twice()
    (kept,) = (tmp_path / "cache").rglob("*.nbi")
    kept.unlink()
    kept.mkdir()  # neither read nor replaced
    assert not twice() and not twice()
    monkeypatch.setattr(compiled, "folder", lambda: tmp_path / "mine.py")  # nor can a folder be made there
    assert not twice() and not twice()


class Touch:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("place", [".", "kernels", "file"])
def test_code_that_others_could_have_put_there_is_not_run(tmp_path, twice, place, caplog):
    twice()
    (kept,) = (tmp_path / "cache").rglob("*.nbi")
    kept.write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    (kept if place == "file" else tmp_path / "cache" / place).chmod(0o777)
    assert not twice() and not (tmp_path / "ran").exists()
    assert "can be written by others; chmod go-w" in caplog.text and len(caplog.records) == 1


def test_who_else_can_write_is_told(tmp_path):
    path = tmp_path / "cache/kernels"
    path.mkdir(parents=True)
    (path / "deep").mkdir()
    assert open_to_others(path) is None
    (tmp_path / "link").symlink_to(path)
    assert "is a link" in open_to_others(tmp_path / "link")
    (tmp_path / "cache link").symlink_to(tmp_path / "cache")
    assert open_to_others(tmp_path / "cache link/kernels") is None
    for place, mode in ((path, 0o702), (path / "deep", 0o777), (tmp_path / "cache", 0o757)):
        place.chmod(mode)
        assert f"chmod go-w {place}" in open_to_others(path)
        place.chmod(0o755)
    os.mkfifo(path / "pipe")
    assert "neither a file nor a folder" in open_to_others(path)
    (path / "pipe").unlink()
    (path / "pipe").symlink_to("/etc/passwd")
    assert "neither a file nor a folder" in open_to_others(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_user_is_refused(tmp_path):
    (tmp_path / "kernels").mkdir()
    os.chown(tmp_path / "kernels", 12345, 12345)
    assert "belongs to another user" in open_to_others(tmp_path / "kernels")


def test_generated_source_runs_as_it_is_given_and_not_as_it_was_kept(tmp_path, monkeypatch):
    import snnlab.kernels.module as module

    monkeypatch.setattr(module, "folder", lambda: tmp_path)
    assert load("value = 1").value == 1
    (path,) = tmp_path.glob("*.py")
    path.write_bytes(b"\xff")
    load.cache_clear()
    assert load("value = 1").value == 1 and path.read_text() == "value = 1"
    monkeypatch.setattr(module, "folder", lambda: tmp_path / "file")
    (tmp_path / "file").write_text("no folder")
    assert load("value = 2").value == 2
