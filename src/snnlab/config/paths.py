"""Where things lie: the folder of configs, the cache."""

from __future__ import annotations

import os
from pathlib import Path


def conf_dir() -> Path:
    """The folder of configs: inside the installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parents[1]
    packaged = here / "conf"
    return packaged if packaged.is_dir() else here.parents[1] / "conf"


def cache_dir() -> Path:
    """SNNLAB_CACHE, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("SNNLAB_CACHE") or platformdirs.user_cache_dir("snnlab"))
