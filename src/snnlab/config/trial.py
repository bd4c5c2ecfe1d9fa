"""Optimizers and schedules tried on a weight of their own before any data is read: torch refuses most of what cannot
work only while it trains, and takes some of what makes no sense without a word.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from snnlab.errors import InputError, one_line

HIGHEST = 10_000.0  # learning rate
Range = tuple[Callable[[float], bool], str]
SHARE: Range = (lambda x: 0 <= x < 1, "lie in [0, 1)")
FACTOR: Range = (lambda x: 0 < x <= 1, "lie in (0, 1]")
POSITIVE: Range = (lambda x: x > 0, "be positive")
NOT_NEGATIVE: Range = (lambda x: x >= 0, "be 0 or more")
AT_LEAST_1: Range = (lambda x: x >= 1, "be at least 1")
RANGES: dict[str, Range] = {  # of the arguments of torch's optimizers and schedulers, whichever has them
    **dict.fromkeys(("lr", "base_lr", "max_lr"), (lambda x: 0 < x <= HIGHEST, f"lie in (0, {HIGHEST:g}]")),
    **dict.fromkeys(("eps", "div_factor", "final_div_factor", "d", "gamma"), POSITIVE),
    "weight_decay": (lambda x: 0 <= x <= 1e4, "lie in [0, 10000]"),
    "maximize": (lambda x: not x, "be false: a loss is to become small"),
    **dict.fromkeys(("momentum", "dampening", "betas", "rho", "base_momentum", "max_momentum"), SHARE),
    **dict.fromkeys(("alpha", "factor", "start_factor"), FACTOR),
    **dict.fromkeys(
        ("lr_decay", "end_factor", "momentum_decay", "lambd", "eta_min", "min_lr", "patience", "cooldown", "power"),
        NOT_NEGATIVE,
    ),
    **dict.fromkeys(("initial_accumulator_value", "threshold", "pct_start", "tolerance_grad"), NOT_NEGATIVE),
    **dict.fromkeys(
        (
            *("T_max", "T_0", "T_mult", "step_size", "total_iters", "total_steps", "epochs", "steps_per_epoch"),
            *("step_size_up", "step_size_down", "milestones", "max_iter", "history_size", "ns_steps", "t0"),
        ),
        AT_LEAST_1,
    ),
}
LONGEST = 10_000  # steps of a schedule that are looked at


def check(
    method: Mapping[str, Any], trainer: Mapping[str, Any], batches: int | None, validated: bool, again: bool
) -> None:
    """Try every optimizer of a method's config, and its schedule with each of them.

    Args:
        method: its config, checked and with its class.
        trainer: the arguments of the run's.
        batches: of an epoch, None where that is known only once the data was read.
        validated: whether there is validation data.
        again: whether a step may evaluate the loss again, as it may not where a method takes its own steps.

    Raises:
        InputError: naming the key, and what would do.
    """
    makers = {key: _maker(node) for key, node in method.items() if str(key).endswith("optimizer")}
    if not makers:  # a rule of its own, whose rate the schedule moves
        rate = method.get("lr", 1.0)
        makers["lr"] = lambda parameters: torch.optim.SGD(parameters, lr=rate)
    for key, make in makers.items():
        if make is None:
            continue
        optimizer = _tried(f"method.{key}", lambda make=make: make([nn.Parameter(torch.zeros(2, 2))]))  # type: ignore[misc]
        _check_ranges(f"method.{key}", method.get(key))
        _tried(f"method.{key}", lambda optimizer=optimizer: _step(optimizer, again))  # type: ignore[misc]
        schedule = method.get("scheduler")
        if isinstance(schedule, Mapping):
            followed = _follow(schedule, optimizer, trainer, batches)
            if followed.on_plateau and not (validated and trainer["check_val_every_n_epoch"] == 1):
                raise InputError("method.scheduler: ReduceLROnPlateau looks at a figure of validation after each epoch")


def _maker(node: Any) -> Any:
    from hydra.utils import instantiate

    return instantiate(node, _convert_="all") if isinstance(node, Mapping) else None


def _check_ranges(path: str, node: Any) -> None:
    if not isinstance(node, Mapping):
        return
    for key, value in node.items():
        if isinstance(value, Mapping):
            _check_ranges(f"{path}.{key}", value)
        elif key in RANGES and str(node["_target_"]).startswith("torch."):
            fits, words = RANGES[key]
            numbers = value if isinstance(value, list) else [value]
            if any(isinstance(x, int | float) and not fits(x) for x in numbers):
                raise InputError(f"{path}.{key} = {value} must {words}")
        elif isinstance(value, list):
            for item in value:
                _check_ranges(path, item)


def _tried(path: str, attempt: Callable[[], Any]) -> Any:
    """What ``attempt`` returns; its errors, whatever they are, are those of the values at ``path``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return attempt()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: {one_line(error) or type(error).__name__}") from error


def _step(optimizer: Any, again: bool) -> None:
    weight = optimizer.param_groups[0]["params"][0]

    def closure() -> torch.Tensor:
        weight.grad = torch.ones_like(weight)
        return torch.zeros(())

    closure()
    if again:
        optimizer.step(closure)
        return
    try:
        optimizer.step()
    except TypeError as error:
        raise InputError(
            f"{type(optimizer).__name__} evaluates the loss again, and this method takes its own steps; use Adam or SGD"
        ) from error


def _follow(node: Mapping[str, Any], optimizer: Optimizer, trainer: Mapping[str, Any], batches: int | None) -> Any:
    """Take the steps of a schedule, and hold every learning rate on the way."""
    from snnlab.methods.base.schedule import make_schedule

    path = "method.scheduler"
    per_epoch = -(-(batches or 1) // trainer["accumulate_grad_batches"])
    whole = trainer["max_epochs"] * per_epoch
    schedule = _tried(path, lambda: make_schedule(_maker(node), optimizer, lambda: whole))
    _check_ranges(path, node)
    if schedule.per_batch and batches is None:
        return schedule
    steps = whole if schedule.per_batch else trainer["max_epochs"]
    if (total := getattr(schedule.scheduler, "total_steps", None)) is not None and total < steps:
        raise InputError(
            f"{path}: {type(schedule.scheduler).__name__} has {total} steps, and this run takes {steps}, one a batch; "
            f"total_steps={steps} fits"
        )
    weight = optimizer.param_groups[0]["params"][0]
    weight.grad = torch.zeros_like(weight)
    for step in range(min(steps, LONGEST)):
        rate = float(optimizer.param_groups[0]["lr"])
        if not 0 <= rate <= HIGHEST:
            raise InputError(f"{path}: the learning rate is {rate} at step {step}; it must lie in 0 to {HIGHEST:g}")
        _tried(path, lambda: schedule.step(0.0))
    return schedule
