"""``init.from_run=RUN``: training begins with the weights of another run, as far as they fit.

Taken are the parameters, and what the network keeps beside them (running averages), whose name and shape are the same;
a limit on a weight (hardware=int8) changes neither. The rest begins as ``init`` left it, a readout of another number of
classes for instance. One line tells how many were taken, which begin anew, and which of the other run's had no place.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from snnlab.checkpoint import inside, load_weights
from snnlab.config.build import Parts
from snnlab.errors import InputError
from snnlab.runs.record import RunRecord

log = logging.getLogger("snnlab")
MOST = 8  # names in a line


def warm_start(parts: Parts) -> None:
    """Give the method of ``parts`` the chosen weights of the run that ``init.from_run`` names.

    Raises:
        InputError: when that is no finished run, none of its weights fit (a bias alone is no start), or the method does
            not begin with any.
    """
    run = parts.config["init"].get("from_run")
    if run is None:
        return
    asked, method = f"init.from_run = {run}", parts.method
    if not method.trains:
        raise InputError(f"{asked}: the weights of this run come from elsewhere already; leave one of the two out")
    path = chosen_weights(asked, run)
    there = method.state_dict()
    wanted = {name for name, _ in method.named_parameters()} | {name for name in there if name.startswith("network.")}
    learned = dict(method.named_parameters())
    weights = {name for name, value in learned.items() if value.dim() > 1} or set(learned)
    taken, left = set[str](), dict[str, Tensor]()

    def fitting(state: dict[str, Any]) -> dict[str, Any]:
        free = {unlimited(name): value for name, value in state.items() if isinstance(value, Tensor)}
        fits = {name: free[unlimited(name)] for name in wanted if unlimited(name) in free}
        fits = {name: value for name, value in fits.items() if value.shape == there[name].shape}
        if not weights & fits.keys():
            raise ValueError("none of its weights has the name and shape of one here; choose another run")
        taken.update(learned.keys() & fits.keys())
        places = {unlimited(name) for name in fits}
        left.update({name: free[name] for name in free if name.startswith("network.") and name not in places})
        return there | fits

    load_weights(method, path, f"{asked}: its weights do not fit this network", fitting)
    anew = {unlimited(name): value for name, value in learned.items() if name not in taken}
    lists = [("anew", anew), ("without a place here", left)]
    told = "".join(f"; {what}: {listed(which)}" for what, which in lists if which)
    log.info("init: weights of %s: %d of %d parameters taken%s", path, len(taken), len(learned), told)


def listed(tensors: Mapping[str, Tensor]) -> str:
    """Names and shapes, the first of them."""
    words = [f"{name.removeprefix('network.layers.')} {list(tensors[name].shape)}" for name in sorted(tensors)]
    return ", ".join([*words[:MOST], *([f"and {len(words) - MOST} more"] if len(words) > MOST else [])])


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
