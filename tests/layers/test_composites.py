"""Residual blocks and feedback loops: one computation in three forms, seen through by all that counts and reports."""

import logging
from contextlib import ExitStack

import pytest
import torch
from torch import nn

from snnlab.callbacks.figures import membranes_figure, spikes_figure, spread
from snnlab.callbacks.health import Health
from snnlab.layers.blocks import Blocks
from snnlab.layers.chain import Chain
from snnlab.layers.dropout import HeldDropout
from snnlab.layers.feedback import Feedback
from snnlab.layers.network import Network
from snnlab.layers.residual import Residual
from snnlab.metrics.firing_rate import FiringRate
from snnlab.metrics.synaptic_operations import SynapticOperations
from snnlab.models.nf_resnet import NFResNet
from snnlab.models.resnet import ResNet
from snnlab.models.vgg import VGG
from snnlab.neurons.lif import LIF
from snnlab.neurons.surrogate import make_surrogate
from snnlab.runs.dry_run import layer_rows

FRAMES = (5, 2, 1, 8, 8)


def lif():
    return LIF(0.8, 0.3, surrogate=make_surrogate("atan"))


class Recurring(Blocks):
    """Hidden units with a recurrence, so that states hold states."""

    def neuron(self, features):
        return self.recurrent(features) if features == 7 else super().neuron(features)


BLOCKS = Recurring(lif, lif)
MODELS = {
    "residual": ResNet(3, [[4, 1], [4, 2], [5, 2]], [7], dropout=0.3),
    "normalisation_free": NFResNet([3, 4], [2, 2], gain=0.5),
    "feedback": VGG([3, "P", 4], [7], dropout=0.3, feedback=True),
}


def make(model):
    torch.manual_seed(0)
    network = MODELS[model](BLOCKS, FRAMES[2:], 6).double()
    for name, weight in network.named_parameters():
        if "path" in name and weight.dim() > 1:
            nn.init.constant_(weight, 0.1)  # the loop says something
    return network, (torch.rand(*FRAMES, dtype=torch.float64) * 3).requires_grad_()


def stepped(network, frames):
    states, outputs = None, []
    for frame in frames:
        output, states = network.step(frame, states)
        outputs.append(output)
    return torch.stack(outputs)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_steps_forward_and_unroll_are_one_computation(model, training):
    network, frames = make(model)
    network.train(training)
    forms = {"step": lambda x: stepped(network, x), "forward": network, "unroll": lambda x: network.unroll(x)[0]}
    outputs, spikes, grads = [], [], []
    for form in forms.values():
        torch.manual_seed(3)  # of the dropout masks
        with network.observe() as seen:
            outputs.append(form(frames))
            spikes.append({name: value.detach() for name, value in seen.items()})
        weights = list(network.parameters())
        grads.append(torch.autograd.grad(outputs[-1].sum(), [frames, *weights], allow_unused=True))
    assert outputs[0].sum() > 0
    for other in (1, 2):
        assert torch.equal(outputs[0], outputs[other])
        for a, b in zip(grads[0], grads[other], strict=True):
            assert (a is None and b is None) or torch.allclose(a, b, atol=1e-10, rtol=0)
    torch.manual_seed(3)
    _, record = network.unroll(frames)
    for name in network.neurons():
        assert torch.equal(spikes[0][name], spikes[1][name])
        assert torch.equal(spikes[0][name], record[name][0])
    assert set(record) >= set(network.neurons())
    assert all(states.v.shape == out.shape for out, states in record.values() if hasattr(states, "v"))


@pytest.mark.parametrize("model", MODELS)
def test_causal_and_independent_within_a_batch(model):
    network, frames = make(model)
    network.eval()
    later = frames.detach().clone()
    later[3:] = 0
    whole = network(frames)
    assert torch.equal(whole[:3], network(later)[:3])
    alone = torch.cat([network(frames[:, i : i + 1]) for i in range(2)], dim=1)
    assert torch.equal(whole, alone)


@pytest.mark.parametrize("model", MODELS)
def test_weights_can_be_saved_and_loaded(model):
    network, frames = make(model)
    network.eval()
    torch.manual_seed(9)
    other = MODELS[model](BLOCKS, FRAMES[2:], 6).double().eval()
    other.load_state_dict(network.state_dict())
    assert torch.equal(network(frames), other(frames))


