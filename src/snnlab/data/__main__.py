"""``python -m snnlab.data``: the data sets that there are, one made ready, a picture of its samples, the binning timed.

A data set is a config of the group ``data``; it says itself where its samples come from, how it is made ready and what
it looks like.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnlab.command import CONFIG_DIR, Line, config_dir_of, parse, run
from snnlab.errors import InputError, nearest

if TYPE_CHECKING:  # --help needs no torch
    from snnlab.data.contract import DataModule

HELP = """Data sets: what there is, and what of it lies here.

usage: python -m snnlab.data list                        a table: where each would come from, and the cache
       python -m snnlab.data prepare NAME [KEY=VALUE ...] download, check and film it, so that a run finds it ready
       python -m snnlab.data show NAME [KEY=VALUE ...]    write a picture of its samples
       python -m snnlab.data bench                       speed of binning beside tonic's, and of the camera

  KEY=VALUE           as data.KEY=VALUE of a run: val_size=1000
  --config-dir DIR    one more folder of configs, for data of your own
  --out PNG           show: the picture, default ./NAME.png
  --aedat DIR         prepare mnist_dvs: also write its films as AEDAT 2.0 there

names: {names}
environment: SNNLAB_DATA (data root, default ./data), SNNLAB_CACHE (default: the user's cache folder)
exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted
"""
COMMANDS = ("list", "prepare", "show", "bench")


def names(config_dir: Path | None) -> list[str]:
    """The data sets: the configs of the group ``data``, those of ``config_dir`` among them."""
    from snnlab.config.paths import conf_dir

    folders = [conf_dir(), *([config_dir] if config_dir else [])]
    return sorted({path.stem for folder in folders for path in (folder / "data").glob("*.yaml")})


def build(name: str, overrides: Sequence[str] = (), config_dir: Path | None = None) -> DataModule:
    """Return the data set ``name`` with ``key=value`` overrides of its config; nothing is read.

    Raises: InputError: as a run does.
    """
    from snnlab.config.compose import compose
    from snnlab.config.parts import instantiate_part

    composition = compose([f"data={name}", *(f"data.{override}" for override in overrides)], config_dir)
    data: DataModule = instantiate_part("data", composition.config.data)
    return data


def list_datasets(config_dir: Path | None) -> None:
    """Print a row for each data set; one whose config or class is broken says so in its own."""
    from rich.console import Console
    from rich.table import Table

    from snnlab.config.compose import compose
    from snnlab.data.contract import UnnamedError
    from snnlab.errors import one_line

    folders = compose(["data=digits"]).config.paths
    heads = ("name", "kind", "sample", "classes", "train", "val", "test", "where")
    table = Table(*heads, title=f"data root: {folders.data}")
    for name in names(config_dir):
        try:
            data = build(name, (), config_dir)
            spec, where = data.spec, data.where()
        except UnnamedError as error:
            table.add_row(name, *[""] * 6, one_line(error))
            continue
        except Exception as error:  # somebody's own config or class can fail in any way
            table.add_row(name, *[""] * 6, f"broken: {one_line(error)}")
            continue
        steps = "" if spec.time_steps is None else f"T={spec.time_steps} "
        sizes = [f"{spec.sizes[split]:,}" if split in spec.sizes else "?" for split in ("train", "val", "test")]
        table.add_row(name, spec.kind, steps + "x".join(map(str, spec.input_shape)), str(spec.classes), *sizes, where)
    wide = Console(width=10_000)
    print_table(
        table, Console(width=None if sys.stdout.isatty() else wide.measure(table).maximum)
    )  # a pipe cuts nothing
    print(cache_line(Path(folders.cache)))


def cache_line(cache: Path) -> str:
    """Tell what the cache takes of the disk, folder by folder; any of it can be deleted."""
    from snnlab.data.frames import disk_use

    use = disk_use(cache)
    parts = ", ".join(f"{name} {size / 1e6:,.1f}" for name, size in use.items())
    return f"cache: {cache}, {sum(use.values()) / 1e6:,.1f} MB" + (f" ({parts})" if parts else "")


def prepare(data: DataModule, aedat: Path | None) -> None:
    """Download, check and film everything, so that a run finds it ready."""
    if aedat is not None:
        export = getattr(data, "export_aedat", None)
        if export is None:
            raise InputError(f"--aedat writes films of mnist_dvs, not {data.spec.name}; leave it out")
        print(f"wrote {export(aedat)} recordings under {aedat}")
    data.prepare()
    print(describe(data))
    print(cache_line(data.cache))


def describe(data: DataModule) -> str:
    """One line: what was read, and what vouches for it."""
    spec, provenance = data.spec, data.provenance
    sizes = ", ".join(f"{name} {size}" for name, size in provenance.sizes.items())
    flags = "".join(f"; {flag}" for flag in provenance.flags())
    verified = f"verified: {provenance.verified}" if provenance.verified else "verified against nothing"
    return f"data.{spec.name}: {sizes}; {list(spec.input_shape)}; sha256 {provenance.hash[:8]}...; {verified}{flags}"


def show(data: DataModule, out: Path) -> Path:
    """Write a picture of some training samples to ``out`` and return its path."""
    from snnlab.data.pictures import draw

    sheet = data.sheet()
    flags = ", ".join(data.provenance.flags())
    draw(sheet, data.spec.name + (f" ({flags})" if flags else ""), out)
    return out


def bench() -> None:
    """Print how fast events are binned and films made."""
    import torch
    from rich.console import Console
    from rich.table import Table

    from snnlab.data.binning import events_per_second
    from snnlab.data.camera import films_per_second

    torch.set_num_threads(1)
    table = Table("what", "snnlab", "tonic ToFrame", "times", title="one core, best of 10 runs")
    for count, recordings in ((4_000, 100), (100_000, 20)):
        speed = events_per_second(recordings, count)
        million = [f"{speed[name] / 1e6:.1f} M events/s" for name in ("snnlab", "tonic")]
        table.add_row(
            f"binning, {recordings} x {count:,} events, T=30, 34x34",
            *million,
            f"{speed['snnlab'] / speed['tonic']:.1f}",
        )
    table.add_row("camera, films of 2 s, 26x26", f"{films_per_second():.0f} films/s", "", "")
    print_table(table, Console())


def print_table(table: Any, console: Any) -> None:
    """Print a table of rich as a print does: rich itself would end the command where nobody reads."""
    with console.capture() as text:
        console.print(table)
    print(text.get(), end="")


def command(arguments: Sequence[str]) -> int:
    """Do what the command line asks for.

    Raises: InputError: for a word that is no command, a name that is missing, an option that has no use, and as a run.
    """
    line = parse(arguments, ("-h --help",), (CONFIG_DIR, "--out", "--aedat"))
    config_dir = config_dir_of(line)
    if "help" in line.flags:
        print(HELP.format(names=" ".join(names(config_dir))), end="")
        return 0
    what, name = check(line)
    if what == "list":
        list_datasets(config_dir)
    elif what == "bench":
        bench()
    elif what == "prepare":
        aedat = Path(line.values["aedat"]) if "aedat" in line.values else None
        prepare(build(name, line.overrides, config_dir), aedat)
    else:
        print(show(build(name, line.overrides, config_dir), Path(line.values.get("out", f"{name}.png"))))
    return 0


def check(line: Line) -> tuple[str, str]:
    """Return the command and the name of the data set, "" where it takes none; raises as ``command``."""
    if not line.words:
        raise InputError(f"what is to be done? give one of {', '.join(COMMANDS)}; --help says more")
    what, *rest = line.words
    if what not in COMMANDS:
        raise InputError(f"{what}: there is no such command; nearest: {nearest(what, COMMANDS)}")
    if what in ("list", "bench"):
        if rest or line.overrides:
            raise InputError(f"{[*rest, *line.overrides][0]}: {what} takes no data set and no key=value")
    elif len(rest) != 1:
        raise InputError(f"{what} takes one data set, not {len(rest)}; `python -m snnlab.data list` names them")
    for option, user in (("out", "show"), ("aedat", "prepare")):
        if option in line.values and what != user:
            raise InputError(f"--{option} is for {user}, not for {what}")
    return what, rest[0] if rest else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run("snnlab.data", command, arguments)


if __name__ == "__main__":
    sys.exit(main())
