"""Hostile files and folders of one's own data: every format of ``data=folder`` damaged, every layout made wrong.

``python tests/hostile/own_data.py [--only WORD] [--seed N]`` makes and tries all of them: files are read, folders are
trained on.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import socket
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from data_files import DAMAGES, Format, write_aedat3, write_aedat4
from harness import Outcome, attempt, command

PICTURES = ("png", "jpg", "bmp", "gif", "tif", "webp", "pgm", "ppm")
RUN = ["method=stbp", "data=folder", "data.folder=mine", "model=mlp", "model.hidden=[4]", "logger=none"]
RUN += ["callbacks.progress=false", "callbacks.figures=false", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]


class Case(NamedTuple):
    """What is tried: ``make`` writes into a folder, ``read`` does something with it."""

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]


def read_one(path: Path) -> None:
    """Read a file as ``data=folder`` does."""
    from snnlab.data.folder.recordings import Format as Form
    from snnlab.data.folder.recordings import look, tried
    from snnlab.data.formats.picture import ENDINGS, look_at, read_picture

    if path.suffix in ENDINGS:
        look_at(path)
        for colour in ("grey", "rgb"):
            read_picture(path, colour, (8, 8), convert=True)
    else:
        form = Form("xytp", None)
        look(tried([path], form)[0], form)


def train(folder: Path) -> None:
    """Train on the folder ``mine`` in ``folder``."""
    from snnlab.config.compose import compose
    from snnlab.runs import wiring

    os.chdir(folder)
    more = ["encoder.time_steps=2"] if any(folder.glob("mine/**/*.png")) else ["data.time_steps=2", "data.order=xytp"]
    run = wiring.run(compose([*RUN, *more])).folder
    print(f"trained: {(run / 'run.json').read_text(encoding='utf-8').count('class_accuracy')}")


# good files -----------------------------------------------------------------------------------------------------------
def columns(count: int = 300) -> dict[str, np.ndarray]:
    place = np.arange(count)
    return {"x": place % 30, "y": place % 20, "t": place * 7, "p": place % 2}


def write_picture(path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)
    image = Image.fromarray(pixels)
    (image.convert("RGB") if path.suffix == ".ppm" else image).save(path)


def write_aedat2(path: Path) -> None:
    c = columns()
    records = np.stack([c["y"] << 22 | c["x"] << 12 | c["p"] << 11, c["t"]], 1)
    path.write_bytes(
        b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n" + records.astype(">u4").tobytes()
    )


def write_dat(path: Path) -> None:
    c = columns()
    words = np.stack([c["t"], c["x"] | c["y"] << 14 | c["p"] << 28], 1)
    path.write_bytes(b"% Version 2\n% Width 304\n% Height 240\n\x0c\x08" + words.astype("<u4").tobytes())


def write_evt2(path: Path) -> None:
    c = columns()
    words = [
        8 << 28,
        *(int(p) << 28 | int(t % 64) << 22 | int(x) << 11 | int(y) for x, y, t, p in zip(*c.values(), strict=True)),
    ]
    path.write_bytes(b"% evt 2.0\n% geometry 640x480\n% end\n" + np.array(words, "<u4").tobytes())


def write_evt21(path: Path) -> None:
    c = columns()
    words = [
        8 << 60,
        *(
            int(p) << 60 | int(t % 64) << 54 | int(y) << 32 | 1 << int(x)
            for x, y, t, p in zip(*c.values(), strict=True)
        ),
    ]
    path.write_bytes(b"% evt 2.1\n% geometry 640x480\n% end\n" + np.array(words, "<u8").tobytes())


def write_evt3(path: Path) -> None:
    c, words = columns(), [8 << 12]
    for x, y, t, p in zip(*c.values(), strict=True):
        words += [6 << 12 | int(t), int(y), 2 << 12 | int(p) << 11 | int(x), 3 << 12 | int(x), 4 << 12 | 0xFFF]
    path.write_bytes(b"% evt 3.0\n% geometry 1280x720\n% end\n" + np.array(words, "<u2").tobytes())


def structured(found: dict[str, np.ndarray]) -> np.ndarray:
    array = np.empty(len(next(iter(found.values()))), [(name, column.dtype) for name, column in found.items()])
    for name, column in found.items():
        array[name] = column
    return array


def write_metavision(path: Path, found: dict[str, np.ndarray] | None = None) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["geometry"] = "640x480"
        file.create_dataset("CD/events", data=structured(found or columns()), compression="gzip")


def write_dsec(path: Path, found: dict[str, np.ndarray] | None = None) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, column in (found or columns()).items():
            file.create_dataset(f"events/{name}", data=column, compression="gzip", chunks=True)


def write_npy(path: Path, found: dict[str, np.ndarray] | None = None) -> None:
    np.save(path, structured(found or columns()), allow_pickle=True)


def write_plain_npy(path: Path, found: dict[str, np.ndarray] | None = None) -> None:
    np.save(path, np.stack(list((found or columns()).values()), 1), allow_pickle=True)


def write_npz(path: Path, found: dict[str, np.ndarray] | None = None) -> None:
    np.savez_compressed(path, **(found or columns()))


def write_table(path: Path, found: dict[str, np.ndarray] | None = None) -> None:
    rows = zip(*(found or columns()).values(), strict=True)
    title = "x,y,t,p\n" if path.suffix == ".csv" else ""
    path.write_text(title + "".join(",".join(map(str, row)) + "\n" for row in rows))


def formats() -> list[Format]:
    """Every format by its name, which ends as its files do."""
    files: dict[str, Callable[[Path], object]] = {
        **{f"picture.{ending}": write_picture for ending in PICTURES},
        "2.aedat": write_aedat2,
        "3.aedat": write_aedat3,
        "4.aedat4": write_aedat4,
        "evt2.raw": write_evt2,
        "evt21.raw": write_evt21,
        "evt3.raw": write_evt3,
        "prophesee.dat": write_dat,
        "atis.bin": lambda path: path.write_bytes(np.tile(np.uint8([3, 4, 0x80, 0, 9]), 300).tobytes()),
        "metavision.h5": write_metavision,
        "dsec.hdf5": write_dsec,
        "structured.npy": write_npy,
        "plain.npy": write_plain_npy,
        "columns.npz": write_npz,
        "titled.csv": write_table,
        "bare.txt": write_table,
    }
    return [Format(name, write, read_one) for name, write in files.items()]


def damaged(seed: int) -> Iterator[Case]:
    for form in formats():
        for name, damage in DAMAGES.items():
            draw = random.Random(f"{seed} {form.name} {name}")
            ending = form.name.split(".")[-1]

            def make(
                home: Path, form: Format = form, damage: Any = damage, draw: Any = draw, ending: str = ending
            ) -> None:
                form.write(home / f"a.{ending}")
                damage(home / f"a.{ending}", draw)

            yield Case(f"{form.name}: {name}", make, lambda home, ending=ending: read_one(home / f"a.{ending}"))


# wrong values ---------------------------------------------------------------------------------------------------------
def with_value(column: str, value: Any, at: int = 5) -> dict[str, np.ndarray]:
    """Good columns with one value of one of them replaced."""
    found = columns()
    kind = np.array([value]).dtype
    changed = (
        found[column].astype(np.promote_types(found[column].dtype, kind))
        if kind.kind in "iufc"
        else found[column].astype(kind)
    )
    changed[at] = value
    return found | {column: changed}


VALUES: dict[str, Any] = {
    f"{column} {value}": (column, value)
    for column in "xytp"
    for value in (
        np.nan,
        np.inf,
        -1,
        -(2**62),
        2**31,
        2**62,
        2**64 - 1,
        1e300,
        1e-300,
        0.5,
        70_000,
        1j,
        "text",
        b"\xff",
        True,
    )
}
WHOLE: dict[str, Callable[[], dict[str, np.ndarray]]] = {
    "no events": lambda: columns(0),
    "one event": lambda: columns(1),
    "one column more": lambda: columns() | {"q": np.arange(300)},
    "no t": lambda: {name: column for name, column in columns().items() if name != "t"},
    "t twice": lambda: columns() | {"time": np.arange(300)},
    "all of one time": lambda: columns() | {"t": np.zeros(300, int)},
    "backwards": lambda: columns() | {"t": np.arange(300)[::-1] * 10**6},
    "objects": lambda: columns() | {"x": np.array([{}] * 300, object)},
    "dates": lambda: columns() | {"t": np.arange(300).astype("datetime64[us]")},
    "spans": lambda: columns() | {"t": np.arange(300).astype("timedelta64[us]")},
    "halves": lambda: {name: column.astype(np.float16) for name, column in columns().items()},
    "long doubles": lambda: {name: column.astype(np.longdouble) for name, column in columns().items()},
    "big-endian": lambda: {name: column.astype(">i8") for name, column in columns().items()},
    "two axes": lambda: {name: np.stack([column, column], 1) for name, column in columns().items()},
    "names of letters": lambda: {f"{name}\n\x1b[31m": column for name, column in columns().items()},
}
WRITERS: dict[str, Callable[[Path, dict[str, np.ndarray]], object]] = {
    "structured.npy": write_npy,
    "plain.npy": write_plain_npy,
    "columns.npz": write_npz,
    "titled.csv": write_table,
    "bare.txt": write_table,
    "metavision.h5": write_metavision,
    "dsec.h5": write_dsec,
}


def wrong_values() -> Iterator[Case]:
    made: dict[str, Callable[[], dict[str, np.ndarray]]] = {
        name: lambda given=given: with_value(*given) for name, given in VALUES.items()
    }
    for name, find in (made | WHOLE).items():
        for writer, write in WRITERS.items():
            ending = writer.split(".")[-1]

            def make(home: Path, find: Any = find, write: Any = write, ending: str = ending) -> None:
                try:
                    write(home / f"a.{ending}", find())
                except (TypeError, ValueError) as error:  # no such file can be written
                    print(f"not written: {error}")
                    (home / f"a.{ending}").unlink(missing_ok=True)

            yield Case(f"{writer}: {name}", make, lambda home, ending=ending: read_one(home / f"a.{ending}"))


# hostile contents -----------------------------------------------------------------------------------------------------
def png(width: int, height: int, mode: int = 0, bits: int = 8, more: bytes = b"", data: bytes | None = None) -> bytes:
    """A PNG with this header; of zeros where ``data`` is None, as many as it declares."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    if data is None:
        row = 1 + (width * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[mode] * bits + 7) // 8
        packer = zlib.compressobj(1)
        data = b"".join(
            [
                *(packer.compress(bytes(row * 64)) for _ in range(height // 64)),
                packer.compress(bytes(row * (height % 64))),
                packer.flush(),
            ]
        )
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, mode, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def text_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def saved(mode: str, size: tuple[int, int], form: str, **options: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, form, **options)
    return buffer.getvalue()


def tiff(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", following)


TABLE = "1,2,{},1\n"
CONTENTS: dict[str, Callable[[], bytes]] = {
    "9999 x 9999 grey.png": lambda: png(9999, 9999),
    "9999 x 9999 with alpha.png": lambda: png(9999, 9999, 6),
    "9999 x 9999 of 16 bits.png": lambda: png(9999, 9999, 0, 16),
    "9999 x 9999 of 16 bits with alpha.png": lambda: png(9999, 9999, 6, 16),
    "9999 x 9999 of 1 bit.png": lambda: png(9999, 9999, 0, 1),
    "9999 x 9999 grey with alpha.png": lambda: png(9999, 9999, 4),
    "9999 x 9999 turned.jpg": lambda: saved(
        "RGB", (9999, 9999), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    ),
    "9999 x 9999 CMYK.jpg": lambda: saved("CMYK", (9999, 9999), "JPEG"),
    "9999 x 9999 palette.gif": lambda: saved("P", (9999, 9999), "GIF", transparency=0),
    "9999 x 9999 float.tif": lambda: saved("F", (9999, 9999), "TIFF", compression="tiff_adobe_deflate"),
    "9999 x 9999 whole.tif": lambda: saved("I", (9999, 9999), "TIFF", compression="tiff_adobe_deflate"),
    "1 x 100000000.png": lambda: png(1, 100_000_000),
    "a billion pixels.pgm": lambda: b"P5 99999 9999 255 " + bytes(999),
    "huge numbers.pgm": lambda: b"P5 " + b"9" * 5000 + b" 2 255 " + bytes(99),
    "a comment without end.pgm": lambda: b"P5 #" + b"x" * 5_000_000,
    "plain text.pgm": lambda: b"P2 9000 9000 255 " + b"1 " * 81_000_000,
    "no size.png": lambda: png(0, 0, data=b""),
    "half of the pixels.png": lambda: png(500, 500, data=zlib.compress(bytes(99_000))),
    "more than the pixels.png": lambda: png(5, 5, data=zlib.compress(bytes(50_000_000))),
    "a text bomb.png": lambda: png(9, 9, more=text_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(400_000_000)))),
    "a profile bomb.png": lambda: png(9, 9, more=text_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(400_000_000)))),
    "a billion texts.png": lambda: png(9, 9, more=text_chunk(b"tEXt", b"a\0b") * 500_000),
    "frames without end.gif": lambda: saved("P", (9, 9), "GIF") + b"\x21\xfe\xff" + b"\xff" * 9_000_000,
    "a folder that is its own next.tif": lambda: tiff([(256, 3, 1, 9), (257, 3, 1, 9)], 8),
    "strips without end.tif": lambda: tiff([(256, 4, 1, 9), (257, 4, 1, 9), (273, 4, 2**31, 8), (279, 4, 2**31, 8)]),
    "a size of zero.tif": lambda: tiff([(256, 4, 1, 0), (257, 4, 1, 0), (258, 3, 1, 8), (273, 4, 1, 8)]),
    "an exif that is its own.jpg": lambda: saved(
        "L", (9, 9), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\0\0\0\0"
    ),
    "a turn that is a text.jpg": lambda: saved(
        "L", (9, 9), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x03ab\0\0\0\0\0\0"
    ),
    "a program.png": lambda: b"\x7fELF" + bytes(999),
    "an eps.jpg": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch canary) (w) file\n",
    "a pickle.npy": lambda: b"\x80\x04cos\nsystem\n(S'touch canary'\ntR.",
    "a header that is a program.npy": lambda: (
        b"\x93NUMPY\x01\0\x46\0" + b"{'descr': __import__('os').system('touch canary'), 'shape': (1,)}".ljust(70)
    ),
    "a header of brackets.npy": lambda: b"\x93NUMPY\x02\0" + struct.pack("<I", 2_000_000) + b"(" * 2_000_000,
    "a header of 4 GB.npy": lambda: b"\x93NUMPY\x02\0" + struct.pack("<I", 2**32 - 1) + b"{",
    "text for numbers.csv": lambda: (TABLE.format("soon") * 99).encode(),
    "a number of a million digits.csv": lambda: TABLE.format("9" * 1_000_000).encode(),
    "a million columns.csv": lambda: (b"1," * 1_000_000 + b"1\n") * 3,
    "a row without an end.csv": lambda: b"1" * 60_000_000,
    "rows of different lengths.csv": lambda: b"1,2,3,1\n1,2\n1,2,3,1,5\n",
    "quotes.csv": lambda: b'"x,y\n"1,2,3,1\n' * 99,
    "hexadecimal.csv": lambda: b"x,y,t,p\n0x10,1,2,1\n",
    "carriage returns.csv": lambda: b"x,y,t,p\r1,2,3,1\r" * 9,
    "in 16 bits.csv": lambda: "x,y,t,p\n1,2,3,1\n".encode("utf-16"),
    "latin.csv": lambda: "x,y,t,p\n1,2,3,1\n# für\n".encode("latin-1"),
    "digits of elsewhere.csv": lambda: "x,y,t,p\n١,٢,٣,١\n".encode(),
    "comments alone.csv": lambda: b"# x\n" * 999,
    "escapes.csv": lambda: b"\x1b[31mx,y\n" * 9,
    "a title alone.csv": lambda: b"x,y,t,p\n",
    "a title of escapes.csv": lambda: b"x,y,\x1b[31mred\x07,p\n1,2,3,1\n",
    "underscores.csv": lambda: b"x,y,t,p\n1_0,2,3,1\n",
    "no end of the header.raw": lambda: b"% evt 3.0\n" * 200_000,
    "one line without end.raw": lambda: b"% evt 3.0 " + b"x" * 50_000_000,
    "vectors alone.raw": lambda: (
        b"% evt 3.0\n% end\n" + struct.pack("<H", 8 << 12) + np.full(30_000_000, 4 << 12 | 0xFFF, "<u2").tobytes()
    ),
    "bits alone.raw": lambda: (
        b"% evt 2.1\n% end\n" + struct.pack("<Q", 8 << 60) + np.full(4_000_000, 1 << 60 | 0xFFFFFFFF, "<u8").tobytes()
    ),
    "no time.raw": lambda: b"% evt 2.0\n% end\n" + np.full(999, 1 << 28 | 5, "<u4").tobytes(),
    "times back and forth.raw": lambda: (
        b"% evt 2.0\n% end\n"
        + np.tile(np.array([8 << 28 | 0xFFFFFFF, 1 << 28 | 5, 8 << 28, 1 << 28 | 5], "<u4"), 9999).tobytes()
    ),
    "a sensor of no pixels.raw": lambda: (
        b"% evt 3.0\n% geometry 0x0\n% end\n" + np.tile(np.array([8 << 12, 2 << 12 | 9], "<u2"), 99).tobytes()
    ),
    "a sensor of 99999 pixels.raw": lambda: (
        b"% evt 3.0\n% geometry 99999x99999\n% end\n" + np.tile(np.array([8 << 12, 2 << 12 | 9], "<u2"), 99).tobytes()
    ),
    "version 9.raw": lambda: b"% evt 9.9\n% end\n" + bytes(99),
    "a kind of 99.dat": lambda: b"% Version 2\n\x63\x08" + bytes(800),
    "no pixels.dat": lambda: b"% Width 0\n% Height 0\n\x0c\x08" + np.tile(np.array([9, 5], "<u4"), 99).tobytes(),
    "times alone.aedat": lambda: b"#!AER-DAT2.0\r\n" + np.full(2000, 0xFFFFFFFF, ">u4").tobytes(),
    "a header alone.aedat": lambda: b"#!AER-DAT2.0\r\n# " + b"x" * 60_000_000,
    "packets of nothing.aedat": lambda: (
        b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + struct.pack("<HHIIIIII", 9, 0, 0, 4, 0, 0, 0, 0) * 2000
    ),
    "a packet of 4 GB.aedat": lambda: (
        b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + struct.pack("<HHIIIIII", 1, 0, 2**32 - 1, 4, 0, 2**32 - 1, 2**32 - 1, 9)
    ),
    "version 1.aedat": lambda: b"#!AER-DAT1.0\r\n" + bytes(80),
}


