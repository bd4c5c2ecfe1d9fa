"""``hardware.start=RUN``: the weights of a trained run put under a target's limits as they are, without training."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from snnlab.checkpoint import load_weights
from snnlab.config.build import Parts
from snnlab.hardware.constrain import settle_currents
from snnlab.runs.warm_start import chosen_weights
from snnlab.weights.devices import devices_inside


def start_from(parts: Parts) -> None:
    """Give the method of ``parts`` the chosen weights of the run that its target names, and train it no further.

    Raises:
        InputError: when that is no finished run, or its weights do not fit.
    """
    if parts.target is None or parts.target.start is None:
        return
    start = parts.target.start
    path = chosen_weights(f"hardware.start = {start}", start)
    parts.config["hardware"]["start"] = str(path.parent.parent)  # what .../latest meant
    method = parts.method

    def renamed(state: dict[str, Any]) -> dict[str, Any]:
        there = method.state_dict()
        new = {name: value for name, value in there.items() if ".parametrizations." in name}
        new = {name: value for name, value in new.items() if not name.endswith(".original")}  # what devices are
        return new | {limited(behind_devices(name, there, state), there): value for name, value in state.items()}

    load_weights(method, path, f"hardware.start = {start}: its weights do not fit this network", renamed)
    settle_currents(method.network, parts.target)
    with torch.no_grad():
        for stored, devices in devices_inside(method.network):
            stored.copy_(devices.set(stored))
    method.trains = False


def behind_devices(name: str, there: dict[str, Tensor], state: dict[str, Tensor]) -> str:
    """The name of what a constraint stores: where devices hold the weight they come first, and it comes one later."""
    found = re.fullmatch(r"(.+\.parametrizations\.weight\.)(\d+)(\..+)", name)
    if found is None or f"{found[1]}0.conductance" not in there or f"{found[1]}0.conductance" in state:
        return name
    return f"{found[1]}{int(found[2]) + 1}{found[3]}"


def limited(name: str, there: dict[str, Tensor]) -> str:
    """The name under which a limited layer stores what a free one stores as ``name``."""
    before, _, last = name.rpartition(".")
    stored = f"{before}.parametrizations.{last}.original"
    return stored if name not in there and stored in there else name
