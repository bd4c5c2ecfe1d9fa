"""Read HDF5 files of events first in a process of its own: HDF5 runs in circles on some damaged files.

That process, ``python -m`` this module, takes lines [path, order, unit] and answers each: null, or what is wrong.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from snnlab.data import limits
from snnlab.data.formats import hdf5_trial
from snnlab.data.formats.event_hdf5 import read_hdf5
from snnlab.errors import InputError

SLOWEST = 2**22  # bytes of a compressed file that are read in a second of computing, at the least
MOST = 60 * limits.EVENTS + 2**28  # bytes that the largest recording takes; a damaged header of HDF5 asks for gigabytes


def unreadable(path: Path, code: int) -> InputError:
    """Return the error to raise where the process that read ``path`` ended with ``code``."""
    why = "HDF5 finds no end in it" if code == -signal.SIGXCPU else "HDF5 fails"
    return InputError(f"{path} cannot be read ({why}); it is missing or corrupt: copy it again")


def read_apart(paths: Iterable[Path], order: str | None, unit: str | None) -> None:
    """Read each of the files as ``read_hdf5`` does; raise InputError as it does, and where HDF5 finds no end."""
    command = [sys.executable, "-P", "-m", __name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            for path in paths:
                process.stdin.write(json.dumps([str(path), order, unit]) + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
                if not answer:
                    raise unreadable(path, process.wait())
                if wrong := json.loads(answer):
                    raise InputError(wrong)
        finally:
            process.kill()


def main() -> None:
    """Read the files that the lines of the standard input name."""
    if sys.platform == "linux":
        hdf5_trial.limit_memory(MOST)
    for line in sys.stdin:
        name, order, unit = json.loads(line)
        try:
            hdf5_trial.limit_computing(hdf5_trial.SECONDS + os.stat(name).st_size // SLOWEST)
            wrong = read_hdf5(Path(name), order, unit) and None
        except InputError as error:
            wrong = str(error)
        except OSError as error:
            wrong = f"{name} cannot be read ({error.strerror}); it is missing or corrupt: copy it again"
        print(json.dumps(wrong), flush=True)


if __name__ == "__main__":
    main()