def contents() -> Iterator[Case]:
    for name, content in CONTENTS.items():
        file = f"a{Path(name).suffix}"
        yield Case(
            name,
            lambda home, content=content, file=file: (home / file).write_bytes(content()),
            lambda home, file=file: read_one(home / file),
        )


def hdf5() -> Iterator[Case]:
    """HDF5 files with parts that no recording has."""
    import h5py

    def linked(file: Any, home: Path) -> None:
        (home / "other.h5").write_bytes(b"")
        for name in "xyt":
            file[f"events/{name}"] = h5py.ExternalLink("other.h5", "x")

    def circle(file: Any, home: Path) -> None:
        file["events"] = h5py.SoftLink("/events")
        file["CD"] = h5py.SoftLink("/")

    def hard_circle(file: Any, home: Path) -> None:
        file.create_group("CD/events")
        file["CD/events/events"] = file["CD"]

    def elsewhere(file: Any, home: Path) -> None:
        layout = h5py.VirtualLayout((9,), "i8")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (9,))
        for name in "xytp":
            file.create_virtual_dataset(f"events/{name}", layout)

    def raw_elsewhere(file: Any, home: Path) -> None:
        for name in "xytp":
            file.create_dataset(f"events/{name}", (9,), "i8", external=[("/etc/passwd", 0, 72)])

    def sparse(file: Any, home: Path) -> None:
        for name in "xytp":
            file.create_dataset(f"events/{name}", (2**40,), "i8", chunks=(1 << 20,))

    def one_chunk(file: Any, home: Path) -> None:
        for name in "xytp":
            file.create_dataset(f"events/{name}", (99,), "i8", chunks=(2**28,), maxshape=(None,), compression="gzip")

    def of(kind: Any, shape: Any = (9,)) -> Callable[[Any, Path], None]:
        def make(file: Any, home: Path) -> None:
            for name in "xytp":
                file.create_dataset(f"events/{name}", shape, kind)

        return make

    makers: dict[str, Callable[[Any, Path], None]] = {
        "links to another file": linked,
        "links to itself": circle,
        "a group in itself": hard_circle,
        "virtual": elsewhere,
        "outside": raw_elsewhere,
        "a terabyte of nothing": sparse,
        "one piece of 2 GB": one_chunk,
        "text": of(h5py.string_dtype()),
        "references": of(h5py.ref_dtype),
        "lists": of(h5py.vlen_dtype(np.int64)),
        "enumerations": of(h5py.enum_dtype({"a": 1}, "i4")),
        "opaque": of(h5py.opaque_dtype("V8")),
        "complex": of("c16"),
        "scalars": of("i8", ()),
        "nothing": of("i8", (0,)),
        "empty": lambda file, home: file.create_dataset("events", data=h5py.Empty("i8")),
        "five axes": of("i8", (2, 2, 2, 2, 2)),
        "a table of tables": lambda file, home: file.create_dataset(
            "events", (9,), np.dtype([("x", "i8", (3,)), ("y", "i8"), ("t", [("a", "i8")]), ("p", "i8")])
        ),
        "a named type": lambda file, home: file.__setitem__("events", np.dtype("i8")),
    }
    for name, make in makers.items():

        def write(home: Path, make: Any = make) -> None:
            with h5py.File(home / "a.h5", "w") as file:
                make(file, home)

        yield Case(f"hdf5: {name}", write, lambda home: read_one(home / "a.h5"))


