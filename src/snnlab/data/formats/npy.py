"""NumPy's files of one array (.npy) and of several (.npz); no object is ever unpickled.

Format: a magic string, a header that gives dtype, order and shape, then the values; an .npz is a zip of those.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from snnlab.data import limits
from snnlab.data.files import read_bytes
from snnlab.data.formats.zipped import open_zip, read_member
from snnlab.errors import InputError, one_line

HEADERS = {  # by version; 3 differs from 2 in the letters that names of fields may have
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
    (3, 0): npy.read_array_header_2_0,
}
MOST_AXES = 32  # of an array of numpy 1


def parse_npy(content: bytes, where: object) -> np.ndarray:
    """Return the array in ``content``, the bytes of an .npy file; a view of them, not to be written.

    Raises: InputError: a damaged header, Python objects, or another number of bytes than the header needs.
    """
    file = io.BytesIO(content)
    try:
        shape, fortran, dtype = HEADERS[npy.read_magic(file)](file)
        shape = tuple(map(int, shape))
    except Exception as error:  # a header is parsed as Python, which raises anything
        raise InputError(
            f"{where} cannot be read ({one_line(error)[:80]}); it is missing or cut short: copy it again"
        ) from error
    if dtype.hasobject:
        raise InputError(f"{where} holds Python objects, which are not read; save it as an array of numbers")
    start, count = file.tell(), math.prod(shape)
    sound = min(shape, default=0) >= 0 and len(shape) <= MOST_AXES and dtype.itemsize > 0
    if not sound or len(content) != start + count * dtype.itemsize:
        raise InputError(
            f"{where} is missing or cut short: {len(content):,} bytes are not what {str(dtype)[:80]} of shape "
            f"{str(shape[:8])[:80]} needs; copy it again"
        )
    array = np.frombuffer(content, dtype, count, start)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def read_npy(path: Path, most: int = limits.FILE) -> np.ndarray:
    """Return the array of an .npy file of at most ``most`` bytes; raises as ``parse_npy`` and ``read_bytes``."""
    return parse_npy(read_bytes(path, most), path)


def read_npz(path: Path, names: Sequence[str], most: int = limits.FILE) -> list[np.ndarray]:
    """Return the arrays called ``names`` of an .npz file, each of at most ``most`` bytes.

    Raises: InputError: no zip, an array that is missing, and as ``parse_npy``.
    """
    with open_zip(path) as archive:
        return [parse_npy(read_member(archive, f"{name}.npy", path, most), f"{path}: {name}") for name in names]
