"""AEDAT 4 files, the form in which tonic distributes CIFAR10-DVS.

Format: the line ``#!AER-DAT4.0``, then a flatbuffer that names the compression (none, LZ4 or Zstandard) and the first
byte after the packets, then packets: stream uint32, size uint32, content. The content of an event stream is a
flatbuffer ``EVTS`` with a vector of 16-byte structs (t int64 microseconds, x int16, y int16, on uint8).
A flatbuffer table starts with the distance back to its vtable, a list of uint16 places of its fields.
Source: iniVation, "AEDAT 4.0", and its flatbuffer schemas. LZ4: "LZ4 Frame Format Description" 1.6 and "LZ4 Block
Format Description" by Y. Collet.
"""

from __future__ import annotations

import re
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.data import limits
from snnlab.data.recordings import Events, Recorded, tidy
from snnlab.errors import InputError, one_line

MAGIC = b"#!AER-DAT4.0\r\n"
EVENT4 = np.dtype(
    {"names": ["t", "x", "y", "on"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16}
)
PACKETS = 1_000_000  # of 10 ms each, as cameras write them, that is nearly three hours
NOWHERE = np.empty(0, np.uint8)
MOST_TEXT = 1 << 20  # bytes of the header, in which the streams are described
LZ4 = b"\x04\x22\x4d\x18"


class _Broken(Exception):
    """The content is not what its format says; the words of the one-line error."""


def parse_recorded(content: bytes, path: Path) -> Recorded:
    """Return the recording in the bytes of an AEDAT 4 file and the sensor that its header names; see parse_aedat4."""
    head = content[len(MAGIC) : len(MAGIC) + MOST_TEXT].partition(b">EVTS<")[2]
    width, height = (re.search(rb'key="size%s"[^>]*>(\d{1,5})<' % axis, head) for axis in (b"X", b"Y"))
    return Recorded(parse_aedat4(content, path, None), (int(width[1]), int(height[1])) if width and height else None)


def parse_aedat4(content: bytes, path: Path, side: int | None = 128) -> Events:
    """Return the events of the first event stream in ``content``, the bytes of an AEDAT 4 file, sorted by time.

    Args:
        side: x and y must be below it; None lets them be.

    Raises:
        InputError: another format, cut short, a compression not read here, no event, or a pixel off the sensor.
    """
    if not content.startswith(MAGIC):
        first = content[:14].split(b"\n")[0].strip()
        raise InputError(f"{path} is no AEDAT 4 file: it starts with {first!r}, needed is {MAGIC.strip().decode()!r}")
    try:
        events = _events(content)
    except (_Broken, struct.error, ValueError, IndexError) as error:
        why = str(error) if isinstance(error, _Broken) else "it is cut short or corrupt"
        raise InputError(f"{path}: {why} ({len(content)} bytes); copy or download it again") from error
    if len(events) == 0:
        raise InputError(f"{path} holds no event; copy or download it again")
    x, y = events["x"], events["y"]
    if min(x.min(), y.min()) < 0 or (side is not None and max(x.max(), y.max()) >= side):
        raise InputError(
            f"{path} has an event off the {f'{side} x {side} ' if side else ''}sensor; it is corrupt or of another one"
        )
    return tidy(x, y, events["t"], events["on"], path)


def _events(content: bytes) -> np.ndarray:
    at = len(MAGIC)
    (length,) = struct.unpack_from("<I", content, at)
    header = content[at + 4 : at + 4 + length]
    if len(header) < length:
        raise _Broken("its header is cut short")
    place = _field(header, 0)
    compression = struct.unpack_from("<i", header, place)[0] if place else 0
    place = _field(header, 1)
    end = struct.unpack_from("<q", header, place)[0] if place else -1
    if end > len(content):
        raise _Broken(f"it is truncated, its packets end at byte {end}")
    if not 0 <= compression <= 4:
        raise _Broken(f"its compression {compression} is none of 0 (none), 1, 2 (LZ4), 3 and 4 (Zstandard)")
    unpack = (plain, lz4_frame, lz4_frame, zstd_frame, zstd_frame)[compression]
    at, end = at + 4 + length, len(content) if end < 0 else end
    streams, held, packets = dict[int, list[np.ndarray]](), 0, 0
    while at < end:
        stream, size = struct.unpack_from("<II", content, at)
        packets += 1
        if size == 0 or packets > PACKETS:
            raise _Broken("a packet is empty" if size == 0 else f"it has more than {PACKETS:,} packets")
        packet = content[at + 8 : at + 8 + size]
        if len(packet) < size:
            raise _Broken("it is truncated within a packet")
        at += 8 + size
        packet = unpack(packet, limits.FILE - held)
        held += len(packet)
        if packet[8:12] == b"EVTS":
            streams.setdefault(stream, []).append(_packet_events(packet[4:]))  # after the size that leads it
    first = streams[min(streams)] if streams else [np.empty(0, EVENT4)]
    if (count := sum(map(len, first))) > limits.EVENTS:
        raise _Broken(f"it declares {count:,} events, at most {limits.EVENTS:,} are read at once")
    return np.concatenate(first)


def _field(buffer: bytes, number: int) -> int:
    """Return the place of field ``number`` of the root table of a flatbuffer, 0 where it has its default."""
    (table,) = struct.unpack_from("<I", buffer)
    vtable = table - struct.unpack_from("<i", buffer, table)[0]
    (size,) = struct.unpack_from("<H", buffer, vtable)
    if 4 + 2 * number >= size:
        return 0
    (offset,) = struct.unpack_from("<H", buffer, vtable + 4 + 2 * number)
    return table + offset if offset else 0


def _packet_events(buffer: bytes) -> np.ndarray:
    place = _field(buffer, 0)
    if not place:
        return np.empty(0, EVENT4)
    vector = place + struct.unpack_from("<I", buffer, place)[0]
    (count,) = struct.unpack_from("<I", buffer, vector)
    return np.frombuffer(buffer, EVENT4, count, vector + 4)


def plain(content: bytes, most: int) -> bytes:
    """Return ``content``, which is not compressed."""
    return content


def zstd_frame(content: bytes, most: int) -> bytes:
    """Return what the Zstandard frame ``content`` holds, at most ``most`` bytes."""
    import zstandard

    try:
        with zstandard.ZstdDecompressor(max_window_size=limits.MEMBER).stream_reader(content) as reader:
            unpacked = reader.read(most + 1)
    except zstandard.ZstdError as error:
        raise _Broken(f"a packet is no Zstandard frame ({one_line(error)})") from error
    if len(unpacked) > most:
        raise _Broken(f"its packets unpack to more than {limits.FILE:,} bytes")
    return bytes(unpacked)


def lz4_frame(content: bytes, most: int = limits.FILE) -> bytes:
    """Return what the LZ4 frame ``content`` holds; its checksums are not looked at, its lengths are."""
    if content[:4] != LZ4:
        raise _Broken("a packet is no LZ4 frame")
    flags = content[4]
    at = 7 + 8 * (flags >> 3 & 1) + 4 * (flags & 1)  # content size, dictionary
    blocks, total = list[tuple[np.ndarray, bool, int]](), 0
    while True:
        (size,) = struct.unpack_from("<I", content, at)
        at += 4
        if size == 0:
            break
        plain, size = bool(size >> 31), size & 0x7FFFFFFF
        block = np.frombuffer(content, np.uint8, size, at)
        at += size + 4 * (flags >> 4 & 1)  # checksum of the block
        length = size if plain else _lz4()(block, NOWHERE, 0)  # with nowhere to write, how long it will be
        if length < 0:
            raise _Broken("a packet is no LZ4 block")
        total += length
        if total > most:
            raise _Broken(f"its packets declare more than the {limits.FILE:,} bytes that are read")
        blocks.append((block, plain, length))
    out, start = np.empty(total, np.uint8), 0
    for block, plain, length in blocks:
        if plain:
            out[start : start + length] = block
        elif _lz4()(block, out[: start + length], start) < 0:  # a block may copy from those before it
            raise _Broken("a packet is no LZ4 block")
        start += length
    return out.tobytes()


@cache
def _lz4() -> Any:
    """Return the compiled decoder of one LZ4 block; with an empty ``out`` it only counts."""
    from snnlab.kernels.compiled import njit

    @njit()
    def decode(block, out, start):  # type: ignore[no-untyped-def]
        counting, at, place = len(out) == 0, np.int64(0), np.int64(start)
        while at < len(block):
            token = block[at]
            at += 1
            literals = np.int64(token >> 4)
            if literals == 15:
                while True:
                    if at >= len(block):
                        return -1
                    more = block[at]
                    at += 1
                    literals += more
                    if more != 255:
                        break
            if at + literals > len(block) or (not counting and place + literals > len(out)):
                return -1
            if not counting:
                for k in range(literals):
                    out[place + k] = block[at + k]
            at += literals
            place += literals
            if at == len(block):  # the last sequence has no match
                return place - start
            if at + 2 > len(block):
                return -1
            offset = np.int64(block[at]) | np.int64(block[at + 1]) << 8
            at += 2
            match = np.int64(token & 15)
            if match == 15:
                while True:
                    if at >= len(block):
                        return -1
                    more = block[at]
                    at += 1
                    match += more
                    if more != 255:
                        break
            match += 4
            if not counting:
                if offset == 0 or offset > place or place + match > len(out):
                    return -1
                for k in range(match):  # one by one: a match may overlap what it makes
                    out[place + k] = out[place - offset + k]
            place += match
        return -1

    return decode
