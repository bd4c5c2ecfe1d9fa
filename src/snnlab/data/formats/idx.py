"""IDX files, the format of MNIST: one array of any number of dimensions.

Format: two zero bytes, a type byte, the number of dimensions, each dimension as big-endian uint32, then the values,
big-endian, last dimension fastest.  Source: Y. LeCun, "The MNIST database", file formats.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnlab.errors import InputError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_DIMS = 8  # pictures have 3


def parse_idx(content: bytes, path: Path) -> np.ndarray:
    """Return the array that the decompressed IDX bytes ``content`` hold; ``path`` names them in errors.

    Raises:
        InputError: wrong magic number, unknown type, too few or too many bytes.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES:
        raise InputError(
            f"{path} is no IDX file: its first bytes are {content[:4].hex()}, an IDX file of bytes starts 0000 08; "
            "delete it and download it again"
        )
    dtype, dims = np.dtype(DTYPES[content[2]]), content[3]
    if not 1 <= dims <= MOST_DIMS:
        raise InputError(f"{path} declares {dims} dimensions, needed are 1 to {MOST_DIMS}; download it again")
    start = 4 + 4 * dims
    if len(content) < start:
        raise InputError(f"{path} is truncated in its header ({len(content)} of {start} bytes); download it again")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", dims, offset=4))
    need = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(content) != need:
        what = "is truncated" if len(content) < need else "has trailing bytes"
        raise InputError(
            f"{path} {what}: {len(content)} bytes, shape {list(shape)} needs {need}; delete it and download it again"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape)
