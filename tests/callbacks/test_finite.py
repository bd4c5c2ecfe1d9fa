"""A value that is not finite fails the run and is named, whoever would have hidden it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from snnlab import kernels
from snnlab.config.compose import compose
from snnlab.config.paths import conf_dir
from snnlab.data.contract import BatchedDataset, DataModule
from snnlab.errors import RunFailure
from snnlab.evaluate.ask import ask, evaluate
from snnlab.neurons.composite import CompositeNeuron
from snnlab.neurons.leak_corrected_lif import LeakCorrectedLIF
from snnlab.neurons.lif import LIF
from snnlab.neurons.low_pass import LowPass
from snnlab.neurons.neuron import Neuron
from snnlab.neurons.stochastic_readout import StochasticReadout
from snnlab.neurons.winner_take_all import WinnerTakeAll
from snnlab.neurons.winner_take_all_lif import WinnerTakeAllLIF
from snnlab.runs.wiring import run

METHODS = sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml"))
QUIET = ["logger=none", "callbacks.progress=false", "callbacks.figures=false", "trainer.max_epochs=1"]
FEW = [*QUIET, *(f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test")), "data.batch_size=20"]
SMALL = {
    "vdib": ["data=drifting_blobs", "model.hidden=[]", "data.train_sequences=40", "data.val_sequences=40"],
    "variational_spin": ["data=transverse_ising", "method.samples=100", "method.burn_in=2"],
    "vdsp": ["data=digits", "method.neurons=5", "encoder.time_steps=5", "method.label_samples=20"],
    "conversion": ["data=digits", "method.calibration=20"],
}


class Poisoned(BatchedDataset):
    """A split with one value of one sample, or of its target, replaced."""

    def __init__(self, clean: BatchedDataset, sample: int, value: float, name: str = "inputs") -> None:
        super().__init__()
        self.clean, self.sample, self.value, self.name = clean, sample, value, name

    def __len__(self) -> int:
        return len(self.clean)

    def batch(self, indices: Sequence[int]) -> Any:
        batch = self.clean.batch(indices)
        if self.sample not in indices:
            return batch
        values = getattr(batch, self.name).clone().float()
        at = list(indices).index(self.sample)
        time_first = self.name == "inputs" and values.shape[0] != len(indices)
        one = values[0, at] if time_first else values[at]
        one[(0,) * one.dim()] = self.value
        assert not torch.isfinite(values).all()
        return batch._replace(**{self.name: values})


def poison(monkeypatch: pytest.MonkeyPatch, split: str, sample: int, value: float, name: str = "inputs") -> None:
    setup = DataModule.setup

    def poisoned(self: DataModule, stage: str | None = None) -> None:
        setup(self, stage)
        assert self.splits is not None
        if not isinstance(clean := getattr(self.splits, split), Poisoned):
            self.splits = self.splits._replace(**{split: Poisoned(clean, sample, value, name)})

    monkeypatch.setattr(DataModule, "setup", poisoned)


def words(method: str, *more: str) -> list[str]:
    return [f"method={method}", *SMALL.get(method, ["data=digits"]), *FEW, *more]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("method", METHODS)
def test_one_value_of_one_sample_fails_every_method(
    method: str, value: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    composition = compose(words(method, "trainer.limit_train_batches=null"))
    poison(monkeypatch, "train", 30, value)
    with pytest.raises(RunFailure, match=r"sample 30 \(inputs\) of the train data is not finite") as error:
        run(composition)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("method", ["stbp", "vdsp", "ssnn_bp", "multispike_fast_deep"])
def test_validation_and_test_are_looked_at(
    method: str, split: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    poison(monkeypatch, split, 39, torch.nan)  # in the last batch
    with pytest.raises(RunFailure, match=rf"sample 39 \(inputs\) of the {split} data is not finite"):
        run(compose(words(method)))


def test_targets_are_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    poison(monkeypatch, "train", 30, torch.nan, "labels")
    few = ["data.steps=8", "data.train_sequences=40", "data.val_sequences=20", "data.test_sequences=20"]
    with pytest.raises(RunFailure, match=r"sample 30 \(labels\) of the train data is not finite"):
        run(compose(["method=fptt", "data=adding", "model.hidden=[4]", *few, *FEW]))


class RootState(NamedTuple):
    v: Tensor


class Root(Neuron):
    """v[t] = sqrt(v[t-1] + current): not a number for some, which never fire."""

    def __init__(self) -> None:
        super().__init__()
        self.spike = LIF().spike

    def initial_state(self, current: Tensor) -> RootState:
        return RootState(torch.zeros_like(current))

    def step(self, current: Tensor, state: RootState) -> tuple[Tensor, RootState]:
        v = torch.sqrt(state.v + current)
        return self.spike(v - 1.0), RootState(v)


class SilentState(NamedTuple):
    v: Tensor
    since: Tensor


class Silent(Root):
    """Its second field is the time since the last spike, which is infinite at first."""

    def initial_state(self, current: Tensor) -> SilentState:  # type: ignore[override]
        return SilentState(torch.zeros_like(current), torch.full_like(current, torch.inf))

    def step(self, current: Tensor, state: Any) -> Any:
        spikes = self.spike(0.9 * state.v + current - 1.0)
        return spikes, SilentState(0.9 * state.v + current, torch.where(spikes > 0, 0.0, state.since + 1))


@pytest.mark.parametrize("kernel", ["auto", "step"])
@pytest.mark.parametrize("method", ["stbp", "fptt"])
def test_a_membrane_that_never_fires_is_named(
    method: str, kernel: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    own = [f"method.neuron={__name__}.Root", "model.hidden=[8]", f"kernels={kernel}"]
    with pytest.raises(RunFailure, match=r"layer \w+ \((Root|Recurrent)\) is not finite at step 0 \(train, batch 0\)"):
        run(compose(words(method, *own)))


@pytest.mark.parametrize("kernel", ["auto", "step"])
def test_a_field_that_starts_infinite_may_be_so(kernel: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    run(compose(words("stbp", f"method.neuron={__name__}.Silent", "model.hidden=[8]", f"kernels={kernel}")))


@pytest.mark.parametrize("method", ["stbp", "ssnn_bp", "vdsp", "burstccn", "ottt", "multispike_fast_deep"])
def test_a_parameter_is_named_and_the_last_batch_counts(
    method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The update of the last batch of an epoch breaks one weight."""
    from lightning.pytorch.callbacks import Callback

    from snnlab.callbacks.finite import Finite

    monkeypatch.chdir(tmp_path)
    end = Finite.on_train_batch_end

    def broken(self: Callback, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            next(pl_module.parameters()).data.view(-1)[0] = torch.nan
        end(self, trainer, pl_module, outputs, batch, batch_idx)  # type: ignore[arg-type]

    monkeypatch.setattr(Finite, "on_train_batch_end", broken)
    with pytest.raises(RunFailure, match=r"(weight|bias) \(1 of \d+ values are not finite.*\(train, batch 1\)"):
        run(compose(words(method)))


def test_a_checkpoint_that_is_not_finite_is_neither_evaluated_nor_resumed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = run(compose(words("stbp", "model.hidden=[8]"))).folder
    path = folder / "checkpoints" / "epoch000.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["network.layers.weight1.weight"][0, 0] = torch.nan
    torch.save(content, path)
    for question in (lambda: evaluate(folder), lambda: ask(folder, "accuracy_over_time")):
        with pytest.raises(RunFailure, match=r"epoch000.ckpt: network\.layers\.weight1\.weight is not finite"):
            question()

    content = json.loads((folder / "run.json").read_text())
    content["status"] = "interrupted"
    (folder / "run.json").write_text(json.dumps(content))
    with pytest.raises(RunFailure, match=r"network\.layers\.weight1\.weight"):
        run(compose(words("stbp", "model.hidden=[8]", f"resume={folder}")))


def test_a_question_is_not_answered_by_what_is_not_finite(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    folder = run(compose(words("stbp", "model.hidden=[8]"))).folder
    poison(monkeypatch, "test", 5, torch.nan)
    with pytest.raises(RunFailure, match=r"accuracy_over_time: .* is not finite"):
        ask(folder, "accuracy_over_time")


LAYERS = {
    "lif": LIF,
    "low_pass": LowPass,
    "composite": lambda: CompositeNeuron(LowPass()),
    "winner": lambda: WinnerTakeAll(LowPass()),
    "gumbel": lambda: WinnerTakeAll(LowPass(), "gumbel"),
    "winner_lif": lambda: WinnerTakeAllLIF(6),
    "corrected": LeakCorrectedLIF,
    "late": lambda: LeakCorrectedLIF(late_inputs=True),
    "readout": lambda: StochasticReadout(6, 3),
}


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", LAYERS)
def test_a_current_before_the_last_step_is_noticed(name: str, value: float) -> None:
    layer, watch = LAYERS[name](), kernels.Watch()
    currents = torch.rand(6, 4, 6)
    with kernels.watching(watch):
        layer(currents)
        assert watch.first() is None
        currents[1, 2, 3] = value
        layer(currents)
    assert watch.first() is not None


def test_the_watch_names_the_first_and_starts_anew() -> None:
    watch = kernels.Watch()
    watch.notice("a", torch.ones(3))
    watch.notice("b", torch.tensor([1.0, torch.inf]), torch.tensor([2]))
    watch.notice("c", torch.tensor([torch.nan]))
    assert watch.first() == "b" and watch.first() is None
    watch.notice("a", torch.full((4,), torch.finfo(torch.float32).max))  # large is not infinite
    watch.notice("h", torch.full((4,), torch.finfo(torch.float16).max, dtype=torch.float16))
    assert watch.first() is None
