"""Read all of an HDF5 file of spikes once, in a process of its own: HDF5 runs in circles on some damaged files.

Run as a script with the path, and the most events of a recording; it prints nothing where the file can be read, else
why not in one line. It imports nothing of snnlab, which takes longer than a file is read.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from typing import Any

SECONDS = 3  # of computing for one piece of a file; a good one takes milliseconds, a slow disk takes none
MEMORY = 1 << 30  # bytes beyond those that the libraries take; 16 recordings have some 2 MB
CHUNK = 64 << 20  # bytes of a compressed piece of an array, which is held whole
PIECE = 16  # recordings read at once
VALUES = 10_000_000  # of labels or speakers
ARRAYS = {"labels": "iu", "extra/speaker": "iu", "spikes/times": "fiu", "spikes/units": "fiu"}  # and kinds of numbers


class Unfit(Exception):
    """The file holds what is not read; the words of the one-line error."""


def fit(file: Any, name: str) -> Any:
    """Return the array ``name`` as it lies in the file; None where there is none.

    Raises: Unfit: a link, a reference, text, values in another file, or a shape that would fill the memory.
    """
    import h5py

    node = file
    for part in name.split("/"):
        link = node.get(part, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise Unfit(f"{name} is a link to {getattr(link, 'filename', None) or link.path}, which is not followed")
        node = node[part]
    if not isinstance(node, h5py.Dataset):
        return None
    if node.external or node.is_virtual:
        raise Unfit(f"{name} lies in another file, which is not read")
    inner = h5py.check_vlen_dtype(node.dtype)
    lists = inner is not None and inner is not str and name.startswith("spikes")
    if (inner if lists else node.dtype).kind not in ARRAYS[name]:
        raise Unfit(f"{name} holds {node.dtype if inner is None else 'text or lists'}, needed are numbers")
    if node.size is None or node.size > VALUES or node.dtype.itemsize > 64:
        raise Unfit(f"{name} declares {node.size} values, at most {VALUES} are read")
    if node.chunks is not None and node.dtype.itemsize * math.prod(node.chunks) > CHUNK:
        raise Unfit(f"{name} is cut in pieces of {node.chunks}, at most {CHUNK} bytes are unpacked at once")
    return node


def limit_computing(seconds: int = SECONDS) -> None:
    """Let this process compute so many seconds more; the system then ends it, and leaves no core behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + seconds, hard))


def limit_memory(most: int = MEMORY) -> None:
    """Let this process take ``most`` bytes more."""
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def read_through(path: str, most: int) -> None:
    """Read every value of the file; raises what h5py raises, and Unfit."""
    import h5py

    if sys.platform == "linux":
        limit_memory()
    limit_computing()
    with h5py.File(path, "r") as file:
        for name in ARRAYS:
            array = fit(file, name)
            for start in range(0, len(array) if array is not None and array.ndim else 0, PIECE):
                limit_computing()
                values = array[start : start + PIECE]
                if name.startswith("spikes") and values.dtype == object and max(map(len, values)) > most:
                    raise Unfit(f"{name} holds a recording of more than {most:,} events")


if __name__ == "__main__":
    try:
        read_through(sys.argv[1], int(sys.argv[2]))
    except MemoryError:
        print("it declares more than the memory holds")
    except Exception as error:
        print(" ".join(str(error).split())[:160] or type(error).__name__)
