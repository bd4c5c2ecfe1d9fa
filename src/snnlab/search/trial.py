"""One trial of a study: a run that is fitted and validated; the test split is left alone.

Its record has status validated, or pruned where it was not worth going on with. What an inference costs is counted on
the validation split, with the weights of the best epoch, where an objective asks for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from snnlab.callbacks.history import History
from snnlab.config.compose import compose
from snnlab.errors import RunFailure
from snnlab.runs import wiring
from snnlab.runs.record import flat

SHORT = {"energy": "energy_joule", "spikes": "spikes_per_inference", "operations": "synaptic_operations"}
COSTS = (  # what an inference costs, of metrics/cost.py and methods/base, as far as every method has them
    *("energy_joule", "spikes_per_inference", "synaptic_operations", "accumulates", "multiply_accumulates"),
    *("dense_operations", "membrane_updates", "memory_bytes/weights", "memory_bytes/states", "memory_bytes/spikes"),
    *("sparsity/activations", "sparsity/connections", "ann_multiply_accumulates", "ann_energy_joule"),
    *("ann_energy_ratio", "energy_delay_joule_steps", "energy_delay_joule_seconds"),
)
MORE = ("accuracy", "sparsity", "ratio")  # in the name of a figure of which more is better


class Validated(wiring.Ending):
    """A run that is not tested.

    Args:
        costs: whether what an inference costs is counted on the validation split.
        report: gets every epoch's validated figure as (value, epoch), and says whether the run is to be pruned.
    """

    def __init__(self, costs: bool, report: Callable[[float, int], bool] | None) -> None:
        self.costs = costs
        self.pruner = None if report is None else Prune(report)
        self.callbacks: Sequence[L.Callback] = [] if self.pruner is None else [self.pruner]

    @property
    def status(self) -> str:  # type: ignore[override]
        return "pruned" if self.pruner is not None and self.pruner.pruned else "validated"

    def score(self, wired: wiring.Wired, parts: Any) -> dict[str, float]:
        """``val/energy_joule``, ...: the costs of an inference on the validation split."""
        if not self.costs or self.status == "pruned":
            return {}
        trainer: Any = wired.trainer
        trainer.loggers = []  # they would take it for the test
        trainer.limit_test_batches = trainer.limit_val_batches
        parts.data.test_dataloader = parts.data.val_dataloader
        trainer.test(parts.method, datamodule=parts.data, verbose=False)
        logged = {key.removeprefix("test/"): value.item() for key, value in trainer.callback_metrics.items()}
        return {f"val/{name}": value for name, value in logged.items() if name.startswith((*COSTS, "firing_rate"))}


class Prune(L.Callback):
    """Report every epoch's monitored figure, those before a resume too, and end the run where ``report`` says so."""

    def __init__(self, report: Callable[[float, int], bool]) -> None:
        self.report, self.pruned, self.reported = report, False, -1

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        history = next(callback for callback in trainer.callbacks if isinstance(callback, History))
        for row in history.rows:
            if row["epoch"] > self.reported and history.metric in row:
                self.reported = int(row["epoch"])
                self.pruned = self.report(row[history.metric], self.reported)
        if self.pruned and trainer.current_epoch + 1 < trainer.max_epochs:
            trainer.should_stop = True
        else:
            self.pruned = False  # all its epochs are done


def run_trial(
    overrides: Sequence[str],
    config_dir: str | Path | None,
    objectives: Sequence[str],
    report: Callable[[float, int], bool] | None,
) -> tuple[str, list[float], Path]:
    """Fit and validate one run, or go on with it; its status, the value of each objective, and its folder.

    Raises:
        InputError: when the combination cannot be built.
        RunFailure: when it did not go well, or has no such figure.
        KeyboardInterrupt: after a checkpoint has been written.
    """
    ending = Validated(any(is_cost(objective) for objective in objectives), report)
    level = logging.getLogger("snnlab").level
    logging.getLogger("snnlab").setLevel(logging.WARNING)  # a line a trial is enough
    try:
        result = wiring.run(compose(overrides, config_dir), ending=ending)
    finally:
        logging.getLogger("snnlab").setLevel(level)
    status = ending.status
    wanted = objectives if status == "validated" else [o for o in objectives if not is_cost(o)]
    return status, [value_of(result.metrics, objective) for objective in wanted], result.folder


def is_cost(objective: str) -> bool:
    """Whether an objective, ``val/...``, is none of what every epoch's validation logs."""
    return objective.removeprefix("val/").startswith((*COSTS, "firing_rate"))


def value_of(metrics: Mapping[str, Any], objective: str) -> float:
    """The figure of a run by its logged name.

    Raises:
        RunFailure: naming those that it has.
    """
    found = {f"val/{key}": value for key, value in flat(metrics["val"], between="/").items()}
    if objective not in found:
        raise RunFailure(f"this run has no finite {objective}; it has {', '.join(sorted(found)) or 'none'}")
    return float(found[objective])
