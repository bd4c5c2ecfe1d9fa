"""Raw files of Prophesee's sensors: EVT 2.0, EVT 2.1 and EVT 3.0.

Format: header lines that start with ``%``, among them ``% evt 3.0`` or ``% format EVT3;height=720;width=1280``, and
``% geometry 1280x720``; then little-endian words whose highest four bits say what they are.
    EVT 2.0, 32 bits    0, 1  an event OFF, ON: time 6 bits, x 11, y 11        8  the higher 28 bits of the time
    EVT 2.1, 64 bits    0, 1  events OFF, ON: time 6 bits, x 11, y 11, then a bit for each of x to x + 31
                        8     the higher 28 bits of the time (bits 32 to 59)
    EVT 3.0, 16 bits    0  y, 11 bits              2  an event: polarity, x 11 bits
                        3  polarity and x of the vectors that follow     4, 5  a bit for each of the next 12, 8 columns
                        6, 8  the lower, the higher 12 bits of the time
Triggers and other words are left out. Where the higher bits of the time begin again at 0, time goes on.
Source: Prophesee, "Data encoding formats".
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.data import limits
from snnlab.data.recordings import Recorded, check_zeros, tidy
from snnlab.errors import InputError

WORDS = {"2": "<u4", "2.0": "<u4", "2.1": "<u8", "3": "<u2", "3.0": "<u2"}
VERSION = re.compile(r"^%\s*(?:evt\s+|format\s+evt)(\d(?:\.\d)?)(?=[\s;]|$)", re.MULTILINE | re.IGNORECASE)
GEOMETRY = re.compile(r"geometry[ :]+(\d{1,5})\s*x\s*(\d{1,5})", re.IGNORECASE)


def parse_raw(content: bytes, path: Path) -> Recorded:
    """Return the recording in ``content``, the bytes of a raw file; ``path`` names it in errors.

    Raises: InputError: no or another version, cut short, zeros, too many events or none, times of no recording.
    """
    text, start = header(content)
    version = VERSION.search(text)
    if version is None or version[1] not in WORDS:
        found = f"EVT {version[1]}" if version else f"{content[:16]!r} and no line '% evt 3.0' or '% format EVT3;...'"
        raise InputError(f"{path} holds {found}; EVT 2.0, 2.1 and 3.0 are read")
    word = np.dtype(WORDS[version[1]])
    if (len(content) - start) % word.itemsize:
        raise InputError(
            f"{path} is truncated: {len(content) - start:,} bytes after its header are no whole number of "
            f"{word.itemsize}-byte words; copy it again"
        )
    check_zeros(content, start, path)
    words = np.frombuffer(content, word, offset=start)
    if version[1] == "2.1" and re.search(r"endianness\s*=?\s*legacy", text, re.IGNORECASE):
        words = words << np.uint64(32) | words >> np.uint64(32)  # the IMX636 sends the halves in the other order
    decode = _decoders()[version[1]]
    nothing = np.empty(0, np.int64)
    count = decode(words, nothing, nothing, nothing, nothing)
    limits.check_events(path, count)
    if count == 0:
        raise InputError(f"{path} holds no event; record it again")
    x, y, t, p = (np.empty(count, np.int64) for _ in range(4))
    decode(words, x, y, t, p)
    return Recorded(tidy(x, y, t, p, path), sensor_of(text))


def header(content: bytes) -> tuple[str, int]:
    """Return the header lines, which start with ``%``, and the first byte after them."""
    at = 0
    while content[at : at + 1] == b"%":
        end = content.find(b"\n", at)
        at = len(content) if end < 0 else end + 1
        if content.startswith(b"% end", at):  # what follows the last line may start with the same byte
            return content[:at].decode("latin-1"), content.find(b"\n", at) + 1
    return content[:at].decode("latin-1"), at


def sensor_of(text: str) -> tuple[int, int] | None:
    """Return width and height where the header names them."""
    if match := GEOMETRY.search(text):
        return int(match[1]), int(match[2])
    width, height = (re.search(rf"\b{name}[ =:]+(\d{{1,5}})", text, re.IGNORECASE) for name in ("width", "height"))
    return (int(width[1]), int(height[1])) if width and height else None


@cache
def _decoders() -> dict[str, Any]:
    """Return the compiled decoders by version; each returns the number of events, with empty arrays only that.

    Time before the first word that has its higher bits is not known, and such events are left out.
    """
    from snnlab.kernels.compiled import njit

    @njit()
    def evt2(words, x, y, t, p):  # type: ignore[no-untyped-def]
        count, high, turns, known = 0, np.int64(0), np.int64(0), False
        for word in words:
            kind = word >> 28
            if kind == 8:
                new = np.int64(word & 0xFFFFFFF)
                if known and new < high - (1 << 27):
                    turns += 1
                high, known = new, True
            elif kind < 2 and known:
                if len(x):
                    t[count] = ((turns << 28) + high) << 6 | np.int64(word >> 22 & 0x3F)
                    x[count], y[count], p[count] = np.int64(word >> 11 & 0x7FF), np.int64(word & 0x7FF), kind
                count += 1
        return count

    @njit()
    def evt21(words, x, y, t, p):  # type: ignore[no-untyped-def]
        count, high, turns, known = 0, np.int64(0), np.int64(0), False
        for word64 in words:
            upper, mask = np.int64(word64 >> np.uint64(32)), np.int64(word64 & np.uint64(0xFFFFFFFF))
            kind = upper >> 28
            if kind == 8:
                new = upper & 0xFFFFFFF
                if known and new < high - (1 << 27):
                    turns += 1
                high, known = new, True
            elif kind < 2 and known:
                for bit in range(32):
                    if mask >> bit & 1:
                        if len(x):
                            t[count] = ((turns << 28) + high) << 6 | (upper >> 22 & 0x3F)
                            x[count], y[count], p[count] = (upper >> 11 & 0x7FF) + bit, upper & 0x7FF, kind
                        count += 1
        return count

    @njit()
    def evt3(words, x, y, t, p):  # type: ignore[no-untyped-def]
        count, low, high, known = 0, np.int64(0), np.int64(0), False
        row, column, polarity = np.int64(0), np.int64(0), np.int64(0)
        for word16 in words:
            word = np.int64(word16)
            kind, value = word >> 12, word & 0xFFF
            if kind == 8:
                if not known:
                    high = value
                elif value != high & 0xFFF:
                    back = value < (high & 0xFFF) - (1 << 11)
                    high, low = (high & ~np.int64(0xFFF)) + value + (4096 if back else 0), np.int64(0)
                known = True
            elif kind == 6:
                if value < low:  # the next turn, whose higher bits come later or not at all
                    high += 1
                low = value
            elif kind == 0:
                row = word & 0x7FF
            elif kind == 3:
                column, polarity = word & 0x7FF, word >> 11 & 1
            elif kind == 2 and known:
                if len(x):
                    t[count], x[count] = high << 12 | low, word & 0x7FF
                    y[count], p[count] = row, word >> 11 & 1
                count += 1
            elif kind == 4 or kind == 5:
                size = 12 if kind == 4 else 8
                for bit in range(size):
                    if word >> bit & 1 and known:
                        if len(x):
                            t[count], x[count] = high << 12 | low, column + bit
                            y[count], p[count] = row, polarity
                        count += 1
                column += size
        return count

    return {"2": evt2, "2.0": evt2, "2.1": evt21, "3": evt3, "3.0": evt3}
