"""The binary files of CIFAR: photographs of 32 x 32 with one or two labels each.

Format: records of 1 or 2 label bytes and 3,072 pixel bytes (red, green, blue planes of 32 x 32, each row by row).
Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from snnlab.errors import InputError

PIXELS = 3 * 32 * 32


def parse_cifar(content: bytes, path: Path, label_classes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 [N, 3, 32, 32] and label bytes uint8 [N, labels] of one file; ``path`` names it in errors.

    Args:
        label_classes: classes of each label byte of a record.

    Raises: InputError: no whole number of records, or a label out of range.
    """
    head = len(label_classes)
    if len(content) % (head + PIXELS):
        raise InputError(
            f"{path} is truncated: {len(content)} bytes are no whole number of {head + PIXELS}-byte records; "
            "download it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, head + PIXELS)
    for byte, classes in enumerate(label_classes):
        wrong = records[:, byte] >= classes
        if wrong.any():
            where = int(np.argmax(wrong))
            raise InputError(
                f"{path} holds label {records[where, byte]} in record {where}, labels must lie in "
                f"0 to {classes - 1}; download it again"
            )
    return records[:, head:].reshape(-1, 3, 32, 32), records[:, :head]
