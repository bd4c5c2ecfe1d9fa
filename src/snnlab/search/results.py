"""What a study has come to: a table of its trials, the best of them as an experiment that runs, pictures."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from snnlab import style
from snnlab.atomic import write_bytes, write_text
from snnlab.config.compose import compose
from snnlab.config.space import as_experiment
from snnlab.errors import plain
from snnlab.runs.identity import identity
from snnlab.runs.units import shown
from snnlab.search.pictures import figures
from snnlab.search.study import Study

SHOWN = 5  # of the best


def finish(study: Study) -> list[str]:
    """Write trials.csv, the best as experiments, and pictures; what is to be printed of it."""
    plan, best = study.plan, study.best(SHOWN)
    write_text(plan.folder / "trials.csv", as_csv(study))
    trials = study.trials()
    states = [trial.state for trial in trials]
    ended = {
        "completed": states.count(TrialState.COMPLETE),
        "pruned": states.count(TrialState.PRUNED),
        "failed": states.count(TrialState.FAIL),
        "being run": states.count(TrialState.RUNNING),
        "queued": states.count(TrialState.WAITING),
    }
    again = len(study.study.get_trials(deepcopy=False)) - len(trials)
    words = [f"{count} {word}" for word, count in ended.items() if count] or ["no trial"]
    words += [f"{again} stopped and queued again"] if again else []
    lines = [f"study    {', '.join(words)} -> {plain(plan.folder)}"]
    if not best:
        return lines
    lines += ["", *table(study, best), ""]
    experiment(study, "best", best[0])
    if len(plan.objectives) > 1:
        for path in (plan.folder / "experiment").glob("front*.yaml"):
            path.unlink()
        for i, trial in enumerate(study.best(len(trials)), 1):
            experiment(study, f"front{i}", trial)
    lines += [f"figure   {plain(path)}" for path in draw(study)]
    lines.append(f"best     python -m snnlab --config-dir {shlex.quote(str(plan.folder))} experiment=best")
    return lines


def table(study: Study, best: list[FrozenTrial]) -> list[str]:
    """Trials in columns: number, objectives, what they are."""
    heads = ["trial", *(name.removeprefix("val/") for name in study.plan.objectives), "overrides"]
    cells = [
        [
            str(t.number),
            *map(shown, study.plan.objectives, t.values),
            plain(" ".join(t.user_attrs.get("overrides", []))),
        ]
        for t in best
    ]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (heads, *cells)]


def as_csv(study: Study) -> str:
    """Every trial: number, state, objectives, what it was, why it failed, seconds, the run's folder."""
    plan = study.plan
    names = [parameter.name for parameter in plan.space.parameters]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["trial", "state", *plan.objectives, *names, "seconds", "run", "reason"])
    for t in study.study.get_trials(deepcopy=False):
        values = t.values or [""] * len(plan.objectives)
        about = [t.user_attrs.get(key, "") for key in ("seconds", "folder", "reason")]
        writer.writerow([t.number, t.state.name.lower(), *values, *(t.params.get(name, "") for name in names), *about])
    return text.getvalue()


def experiment(study: Study, name: str, trial: FrozenTrial) -> Path:
    """Write a trial as ``experiment/NAME.yaml`` of the study's folder; whether it is the same run is looked at.

    Raises:
        RuntimeError: where it is not, which would be a fault of this file.
    """
    plan = study.plan
    overrides = [*plan.kept(), *trial.user_attrs["overrides"]]
    values = ", ".join(f"{key} {value:.6g}" for key, value in zip(plan.objectives, trial.values, strict=True))
    path = plan.folder / "experiment" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    notes = [f"Trial {trial.number} of the search {plan.name}: {values}. The test split was not seen.", "As typed:"]
    write_text(path, as_experiment(overrides, [*notes, f"  {' '.join(map(shlex.quote, overrides))}"]))
    here = compose([f"experiment={name}"], plan.folder)
    if identity(here.plain()) != identity(compose(overrides, plan.config_dir).plain()):
        raise RuntimeError(f"{path} is another run than trial {trial.number}")
    return path


def draw(study: Study) -> list[Path]:
    """Write the pictures into ``figures``."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder = study.plan.folder / "figures"
    folder.mkdir(exist_ok=True)
    paths = []
    with plt.rc_context(style.STYLE):
        for name, figure in figures(study).items():
            paths.append(folder / f"{name}.png")
            write_bytes(paths[-1], style.drawn(figure))
            plt.close(figure)
    return paths


def reasons(study: Study) -> Any:
    """Why trials failed, the first of each reason."""
    return list(dict.fromkeys(t.user_attrs.get("reason", "") for t in study.trials(TrialState.FAIL)))
