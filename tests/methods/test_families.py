"""The families of methods: each stands for one way to learn, and what they share is written once."""

from __future__ import annotations

import ast
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.utils import get_object
from torch.optim.optimizer import register_optimizer_step_post_hook

from small_runs import small_run
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError
from snnlab.evaluate.accuracy_over_time import curve
from snnlab.methods.base.autograd import Autograd
from snnlab.methods.base.own_steps import OwnSteps
from snnlab.methods.base.two_phase import TwoPhase
from snnlab.runs.wiring import run

METHODS = sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml"))
ROOM = Path(__file__).resolve().parents[2] / "src" / "snnlab" / "methods"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_in_one_way(name: str) -> None:
    method = get_object(compose([f"method={name}"]).config.method._target_)
    assert issubclass(method, Autograd) != issubclass(method, OwnSteps)
    assert method.needs_data == issubclass(method, TwoPhase)


def test_schedulers_are_stepped_in_one_place() -> None:
    places = [
        path.relative_to(ROOM).as_posix()
        for path in ROOM.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "lr_schedulers"
    ]
    assert places == ["base/own_steps.py"]


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("stbp", "bntt", "ann", "spike_bp")])
def test_own_steps_refuse_what_lightning_would_leave_out(name: str) -> None:
    target = get_object(compose([f"method={name}"]).config.method._target_)
    data = "transverse_ising" if name == "variational_spin" else "digits"
    own = issubclass(target, OwnSteps)
    for option, value, refused in (
        ("gradient_clip_val", "1.0", "moves weights without a gradient" if own and not target.clips else None),
        ("accumulate_grad_batches", "2", "takes its own steps" if own else None),
    ):
        config = compose([f"method={name}", f"data={data}", f"trainer.{option}={value}"]).config
        if refused:
            with pytest.raises(InputError, match=rf"trainer\.{option} = {value}: .*{refused}"):
                build(config)
        else:
            build(config)


@pytest.mark.parametrize("name", ["ottt", "fptt", "burstccn", "vdib"])
def test_own_steps_clip_the_gradient_of_every_step(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    sizes: list[float] = []

    def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if [tuple(grad.shape) for grad in grads] == [(2, 2)]:  # of config/trial.py, on a weight of its own
            return
        sizes.append(float(torch.stack([grad.norm() for grad in grads]).norm()))

    for clip in ("null", "0.001"):
        sizes.clear()
        after = register_optimizer_step_post_hook(look)
        run(compose([*small_run(name), f"trainer.gradient_clip_val={clip}"]))
        after.remove()
        assert sizes and (max(sizes) <= 0.001001) == (clip != "null")


def test_every_scheduler_of_several_is_stepped(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(compose(["method=ottt", "data=digits", "model.hidden=[4]"]).config).method
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    make = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    optimizers = [torch.optim.SGD([parameter], lr=1.0) for parameter in parameters]
    schedulers = [make(optimizer) for optimizer in optimizers]
    for given, after in ((schedulers, [0.5, 0.5]), (schedulers[0], [0.25, 0.5]), (None, [0.25, 0.5])):
        monkeypatch.setattr(method, "lr_schedulers", lambda given=given: given)
        method.on_train_epoch_end()
        assert [optimizer.param_groups[0]["lr"] for optimizer in optimizers] == after


def test_values_have_no_accuracy_over_time() -> None:
    parts = build(compose(["method=fptt", "data=adding", "data.steps=8", "model.hidden=[4]"]).config)
    assert not parts.method.names_classes
    with pytest.raises(InputError, match="gives no class scores that could stop early"):
        curve(parts.method, parts.data)
