"""Files are written whole, and who may read them is what the umask says."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from snnlab.atomic import write_text
from snnlab.data.files import atomic


def test_a_folder_that_is_gone_is_told_by_the_name_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        write_text(tmp_path / "gone" / "run.json", "{}")
    assert error.value.filename == str(tmp_path / "gone" / "run.json")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_who_may_read_a_file_is_what_the_umask_says(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        for _ in range(2):  # new, and in the place of an older one
            write_text(tmp_path / "run.json", "{}")
            with atomic(tmp_path / "cached") as file:
                file.write(b"")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("run.json", "cached"), 0o666 & ~mask)
