"""Score a stored run again, or ask it a question."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snnlab import kernels, style
from snnlab.errors import RunFailure
from snnlab.methods.base.finite import name_of
from snnlab.runs.stored import open_run, rebuild


def evaluate(
    run: str | Path, overrides: Sequence[str] = (), config_dir: Path | None = None
) -> dict[str, dict[str, Any]]:
    """Test a stored run and return its ``metrics``, nested as in run.json, and the ``provenance`` of the data.

    Raises:
        InputError: as ``open_run``.
    """
    from snnlab.callbacks.finite import Finite
    from snnlab.callbacks.reproducible import ReseedEachEpoch
    from snnlab.runs.record import nested
    from snnlab.runs.wiring import make_trainer

    parts = open_run(run, overrides, config_dir)
    trainer = make_trainer(parts.config, None, [ReseedEachEpoch(parts.config["seed"]), Finite()], [])
    with kernels.using(parts.method.network.path):
        trainer.test(parts.method, datamodule=parts.data, verbose=False)
    metrics = nested({key: value.item() for key, value in trainer.callback_metrics.items()})
    return {"metrics": metrics, "provenance": parts.data.provenance.as_dict()}


def ask(
    run: str | Path, question: str, overrides: Sequence[str] = (), config_dir: Path | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask ``question`` of a stored run; return what goes into evaluation.json, and the figures by name.

    Overrides that name an option of the question are its arguments, read as YAML, the folder of a run where it takes a
    ``Stored``; the others change the config of ``run``.

    Raises:
        InputError: as ``open_run``, and when there is no such question or an option is missing or of the wrong type.
    """
    import matplotlib.pyplot as plt
    from lightning import seed_everything

    from snnlab.evaluate.analysis import Stored, read
    from snnlab.runs.record import RunRecord
    from snnlab.runs.wiring import make_trainer

    asked = read(question, overrides)

    def open_stored(folder: str, changes: Sequence[str] = ()) -> Stored:
        parts = open_run(folder, changes, config_dir)
        device = make_trainer(parts.config, None, [], []).strategy.root_device  # where the run would be tested
        return Stored(
            parts.method.eval().to(device),
            parts.data,
            parts.config,
            folder,
            rebuild=lambda more: rebuild(folder, [*changes, *more], config_dir),
            trainer=lambda arguments, callbacks: make_trainer(
                {"trainer": {**parts.config["trainer"], **arguments}}, None, callbacks, []
            ),
        )

    stored = open_stored(str(run), asked.changes)
    arguments = asked.arguments | {name: open_stored(str(asked.arguments[name])) for name in asked.others}
    seed_everything(stored.config["seed"], verbose=False)
    watch = kernels.Watch()
    with style.own_backend(), plt.rc_context(style.STYLE), kernels.using(stored.method.network.path):
        with kernels.watching(watch):
            answer = asked.analyse(stored, **arguments)
        if (key := watch.first()) is not None:
            raise RunFailure(f"{question}: {name_of(stored.method, key)} is not finite, so no answer would be right")
        for name, figure in answer.figures.items():
            about = str(sys.modules[asked.analyse.__module__].__doc__).strip().splitlines()[0]
            style.heading(figure, f"{name.replace('_', ' ')}: {RunRecord.read(run).title()}", about)
    content = {"question": question, "values": answer.values, "provenance": stored.data.provenance.as_dict()}
    return content, answer.figures
