"""Speed and memory, beside other libraries and the floor: ``python -m snnlab.bench [WORKLOAD ...] [KEY=VALUE ...]``.

Each workload times its competitors in turns, prints a table while it goes and writes a folder of its own. Light to
import: torch is loaded once something is measured.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnlab import command, style
from snnlab.atomic import FULL, write_bytes, write_text
from snnlab.errors import InputError, nearest

if TYPE_CHECKING:
    from snnlab.bench.workloads.workload import Bench, Report

HELP = """usage: python -m snnlab.bench [WORKLOAD ...] [KEY=VALUE ...]

Times each WORKLOAD (all of them, when none is named) and writes OUTPUT/<date>_<workload>/ with result.json and figures.
  rounds=15       of each comparison, in turns: A B C, A B C, ...
  threads=N       of torch and of the kernels; default: the cores that this process may use
  seconds=120     time limit of a workload; a competitor too slow for it is left out by name
  peers=all       all | none | names with commas, of {peers}; one that is not installed is skipped by name
  seed=0          of weights and inputs
  output=benchmarks/results
  --debug         show tracebacks

workloads and their options
{workloads}
example: python -m snnlab.bench linear_lif mlp rounds=15 threads=2 peers=spikingjelly,snntorch
"""
SCHEMA = 1
ABSOLUTE = re.compile(r"(?<![\w./])~?(?:/[\w.@+-]+){2,}")


@dataclass
class Settings:
    """The keys that every workload shares."""

    rounds: int = 15
    threads: int = 0  # 0: the cores that this process may use
    seconds: float = 120.0
    peers: str = "all"
    seed: int = 0
    output: str = "benchmarks/results"

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError(f"rounds = {self.rounds} must be at least 1; 15 is usual")
        if self.threads < 0:
            raise InputError(f"threads = {self.threads} must be at least 1; 0 takes all cores")
        if not self.seconds > 0:
            raise InputError(f"seconds = {self.seconds} must be positive; 120 is usual")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed = {self.seed} must lie in 0 to 4294967295")
        self.threads = self.threads or usable_cores()


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def help_text() -> str:
    """What the command can do; read off the files, nothing is imported."""
    from snnlab.bench.workloads.workload import ROOM, outlines

    lines = []
    for name, outline in outlines().items():
        plain = {key: value.replace(", ", ",").replace("'", "") for key, value in outline.options.items()}
        options = " ".join(f"{key}={value if len(value) < 40 else '[...]'}" for key, value in plain.items())
        lines += [f"  {name:11} {outline.summary}", f"  {'':11} {options}"]
    peers = sorted(path.stem for path in (ROOM / "peers").glob("*.py") if path.stem not in ("__init__", "peer"))
    return HELP.format(peers=", ".join(peers), workloads="\n".join(lines))


def choose(words: Sequence[str], overrides: Sequence[str]) -> tuple[list[str], Settings, dict[str, dict[str, Any]]]:
    """Return the workloads, the settings, and the options given to each workload.

    Raises:
        InputError: when a workload or key is unknown, or a value is of the wrong type.
    """
    from snnlab.bench.workloads.peers.peer import chosen
    from snnlab.bench.workloads.workload import find, options, outlines
    from snnlab.config.schema import check_arguments

    names = list(dict.fromkeys(words)) or list(outlines())
    measures = {name: find(name) for name in names}
    shared = {field.name for field in fields(Settings)}
    given: dict[str, Any] = {}
    chosen_options: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, _, text in (override.partition("=") for override in overrides):
        value = text if key in ("peers", "output") else command.value_of(key, text)
        owners = [name for name, measure in measures.items() if key in options(measure)]
        if key in shared:
            given[key] = value
        elif not owners:
            known = shared.union(*(options(measure) for measure in measures.values()))
            raise InputError(f"{key}: there is no such key of {', '.join(names)}; nearest: {nearest(key, known)}")
        for name in owners:
            check_arguments(name, {key: value}, measures[name])
            check_counts(f"{name}.{key}", value, options(measures[name])[key].default)
            chosen_options[name][key] = value
    check_arguments("bench", given, Settings)
    settings = Settings(**given)
    chosen(settings.peers)
    check_output(Path(settings.output).expanduser())
    return names, settings, chosen_options


def check_counts(path: str, value: Any, default: Any) -> None:
    """Raise InputError for a number that is not positive, or an empty list where one is of no use."""
    numbers = [each for each in (value if isinstance(value, list) else [value]) if type(each) in (int, float)]
    if any(not each > 0 for each in numbers):
        raise InputError(f"{path} = {value} must be above 0; {default} is the default")
    if value == [] and default != [] and not path.endswith(".hidden"):
        raise InputError(f"{path} = [] leaves nothing to measure; {default} is the default")


def check_output(folder: Path) -> None:
    """Raise InputError when nothing can be written to ``folder``, before anything is measured."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        if error.errno in FULL:
            raise
        raise InputError(f"output = {folder} cannot be written: {error.strerror}; choose another folder") from error