# hostile folders ------------------------------------------------------------------------------------------------------
def pictures(home: Path, classes: tuple[Any, ...] = ("a", "b"), each: int = 8) -> Path:
    """A folder of small pictures in class folders."""
    from PIL import Image

    for number, label in enumerate(classes):
        place = os.path.join(os.fsencode(home / "mine"), os.fsencode(label))
        os.makedirs(place)
        for i in range(each):
            Image.fromarray(np.full((6, 6), 20 * i + number, np.uint8)).save(
                os.path.join(place, f"{i}.png".encode()).decode("utf-8", "surrogateescape")
            )
    return home / "mine"


def table(rows: str | bytes, name: str = "labels.csv") -> Callable[[Path], object]:
    """Eight pictures 0.png to 7.png in one folder and this table of labels."""

    def make(home: Path) -> None:
        folder = pictures(home, ("",))
        (folder / name).write_bytes(rows.encode("utf-8", "surrogateescape") if isinstance(rows, str) else rows)

    return make


def rows(labels: Any, **changed: str) -> str:
    """A table that gives these labels in turn to the pictures."""
    return "".join(f"{i}.png,{labels[i % len(labels)]}\n" for i in range(8))


def beside(make: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda home: make(pictures(home))


def listening(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(here)


LAYOUTS: dict[str, Callable[[Path], object]] = {
    "whole": pictures,
    "a link to itself": beside(lambda f: (f / "a/9.png").symlink_to("9.png")),
    "a link to the folder above": beside(lambda f: (f / "a/up").symlink_to("..")),
    "a link around": beside(lambda f: ((f / "c").symlink_to("d"), (f / "d").symlink_to("c"))),
    "a link to nothing": beside(lambda f: (f / "a/9.png").symlink_to("nowhere")),
    "a link to a device": beside(lambda f: (f / "a/9.png").symlink_to("/dev/zero")),
    "a link out": beside(lambda f: (f / "a/9.png").symlink_to("/etc/passwd")),
    "a link to a folder of pictures": beside(lambda f: (f / "c").symlink_to("a")),
    "a pipe": beside(lambda f: os.mkfifo(f / "a/9.png")),
    "a socket": beside(lambda f: listening(f / "a/9.png")),
    "a folder named as a picture": beside(lambda f: (f / "a/9.png").mkdir()),
    "an empty picture": beside(lambda f: (f / "a/9.png").write_bytes(b"")),
    "an empty class": beside(lambda f: (f / "c").mkdir()),
    "one class": lambda home: pictures(home, ("a",)),
    "nothing": lambda home: (home / "mine").mkdir(),
    "the folder is a file": lambda home: (home / "mine").write_bytes(b""),
    "the folder is a pipe": lambda home: os.mkfifo(home / "mine"),
    "the folder is a link to itself": lambda home: (home / "mine").symlink_to("mine"),
    "deep": lambda home: deep(home),
    "names that are not UTF-8": lambda home: pictures(home, (b"\xff\xfe", b"a\xe9")),
    "files that are not UTF-8": beside(
        lambda f: shutil.copy(f / "a/1.png", os.fsdecode(os.fsencode(f / "a") + b"/\xff.png"))
    ),
    "names with lines": lambda home: pictures(home, ("a\nb", "c\td", "e\rf")),
    "names with escapes": lambda home: pictures(home, ("\x1b[31mred", "\x07", "\x9b31m")),
    "names of commands": lambda home: pictures(home, ("$(touch canary)", "; touch canary", "{x}", "%s", "${seed}")),
    "names of spaces": lambda home: pictures(home, (" ", "  ", "\u00a0", "\u200b")),
    "names of dots": lambda home: pictures(home, ("a.b", "a_b", "a_b_2", "...", "..b")),
    "names that differ in case": lambda home: pictures(home, ("a", "A", "ä", "a\u0308")),
    "names of the config": lambda home: pictures(home, ("test", "accuracy", "loss", "class_accuracy", "__class__")),
    "names of splits and classes": lambda home: pictures(home, ("train", "cat")),
    "splits alone": lambda home: pictures(home, ("train", "test")),
    "long names": lambda home: pictures(home, ("a" * 255, "b" * 255)),
    "numbers as names": lambda home: pictures(home, ("nan", "inf", "-inf", "1e400", "0", "-0", "1_0", "٣")),
    "digits without end": lambda home: pictures(home, ("9" * 250, "1" * 250)),
    "sixty classes": lambda home: pictures(home, tuple(map(str, range(60))), 2),
    "as many classes as samples": lambda home: pictures(home, tuple("abcdefgh"), 1),
    "table: whole": table(rows("ab")),
    "table: one file twice": table(rows("ab") + "1.png,b\n"),
    "table: one file twice, labels differ": table(rows("ab") + "1.png,a\n"),
    "table: a title twice": table("file,label,file,label\n" + rows("ab").replace("\n", ",x,y\n")),
    "table: nan": table(rows(["nan", "NaN", "1"])),
    "table: infinite": table(rows(["1e400", "inf", "1"])),
    "table: digits without end": table(rows(["9" * 400, "9" * 5000, "1"])),
    "table: numbers that floats do not part": table(rows(["12345678901234567890", "12345678901234567891"])),
    "table: zeros": table(rows(["0", "-0", "0.0", "+0", "00"])),
    "table: a label of a megabyte": table(rows(["a" * 1_000_000, "b"])),
    "table: labels of escapes": table(rows(["\x1b[31mred", "b\x07"])),
    "table: labels not UTF-8": table(rows(["a", "b"]).encode() + b"7.png,\xff\n"),
    "table: zero bytes": table(rows(["a\0", "b"])),
    "table: in 16 bits": table(rows("ab").encode("utf-16")),
    "table: a quote without end": table('0.png,"a\n' + rows("ab")),
    "table: quotes with lines": table('0.png,"a\nb"\n1.png,b\n'),
    "table: no label": table(rows(["", "b"])),
    "table: empty": table(""),
    "table: a title alone": table("file,label\n"),
    "table: a file elsewhere": table(rows("ab") + "/etc/passwd,a\n"),
    "table: a file above": table(rows("ab") + "../../canary,a\n"),
    "table: a folder": table(rows("ab") + ".,a\n"),
    "table: no name": table(rows("ab") + ",a\n"),
    "table: zero byte in a name": table(rows("ab") + "\0/etc,a\n"),
    "table: a million columns": table("1.png,a" + ",x" * 1_000_000 + "\n" + rows("ab")),
    "table: a split that is none": table(rows("ab").replace("\n", ",elsewhere\n")),
    "table: all in the test": table(rows("ab").replace("\n", ",test\n")),
    "table: sparse": lambda home: (table("")(home), os.truncate(home / "mine/labels.csv", 1 << 40)),
    "table: a pipe": beside(lambda f: os.mkfifo(f / "labels.csv")),
    "table: a folder's name": beside(lambda f: (f / "labels.csv").mkdir()),
    "table: a link to itself": beside(lambda f: (f / "labels.csv").symlink_to("labels.csv")),
    "table: a device": beside(lambda f: (f / "labels.csv").symlink_to("/dev/zero")),
    "table: two of splits": lambda home: (
        pictures(home, ("train", "test")),
        *((home / f"mine/{s}/labels.csv").write_text(rows("ab")) for s in ("train", "test")),
    ),
    "table: nothing there": table(rows("ab").replace(".png", ".jpg")),
}


def deep(home: Path) -> None:
    """A picture below 900 folders."""
    here = os.getcwd()
    folder = pictures(home)
    os.chdir(folder)
    for _ in range(900):
        os.mkdir("d")
        os.chdir("d")
    shutil.copy(folder / "a/1.png", "1.png")
    os.chdir(here)


def recordings(seed: int) -> Iterator[Case]:
    """A folder of good recordings among which one is another's: of another sensor, or far off."""

    def make(home: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], ending: str) -> None:
        for label in "ab":
            (home / "mine" / label).mkdir(parents=True)
            for i in range(8):
                write = WRITERS["structured.npy" if ending == "npy" else "titled.csv" if ending == "csv" else "dsec.h5"]
                write(home / "mine" / label / f"{i}.{ending}", columns())
        write(home / f"mine/b/9.{ending}", change(columns()))

    changes: dict[str, Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]] = {
        "whole": lambda c: c,
        "far column": lambda c: c | {"x": c["x"] + 60_000},
        "negative column": lambda c: c | {"x": c["x"] - 1},
        "one far time": lambda c: c | {"t": np.where(np.arange(300) == 299, 2**40, c["t"])},
        "years": lambda c: c | {"t": c["t"] * 10**9},
        "other polarities": lambda c: c | {"p": c["p"] * 2 - 1},
        "polarity 7": lambda c: c | {"p": c["p"] + 6},
        "not a number": lambda c: c | {"t": np.where(np.arange(300) == 9, np.nan, c["t"])},
    }
    for name, change in changes.items():
        for ending in ("npy", "csv", "h5"):
            yield Case(f"recordings {ending}: {name}", lambda home, c=change, e=ending: make(home, c, e), train)


def cases(seed: int) -> list[Case]:
    """Everything that is tried."""
    folders = [Case(f"folder: {name}", make, train) for name, make in LAYOUTS.items()]
    return [*damaged(seed), *wrong_values(), *contents(), *hdf5(), *folders, *recordings(seed)]


def try_all(chosen: list[Case], base: Path) -> list[Outcome]:
    import snnlab.data.folder.folder
    import snnlab.runs.wiring  # noqa: F401  what each fork would import again

    outcomes = []
    for number, case in enumerate(chosen):
        home = base / f"{number:04d}"
        home.mkdir()
        made = attempt(f"making {case.name}", lambda case=case, home=home: case.make(home), home, home / "canary")
        read = attempt(case.name, lambda case=case, home=home: case.read(home), home, home / "canary")
        outcomes += [made, read] if "Traceback" in made.text else [read]
        shutil.rmtree(os.fsencode(home), ignore_errors=True)
    return outcomes


def tried(base: Path, seed: int, only: str) -> list[Outcome]:
    return try_all([case for case in cases(seed) if only in case.name], base)


if __name__ == "__main__":
    command(__doc__, tried)
