"""Pictures of a study: its progress, the objective against each parameter, how much each matters, the front."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from snnlab import style
from snnlab.config.space import Values
from snnlab.errors import one_line
from snnlab.runs.units import unit_of
from snnlab.search.study import Study

log = logging.getLogger("snnlab")
MOST_PANELS = 9  # of parameters, the most important first
LEAST = 4  # completed trials that an importance rests on


def figures(study: Study) -> dict[str, Any]:
    """Figures by file name; those that the trials so far allow."""
    weights = [importance(study, place) for place in range(len(study.plan.objectives))]
    names = list(dict.fromkeys(name for found in weights for name in found))
    names += [p.name for p in study.plan.space.parameters if p.name not in names]
    made = {
        "history": history(study) if len(study.plan.objectives) == 1 else None,
        "parameters": parameters(study, names[:MOST_PANELS]),
        "importance": bars(study, weights) if any(weights) else None,
        "front": front(study) if len(study.plan.objectives) > 1 else None,
    }
    return {name: figure for name, figure in made.items() if figure is not None}


def titled(study: Study, figure: Any, text: str, note: str = "") -> Any:
    """A figure with its heading."""
    style.heading(figure, f"search {study.plan.name}: {text}", note)
    return figure


def label(objective: str) -> str:
    """An objective as an axis has it."""
    name = objective.removeprefix("val/")
    unit = unit_of(name)
    words = name.removesuffix("_joule").replace("_", " ")
    return f"validation {words}" + (f" ({unit})" if unit and unit not in words and not unit.startswith("J") else "")


def importance(study: Study, place: int) -> dict[str, float]:
    """The share of each parameter in how an objective varies over the completed trials (fANOVA); {} for too few."""
    done = study.trials(TrialState.COMPLETE)
    if len(done) < LEAST or len({trial.values[place] for trial in done}) < 2:
        return {}
    names = [p.name for p in study.plan.space.parameters if sum(p.name in t.params for t in done) == len(done)]
    names = [name for name in names if len({repr(trial.params[name]) for trial in done}) > 1]
    if len(names) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=study.plan.seed)
    try:
        found = optuna.importance.get_param_importances(
            study.study, evaluator=evaluator, params=names, target=lambda trial: trial.values[place]
        )
    except (ValueError, RuntimeError) as error:
        log.warning("search: no importance of the parameters: %s", one_line(error))
        return {}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def bars(study: Study, weights: Sequence[dict[str, float]]) -> Any:
    """A bar for each parameter and objective, its share beside it."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for found in weights for name in found))[:15][::-1]
    figure, axis = plt.subplots(figsize=(6, 0.9 + 0.28 * len(names) * len(weights)))
    height = 0.8 / len(weights)
    for i, (objective, found) in enumerate(zip(study.plan.objectives, weights, strict=True)):
        at = np.arange(len(names)) - (i - (len(weights) - 1) / 2) * height
        shares = [found.get(name, 0.0) for name in names]
        axis.barh(at, shares, height, color=style.CYCLE[i % len(style.CYCLE)], label=label(objective))
        for place, share in zip(at, shares, strict=True):
            axis.text(share + 0.01, place, f"{share:.2f}", va="center", fontsize=style.SMALL, color=style.MUTED)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="share in the variance of the completed trials", xlim=(0, 1.08))
    if len(weights) > 1:
        axis.legend(loc="lower right")
    return titled(study, figure, "importance of the parameters (fANOVA)")


def history(study: Study) -> Any:
    """The objective of every trial, and the best so far."""
    import matplotlib.pyplot as plt

    done = study.trials(TrialState.COMPLETE)
    stopped = [t for t in study.trials(TrialState.PRUNED) if t.intermediate_values]
    if not done:
        return None
    figure, axis = plt.subplots(figsize=(6, 2.8))
    axis.plot([t.number for t in done], [t.values[0] for t in done], "o", markersize=3.5, label="completed")
    if stopped:
        lasts = [t.intermediate_values[max(t.intermediate_values)] for t in stopped]
        numbers = [t.number for t in stopped]
        axis.plot(numbers, lasts, "x", markersize=3.5, color=style.MUTED, label="pruned, its last epoch")
    failed = [t.number for t in study.trials(TrialState.FAIL)]
    if failed:
        low = axis.get_ylim()[0]
        axis.plot(failed, [low] * len(failed), "|", markersize=8, color=style.RED, label="failed")
    choose = np.maximum if study.plan.directions[0] == "maximize" else np.minimum
    axis.step(
        [t.number for t in done], choose.accumulate([t.values[0] for t in done]), where="post", color=style.INK,
        linewidth=1, label="best so far",
    )  # fmt: skip
    axis.set(xlabel="trial", ylabel=label(study.plan.objectives[0]))
    style.whole_numbers(axis.xaxis)
    style.prefixed(axis.yaxis, unit_of(study.plan.objectives[0]))
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return titled(study, figure, "trials in the order in which they were asked for")


