"""Do something with a hostile file in a process of its own, and notice what must not happen.

That is: code of the file runs (a canary appears, a program is started, a file is written elsewhere), an exception other
than InputError, RunFailure or OSError, escape codes in what is printed, more than 10 seconds, more than 2 GB of memory.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECONDS, BYTES, ADDRESSES = 10, 2 * 10**9, 12 * 10**9
QUIET = ("Traceback", "\x1b", "\x07", "\x9b")


@dataclass
class Outcome:
    """What came of one attempt; ``faults`` is empty where all was well."""

    name: str
    text: str
    seconds: float
    bytes: int
    faults: list[str]


def attempt(name: str, action: Callable[[], object], folder: Path, canary: Path) -> Outcome:
    """Call ``action`` in a child process that may write to ``folder`` and to the caches alone."""
    printed = tempfile.TemporaryFile()  # noqa: SIM115  the child writes to it
    started, held = time.monotonic(), _resident()
    child = os.fork()
    if child == 0:
        _in_child(action, folder, printed.fileno())
    status, usage = 0, None
    while usage is None:
        number, status, found = os.wait4(child, os.WNOHANG)
        if number:
            usage = found
        elif time.monotonic() - started > 3 * SECONDS:
            os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
        else:
            time.sleep(0.01)
    seconds = usage.ru_utime + usage.ru_stime if time.monotonic() - started < 3 * SECONDS else 3 * SECONDS
    printed.seek(0)
    text = printed.read().decode(errors="replace")
    faults = [f"printed {word!r}" for word in QUIET if word in text]
    faults += ["executed"] if canary.exists() else []
    faults += [f"ended by signal {os.WTERMSIG(status)}"] if os.WIFSIGNALED(status) else []
    faults += [line for line in text.splitlines() if line.startswith("HARNESS")]
    faults += [f"{seconds:.1f} s"] if seconds > SECONDS else []
    taken = max(usage.ru_maxrss * 1024 - held, 0)  # a child begins with what its parent holds
    faults += [f"{taken:,} bytes"] if taken > BYTES else []
    return Outcome(name, text, seconds, taken, faults)


def _resident() -> int:
    """Bytes that this process holds in memory, less those of files, which a child has to ask for again."""
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def _in_child(action: Callable[[], object], folder: Path, output: int) -> None:
    from snnlab.errors import InputError, RunFailure

    code = 0
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), write_through=True)
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), write_through=True)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        sys.addaudithook(
            _watch([str(folder), os.environ["SNNLAB_CACHE"], tempfile.gettempdir() + "/", "/dev/"], folder)
        )
        action()
    except (InputError, RunFailure, OSError, MemoryError) as error:
        print(f"refused: {error}")
        if isinstance(error, InputError | RunFailure) and len(str(error).splitlines()) != 1:
            print("HARNESS more than a line")
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _watch(allowed: list[str], folder: Path) -> Callable[[str, tuple], None]:
    """An audit hook that tells of programs that are started and of files that are written elsewhere."""
    outside = str(folder.parent / "outside")

    def hook(event: str, values: tuple) -> None:
        if event in ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pty.spawn"):
            words = str(values[1] if event == "subprocess.Popen" else values[0])
            if "git" not in words and "hdf5_trial" not in words and "formats.apart" not in words:
                os.write(1, f"HARNESS started {words[:80]}\n".encode())
        if event == "open" and isinstance(values[0], str) and values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            path = os.path.realpath(values[0])
            inside = any(path.startswith(os.path.realpath(place)) for place in allowed)
            if not inside or path.startswith(outside):
                os.write(1, f"HARNESS wrote {path}\n".encode())

    return hook


def report(outcomes: list[Outcome]) -> str:
    """The figures, then every attempt that went wrong."""
    bad = [outcome for outcome in outcomes if outcome.faults]
    longest = max((o.seconds for o in outcomes), default=0)
    most = max((o.bytes for o in outcomes), default=0)
    lines = [
        f"{len(outcomes)} attempts: {sum('executed' in o.faults for o in bad)} executed, "
        f"{sum('Traceback' in o.text for o in bad)} tracebacks, {len(bad)} with any fault; longest {longest:.1f} s, "
        f"most memory {most / 1e9:.2f} GB"
    ]
    return "\n".join(lines + [f"{o.name}: {'; '.join(o.faults)}\n    {o.text[-1500:]}" for o in bad])


def command(about: str, tried: Callable[[Path, int, str], list[Outcome]]) -> None:
    """Read the arguments, call ``tried(folder, seed, only)`` and print what came of it."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a word of the names that are tried")
    parser.add_argument("--verbose", action="store_true", help="say what came of each")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder).resolve()
        os.environ.setdefault("SNNLAB_CACHE", str(base / "cache"))
        outcomes = tried(base, given.seed, given.only)
    for outcome in outcomes if given.verbose else ():
        size = f"{outcome.bytes / 1e9:.2f} GB"
        print(f"{outcome.name} [{outcome.seconds:.1f} s, {size}]\n    {outcome.text.strip()[-300:]}")
    print(report(outcomes))
