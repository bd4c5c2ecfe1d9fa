"""What lies in a run's folder, read with care, as it may come from a stranger: its record, and its weights.

This is the one place that reads stored weights into a module.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from snnlab.errors import InputError, RunFailure

RECORD = 2**22  # bytes of a record; the longest of a thousand runs has 20,000
DEPTH = 40  # of mappings and lists in it
LONGEST = 100_000  # of a list in it, and of a text
DIGITS = 20  # of a whole number in it
SPARE = 2**26  # bytes of a checkpoint beyond those of the weights: optimizers, loops, curves
COPIES = 16  # of each weight: Adam keeps three, rules with traces a few more


def read_record(path: Path) -> Any:
    """Return what the JSON file ``path`` holds: finite numbers, texts, lists and mappings, none of them very deep.

    Raises:
        InputError: no file (a pipe is not waited for), too large, no JSON, or a value that no record has.
    """
    text = read_text(path)
    try:
        content = json.loads(text, object_pairs_hook=_unrepeated, parse_int=_whole, parse_constant=_constant)
    except InputError as error:
        raise InputError(f"{path} {error}; run the experiment again") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deeply for a record; run the experiment again") from error
    except ValueError as error:
        raise InputError(f"{path} is not readable as JSON ({error}); run the experiment again") from error
    if fault := _fault(content):
        raise InputError(f"{path}: {fault}; run the experiment again")
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # half of a pair, \ud800, which no file and no page can hold
        raise InputError(f"{path} holds {error.object[error.start]!a}, which is no text; run it again") from error
    return content


def read_text(path: Path, most: int = RECORD) -> str:
    """Return the text of the file ``path``; raises InputError where it is none, too large, or not UTF-8."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise InputError(f"{path} is no file; remove it, or run the experiment again")
            if found.st_size > most:
                raise InputError(f"{path} has {found.st_size:,} bytes, at most {most:,} are read; run it again")
            return file.read(most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not readable as text in UTF-8 (byte {error.start}); run it again") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the file and its permissions") from error


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise InputError(f"holds the key {next(key for key in keys if keys.count(key) > 1)[:60]!r} twice")
    return found


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise InputError(f"holds a number of {len(digits)} digits")
    return int(digits)


def _constant(name: str) -> float:
    raise InputError(f"holds {name}, which is no number")


def _fault(content: Any) -> str | None:
    """The first place of a record whose value none has, and why; None where there is none."""
    left = [("", content, 0)]
    while left:
        place, value, depth = left.pop()
        if depth > DEPTH:
            return f"{place[:80]} is nested too deeply"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{place} = {value} is not finite"
        if isinstance(value, str | list | dict) and len(value) > LONGEST:
            return f"{place} is {len(value):,} long, at most {LONGEST:,} are read"
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        left += [(f"{place}.{key}".lstrip("."), item, depth + 1) for key, item in items]
    return None


def inside(folder: Path, name: str) -> Path:
    """Return the path ``name`` in a run's folder.

    Raises:
        InputError: where it leads out of the folder, by its words or by a link.
    """
    path = folder / name
    try:
        leads_out = not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a zero byte
        raise InputError(f"{folder}: {name!r:.80} is no path ({type(error).__name__})") from error
    if leads_out:
        raise InputError(f"{folder}: {name!r:.80} leads out of the folder of the run; it is not followed")
    return path


WRITTEN = (
    *("run.json", "config.yaml", "metrics.csv", ".lock", "checkpoints", "figures", "evaluations"),
    *("wandb", "tensorboard", "csv", "mlflow"),
)


def check_links(folder: Path) -> None:
    """Raise InputError where something in a run's folder that is read or written leads out of it, or is no file.

    W&B's own files are left out: it makes links to its logs, and writes into folders that it makes itself.
    """
    for name in WRITTEN:
        place = inside(folder, name)
        below = place.rglob("*") if name != "wandb" else (path for path in place.glob("*") if path.is_dir())
        for path in (place, *below):
            inside(folder, str(path.relative_to(folder)))
            if not (path.is_file() or path.is_dir()) and (path.is_symlink() or path.exists()):
                raise InputError(f"{path} is neither a file nor a folder; remove it")


def load_weights(
    module: nn.Module,
    path: Path,
    misfit: str,
    renamed: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    run: str | None = None,
) -> None:
    """Load the ``state_dict`` of the checkpoint at ``path`` into ``module``, by name; nothing else of it is read.

    Args:
        misfit: what to say when names or shapes do not fit: whose weights they are.
        renamed: gives what is stored the names that ``module`` has for it.
        run: which run the weights are to be of; None does not ask.

    Raises:
        InputError: when the file is missing or no checkpoint, or its weights do not fit.
        RunFailure: when a value among them is not finite.
    """
    try:
        stored = read_weights(path, most_bytes(module))
        state = stored["state_dict"]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; a run without its weights has to be made again") from error
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} is no readable checkpoint ({type(error).__name__}); run the experiment again"
        ) from error
    if run is not None and stored.get("run") != run:
        raise InputError(f"{path} is of another run; put that of this run there, or run the experiment again")
    try:
        check_fit(module, renamed(state))
        module.load_state_dict(renamed(state))
    except (RuntimeError, TypeError, AttributeError, ValueError) as error:
        lines = str(error).splitlines()
        raise InputError(f"{misfit}: {(lines[1] if len(lines) > 1 else lines[0]).strip()}") from error
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise RunFailure(f"{path}: {name} is not finite, so nothing it says would be right; train the run again")


def check_fit(module: nn.Module, state: Any) -> None:
    """Raise ValueError where a value of ``state`` has another kind of number than ``module`` has under its name."""
    for name, own in module.state_dict().items():
        if isinstance(found := state.get(name), torch.Tensor) and found.dtype != own.dtype:
            raise ValueError(f"{name} is {found.dtype}, not {own.dtype}")


def most_bytes(module: nn.Module) -> int:
    """How many bytes a checkpoint of ``module`` may have."""
    tensors = (*module.parameters(), *module.buffers())
    return SPARE + COPIES * sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def read_weights(path: Path, most: int) -> Any:
    """Return what ``torch.save`` wrote to ``path``: tensors, numbers, texts, lists and mappings, no other objects.

    Raises:
        InputError: no file, of more than ``most`` bytes, or one that says it holds more than it has.
        OSError, and nearly anything where its content is broken.
    """
    check_file(path, most)
    return torch.load(path, map_location="cpu", weights_only=True)


def check_file(path: Path, most: int) -> None:
    """Raise InputError where ``path`` is no file that ``torch.save`` wrote, or would take more memory than it may.

    Its checksums, which torch does not look at, are held against its content.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} is no file; run the experiment again")
    if found.st_size > most:
        raise InputError(f"{path} has {found.st_size:,} bytes, at most {most:,} are read for this network")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise pickle.UnpicklingError("no zip, which torch.save writes") from error
    if any(member.compress_type or member.file_size != member.compress_size for member in members):
        raise InputError(f"{path} is compressed, which no checkpoint is; run the experiment again")
    if sum(member.file_size for member in members) > found.st_size:
        raise InputError(f"{path} says it holds more than it has; run the experiment again")
    with zipfile.ZipFile(path) as archive:
        if (broken := archive.testzip()) is not None:
            raise InputError(f"{path} is damaged ({broken} has another checksum); copy it again, or run it again")
