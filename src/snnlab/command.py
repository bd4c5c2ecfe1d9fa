"""What every command shares: how its line is read, what it prints when it cannot go on, the code it ends with.

Light to import: nothing but the standard library.
"""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from snnlab.atomic import FULL
from snnlab.errors import InputError, RunFailure, nearest, plain

DONE, FAILED, BAD_INPUT = 0, 1, 2
INTERRUPTED, PIPE_CLOSED = 130, 141  # as a shell reports a program that Ctrl-C, or a reader that went away, has ended


class Line(NamedTuple):
    """A command line taken apart; each part in the order in which it was given."""

    flags: set[str]  # by name, without dashes
    values: dict[str, str]  # of options that take one, by name, without dashes; the last of several counts
    words: list[str]
    overrides: list[str]  # key=value


def parse(arguments: Sequence[str], flags: Sequence[str] = (), valued: Sequence[str] = ()) -> Line:
    """Tell flags, options with a value (``--out X`` or ``--out=X``), plain words and ``key=value`` apart.

    Args:
        arguments: of the command line, without the name of the program.
        flags: each with its spellings, ``"-m --multirun"``; the last one names it.
        valued: likewise, options that take a value.

    Raises:
        InputError: for a flag that does not exist, one given a value, or an option without its value.
    """
    names = {spelling: entry.split()[-1].lstrip("-") for entry in (*flags, *valued) for spelling in entry.split()}
    takes = {names[entry.split()[-1]] for entry in valued}
    line = Line(set(), {}, [], [])
    rest = iter(arguments)
    for argument in rest:
        spelling, equals, value = argument.partition("=")
        if not argument.startswith("-"):
            (line.overrides if equals else line.words).append(argument)
        elif spelling not in names:
            raise InputError(f"{spelling}: there is no such flag; nearest: {nearest(spelling, [*names, '--debug'])}")
        elif names[spelling] in takes:
            value = value if equals else next(rest, "")
            if not value:
                raise InputError(f"{spelling} needs a value: {spelling}=VALUE")
            line.values[names[spelling]] = value
        elif equals:
            raise InputError(f"{argument}: {spelling} takes no value")
        else:
            line.flags.add(names[spelling])
    return line


CONFIG_DIR = "-cd --config-dir"  # for ``parse``, an option with a value


def config_dir_of(line: Line) -> Path | None:
    """The folder of one's own configs that a line names.

    Raises:
        InputError: when there is no such folder.
    """
    if "config-dir" not in line.values:
        return None
    folder = Path(line.values["config-dir"]).expanduser()
    if not folder.is_dir():
        raise InputError(f"--config-dir {folder}: there is no such folder; give the one that holds method/, data/, ...")
    return folder


def value_of(key: str, text: str) -> Any:
    """Return what ``key=text`` stands for: a number, a list, a text, ...

    Raises:
        InputError: when it stands for nothing (an open bracket, a date that is none).
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML where 1e4 is a number too, as in a config and in an override."""

    float_of_config = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", float_of_config, list("-+.0123456789"))
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{key}={text} cannot be read as a value") from error


