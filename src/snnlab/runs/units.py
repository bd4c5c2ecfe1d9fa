"""Numbers for people: four decimals, or three digits with the unit its name tells: 12.3 k spikes, 48.4 nJ."""

from __future__ import annotations

import math

PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}
UNITS = {  # by what a name, or a part of it between slashes, ends with
    "joule_seconds": "J s",
    "joule_steps": "J steps",
    "joule": "J",
    "bytes": "B",
    "multiply_accumulates": "MACs",
    "accumulates": "ACs",
    "operations": "operations",
    "membrane_updates": "updates",
    "spikes_per_inference": "spikes",
}


def unit_of(name: str) -> str:
    """The unit of a figure such as ``test/memory_bytes/weights``, "" where its name tells none."""
    ends = ((part, unit) for part in name.split("/") for unit in UNITS if part == unit or part.endswith(f"_{unit}"))
    return next((UNITS[unit] for _, unit in ends), "")


def shown(name: str, number: float) -> str:
    """A figure for a terminal: with its unit, or as ``spelled``, from 1,000 on without decimals."""
    if unit := unit_of(name):
        return with_unit(number, unit)
    return spelled(number) if abs(number) < 1000 else f"{number:,.0f}"


def with_unit(number: float, unit: str, spread: float | None = None) -> str:
    """Three digits, a power of 1,000 as a letter, and the unit: 48.4 nJ, 12.3 k spikes, 250 spikes, 48.4 ± 0.3 nJ."""
    rounded = float(f"{number:.3g}")
    power = 0
    if math.isfinite(number) and number != 0:
        power = min(max(math.floor(math.log10(abs(rounded)) / 3 + 1e-9) * 3, min(PREFIXES)), max(PREFIXES))
    if power < 0 and not unit.startswith("J"):
        power = 0  # a fraction of a spike: no one says milli
    scaled = [f"{float(f'{part / 10.0**power:.3g}'):g}" for part in (rounded, spread) if part is not None]
    between = " " if PREFIXES[power] and len(unit) > 1 and not unit.startswith("J") else ""
    return f"{' ± '.join(scaled)} {PREFIXES[power]}{between}{unit}"


def spelled(number: float) -> str:
    """Four decimals, or three digits and an exponent where those would leave none: 4.84e-08."""
    return f"{number:.3g}" if is_small(number) else f"{number:.4f}"


def is_small(number: float) -> bool:
    """Whether four decimals would leave no digit of a number."""
    return 0 < abs(number) < 5e-4
