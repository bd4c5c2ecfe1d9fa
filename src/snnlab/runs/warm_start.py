"""``init.from_run=RUN``: training begins with the weights of another run, as far as they fit.

Taken are the parameters, and what the network keeps beside them (running averages), whose name and shape are the same;
a limit on a weight (hardware=int8) changes neither. The rest begins as ``init`` left it, a readout of another number of
classes for instance, and is told in one line.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import Tensor

from snnlab.checkpoint import inside, load_weights
from snnlab.config.build import Parts
from snnlab.errors import InputError
from snnlab.runs.record import RunRecord

log = logging.getLogger("snnlab")


def warm_start(parts: Parts) -> None:
    """Give the method of ``parts`` the chosen weights of the run that ``init.from_run`` names.

    Raises:
        InputError: when that is no finished run, none of its weights fit, or the method does not begin with any.
    """
    run = parts.config["init"].get("from_run")
    if run is None:
        return
    asked, method = f"init.from_run = {run}", parts.method
    if not method.trains:
        raise InputError(f"{asked}: the weights of this run come from elsewhere already; leave one of the two out")
    path = chosen_weights(asked, run)
    there = method.state_dict()
    wanted = {name: name for name, _ in method.named_parameters()}
    wanted |= {name: name for name in there if name.startswith("network.")}
    anew: list[str] = []

    def fitting(state: dict[str, Any]) -> dict[str, Any]:
        free = {unlimited(name): value for name, value in state.items() if isinstance(value, Tensor)}
        fits = {name: free[unlimited(name)] for name in wanted if unlimited(name) in free}
        fits = {name: value for name, value in fits.items() if value.shape == there[name].shape}
        learned = {name for name, _ in method.named_parameters()}
        if not learned & fits.keys():
            raise ValueError("none of its weights has the name and shape of one here; choose another run")
        anew[:] = sorted(learned - fits.keys())  # it is asked twice
        return there | fits

    load_weights(method, path, f"{asked}: its weights do not fit this network", fitting)
    begins = ", ".join(unlimited(name).removeprefix("network.layers.") for name in anew)
    log.info("init: weights of %s%s", path, f"; anew: {begins}" if anew else "")


def chosen_weights(asked: str, run: str) -> Path:
    """The checkpoint that a run's test was scored with; ``asked`` says who wants to know.

    Raises:
        InputError: when ``run`` is none, or has not come that far.
    """
    try:
        record = RunRecord.read(run)
    except InputError as error:
        raise InputError(f"{asked}: {error}") from error
    if "checkpoint" not in record.content:
        raise InputError(
            f"{asked}: status is {record.content['status']}, so no checkpoint was chosen; finish it with resume={run}"
        )
    return inside(record.folder, record.content["checkpoint"])


def unlimited(name: str) -> str:
    """The name under which a free layer stores what a limited one stores as ``name``."""
    before, between, rest = name.partition(".parametrizations.")
    if not between:
        return name
    weight, _, last = rest.partition(".")
    return f"{before}.{weight}" if last == "original" else name