def parameters(study: Study, names: Sequence[str]) -> Any:
    """The first objective against each parameter; the darker, the later the trial."""
    import matplotlib.pyplot as plt

    done = study.trials(TrialState.COMPLETE)
    if not done:
        return None
    of_name = {parameter.name: parameter for parameter in study.plan.space.parameters}
    names = [name for name in names if any(name in trial.params for trial in done)]
    columns = min(len(names), 3)
    lines = -(-len(names) // columns)
    size = (max(2.5 * columns + 0.4, 4.0), 2.3 * lines + 0.5)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, sharey=True)
    best = study.best(1)[0]
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        here, values = [t for t in done if name in t.params], of_name[name].values
        points = [t.params[name] for t in here]
        if values.choices:
            points = [values.choices.index(point) for point in points]
            shown = [style.broken(choice, 14, 1) for choice in values.choices]
            turned = sum(map(len, shown)) > 26
            axis.set_xticks(range(len(shown)), shown, rotation=40 * turned, ha="right" if turned else "center")
            axis.set_xlim(-0.5, len(values.choices) - 0.5)
        else:
            ends(axis, values)
        shade = {"c": [t.number for t in here], "cmap": style.SHARES, "vmin": -len(done), "vmax": done[-1].number}
        axis.scatter(points, [t.values[0] for t in here], s=12, **shade)
        if best in here:
            axis.plot(points[here.index(best)], best.values[0], "o", markersize=7, fillstyle="none", color=style.RED)
        axis.set_title(style.broken(name, 30, 2), fontsize=style.SMALL)
    for row in axes:
        row[0].set_ylabel(label(study.plan.objectives[0]))
        style.prefixed(row[0].yaxis, unit_of(study.plan.objectives[0]))
    return titled(study, figure, "each parameter", "darker: later; circle: the best")


def ends(axis: Any, values: Values) -> None:
    """Let an axis of numbers go over all of them, with marks at its ends and in the middle."""
    middle = (values.low * values.high) ** 0.5 if values.log else (values.low + values.high) / 2
    if values.log:
        axis.set_xscale("log")
    marks, beyond = [values.low, middle, values.high], 0.04
    if values.log:
        factor = (values.high / values.low) ** beyond
        axis.set_xlim(values.low / factor, values.high * factor)
    else:
        room = (values.high - values.low) * beyond
        axis.set_xlim(values.low - room, values.high + room)
    axis.set_xticks(marks, [f"{mark:.2g}" for mark in marks])
    axis.minorticks_off()


def front(study: Study) -> Any:
    """The first two objectives of every trial, and those that no other beats in all of them."""
    import matplotlib.pyplot as plt

    done = study.trials(TrialState.COMPLETE)
    if not done:
        return None
    edge = study.best(len(done))
    found = {(*trial.values,) for trial in edge}
    x, y = (1, 0) if len(study.plan.objectives) > 1 else (0, 0)
    figure, axis = plt.subplots(figsize=(5, 3.4))
    others = [trial for trial in done if (*trial.values,) not in found]
    beaten = "another trial is better in one, worse in none"
    axis.plot(*columns(others, x, y), "o", markersize=3.5, color=style.PALE, label=beaten)
    edge.sort(key=lambda trial: trial.values[x])
    lines: Any = {"drawstyle": "steps-post"} if len(study.plan.objectives) == 2 else {"linestyle": "none"}
    axis.plot(*columns(edge, x, y), "-o", markersize=4.5, color=style.BLUE, label="front", **lines)
    for trial in edge:
        axis.annotate(f"{trial.number}", (trial.values[x], trial.values[y]), (3, -9), textcoords="offset points",
                      fontsize=style.SMALL, color=style.BLUE)  # fmt: skip
    if spread(done, x) > 30:
        axis.set_xscale("log")
    style.prefixed(axis.xaxis, unit_of(study.plan.objectives[x]))
    style.prefixed(axis.yaxis, unit_of(study.plan.objectives[y]))
    axis.set(xlabel=label(study.plan.objectives[x]), ylabel=label(study.plan.objectives[y]))
    figure.legend(loc="outside lower left", ncols=2)
    return titled(study, figure, "Pareto front", "numbers: trials")


def columns(trials: Sequence[FrozenTrial], x: int, y: int) -> tuple[list[float], list[float]]:
    """Two objectives of trials."""
    return [trial.values[x] for trial in trials], [trial.values[y] for trial in trials]


def spread(trials: Sequence[FrozenTrial], place: int) -> float:
    """The largest over the smallest of an objective; 1 where that says nothing."""
    values = [trial.values[place] for trial in trials]
    return max(values) / min(values) if min(values) > 0 else 1.0