def run(
    name: str,
    main: Callable[[list[str]], int | None],
    arguments: Sequence[str] | None = None,
    interrupted: str = "interrupted",
) -> int:
    """Call ``main`` with the arguments and return the exit code; what went wrong becomes one line on stderr.

    Codes: what ``main`` returns, 0 for None; 2 bad input; 1 a run that failed, a file that cannot be read or written;
    130 interrupted; 141 when the reader of stdout went away (``| head``), without a word.

    Args:
        name: first word of the line on stderr.
        main: takes the arguments but ``--debug``. With that, or ``debug=true``, errors keep their traceback.
        arguments: sys.argv's when None.
        interrupted: what to say after a Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = any(word.replace("'", "").lower().lstrip("+") in ("--debug", "debug=true") for word in given)
    try:
        for word in given:
            if not word.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in word):
                raise InputError(f"{word!a} is no text in UTF-8; give names in UTF-8")
        with stopped_by_signals():
            code = main([word for word in given if word != "--debug"])
        sys.stdout.flush()
        return code or DONE
    except (KeyboardInterrupt, SystemExit) as error:
        stopped = error.__context__ if isinstance(error, SystemExit) else error  # Lightning makes an exit of it
        if not isinstance(stopped, KeyboardInterrupt):
            raise
        _tell(f"{name}: {str(stopped) or interrupted}")
        exec("")  # Python ends by SIGINT what was interrupted in the exec of a text, as dataclasses do, but for this
        return INTERRUPTED
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        return PIPE_CLOSED
    except (InputError, RunFailure, OSError, MemoryError) as error:
        if debug or (isinstance(error, OSError) and error.filename is None and error.errno not in FULL):
            raise
        _tell(f"{name}: {plain(' '.join(told(error).splitlines()))}")
        return BAD_INPUT if isinstance(error, InputError) else FAILED


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, wherever it is; a second signal ends it at once.

    So do SIGUSR1 and SIGUSR2, by which a cluster says that it will soon take the machine away.
    A signal that is ignored, as SIGHUP below nohup, stays so. One that comes while Python destroys something, where an
    interrupt would be lost, comes again a moment later.
    """
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
    here = threading.current_thread() is threading.main_thread()
    before = {n: signal.getsignal(n) for n in (getattr(signal, name) for name in names) if here}
    before = {n: way for n, way in before.items() if way in (signal.SIG_DFL, signal.default_int_handler)}
    owner, told, hook, again = os.getpid(), list[int](), sys.unraisablehook, list[threading.Timer]()

    def stop(number: int, _: Any) -> None:
        if told or os.getpid() != owner:  # a child, such as a loader's worker, ends as it would have
            signal.signal(number, signal.SIG_DFL if told else before[number])
            os.kill(os.getpid(), number)
            return
        if _is_half_imported("numpy"):  # torch, which imports it as it starts, would swallow the interrupt
            later(number)
            return
        told.append(number)
        for each in before:
            signal.signal(each, signal.SIG_DFL)  # at once means also in a function that never returns to Python
        raise KeyboardInterrupt

    def listen() -> None:
        for each in before:
            signal.signal(each, stop)

    def later(number: int) -> None:
        again.append(threading.Timer(0.01, os.kill, (owner, number)))
        again[-1].start()

    def lost(error: Any) -> None:
        if error.exc_type is not KeyboardInterrupt or not told or os.getpid() != owner:
            hook(error)
            return
        listen()
        later(told.pop())

    listen()
    sys.unraisablehook = lost
    try:
        yield
    except Exception as error:
        if told:  # somebody swallowed the interrupt, and fell over what it left
            raise KeyboardInterrupt from error
        raise
    finally:
        for timer in again:
            timer.cancel()
        sys.unraisablehook = hook
        for each, way in before.items():
            signal.signal(each, way)


def _is_half_imported(name: str) -> bool:
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


def _tell(line: str) -> None:
    with suppress(OSError):  # stderr may be the pipe that broke, or lie on the disk that is full
        print(line, file=sys.stderr)


def told(error: Exception) -> str:
    """What an error says to whoever gave the command."""
    if isinstance(error, OSError) and error.errno in FULL:
        what = error.filename or ("stdout" if _stdout_fails() else "a file")
        return f"disk full while writing {what}; free some space and run again"
    if isinstance(error, MemoryError):
        return f"not enough memory ({error or 'for what was asked'}); smaller batches, or a smaller network, take less"
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)


def _reader_is_gone() -> bool:
    """Whether stdout is the pipe that broke; then it is turned away, so that Python's last flush finds no fault."""
    try:
        number = sys.stdout.fileno()
        poll = select.poll()
    except (OSError, AttributeError):  # stdout is no file, or this system cannot tell
        return False
    poll.register(number, select.POLLOUT)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        return False
    _turn_away(number)
    return True


def _stdout_fails() -> bool:
    """Whether what is left for stdout cannot be written; then it is turned away, likewise."""
    try:
        sys.stdout.flush()
    except OSError:
        _turn_away(sys.stdout.fileno())
        return True
    return False


def _turn_away(number: int) -> None:
    """Let a file that cannot be written take what comes, and drop it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


class Outlived:
    """A stdout whose end is not that of the command: once it cannot be written, what is printed is dropped."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with self.dropped():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self.dropped():
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @contextmanager
    def dropped(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            _turn_away(self.stream.fileno())
            if not isinstance(error, BrokenPipeError):  # a reader that went away knows it
                _tell(f"stdout cannot be written ({error.strerror}); the run goes on, its folder holds the record")


@contextmanager
def outliving_stdout() -> Iterator[None]:
    """Go on when stdout cannot be written any more: its reader went away (``| head``), its disk is full."""
    before = sys.stdout
    sys.stdout = Outlived(before)
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout = before


class Plain(logging.Formatter):
    """Messages without escape codes, whatever a file or a folder says in them."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(plain, super().format(record).split("\n")))


class Lines(logging.StreamHandler):
    """Messages on what stdout is now, one a line; one that cannot be written ends the command as it ends a print."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stdout

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], OSError):
            raise
        super().handleError(record)


def set_up_logging() -> None:
    """Send what snnlab logs to stdout, one line a message."""
    logger = logging.getLogger("snnlab")
    if not logger.handlers:
        handler = Lines()
        handler.setFormatter(Plain("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(logging.INFO)
