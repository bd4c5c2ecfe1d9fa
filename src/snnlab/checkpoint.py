"""Stored weights into a module: the one place that reads a checkpoint for them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from snnlab.errors import InputError


def load_weights(module: nn.Module, path: Path, misfit: str) -> None:
    """Load the ``state_dict`` of the checkpoint at ``path`` into ``module``, by name; nothing else of it is read.

    Args:
        misfit: what to say when names or shapes do not fit: whose weights they are.

    Raises:
        InputError: when the file is missing or no checkpoint, or its weights do not fit.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; a run without its weights has to be made again") from error
    except Exception as error:
        raise InputError(
            f"{path} is no readable checkpoint ({type(error).__name__}); run the experiment again"
        ) from error
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise InputError(f"{misfit}: {(lines[1] if len(lines) > 1 else lines[0]).strip()}") from error
