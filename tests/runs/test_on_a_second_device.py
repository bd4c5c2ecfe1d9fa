"""Runs, parts and helpers on a second device: resumed to the bit, loaded and moved, started there, judged there."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

import snnlab
from second_device import DEVICE, TrainerThere, second_device, without_form
from small_runs import FEW
from snnlab import kernels
from snnlab.callbacks.figures import Figures
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import Batch, Checked
from snnlab.evaluate.ask import ask, evaluate
from snnlab.hardware.fixed_point import integer_network
from snnlab.initializers.fluctuation import Fluctuation
from snnlab.initializers.initializer import Initializer
from snnlab.initializers.kaiming import Kaiming
from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network
from snnlab.methods.vdib import judge
from snnlab.metrics.synaptic_operations import SynapticOperations
from snnlab.models.mlp import MLP
from snnlab.models.recurrent_mlp import RecurrentMLP
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.runs import wiring
from snnlab.runs.record import RunRecord
from snnlab.weights.deep_rewiring import DeepRewiring
from snnlab.weights.quantised import keep_rounded

TINY = ["model.hidden=[8]", *FEW, "trainer.max_epochs=2", "callbacks.health=true"]
REWIRED = "method.rewiring={_target_:snnlab.weights.deep_rewiring.DeepRewiring,connectivity:0.3,excitatory:0.5}"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Splits of 30 samples, and an own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Checked, "__len__", lambda self: min(len(self.dataset), 30))


def weights(folder: Path) -> dict[str, Tensor]:
    content = RunRecord.read(folder).content
    return torch.load(folder / content["checkpoint"], weights_only=True)["state_dict"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("words", [["method=stbp", REWIRED], ["method=fptt"], ["method=burstccn"]])
def test_a_run_that_is_stopped_there_is_resumed_there(
    words: list[str], monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    line = [*words, "data=digits", *TINY]
    here = wiring.run(compose(line))
    with second_device(), monkeypatch.context() as patch:
        patch.setattr(L, "Trainer", TrainerThere)
        going_on = L.LightningModule.on_train_batch_start

        def stop(module: Any, batch: Any, batch_idx: int) -> None:
            if module.current_epoch == 1 and batch_idx == 1:
                raise KeyboardInterrupt

        patch.setattr(L.LightningModule, "on_train_batch_start", stop)
        with pytest.raises(KeyboardInterrupt):
            wiring.run(compose([*line, "paths.output=there"]))
        patch.setattr(L.LightningModule, "on_train_batch_start", going_on)
        again = wiring.run(compose([*line, "paths.output=there", "resume=auto"]))
        assert not without_form
    assert len(list(Path("there").glob("*/run.json"))) == 1
    assert again.metrics == here.metrics
    expected, found = weights(here.folder), weights(again.folder)
    assert expected.keys() == found.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_run_is_loaded_scored_and_moved(monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    result = wiring.run(compose(["method=stbp", "data=digits", *TINY]))
    frames = torch.rand(4, 2, 1, 8, 8)
    expected = snnlab.load(result.folder)(frames)
    with second_device() as reads, monkeypatch.context() as patch:
        network = snnlab.load(result.folder).to(DEVICE)
        assert torch.equal(network(frames.to(DEVICE)).held, expected) and not reads
        patch.setattr(L, "Trainer", TrainerThere)
        assert evaluate(result.folder)["metrics"]["test"] == result.metrics["test"]


# parts that are made or changed where the network lies ---------------------------------------------------------------
@pytest.mark.parametrize(
    ("model", "initializer"),
    [
        (MLP([8]), Kaiming()),
        (MLP([8]), Fluctuation()),
        (MLP([8]), Fluctuation(inhibitory=0.25, bias=0.1)),
        (RecurrentMLP([8]), Fluctuation(rate=None, density=0.5)),
    ],
)
def test_a_network_is_initialised_there(model: Any, initializer: Initializer) -> None:
    frames = (torch.rand(6, 4, 8, generator=torch.Generator().manual_seed(0)) < 0.5).float()

    def made(device: Any) -> dict[str, Tensor]:
        torch.manual_seed(1)
        blocks = Blocks(lambda: LIF(0.9, 0.2), functools.partial(Integrator, 0.9))
        network = model(blocks, (8,), 3).to(device)
        with kernels.using(kernels.Path("step")):
            initializer(network, frames.to(device))
        return dict(network.state_dict())

    same(made)


@pytest.mark.parametrize("change", ["rewired", "rounded", "whole"])
def test_a_network_is_changed_there(change: str) -> None:
    frames = torch.rand(4, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def made(device: Any) -> dict[str, Tensor]:
        network = network_of(["method.neuron=ahp", "method.bias=false"]).to(device)
        torch.manual_seed(1)
        if change == "rewired":
            rewiring = DeepRewiring(excitatory=0.5, temperature=0.1)
            rewiring.start(network)
            rewiring.settle(network)
            rewiring.step(network, 0.1)
        elif change == "rounded":
            for layer in network.layers.values():
                if isinstance(layer, torch.nn.Linear):
                    keep_rounded(layer, 4)
        else:
            network = integer_network(network)
        outputs = network(frames.to(device, next(network.parameters()).dtype))
        return {**network.state_dict(), "outputs": outputs.detach()}

    same(made)


def test_vdsp_shows_its_samples_step_by_step_where_its_kernel_is_not() -> None:
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def made(device: Any) -> dict[str, Tensor]:
        words = ["method=vdsp", "data=digits", "method.neurons=5", "encoder.time_steps=4"]
        method = build(compose([*words, f"kernels={'step' if device == 'cpu' else 'auto'}"]).config).method.to(device)
        with kernels.using(method.network.path):
            counts, figures = method.present(method.frames(method.here(Batch(images, torch.arange(3)))), 0.01)
        assert not method.network.path.fused and counts.any()
        return {"counts": counts, "weight": method.output_weight(), **figures}

    same(made)


def test_a_convolutional_network_runs_and_is_counted_there() -> None:
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    words = ["method=bntt", "model=small_conv", "model.channels=[2,3]", "model.hidden=8", "data=digits"]

    def found(device: Any) -> list[Tensor]:
        method = build(compose([*words, "encoder.time_steps=3"]).config).method.to(device)
        counter = SynapticOperations().to(device)
        frames = method.frames(method.here(Batch(images, torch.arange(3))))
        with counter.watch(method.network, method.spiking_input):
            outputs = method.network(frames)
        return [outputs, *torch.autograd.grad(outputs.sum(), list(method.network.parameters())), counter.compute()]

    here = found("cpu")
    with second_device() as reads:
        torch.testing.assert_close([part.detach().held for part in found(DEVICE)], [part.detach() for part in here])
        assert not reads and not without_form


def network_of(words: list[str]) -> Network:
    network: Network = build(
        compose(["method=stbp", "data=digits", "model.hidden=[8]", "kernels=step", *words]).config
    ).method.network
    return network


def same(made: Any) -> None:
    """``made`` gives the same tensors on the CPU and there."""
    here = made("cpu")
    with second_device():
        found = made(DEVICE)
        assert not without_form
    assert found.keys() == here.keys() and here
    for name, value in here.items():
        assert torch.equal(found[name].held, value), name


# what a run brings along ---------------------------------------------------------------------------------------------
def test_a_judge_is_trained_there_and_reads_what_was_decoded(
    monkeypatch: pytest.MonkeyPatch, small: None, caplog: Any
) -> None:
    monkeypatch.setattr(judge, "MOST_EPOCHS", 1)
    shown: list[str] = []
    monkeypatch.setattr(Figures, "save", lambda self, name, figure, note="": shown.append(name))
    line = ["method=vdib", "data=digits", "encoder.time_steps=4", "method.n_out=8", "method.warmup=0"]
    line += [*TINY, "trainer.max_epochs=1", "callbacks.figures=true"]
    here = wiring.run(compose([*line, "paths.cache=here"]))
    drawn, found = shown.copy(), ask(here.folder, "spikes_over_time", ["paths.cache=here"])[0]
    with second_device():
        monkeypatch.setattr(L, "Trainer", TrainerThere)
        run = wiring.run(compose([*line, "paths.cache=there", "paths.output=there"]))
        assert ask(run.folder, "spikes_over_time", ["paths.cache=there"])[0]["values"] == found["values"]
        assert not without_form
    assert run.metrics == here.metrics and run.metrics["test"]["judge_accuracy"] >= 0
    assert shown == drawn * 2 and {"tsne", "reconstructions"} <= {*shown}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "words", ["method=stbp data=yin_yang", "method=fptt data=adding data.steps=6 data.train_sequences=40"]
)
def test_a_data_sets_own_pictures_are_drawn_there(
    words: str, monkeypatch: pytest.MonkeyPatch, small: None, caplog: Any
) -> None:
    parts = build(compose([*words.split(), "model.hidden=[4]", "kernels=step"]).config)
    parts.data.setup()
    shown: list[str] = []
    monkeypatch.setattr(Figures, "save", lambda self, name, figure, note="": shown.append(name))
    figures = Figures(Path(), "a run", SimpleNamespace(rows=[]))
    figures.draw(parts.method, parts.data)
    with second_device():
        figures.draw(parts.method.to(DEVICE), parts.data)
        assert not without_form
    assert len(shown) > 4 and shown[: len(shown) // 2] == shown[len(shown) // 2 :]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