def test_residual_adds_what_its_branches_give():
    layer = Residual(Network([("weight", nn.Linear(3, 3))]), Network([("other", nn.Linear(3, 3))]))
    x = torch.rand(2, 4, 3)
    assert torch.allclose(layer(x), layer.body.layers["weight"](x) + layer.shortcut.layers["other"](x))
    bare = Residual(Network([("weight", nn.Linear(3, 3))]))
    assert torch.allclose(bare(x), x + bare.body.layers["weight"](x))


def test_feedback_by_hand():
    """y[t] = x[t] + 0.5 y[t-1] with a body that passes on: 1, 0.5, 0.25."""
    weight = nn.Linear(1, 1)
    nn.init.constant_(weight.weight, 0.5)
    nn.init.constant_(weight.bias, 0.0)
    loop = Feedback(Network([("same", nn.Identity())]), Network([("weight", weight)]))
    x = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    assert loop(x).flatten().tolist() == [1.0, 0.5, 0.25]
    nn.init.constant_(weight.bias, 1.0)
    assert loop(torch.zeros(2, 1, 1)).flatten().tolist() == [0.0, 1.0]  # nothing returns at t = 0, no bias either


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: Residual(Network([("a", nn.Identity())]), Network([("a", nn.Identity())])),
            "Residual: a layer name is used twice in ['a', 'a']: a",
        ),
        (
            lambda: Network([("b_a", nn.Identity()), ("b", Residual(Network([("a", nn.Identity())])))]),
            "Network: a layer name is used twice in ['b_a', 'b_a']",
        ),
        (
            lambda: Residual(Network([("a", nn.Linear(3, 2))]))(torch.ones(1, 4, 3)),
            "Residual: the shortcut gives [1, 4, 3], the body [1, 4, 2]; give the shortcut",
        ),
        (
            lambda: Feedback(Network([("a", nn.Linear(3, 2))]), Network([]))(torch.ones(2, 4, 3)),
            "Feedback: the path returns [4, 2] to a current of [4, 3]; bring it to that size",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value)


# what looks into a network -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", MODELS)
def test_firing_rates_have_names_that_metrics_and_files_can_carry(model):
    network, frames = make(model)
    with network.observe() as seen:
        network(frames)
    rate = FiringRate()
    rate.update(seen, samples=2)
    values = rate.compute()
    assert set(values) == {f"firing_rate/{name}" for name in network.neurons()} | {"spikes_per_inference"}
    assert not any("." in name for name in values)
    assert values["spikes_per_inference"].item() * 2 == sum(s.sum().item() for s in seen.values())


def test_observe_starts_anew_with_each_sequence_of_steps():
    network, frames = make("residual")
    network.eval()
    with network.observe() as seen:
        network(frames)
        stepped(network, frames[:2])
        assert {len(s) for s in seen.values()} == {2}
        stepped(network, frames[:3])
        assert {len(s) for s in seen.values()} == {3}
        network(frames)
        assert {len(s) for s in seen.values()} == {5}
    seen.clear()
    stepped(network, frames)
    assert seen == {}
    assert not any(part.watchers for part in network.modules() if isinstance(part, Network))


def test_two_observers_at_once_see_the_same():
    network, frames = make("feedback")
    with network.observe() as outer:
        with network.observe() as inner:
            network(frames)
        assert all(torch.equal(outer[name], inner[name]) for name in network.neurons())


def ones(inputs, outputs):
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.ones_(layer.weight)
    return layer


def fed(network, spikes):
    """Whether each weight gets spikes, when the network's input is or is not."""
    return {edge.name: edge.spikes for edge in Chain(network).edges(spikes)}