def measure_and_write(name: str, settings: Settings, chosen_options: dict[str, Any]) -> Path | None:
    """Measure one workload, and return the folder of its result, None where all of it was skipped."""
    import torch

    from snnlab.bench.workloads.peers.peer import chosen
    from snnlab.bench.workloads.workload import Bench, find, options

    def say(line: str) -> None:
        print(line, flush=True)

    before, started = os.getloadavg(), datetime.now()
    say(f"\n== {name} ==  {settings.threads} threads, load average {before[0]:.2f}")
    if before[0] > 0.5:
        say("  other programs are running: take the figures for a first look only")
    threads = torch.get_num_threads()
    bench = Bench(settings.rounds, settings.threads, settings.seconds, settings.seed, chosen(settings.peers), say=say)
    measure = find(name)
    try:
        torch.set_num_threads(settings.threads)
        report = measure(bench, **chosen_options)
    finally:
        torch.set_num_threads(threads)
    if not bench.cases:
        say(f"  {name}: nothing could be measured here")
        return None
    defaults = {key: option.default for key, option in options(measure).items()}
    content = {
        "schema": SCHEMA,
        "workload": name,
        "started": f"{started:%Y-%m-%dT%H:%M:%S}",
        "ended": f"{datetime.now():%Y-%m-%dT%H:%M:%S}",
        "settings": {f.name: getattr(settings, f.name) for f in fields(Settings) if f.name != "output"},
        "options": {**defaults, **chosen_options},
        "machine": {**machine(settings.threads), "load_before": before, "load_after": os.getloadavg()},
        **provenance(),
        "peers": peer_settings(bench),
        "skipped": bench.skipped,
        "cases": [case.as_dict() for case in bench.cases],
        "values": report.values,
    }
    content = without_paths(content)
    folder = write(
        Path(settings.output).expanduser(), f"{started:%Y-%m-%d}_{name}", content, pictures(bench, report, name)
    )
    say(f"\nresult   {folder / 'result.json'}")
    return folder


def machine(threads: int) -> dict[str, Any]:
    import platform

    from snnlab.runs.record import cpu_name

    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "threads": threads,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
    }


def provenance() -> dict[str, Any]:
    """The commit, where this is a checkout, and the version of every package."""
    import platform
    from importlib import metadata

    from snnlab.runs.record import git_state

    found = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    return {"git": git_state(), "versions": {"python": platform.python_version(), **dict(sorted(found.items()))}}


def peer_settings(bench: Bench) -> dict[str, dict[str, str]]:
    """How the neuron of each measured peer was set, and what no setting makes equal."""
    import importlib

    measured = {name for case in bench.cases for name in case.rounds} & set(bench.peers)
    files = {name: importlib.import_module(f"snnlab.bench.workloads.peers.{name}") for name in sorted(measured)}
    return {name: {"setting": file.SETTING, "differs": file.DIFFERS} for name, file in files.items()}


def pictures(bench: Bench, report: Report, name: str) -> dict[str, Any]:
    """The bars of all cases beside the workload's own figures."""
    import matplotlib

    matplotlib.use("Agg")
    from snnlab.bench.workloads.pictures import bars

    return {name: bars(bench.cases, f"snnlab bench {name}, {bench.threads} threads"), **report.figures}


def without_paths(content: Any) -> Any:
    """The same content with every absolute path in its texts replaced: a result is for other machines too."""
    if isinstance(content, dict):
        return {key: without_paths(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_paths(value) for value in content]
    return ABSOLUTE.sub("<path>", content) if isinstance(content, str) else content


def write(output: Path, name: str, content: dict[str, Any], figures: dict[str, Any]) -> Path:
    """Write the folder of a result whole or not at all, under a name that is free."""
    output.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=output, prefix=f".{name}-"))
    try:
        write_text(temporary / "result.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
        for key, figure in figures.items():
            write_bytes(temporary / f"{key}.png", style.drawn(figure))
        temporary.chmod(0o755)
        for attempt in range(1, 10_000):
            folder = output / (name if attempt == 1 else f"{name}_{attempt}")
            try:
                os.rename(temporary, folder)
            except OSError:
                if not folder.exists():
                    raise
                continue
            return folder
        raise InputError(f"output = {output} holds too many results named {name}")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line of ``python -m snnlab.bench`` and return its exit code."""
    ended = "interrupted; the workloads that had ended are written"
    return command.run("snnlab.bench", bench, arguments, interrupted=ended)


def bench(arguments: list[str]) -> None:
    """Measure the workloads that the command line names.

    Raises:
        InputError: as ``choose``, before anything is measured.
    """
    line = command.parse(arguments, ("-h --help",))
    if "help" in line.flags:
        print(help_text(), end="")
        return
    names, settings, options = choose(line.words, line.overrides)
    command.set_up_logging()
    for name in names:
        measure_and_write(name, settings, options[name])


if __name__ == "__main__":
    sys.exit(main())
