"""Stored weights into a module: the one place that reads a checkpoint for them. It may come from a stranger."""

from __future__ import annotations

import os
import pickle
import stat
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from snnlab.errors import InputError, RunFailure

SPARE = 2**26  # bytes of a checkpoint beyond those of the weights: optimizers, loops, curves
COPIES = 16  # of each weight: Adam keeps three, rules with traces a few more


def load_weights(module: nn.Module, path: Path, misfit: str) -> None:
    """Load the ``state_dict`` of the checkpoint at ``path`` into ``module``, by name; nothing else of it is read.

    Args:
        misfit: what to say when names or shapes do not fit: whose weights they are.

    Raises:
        InputError: when the file is missing or no checkpoint, or its weights do not fit.
        RunFailure: when a value among them is not finite.
    """
    try:
        state = read_weights(path, most_bytes(module))["state_dict"]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; a run without its weights has to be made again") from error
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} is no readable checkpoint ({type(error).__name__}); run the experiment again"
        ) from error
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        lines = str(error).splitlines()
        raise InputError(f"{misfit}: {(lines[1] if len(lines) > 1 else lines[0]).strip()}") from error
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise RunFailure(f"{path}: {name} is not finite, so nothing it says would be right; train the run again")


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
    """Raise InputError where ``path`` is no file that ``torch.save`` wrote, or would take more memory than it may."""
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
