"""How much a file may hold: what it declares is held against these numbers before memory is taken for it.

A file may come from a stranger, and a few bytes can declare terabytes (a sparse file, a gzip of zeros, a shape in a
header). So readers ask first; with these limits none of them takes 2 GB, whatever it is given. Each limit lies above
all that is published in its form.
"""

from __future__ import annotations

from snnlab.errors import InputError

MIB, GIB = 2**20, 2**30
FILE = 512 * MIB  # of a file that is read whole, and of what it holds decompressed; arrays made of it come on top
MEMBER = 64 * MIB  # of one file in a zip, which is a recording of some kilobytes or a picture
ON_DISK = 32 * GIB  # of a file that is read in pieces; the largest published archive has 8
DIRECTORY = 128 * MIB  # of the list of files of a zip, which is held in memory; 70,000 recordings take 6
TABLE = 16 * MIB  # of a text file of labels or names
EVENTS = 20_000_000  # of one recording; some 60 bytes each are in use while it is read


def check_bytes(where: object, declared: float, most: int = FILE, what: str = "") -> None:
    """Raise InputError where ``declared`` bytes are more than ``most``; ``where`` names the file, ``what`` the part."""
    if declared > most:
        part = f"{what} of {declared:,.0f}" if what else f"{declared:,.0f}"
        raise InputError(f"{where} declares {part} bytes, at most {most:,} are read; it is corrupt or no such file")


def check_events(where: object, count: int) -> None:
    """Raise InputError where one recording declares more events than are read at once."""
    if count > EVENTS:
        raise InputError(f"{where} declares {count:,} events, at most {EVENTS:,} are read at once; cut it into parts")
