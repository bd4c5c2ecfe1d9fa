"""A mapping with a ``_target_`` replaces its node; optimizers and schedules work or are refused."""

from __future__ import annotations

import pytest
import torch

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.errors import InputError

BASE = ["data=digits", "model.hidden=[4]", "trainer.max_epochs=2", "trainer.limit_train_batches=2"]
QUICK = ["logger=none", "callbacks.progress=false", "callbacks.figures=false", "trainer.limit_val_batches=1"]
QUICK += ["trainer.limit_test_batches=1", "encoder.time_steps=2"]


def schedule(name: str, **values: object) -> str:
    inner = "".join(f",{key}:{value}" for key, value in values.items())
    return f"method.scheduler={{_target_:torch.optim.lr_scheduler.{name},_partial_:true{inner}}}"


def test_a_mapping_with_a_class_replaces_its_node_and_later_values_go_into_it():
    line = schedule("MultiStepLR", milestones="[75]", gamma=0.2)  # as docs/methods/spike_bp.md prints it
    node = compose(["method=spike_bp", "data=digits", line, "method.scheduler.gamma=0.5"]).plain()["method"][
        "scheduler"
    ]
    assert node == {
        "_target_": "torch.optim.lr_scheduler.MultiStepLR",
        "_partial_": True,
        "milestones": [75],
        "gamma": 0.5,
    }
    assert compose(["method=spike_bp", "data=digits", line, "method.scheduler=null"]).config.method.scheduler is None
    with pytest.raises(InputError, match=r"method\.schedular: there is no such key; nearest: method\.scheduler"):
        compose(["method=spike_bp", "data=digits", line.replace("scheduler=", "schedular=")])


def test_groups_are_replaced_too_and_named_by_their_class():
    composition = compose(
        [
            "method=stbp",
            "data=digits",
            "model={_target_:snnlab.models.mlp.MLP,hidden:[7]}",
            "encoder={_target_:snnlab.data.encoders.Rate,time_steps:3}",
        ]
    )
    assert composition.choices["model"] == "MLP" and composition.choices["encoder"] == "Rate"
    assert composition.plain()["model"] == {"_target_": "snnlab.models.mlp.MLP", "hidden": [7]}
    assert build(composition.config).method.encoder.time_steps == 3


def test_an_experiment_replaces_a_node_and_leaves_nothing_of_the_old(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /method: stbp\n  - override /data: digits\n"
        "method:\n  scheduler:\n    _target_: torch.optim.lr_scheduler.StepLR\n    _partial_: true\n    step_size: 3\n"
    )
    node = compose(["experiment=mine", "method.scheduler.step_size=4"], tmp_path).plain()["method"]["scheduler"]
    assert node == {"_target_": "torch.optim.lr_scheduler.StepLR", "_partial_": True, "step_size": 4}


@pytest.mark.parametrize(
    ("method", "line", "words"),
    [
        (
            "stbp",
            schedule("ReduceLROnPlateau"),
            "mode = min: val/accuracy is the figure it looks at, and max is its best",
        ),
        ("stbp", schedule("OneCycleLR", max_lr=0.1, total_steps=3), "has 3 steps, and this run takes 4, one a batch"),
        ("stbp", schedule("LambdaLR", lr_lambda=3), "method.scheduler: 'int' object is not callable"),
        ("stbp", schedule("LinearLR", start_factor=0), "method.scheduler: Starting multiplicative factor"),
        (
            "ottt",
            "method.optimizer={_target_:torch.optim.LBFGS,_partial_:true}",
            "takes its own steps; use Adam or SGD",
        ),
        (
            "stbp",
            "method.optimizer={_target_:torch.optim.SparseAdam,_partial_:true}",
            "does not support dense gradients",
        ),
        ("stbp", "method.optimizer={_target_:torch.optim.Muon,_partial_:true}", "Muon only supports 2D parameters"),
        (
            "stbp",
            "method.optimizer={_target_:torch.optim.SGD,_partial_:true,momentum:2}",
            "momentum = 2 must lie in [0, 1)",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_data_is_read(method, line, words):
    with pytest.raises(InputError) as refusal:
        build(compose([f"method={method}", *BASE, line]).config)
    assert words in str(refusal.value)


@pytest.mark.parametrize("name", [name for name, kind in sorted(vars(torch.optim).items()) if isinstance(kind, type)])
def test_every_optimizer_of_torch_is_taken_or_refused(name):
    line = f"method.optimizer={{_target_:torch.optim.{name},_partial_:true}}"
    refused = {"Muon", "SparseAdam", "Optimizer"}
    for method, cannot in (("stbp", refused), ("ottt", refused | {"LBFGS"})):
        config = compose([f"method={method}", *BASE, line]).config
        if name in cannot:
            with pytest.raises(InputError, match=r"method\.optimizer|takes its own steps"):
                build(config)
        else:
            build(config)


@pytest.mark.parametrize("method", ["stbp", "ottt"])
def test_schedules_by_batch_by_figure_and_one_after_another(run_command, monkeypatch, method):
    import lightning as L

    rates: list[float] = []
    real = L.Trainer.fit

    def fit(trainer, *given, **named):
        ended = real(trainer, *given, **named)
        rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        return ended

    monkeypatch.setattr(L.Trainer, "fit", fit)
    one = "{_target_:torch.optim.lr_scheduler.ConstantLR,_partial_:true,factor:0.5}"
    two = "{_target_:torch.optim.lr_scheduler.ExponentialLR,_partial_:true,gamma:0.25}"
    for line in (
        schedule("OneCycleLR", max_lr=1.0, total_steps=5, div_factor=10, final_div_factor=2),
        schedule("ReduceLROnPlateau", mode="max", patience=0, factor=0.5, threshold=10),
        schedule("SequentialLR", milestones="[1]", schedulers=f"[{one},{two}]"),
    ):
        keep = ["model.hidden=[4]", "method.optimizer={_target_:torch.optim.SGD,_partial_:true,lr:1.0}"]
        code, _, error = run_command(f"method={method}", *BASE, *QUICK, *keep, line)
        assert code == 0, error
    assert rates[0] == pytest.approx(0.05)  # 1 / 10 / 2 after four batches
    assert rates[1] == pytest.approx(0.5)  # the first epoch sets the best figure, the second is no better
    assert rates[2] == pytest.approx(0.25)  # one epoch constant, then one step of the second


def test_a_cycle_that_knows_no_number_of_steps_takes_that_of_the_training(run_command, monkeypatch):
    import lightning as L

    cycles: list[int] = []
    real = L.Trainer.fit

    def fit(trainer, *given, **named):
        ended = real(trainer, *given, **named)
        cycles.append(trainer.lr_scheduler_configs[0].scheduler.total_steps)
        return ended

    monkeypatch.setattr(L.Trainer, "fit", fit)
    keep = ["method=stbp", *BASE, *QUICK, "model.hidden=[4]"]
    for more in ([], ["trainer.accumulate_grad_batches=2"]):
        code, _, error = run_command(*keep, *more, schedule("OneCycleLR", max_lr=0.1, cycle_momentum="false"))
        assert code == 0, error
    assert cycles == [4, 2]
