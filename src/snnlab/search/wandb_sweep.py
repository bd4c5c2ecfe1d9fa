"""The same space as a sweep of W&B, whose agents call this command line."""

from __future__ import annotations

from typing import Any

import yaml

from snnlab.config.space import Values
from snnlab.search.plan import Plan

METHODS = {"grid": "grid", "random": "random"}  # of W&B, by sampler; anything else: bayes


def sweep_file(plan: Plan) -> str:
    """The text of the file for ``wandb sweep``."""
    head = [f"The space of the search {plan.name}. wandb sweep FILE, then on each machine: wandb agent ID"]
    left = [parameter.name for parameter in plan.space.parameters if parameter.when]
    if left:
        head.append(f"Left out, as a sweep of W&B has no conditions: {', '.join(left)}")
    if len(plan.objectives) > 1:
        head.append(f"A sweep of W&B has one figure, the first: {plan.objectives[0]}")
    content: dict[str, Any] = {
        "name": plan.name,
        "method": METHODS.get(plan.sampler, "bayes"),
        "metric": {"name": plan.objectives[0], "goal": plan.directions[0]},
        "run_cap": plan.trials,
        "parameters": {p.key: parameter(p.values) for p in plan.space.parameters if not p.when},
        "command": ["${env}", "python", "-m", "snnlab", *plan.kept(), "${args_no_hyphens}"],
    }
    if plan.config_dir is not None:
        content["command"][4:4] = ["--config-dir", str(plan.config_dir.resolve())]
    if plan.pruner == "hyperband":
        content["early_terminate"] = {"type": "hyperband", "min_iter": 1}
    return "".join(f"# {line}\n" for line in head) + yaml.safe_dump(content, sort_keys=False)


def parameter(values: Values) -> dict[str, Any]:
    """Values of one key as W&B has them."""
    if values.choices:
        return {"values": list(values.choices)}
    if values.step is not None and (all_of_them := values.all()) is not None:
        return {"values": [yaml.safe_load(text) for text in all_of_them]}
    low, high = (int(values.low), int(values.high)) if values.whole else (values.low, values.high)
    if values.log:
        whole: dict[str, Any] = {"distribution": "q_log_uniform_values", "q": 1}
        return (whole if values.whole else {"distribution": "log_uniform_values"}) | {"min": low, "max": high}
    return {"distribution": "int_uniform" if values.whole else "uniform", "min": low, "max": high}
