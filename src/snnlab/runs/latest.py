"""``outputs/latest``: the run below ``outputs`` that was started last, a name that nobody has to keep up to date.

It is worked out whenever it is read, so it holds on any file system and for runs that are made side by side; a sweep's
runs count too. A file or folder that really has this name wins.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from snnlab.errors import InputError

NAME = "latest"
STARTED = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")  # a run's folder begins with it, but for those of sweeps


def run_folder(path: str | Path) -> Path:
    """The folder that ``path`` means: itself, or for ``.../latest`` the newest run below it.

    Raises:
        InputError: when there is no run yet.
    """
    path = Path(path).expanduser()
    if path.name != NAME or path.exists() or not path.parent.is_dir():
        return path
    files = (*path.parent.glob("*/run.json"), *path.parent.glob("sweep-*/*/run.json"))
    found = [file.parent for file in files if not file.parent.is_symlink()]
    if not found:
        raise InputError(f"{path}: there is no run below {path.parent} yet; python -m snnlab makes one")
    return max(found, key=age)


def age(folder: Path) -> tuple[str, float, str]:
    """When a run was started, from its name if that tells; in the same second the folder made later counts."""
    started = STARTED.match(folder.name)
    config = folder / "config.yaml"
    made = config.stat().st_mtime if config.is_file() else 0.0
    told = started.group() if started else ""
    if not told and folder.parent.name.startswith("sweep-"):  # whose runs are named by what they are
        told = f"{datetime.fromtimestamp(made):%Y-%m-%d_%H-%M-%S}"
    return told, made, folder.name
