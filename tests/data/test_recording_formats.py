"""Recordings in the formats of others: written by others' writers or byte by byte as the formats say, read bit-equal."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from snnlab.data.formats.recording import ENDINGS, read_recording
from snnlab.data.recordings import Events
from snnlab.errors import InputError

FIRST = 5_000_000  # microseconds: no recording begins at 0


def made(width: int, height: int, count: int = 600, seed: int = 0, most: int = 300_000) -> np.ndarray:
    """Events in order of time, in the corners of the sensor too."""
    rng = np.random.default_rng(seed)
    events = np.empty(count, [("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.uint8)])
    events["t"] = FIRST + np.sort(rng.integers(0, most, count))
    events["x"], events["y"] = rng.integers(0, width, count), rng.integers(0, height, count)
    events["p"] = rng.integers(0, 2, count)
    for place, (x, y) in enumerate(((0, 0), (width - 1, height - 1), (0, height - 1), (width - 1, 0))):
        events["x"][place], events["y"][place] = x, y
    return events


def equal(read: Events, written: np.ndarray) -> bool:
    times = written["t"] - written["t"].min()
    return all(np.array_equal(getattr(read, name), times if name == "t" else written[name]) for name in "xytp")


# Prophesee ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("encoding", "ending"), [("dat", ".dat"), ("evt2", ".raw"), ("evt3", ".raw")])
def test_prophesee_as_another_library_writes_it(tmp_path: Path, encoding: str, ending: str) -> None:
    from expelliarmus import Wizard

    events = made(640, 480, 5000, most=200_000 if encoding == "evt3" else 40_000_000)  # it loses pauses of 4 ms there
    wizard = Wizard(encoding=encoding)
    path = tmp_path / f"a{ending}"
    wizard.save(path, events)
    theirs = wizard.read(path)
    ours = read_recording(path).events
    assert equal(ours, theirs)
    assert equal(ours, events)


def test_evt3_over_many_turns_of_its_counter(tmp_path: Path) -> None:
    """24 bits of microseconds begin again after 16.8 s."""
    events, words, high = made(640, 480, 3000, most=60_000_000), [], -1
    for t, x, y, p in events.tolist():
        words += [8 << 12 | t >> 12 & 0xFFF] if t >> 12 != high else []
        high = t >> 12
        words += [6 << 12 | t & 0xFFF, y, 2 << 12 | p << 11 | x]
    (tmp_path / "a.raw").write_bytes(b"% evt 3.0\n" + np.array(words, "<u2").tobytes())
    assert equal(read_recording(tmp_path / "a.raw").events, events)


def evt21(events: np.ndarray, halves_changed: bool = False) -> bytes:
    words, high = [], -1
    for t, x, y, p in events:
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 60 | int(high) << 32)
        words.append(int(p) << 60 | (int(t) & 63) << 54 | (int(x) & ~31) << 43 | int(y) << 32 | 1 << (int(x) & 31))
    array = np.array(words, np.uint64)
    return (array << np.uint64(32) | array >> np.uint64(32) if halves_changed else array).astype("<u8").tobytes()


@pytest.mark.parametrize("legacy", [False, True])
def test_evt21(tmp_path: Path, legacy: bool) -> None:
    events = made(1280, 720)
    head = f"% evt 2.1\n% format EVT21;height=720;width=1280{';endianness=legacy' if legacy else ''}\n% end\n"
    (tmp_path / "a.raw").write_bytes(head.encode() + evt21(events, legacy))
    recorded = read_recording(tmp_path / "a.raw")
    assert equal(recorded.events, events) and recorded.sensor == (1280, 720)


def test_evt21_has_a_bit_for_each_of_32_columns(tmp_path: Path) -> None:
    words = np.array([8 << 60 | 7 << 32, 1 << 60 | 5 << 54 | 64 << 43 | 9 << 32 | 0x80000005], "<u8")
    (tmp_path / "a.raw").write_bytes(b"% evt 2.1\n% geometry 320x320\n% end\n" + words.tobytes())
    events = read_recording(tmp_path / "a.raw").events
    assert [events.x.tolist(), events.y.tolist(), events.p.tolist()] == [[64, 66, 95], [9] * 3, [1] * 3]


def test_evt3_vectors_by_hand(tmp_path: Path) -> None:
    """Time high 2, low 3; row 7; from column 20 on ON: of 12 columns the 1st and last, of the next 8 the 2nd."""
    words = [8 << 12 | 2, 6 << 12 | 3, 7, 3 << 12 | 1 << 11 | 20, 4 << 12 | 0x801, 5 << 12 | 2, 2 << 12 | 99]
    head = b"% evt 3.0\n% geometry 1280x720\n% end\n"
    (tmp_path / "a.raw").write_bytes(head + np.array(words, "<u2").tobytes())
    events, sensor = read_recording(tmp_path / "a.raw")
    assert sensor == (1280, 720)
    assert [c.tolist() for c in events] == [[20, 31, 33, 99], [7] * 4, [0] * 4, [1, 1, 1, 0]]


# AEDAT ----------------------------------------------------------------------------------------------------------------
def aedat2_davis(events: np.ndarray, chip: str) -> bytes:
    x, y, p = (events[name].astype(np.uint32) for name in "xyp")
    records = np.stack([y << 22 | x << 12 | p << 11, events["t"].astype(np.uint32)], 1)
    sample = np.array([[1 << 31 | 5 << 12, records[5, 1]], [1 << 10, records[5, 1]]], np.uint32)  # a frame's, a trigger
    records = np.insert(records, 6, sample, 0)
    return (
        f"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.{chip}\r\n".encode() + records.astype(">u4").tobytes()
    )


@pytest.mark.parametrize(("chip", "sensor"), [("DAVIS240C", (240, 180)), ("Davis346B", (346, 260))])
def test_aedat2_of_a_davis(tmp_path: Path, chip: str, sensor: tuple[int, int]) -> None:
    events = made(*sensor)
    (tmp_path / "a.aedat").write_bytes(aedat2_davis(events, chip))
    recorded = read_recording(tmp_path / "a.aedat")
    assert equal(recorded.events, events) and recorded.sensor == sensor


def aedat3(events: np.ndarray, overflow: int = 0) -> bytes:
    x, y, p = (events[name].astype(np.uint32) for name in "xyp")
    body = b""
    for part in np.array_split(np.arange(len(events)), 3):
        records = np.stack([1 | p[part] << 1 | y[part] << 2 | x[part] << 17, events["t"][part].astype(np.uint32)], 1)
        body += (
            struct.pack("<HHIIIIII", 1, 1, 8, 4, overflow, len(part), len(part), len(part))
            + records.astype("<u4").tobytes()
        )
    return b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DAVIS240C\r\n#!END-HEADER\r\n" + body


def test_aedat3(tmp_path: Path) -> None:
    events = made(240, 180)
    (tmp_path / "a.aedat").write_bytes(aedat3(events, overflow=3))
    recorded = read_recording(tmp_path / "a.aedat")
    assert equal(recorded.events, events) and recorded.sensor == (240, 180)


TEXT = (
    b'<dv version="2.0"><node name="outInfo" path="/a/outInfo/"><node name="0" path="/a/outInfo/0/">'
    b'<attr key="originalModuleName" type="string">c</attr><attr key="originalOutputName" type="string">events</attr>'
    b'<attr key="compression" type="string">NONE</attr><attr key="typeDescription" type="string">e</attr>'
    b'<attr key="typeIdentifier" type="string">EVTS</attr><node name="info" path="/a/outInfo/0/info/">'
    b'<attr key="sizeX" type="int">346</attr><attr key="sizeY" type="int">260</attr></node></node></node></dv>'
)


def aedat4(events: np.ndarray, compression: int, squeeze) -> bytes:
    body = b""
    for part in np.array_split(events, 4):
        structs = b"".join(struct.pack("<qhhB3x", t, x, y, p) for t, x, y, p in part)
        table = struct.pack("<I4sHHH2xiI4xI", 16, b"EVTS", 6, 8, 4, 8, 8, len(part)) + structs
        packet = squeeze(struct.pack("<I", len(table)) + table)
        body += struct.pack("<II", 0, len(packet)) + packet
    head = struct.pack("<I4sHHHHH2xiiq", 20, b"IOHE", 10, 20, 4, 8, 16, 12, compression, -1) + struct.pack("<I", 4)
    head += struct.pack("<I", len(TEXT)) + TEXT + b"\0"
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(head)) + head + body


def zstd(content: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(content)


@pytest.mark.parametrize(("compression", "squeeze"), [(0, bytes), (3, zstd), (4, zstd)])
def test_aedat4(tmp_path: Path, compression: int, squeeze) -> None:
    events = made(346, 260)
    path = tmp_path / "a.aedat4"
    path.write_bytes(aedat4(events, compression, squeeze))
    recorded = read_recording(path)
    assert equal(recorded.events, events) and recorded.sensor == (346, 260)


def test_aedat4_bomb(tmp_path: Path) -> None:
    (tmp_path / "a.aedat4").write_bytes(aedat4(made(9, 9), 3, lambda c: zstd(c + bytes(700_000_000))))
    with pytest.raises(InputError, match=r"a\.aedat4: its packets unpack to more than 536,870,912 bytes"):
        read_recording(tmp_path / "a.aedat4")


# arrays, tables, HDF5 -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "dtype",
    [
        [("x", "<i4"), ("y", "<i4"), ("t", "<i8"), ("p", "?")],
        [("t", ">u4"), ("p", "i1"), ("y", "u2"), ("x", "f4")],
        [("timestamp", "f8"), ("polarity", "u1"), ("y", "i8"), ("x", "u8")],
    ],
)
def test_structured_npy_in_any_order_and_of_any_numbers(tmp_path: Path, dtype) -> None:
    events = made(346, 260)
    array = np.empty(len(events), dtype)
    for field, _ in dtype:
        array[field] = events[field[0]]
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", events=array)
    assert equal(read_recording(tmp_path / "a.npy").events, events)
    assert equal(read_recording(tmp_path / "a.npz").events, events)


@pytest.mark.parametrize("order", ["xytp", "txyp", "tyxp", "xypt"])
def test_plain_npy_in_the_order_that_is_given(tmp_path: Path, order: str) -> None:
    events = made(34, 30)
    events["p"][0] = 1
    array = np.stack([events[name].astype(np.int64) for name in order], 1)
    array[:, order.index("p")] = 2 * array[:, order.index("p")] - 1  # -1 and 1
    np.save(tmp_path / "a.npy", array)
    assert equal(read_recording(tmp_path / "a.npy", order).events, events)
    with pytest.raises(InputError, match=r"does not name its columns; data\.order=xytp"):
        read_recording(tmp_path / "a.npy")


def test_columns_of_an_npz_without_polarity(tmp_path: Path) -> None:
    events = made(34, 30)
    np.savez_compressed(tmp_path / "a.npz", xs=events["x"], ys=events["y"], ts=events["t"] / 1e6)
    events["p"] = 1
    assert equal(read_recording(tmp_path / "a.npz", unit="s").events, events)
    with pytest.raises(InputError, match=r"the times are fractions \(5\.\d+\) of an unknown unit; data\.time_unit=s"):
        read_recording(tmp_path / "a.npz")


@pytest.mark.parametrize("parting", [",", ";", "\t", " "])
@pytest.mark.parametrize("head", ["x,y,t,p", "t_ms,x,y,polarity", '"timestamp [s]",p,y,x', ""])
def test_tables(tmp_path: Path, parting: str, head: str) -> None:
    if parting == " " and "[" in head:
        return
    events = made(34, 30, 100)
    order = {"x": "xytp", "t": "txyp", '"': "tpyx", "": "xytp"}[head[:1]]
    scale = {"x": 1, "t": 1e3, '"': 1e6, "": 1}[head[:1]]
    rows = [[e["t"] / scale if n == "t" and scale > 1 else e[n] for n in order] for e in events]
    lines = [parting.join(map(str, row)) for row in rows]
    text = "# a comment\n" + (head.replace(",", parting) + "\n" if head else "") + "\r\n".join(lines) + "\n"
    (tmp_path / "a.txt").write_text(text)
    assert equal(read_recording(tmp_path / "a.txt", None if head else "xytp").events, events)


def test_hdf5_layouts(tmp_path: Path) -> None:
    events = made(640, 480)
    with h5py.File(tmp_path / "metavision.hdf5", "w") as file:
        file.attrs["geometry"] = "640x480"
        table = events.astype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
        for name in "xypt":
            table[name] = events[name]
        file.create_dataset("CD/events", data=table, chunks=(100,), compression="gzip")
        file.create_dataset("CD/indexes", data=np.zeros(3))
    with h5py.File(tmp_path / "dsec.h5", "w") as file:
        for name, dtype in (("x", "u2"), ("y", "u2"), ("t", "u4"), ("p", "u1")):
            file[f"events/{name}"] = events[name].astype(dtype)
        file["ms_to_idx"], file["t_offset"] = np.zeros(9), 7
    with h5py.File(tmp_path / "e2vid.h5", "w") as file:
        for name in "xytp":
            file[f"events/{name}s"] = events[name] / 1e6 if name == "t" else events[name]
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["events"] = np.stack([events[name].astype(np.int64) for name in "xytp"], 1)
    assert read_recording(tmp_path / "metavision.hdf5").sensor == (640, 480)
    for name, order, unit in (("metavision.hdf5", None, None), ("dsec.h5", None, None), ("e2vid.h5", None, "s")):
        assert equal(read_recording(tmp_path / name, order, unit).events, events), name
    assert equal(read_recording(tmp_path / "plain.h5", "xytp").events, events)


def test_atis(tmp_path: Path) -> None:
    """A counter of 23 bits begins again after 8.4 s."""
    events = made(34, 34, most=3 << 23)
    t = (events["t"] & 0x7FFFFF) | events["p"].astype(np.int64) << 23
    columns = [events["x"], events["y"], t >> 16, t >> 8 & 255, t & 255]
    (tmp_path / "a.bin").write_bytes(np.stack(columns, 1).astype(np.uint8).tobytes())
    assert equal(read_recording(tmp_path / "a.bin").events, events)


# what is wrong --------------------------------------------------------------------------------------------------------
EVT3 = b"% evt 3.0\n% geometry 640x480\n% end\n"
GOOD = np.array([8 << 12 | 2, 6 << 12 | 3, 7, 2 << 12 | 99] * 9, "<u2").tobytes()
WRONG = {
    "no version.raw": (b"% date today\n" + GOOD, "no line '% evt 3.0'"),
    "another.raw": (b"% evt 4.0\n% end\n" + GOOD, "holds EVT 4.0; EVT 2.0, 2.1 and 3.0 are read"),
    "cut.raw": (EVT3 + GOOD[:-1], "is truncated: 71 bytes"),
    "silent.raw": (EVT3 + GOOD[:4], "holds no event"),
    "zeros.raw": (EVT3 + GOOD + bytes(4096), "is zeros from byte"),
    "page.raw": (b"<html></html>", "holds b'<html></html>'"),
    "cut.dat": (b"% Width 34\n% Height 34\n\x0c\x08" + bytes(range(1, 13)), "is truncated within an event: 12 bytes"),
    "other.dat": (b"% Width 34\n\x0e\x10" + bytes(16), "is no .dat file of events"),
    "empty.dat": (b"% Width 34\n\x0c\x08", "holds no event"),
    "nothing.dat": (b"", "is no .dat file of events"),
    "old.aedat": (b"#!AER-DAT1.0\r\n" + bytes(60), r"is AER-DAT1\.0; AEDAT 2\.0, 3\.1 and 4\.0 are read"),
    "cut.aedat": (aedat2_davis(made(240, 180), "DAVIS240C")[:-3], "ends with a partial record"),
    "zeros.aedat": (aedat2_davis(made(240, 180), "DAVIS240C") + bytes(512), "is zeros from byte"),
    "frames only.aedat": (b"#!AER-DAT2.0\r\n# AEChip: a.DAVIS240C\r\n" + b"\x80\0\0\0\0\0\0\1" * 9, "no event of a pixel"),
    "zeros 3.aedat": (aedat3(made(240, 180)) + bytes(4096), "has a packet without a size"),
    "empty.npy": (b"", "npy"),
    "text.csv": (b"a,b,c\n1,2,3\n", "the first line names a, b, c; needed are x, y, t"),
    "word.csv": (b"x,y,t,p\n1,2,3,0\n1,two,4,1\n", "is no table of numbers"),
    "short.csv": (b"x,y,t,p\n1,2,3,0\n1,2\n", "is no table of numbers"),
    "empty.csv": (b"x,y,t,p\n", "holds no event"),
    "nan.csv": (b"x,y,t,p\n1,2,nan,0\n", "t of event 1 is nan, not a number"),
    "half.csv": (b"x,y,t,p\n1.5,2,3,0\n", "x of event 1 is 1.5, not the number of a pixel"),
    "three.csv": (b"x,y,t,p\n1,2,3,3\n", r"polarities \[3(\.0)?\] must be 0 \(OFF\) and 1 \(ON\)"),
    "negative.csv": (b"x,y,t,p\n-1,2,3,1\n", "a column of -1 must lie in 0 to 65535"),
    "zeros.csv": (bytes(100), "is no text \\(byte 0 is zero\\)"),
    "unnamed.csv": (b"# only a comment\n", "holds no event"),
    "latin.csv": (b"x,y,t,p\n\xff\n", "is no text in UTF-8"),
    "no.h5": (b"nothing", "is no HDF5 file or damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    content, words = WRONG[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        read_recording(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name)) and "\n" not in str(error.value)


def test_one_event_and_none_at_all(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", x=np.full((1, 1), 3), y=[4], t=[5], p=[1])
    assert [c.tolist() for c in read_recording(tmp_path / "one.npz").events] == [[3], [4], [0], [1]]
    np.save(tmp_path / "scalar.npy", np.zeros((), [("x", "i4"), ("y", "i4"), ("t", "i8")]))
    with pytest.raises(InputError, match=r"scalar\.npy: column x is int32 of shape \[\], not numbers \[N\]"):
        read_recording(tmp_path / "scalar.npy")


@pytest.mark.parametrize(("kind", "unit"), [("<i8", "s"), (">u8", "us"), ("<u8", "ns"), ("<f8", "ms")])
def test_a_time_that_is_none(tmp_path: Path, kind: str, unit: str) -> None:
    t = np.array([1, 2, 10**15 if unit == "s" else 2**63], "u8").astype(kind)
    np.savez(tmp_path / "a.npz", x=[1, 2, 3], y=[1, 2, 3], t=t)
    with pytest.raises(InputError, match=r"a time of \S+e\+\d\d is no time stamp|a time of \d+ is no|longer than"):
        read_recording(tmp_path / "a.npz", unit=unit)


def test_hdf5_that_declares_or_lacks(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "large.h5", "w") as file:
        for name in "xytp":
            file.create_dataset(f"events/{name}", (10**12,), "u4", chunks=(1000,))
    with pytest.raises(InputError, match=r"large\.h5: /events/\w declares 1,000,000,000,000 events, at most"):
        read_recording(tmp_path / "large.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(InputError, match=r"other\.h5 holds images; needed are CD/events"):
        read_recording(tmp_path / "other.h5")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        for name in "xytp":
            file[f"events/{name}"] = h5py.ExternalLink("good.h5", f"/events/{name}")
    with pytest.raises(InputError, match=r"link\.h5: x, y, t or p is a link or a group"):
        read_recording(tmp_path / "link.h5")
    with h5py.File(tmp_path / "words.h5", "w") as file:
        for name in "xytp":
            file[f"events/{name}"] = ["a", "b"]
    with pytest.raises(InputError, match=r"words\.h5: /events/\w holds text or lists, not numbers"):
        read_recording(tmp_path / "words.h5")


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_bytes_end_in_a_traceback(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(0)
    heads = [
        b"",
        b"#!AER-DAT2.0\r\n",
        b"#!AER-DAT3.1\r\n#!END-HEADER\r\n",
        b"#!AER-DAT4.0\r\n",
        b"% evt 3.0\n",
        b"% evt 2.0\n",
    ]
    heads += [
        b"% evt 2.1\n",
        b"% Width 9\n\x0c\x08",
        b"\x93NUMPY\x01\x00v\x00",
        b"PK\3\4",
        b"\x89HDF\r\n\x1a\n",
        b"x,y,t,p\n1,",
    ]
    path = tmp_path / f"a{ending}"
    for head in heads:
        for size in (0, 1, 7, 40, 400):
            path.write_bytes(head + rng.integers(0, 256, size, np.uint8).tobytes())
            with suppress(InputError):
                read_recording(path)


def test_a_damaged_hdf5_takes_no_gigabytes_and_one_that_went_away_is_told(tmp_path: Path) -> None:
    """An attribute whose text declares 2^31 - 1 signs had HDF5 take gigabytes."""
    import resource

    from snnlab.data.formats.apart import read_apart

    with pytest.raises(InputError, match=r"No such file or directory.*copy it again"):
        read_apart([tmp_path / "gone.h5"], None, None)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["geometry"] = "640x480"
        file["events"] = np.zeros((9, 4), np.int64)
    content = path.read_bytes()
    text = struct.pack("<IQ", len("640x480"), content.index(b"GCOL"))
    path.write_bytes(content.replace(text, struct.pack("<I", 2**31 - 1) + text[4:]))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    with pytest.raises(InputError, match="damaged"):
        read_apart([path], None, None)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(before, 1_900_000)  # kB
