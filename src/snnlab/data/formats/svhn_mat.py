"""The MATLAB files of SVHN: colour pictures of 32 x 32 with one digit each.

Format: MATLAB 5 with X, uint8 [row, column, colour, N], and y [N, 1] in 1 to 10, where 10 is the digit 0.
Source: http://ufldl.stanford.edu/housenumbers, format 2.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np

from snnlab.data import limits
from snnlab.errors import InputError

COMPRESSED = 15
CHUNK = 1 << 20


def check_mat(content: bytes, path: Path, most: int) -> None:
    """Raise InputError where the compressed arrays of a file hold more than ``most`` bytes; nothing is kept of them.

    Format: a header of 128 bytes, then elements: type and size as uint32, in the byte order that the header ends with,
    then ``size`` bytes; those of type 15 are zlib streams.
    """
    order, at, held = "<" if content[126:128] == b"IM" else ">", 128, 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        if size == 0:
            return  # the reader tells
        stream, left = zlib.decompressobj(), content[at + 8 : at + 8 + size] if kind == COMPRESSED else b""
        while left and not stream.eof:
            try:
                held += len(stream.decompress(left, CHUNK))
            except zlib.error:
                return
            left = stream.unconsumed_tail
            limits.check_bytes(path, held, most, "an array")
        at += 8 + size


def parse_mat(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 [N, 3, 32, 32] and labels int64 [N] in 0 to 9 of one file; ``path`` names it in errors.

    Raises: InputError: no MATLAB file, other arrays than X and y, or a label out of range.
    """
    from scipy.io import loadmat

    try:
        arrays = loadmat(io.BytesIO(content), variable_names=["X", "y"])
    except Exception as error:  # a broken file raises nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path} is truncated or no MATLAB 5 file ({reason}); delete it and download it again"
        ) from error
    if "X" not in arrays or "y" not in arrays:
        raise InputError(f"{path} holds no X and y; delete it and download it again")
    pictures, labels = np.asarray(arrays["X"]), np.asarray(arrays["y"]).ravel()
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[:3] != (32, 32, 3):
        raise InputError(f"{path}: X is {pictures.dtype} {list(pictures.shape)}, needed is uint8 [32, 32, 3, N]")
    if len(labels) != pictures.shape[3]:
        raise InputError(f"{path}: y holds {len(labels)} labels for {pictures.shape[3]} images; download it again")
    wrong = (labels < 1) | (labels > 10)
    if wrong.any():
        raise InputError(
            f"{path}: y holds label {labels[wrong][0]}, labels must lie in 1 to 10 (10 is the digit 0); "
            "download it again"
        )
    return np.ascontiguousarray(pictures.transpose(3, 2, 0, 1)), labels.astype(np.int64) % 10