def test_operations_inside_a_residual_block():
    """3 spikes: 3 x 5 in the body and 3 x 5 in the shortcut; the sum is a current: the weight behind it sees none."""
    block = Residual(Network([("long", nn.Linear(4, 5))]), Network([("short", nn.Linear(4, 5))]))
    network = Network([("block", block), ("behind", nn.Linear(5, 9))])
    spikes = torch.zeros(2, 1, 4)
    spikes[0, 0, :2] = spikes[1, 0, 3] = 1
    counter = SynapticOperations()
    with counter.watch(network):
        network(spikes)
    assert counter.compute().item() == 3 * 5 + 3 * 5
    assert fed(network, True) == {"block_short": True, "block_long": True, "behind": False}
    assert fed(network, False) == {"block_short": False, "block_long": False, "behind": False}


def test_operations_inside_a_loop():
    """Analog input; a neuron fires at t = 0, 1, 2: 3 x 6 into the body's weight, and twice 6 x 1 come back."""
    fires = LIF(decay=0.0, threshold=0.5)
    body = Network([("first", fires), ("weight", ones(1, 6)), ("second", LIF(decay=0.0, threshold=0.5))])
    network = Network([("loop", Feedback(body, Network([("back", ones(6, 1))])))])
    counter = SynapticOperations()
    with counter.watch(network, spiking_input=False):
        network(torch.ones(3, 1, 1))
    assert counter.compute().item() == 3 * 6 + 2 * 6 * 1


def test_a_neuron_behind_the_sum_makes_spikes_again():
    weights = fed(make("residual")[0], False)
    assert not weights.pop("weight_stem") and all(weights.values())
    analog = [name for name, value in fed(make("normalisation_free")[0], False).items() if not value]
    assert analog == ["weight_stem", "readout_weight"]  # the readout takes the residual stream, which is analog


def test_the_dry_run_has_a_row_for_every_layer():
    network, frames = make("feedback")
    rows = {name: (shape, count) for name, shape, count in layer_rows(network, frames)}
    assert rows["weight1"] == ("[3, 8, 8]", 3 * 9 + 3)
    assert rows["feedback_conv1"] == ("[3, 8, 8]", 0) and rows["feedback_conv2"] == ("[4, 4, 4]", 0)
    assert rows["feedback_weight"] == ("[3, 8, 8]", 3 * 4 * 9 + 3)
    assert rows["hidden1"] == ("[7]", 7 * 7 + 7) and rows["readout"] == ("[6]", 0)
    assert sum(count for _, count in rows.values()) == sum(p.numel() for p in network.parameters())


def test_health_names_a_weight_inside_a_block(caplog):
    network, frames = make("residual")
    network(frames).sum().backward()
    dict(network.leaves())["block2_weight2"].weight.grad.fill_(1e5)

    health = Health()
    health._open = ExitStack()
    logger = logging.getLogger("snnlab")
    caplog.set_level(logging.WARNING, "snnlab")
    logger.addHandler(caplog.handler)
    try:
        health.look(network)
        health.on_train_batch_end(None, None, None, None, 0)
    finally:
        logger.removeHandler(caplog.handler)
    assert "health: block2_weight2 gets a huge gradient (rms 1.0e+05)" in caplog.text


@pytest.mark.parametrize("model", MODELS)
def test_pictures_show_the_layers_inside(model):
    import matplotlib

    matplotlib.use("Agg")
    network, frames = make(model)

    class Method:
        pass

    Method.network = network
    with torch.no_grad():
        _, record = network.unroll(frames)
        titles = [axis.get_title(loc="center").split(":")[0] for axis in spikes_figure(record, Method).axes]
        assert titles == spread(list(network.neurons()))
        assert membranes_figure(record, {}, Method) is not None


def test_a_deep_net_shows_twelve_layers():
    names = [f"conv{i}" for i in range(33)]
    assert len(spread(names)) == 12 and spread(names)[0] == "conv0" and spread(names)[-1] == "conv32"
    assert spread(names[:3]) == names[:3] and spread([]) == []


def test_dropout_in_a_branch_is_held():
    block = Residual(Network([("drop", HeldDropout(0.5))]), Network([("zero", nn.Linear(4, 4))]))
    nn.init.zeros_(block.shortcut.layers["zero"].weight)
    nn.init.zeros_(block.shortcut.layers["zero"].bias)
    outputs = block(torch.ones(6, 3, 4))
    assert all(torch.equal(outputs[0], outputs[t]) for t in range(6))
    assert set(outputs.unique().tolist()) == {0.0, 2.0}
