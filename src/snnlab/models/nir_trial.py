"""Read a NIR file (HDF5) in a process of its own, and hand on its arrays: HDF5 runs in circles on some damaged files.

Run as a script with the path, it writes an .npz of all that the graph holds to stdout, by the path of each value in it:
``nodes/NAME/KEY``, ``edges``, ``metadata/KEY``. What is wrong it says in one line on stderr, and ends with 1. It
imports nothing of snnlab, which takes longer than a file is read.
"""

from __future__ import annotations

import io
import math
import resource
import sys
import time
from typing import Any

SECONDS = 20  # of computing for the whole file
MEMORY = 2 << 30  # bytes beyond those that the libraries take
BYTES = 256 << 20  # of all that the graph holds, 8 for each number; 33 million weights
CHUNK = 64 << 20  # bytes of a compressed piece of an array, which is held whole
OBJECTS, DEPTH, NAME = 20_000, 4, 200  # groups and arrays in the file; groups in groups; letters of a name
TEXT = 10_000  # letters of a text


class Unfit(Exception):
    """The file holds what is not read; the words of the one-line error."""


def main(path: str) -> dict[str, Any]:
    """Every value of the graph by its path; raises what h5py raises, and Unfit."""
    import h5py

    limit()
    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        node = child(file, "node")
        if not isinstance(node, h5py.Group):
            raise Unfit("it holds no graph: there is no group 'node' in it")
        gather(found, node, "", [0, 0])
    return found


def child(group: Any, name: str) -> Any:
    """What lies under a name; None where nothing does. Links are not followed."""
    import h5py

    link = group.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        raise Unfit(f"{name[:NAME]} is a link, which is not followed")
    return None if link is None else group[name]


def gather(found: dict[str, Any], group: Any, prefix: str, total: list[int]) -> None:
    """Enter all values below ``group``; ``total`` counts objects and bytes."""
    import h5py

    if prefix.count("/") >= DEPTH:
        raise Unfit(f"{prefix[:NAME]} is nested too deeply for a graph; subgraphs are not read")
    for name in group:
        total[0] += 1
        if total[0] > OBJECTS:
            raise Unfit(f"it holds more than {OBJECTS:,} groups and arrays")
        if len(name) > NAME or not name.isprintable():
            raise Unfit(f"{name[:NAME]!a} is no name of a node")
        inner = child(group, name)
        if isinstance(inner, h5py.Group):
            gather(found, inner, f"{prefix}{name}/", total)
        elif isinstance(inner, h5py.Dataset):
            found[prefix + name] = value(prefix + name, inner, total)


def value(name: str, data: Any, total: list[int]) -> Any:
    """A dataset's numbers, or its texts, once they are known to fit."""
    import h5py
    import numpy as np

    if data.external or data.is_virtual:
        raise Unfit(f"{name} lies in another file, which is not read")
    text = h5py.check_string_dtype(data.dtype) is not None
    if (data.dtype.kind not in "biuf" and not text) or data.dtype.itemsize > 64 * 1024:
        raise Unfit(f"{name} holds {data.dtype}, needed are numbers or texts")
    if data.size is None:
        raise Unfit(f"{name} is empty")
    total[1] += data.size * (64 if text else 8)
    if total[1] > BYTES:
        raise Unfit(f"it declares more than {BYTES:,} bytes")
    if data.chunks is not None and data.dtype.itemsize * math.prod(data.chunks) > CHUNK:
        raise Unfit(f"{name} is cut in pieces of {data.chunks}, at most {CHUNK:,} bytes are unpacked at once")
    if not text:
        return np.asarray(data[()])
    texts = np.asarray(data.asstr(errors="replace")[()])
    if any(len(str(one)) > TEXT for one in texts.flat):
        raise Unfit(f"{name} holds a text of more than {TEXT:,} letters")
    return texts.astype(str)


def limit() -> None:
    """Let this process take so much time and memory more; the system then ends it, and leaves no core behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + SECONDS, hard))
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    try:
        import numpy as np

        buffer = io.BytesIO()
        np.savez(buffer, **main(sys.argv[1]))  # type: ignore[arg-type]
        sys.stdout.buffer.write(buffer.getbuffer())
    except MemoryError:
        sys.exit("it declares more than the memory holds")
    except Exception as error:
        sys.exit(" ".join(str(error).split())[:160] or type(error).__name__)
