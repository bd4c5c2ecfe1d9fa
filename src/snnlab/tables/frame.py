"""Runs as a pandas table: one row a run, whatever it came to; ``snnlab.runs`` in Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnlab.errors import InputError
from snnlab.runs.identity import OUTSIDE, digest, less_seed, recorded, same, value_at
from snnlab.runs.record import flags_of, flat
from snnlab.tables.names import word
from snnlab.tables.rows import MATTER, Run, read_runs

if TYPE_CHECKING:
    import pandas

WHO = ("method", "model", "data", "encoder", "hardware", "seed", "status")
SPLITS = ("test", "val", "train")


def frame(folders: Iterable[str | Path]) -> pandas.DataFrame:
    """A table of the runs below ``folders``, in the order of their names.

    Columns, missing where a run has none:
        method model data encoder hardware seed status
        model.hidden ...        the keys that were typed for some run and have several values among the runs
        test/accuracy ...       metrics of the checkpoint that was chosen: test, val, train
        fit_seconds ...         timing, s; samples_per_second; epochs
        peak_bytes              memory of a training step above what was there before it
        parameters fits         trained numbers; whether the network fits its target
        source altered subset verified marks    where the samples came from; ``marks`` has all that is to be told of it
        row                     the same for runs that differ in their seed alone: what a mean may be taken over
        label device threads started commit folder

    Raises:
        InputError: as ``read_runs``, and when pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise InputError("snnlab.runs needs the package pandas: pip install pandas") from error
    runs = read_runs(folders)
    typed = typed_values(runs)
    table = pandas.DataFrame(
        [row(run, {key: typed[key][i] for key in typed}) for i, run in enumerate(runs)], dtype=object
    )
    names, first = list(table), len(WHO) + len(typed)
    metrics = [name for name in names if name.split("/")[0] in SPLITS]
    metrics.sort(key=lambda name: (SPLITS.index(name.split("/")[0]), name not in MATTER, name))
    rest = [name for name in names[first:] if name not in metrics]
    table = table[[*names[:first], *metrics, *rest]].convert_dtypes(convert_floating=False)
    for name in table.select_dtypes(object):  # values of several kinds
        table[name] = table[name].map(spelled, na_action="ignore").astype("string")
    table["started"] = pandas.to_datetime(table["started"], errors="coerce")
    return table.copy()  # in one piece: pandas warns whoever adds a column to one of many


def row(run: Run, typed: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of a run by column, ``typed`` among them."""
    provenance, machine, report = run["provenance"], run.get("machine", {}), run.get("fit_report")
    memory, git = (value if isinstance(value := run.get(key), Mapping) else {} for key in ("memory", "git"))
    return {
        **{name: run.get(name) for name in WHO},
        **{key: cell(value) for key, value in typed.items()},
        **flat({split: run["metrics"].get(split, {}) for split in SPLITS}, between="/"),
        **run["timing"],
        **memory,
        "parameters": run.get("parameters"),
        "fits": report.get("fits") if isinstance(report, Mapping) else None,
        **{name: provenance.get(name) for name in ("source", "altered", "subset", "verified")},
        "marks": ", ".join(flags_of(provenance)),
        "row": digest({**less_seed(recorded(run)), "hash": provenance.get("hash")}),
        "label": run.get("label", run["method"]),
        "device": machine.get("device"),
        "threads": machine.get("threads"),
        "started": run["started"] or None,
        "commit": git.get("commit"),
        "folder": run["folder"],
    }


def typed_values(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The keys among the overrides of any run, and the value of each run, where these are not all the same."""
    typed = {str(each).partition("=")[0].lstrip("+") for run in runs for each in run["overrides"]}
    deciding = [
        key for key in typed if key not in WHO and key.split(".")[0] not in (*OUTSIDE, "callbacks", "experiment")
    ]
    values = {key: [value_at(run["config"], key, None) for run in runs] for key in sorted(deciding)}
    return {key: each for key, each in values.items() if not all(same(each[0], other) for other in each)}


def cell(value: Any) -> Any:
    """A value of a config: a number or a text as it is, a list as on the command line, a part by its class."""
    if isinstance(value, Mapping):
        return str(value.get("_target_", value.get("name", word(value)))).rpartition(".")[2]
    return word(value) if isinstance(value, list) else value


def spelled(value: Any) -> str:
    """A value as on the command line."""
    return value if isinstance(value, str) else word(value)
