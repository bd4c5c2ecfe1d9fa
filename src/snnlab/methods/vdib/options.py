"""Checks of VDIB's options, each with one line that names the key, the value and the way out."""

from __future__ import annotations

from typing import Any, get_args

from snnlab.errors import InputError


def check_choice(name: str, value: object, kinds: Any) -> None:
    choices = [c for kind in (get_args(kinds) if type(None) in get_args(kinds) else [kinds]) for c in get_args(kind)]
    if value in choices or (value is None and type(None) in get_args(kinds)):
        return
    raise InputError(f"method.{name} = {value!r} must be one of {', '.join(map(str, choices))}")


def check_least(name: str, value: float, least: float, way_out: str) -> None:
    if not value >= least:
        raise InputError(f"method.{name} = {value} must be at least {least}; {way_out}")
