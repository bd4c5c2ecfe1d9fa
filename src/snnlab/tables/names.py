"""Name rows by the shortest overrides that tell each from its neighbours: its method, its data, and what no other has.

A value at its default is written out where it is what tells a row apart. ``method.scheduler=null`` is a part that a row
does without, ``method.scheduler=CosineAnnealingLR`` one that it has.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from snnlab.runs.identity import same, value_at

ABSENT = object()
CHOICES = ("model", "encoder", "hardware", "init")  # groups that a choice names, beside method and data
ORDER = ("method", *CHOICES[:1], "data", *CHOICES[1:], "trainer")
EXACT = 3  # up to so many keys the shortest name is sought among all; beyond, the key that helps most is added
Run = Mapping[str, Any]


def names(rows: Sequence[tuple[Run, Mapping[str, Any]]]) -> list[str]:
    """Return a name for each row: given the content of one of its runs, and what decides it less the seed."""
    flat = [flatten(left) for _, left in rows]
    keys = sorted({key for values in flat for key in values})
    full = [
        {key: values[key] if key in values else value_at(run["config"], key, ABSENT) for key in keys}
        for (run, _), values in zip(rows, flat, strict=True)
    ]
    fixed = [" ".join([f"method={run['method']}", *typed_model(run), f"data={run['data']}"]) for run, _ in rows]
    told = []
    for i, (run, _) in enumerate(rows):
        others = [full[j] for j in range(len(rows)) if j != i and fixed[j] == fixed[i]]
        words = [spelled(key, full[i][key], run) for key in shortest(full[i], others, run)]
        told.append(f"`{' '.join([fixed[i], *words])}`")
    return told


def typed_model(run: Run) -> list[str]:
    """The model, where it was typed: it is not the one that the method's recipe would take."""
    return [f"model={run['model']}"] if any(word.startswith("model=") for word in run.get("overrides", [])) else []


def flatten(left: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value by its dotted key; a part is there by its whole node, too, beside the values inside it."""
    flat: dict[str, Any] = {}
    for key, value in left.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            inner = {k: v for k, v in value.items() if k != "_partial_" and (k != "_target_" or path in ORDER)}
            if prefix or key in CHOICES:
                flat[path] = value
                inner.pop("_target_", None)
            flat |= flatten(inner, f"{path}.")
        else:
            flat[path] = value
    return flat


def shortest(row: Mapping[str, Any], others: Sequence[Mapping[str, Any]], run: Run) -> list[str]:
    """The fewest keys, and of those the shortest words, whose values no other row shares."""
    apart = {
        key: {i for i, other in enumerate(others) if differs(value, other[key], key.rpartition(".")[0] in row)}
        for key, value in row.items()
        if value is not ABSENT
    }
    apart = {key: some for key, some in apart.items() if some}
    everyone = set().union(*apart.values())
    cost = {key: weight(key, row, run) for key in apart}
    for count in range(min(EXACT, len(apart)) + 1):
        enough = [
            keys for keys in itertools.combinations(apart, count) if set().union(*(apart[k] for k in keys)) == everyone
        ]
        if enough:
            return sorted(min(enough, key=lambda keys: sum(cost[key] for key in keys)), key=order)
    chosen: list[str] = []
    while missing := everyone.difference(*(apart[key] for key in chosen)):
        chosen.append(max(apart, key=lambda key: (len(apart[key] & missing), -cost[key])))
    return sorted(chosen, key=order)


def differs(one: Any, other: Any, inside: bool) -> bool:
    """Whether two rows differ at a key; of parts class and name count, what is ``inside`` one has keys of its own."""
    if other is ABSENT:
        return not inside  # where the other has no such part, the part itself tells them apart
    if any(isinstance(value, Mapping) and "_target_" in value for value in (one, other)):
        one, other = (
            [value.get("_target_"), value.get("name")] if isinstance(value, Mapping) else value
            for value in (one, other)
        )
    return not same(one, other)


def weight(key: str, row: Mapping[str, Any], run: Run) -> int:
    """Length of the word; a number that follows from the epochs comes last."""
    follows = "scheduler." in key and same(row[key], run["config"].get("trainer", {}).get("max_epochs"))
    return len(spelled(key, row[key], run)) + (1000 if follows else 0)


def order(key: str) -> tuple[int, str]:
    """Method first, then the model, as one writes it."""
    group = key.split(".")[0]
    return ORDER.index(group) if group in ORDER else len(ORDER), key


def spelled(key: str, value: Any, run: Run) -> str:
    """``key=value`` as on the command line; a choice by its name, a part by its class."""
    if isinstance(value, Mapping) and (key in CHOICES or "_target_" in value):
        name = str(value.get("_target_", value.get("name"))).rpartition(".")[2]
        return f"{key}={run.get(key, name.lower()) if key in CHOICES else name}"
    return f"{key}={word(value)}"


def word(value: Any) -> str:
    """A value as on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(word, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{word(item)}" for key, item in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
