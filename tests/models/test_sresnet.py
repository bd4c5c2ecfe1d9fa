"""S-ResNet against its card: invariants 1 to 6, layers and parameters, placements, counters, exports, errors."""

import itertools

import pytest
import torch
from torch import nn

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import DataSpec
from snnlab.data.encoders import Direct
from snnlab.errors import InputError
from snnlab.layers.batch_norm_through_time import BatchNormThroughTime, gamma_over_time
from snnlab.layers.blocks import Blocks
from snnlab.layers.chain import Chain
from snnlab.layers.observe import observe
from snnlab.layers.residual import Residual
from snnlab.methods.ann import RectifiedBlocks
from snnlab.methods.bntt import BNTT
from snnlab.methods.stbp import STBP
from snnlab.metrics.cost import Cost
from snnlab.metrics.synaptic_operations import SynapticOperations
from snnlab.models.sresnet import SResNet
from snnlab.neurons.lif import LIF

PLACEMENTS = ["add", "and", "iand", "current", "preactivation", "none"]
BLOCKS = Blocks(lambda: LIF(0.5, 0.3), lambda: LIF(0.5, 0.3))


def spec(sides, classes=3):
    return DataSpec("pictures", "image", (1, *sides), classes)


def make(n=1, residual="add", steps=4, kind=BNTT, channels=4, model=None, sides=(8, 8), **options):
    torch.manual_seed(1)
    model = SResNet(channels, n, residual, **(model or {}))
    options = {"decay": 0.874, **options}
    return kind(model, spec(sides), Direct(steps), torch.optim.SGD, **options)


def frames_of(steps=4, batch=6, dtype=torch.float32):
    torch.manual_seed(2)
    return torch.rand(batch, 1, 8, 8, dtype=dtype).expand(steps, -1, -1, -1, -1)


def leaves_of(method, kind):
    return {name: layer for name, layer in method.network.leaves().items() if isinstance(layer, kind)}


# the card's invariants ------------------------------------------------------------------------------------------------
def test_1_blocks_whose_weights_are_zero_pass_spikes_on():
    """``add`` and ``iand`` are the identity on spikes then, at every block without a weight on its shortcut."""
    for residual in ("add", "iand"):
        method = make(n=2, residual=residual)
        for name, layer in leaves_of(method, nn.Conv2d).items():
            if name.startswith("block"):
                nn.init.zeros_(layer.weight)
        with method.network.observe() as seen:
            method.network(frames_of())
        spikes = seen["stem"]
        assert 0 < spikes.mean() < 1
        assert torch.equal(method.network.layers["block1"](spikes), spikes)


def test_1_without_blocks_or_a_residual_there_is_a_plain_spiking_stack():
    assert list(make(n=0).network.layers) == [
        *("weight_stem", "norm_stem", "stem", "global_pool", "flatten", "readout_weight", "readout")
    ]
    plain = make(n=2, residual="none").network
    assert not any(isinstance(layer, Residual) for layer in plain.layers.values())
    frames = frames_of()
    by_hand = frames
    for layer in plain.layers.values():
        by_hand = layer(by_hand) if hasattr(layer, "step") else layer(by_hand.flatten(0, 1)).unflatten(0, (4, 6))
    torch.testing.assert_close(plain(frames), by_hand)


def test_2_reset_by_subtraction_and_no_more_spikes_than_the_input_pays_for():
    neuron = make().network.layers["stem"]
    assert (neuron.decay, neuron.threshold, neuron.reset, neuron.spike.strict) == (0.874, 1.0, "soft", True)
    currents = torch.rand(30, 50, dtype=torch.float64) * 3
    spikes, states = neuron.unroll(currents)
    before = 0.874 * torch.cat([torch.zeros(1, 50, dtype=torch.float64), states.v[:-1]]) + currents
    assert torch.equal(spikes, (before > 1).double()) and torch.equal(states.v, before - spikes)
    keeps = make(decay=1.0).network.layers["stem"]  # input >= 0
    assert (keeps(currents).sum(0) <= currents.sum(0) + 1).all()
    x = torch.tensor([[0.0, 0.5, 1.0, 1.5, 2.0, -1.0]], dtype=torch.float64, requires_grad=True)
    neuron(x).sum().backward()
    torch.testing.assert_close(x.grad, 0.3 * (1 - (x.detach() - 1).abs()).clamp(min=0))


def test_3_every_step_has_statistics_of_its_own():
    """Under direct coding the stem sees one current at every step; behind its neuron steps differ."""
    method = make(n=1).train()
    for _ in range(3):
        method.network(frames_of())
    norms = leaves_of(method, BatchNormThroughTime)
    means = {name: norm.running_mean for name, norm in norms.items()}
    assert (means["norm_stem"] == means["norm_stem"][0]).all()
    for name, mean in means.items():
        if name != "norm_stem":
            assert all(not torch.equal(mean[s], mean[t]) for s, t in itertools.combinations(range(4), 2)), name
    kept = {name: mean.clone() for name, mean in means.items()}
    method.network(frames_of()[:2])  # a shorter sequence leaves the later steps alone
    for name, mean in means.items():
        assert torch.equal(mean[2:], kept[name][2:]) and not torch.equal(mean[:2], kept[name][:2])


@pytest.mark.parametrize("kind", [BNTT, STBP])
def test_4_a_boost_of_equal_copies_is_the_plain_head(kind):
    plain, boosted = make(kind=kind), make(kind=kind, model={"boost": True})
    state = plain.network.state_dict()
    for name in [name for name in state if "readout_weight" in name]:
        state[name] = state[name].repeat_interleave(10, 0)
    boosted.network.load_state_dict(state)
    assert boosted.network.layers["readout_weight"].out_features == 30
    torch.testing.assert_close(boosted.scores(frames_of()), plain.scores(frames_of()))


def test_5_the_gradient_reaches_the_stem_and_in_the_plain_stack_it_does_not():
    ratios = {}
    for residual in ("add", "none"):
        torch.manual_seed(0)
        method = make(n=6, residual=residual, channels=4)
        frames, labels = frames_of(batch=8), torch.arange(8) % 3
        method.loss(method.scores(frames), labels).backward()
        weights = [layer.weight.grad.norm().item() for layer in leaves_of(method, nn.Conv2d | nn.Linear).values()]
        last = method.network.layers["readout_weight"].weight.grad.norm().item()
        assert weights[-1] == last
        ratios[residual] = weights[0] / last
    assert 1e-2 <= ratios["add"] <= 1e2
    assert ratios["none"] < 1e-8


def test_6_one_step_is_a_residual_net_of_binary_activations_whatever_the_leak():
    frames, found = frames_of(steps=1, dtype=torch.float64), []
    for decay in (0.874, 0.1):
        method = make(steps=1, decay=decay).double()
        found.append(method.scores(frames))
    layers = method.network.leaves()

    def weighted(x, name, norm):
        x = layers[name](x)
        one = torch.ones(x.shape[1]).double()
        return nn.functional.batch_norm(x, None, None, one, None, True, 0.1, layers[norm].eps)

    def fired(x, name, norm):
        return (weighted(x, name, norm) > 1).double()

    x = fired(frames[0], "weight_stem", "norm_stem")
    for i in (1, 2, 3):
        inner = fired(x, f"block{i}_weight1", f"block{i}_norm1")
        short = x if i == 1 else weighted(x, f"block{i}_weight_shortcut", f"block{i}_norm_shortcut")
        x = short + fired(inner, f"block{i}_weight2", f"block{i}_norm2")
    wanted = layers["readout_weight"](x.mean((2, 3)))
    for scores in found:
        torch.testing.assert_close(scores, wanted, atol=1e-12, rtol=0)


# layers and parameters ------------------------------------------------------------------------------------------------
def test_the_papers_net_has_37_and_2_convolutions_and_2_25_million_parameters(empty_data):
    options = ["experiment=sresnet_cifar10", "encoder.time_steps=2", "model.boost=false"]
    method = build(compose(options).config).method
    convolutions = leaves_of(method, nn.Conv2d)
    assert [layer.kernel_size for layer in convolutions.values()].count((3, 3)) == 37
    assert [n for n, layer in convolutions.items() if layer.kernel_size == (1, 1)] == [
        *("block7_weight_shortcut", "block13_weight_shortcut")
    ]
    assert {layer.stride for layer in convolutions.values()} == {(1, 1), (2, 2)}

    def conv(a, b, kernel=3):
        return a * b * kernel**2

    stages = (conv(3, 32) + 12 * conv(32, 32)) + (conv(32, 64) + conv(32, 64, 1) + 11 * conv(64, 64))
    weights = stages + (conv(64, 128) + conv(64, 128, 1) + 11 * conv(128, 128)) + 128 * 10
    gammas = 2 * (13 * 32 + 13 * 64 + 13 * 128)  # of two steps
    shifts = 2 * (64 + 128)  # the shortcuts' norms alone
    parameters = sum(p.numel() for p in method.parameters())
    assert parameters == weights + gammas + shifts == 2_248_864
    assert round(parameters / 1e6, 2) == 2.25
    assert not any(layer.bias is not None for layer in [*convolutions.values(), *leaves_of(method, nn.Linear).values()])
    weight = convolutions["block3_weight1"].weight  # Xavier uniform, gain 2
    bound = 2 * (6 / (9 * 32 + 9 * 32)) ** 0.5
    assert 0.99 * bound < weight.abs().max() <= bound


@pytest.mark.parametrize("shift", [False, True])
def test_shortcuts_keep_their_shift_under_either_reading(shift):
    norms = leaves_of(make(shift=shift), BatchNormThroughTime)
    with_shift = [name for name, norm in norms.items() if norm.beta is not None]
    assert with_shift == ([*norms] if shift else ["block2_norm_shortcut", "block3_norm_shortcut"])
    assert all(not norms[name].beta.any() and norms[name].beta.shape == norms[name].gamma.shape for name in with_shift)
    assert {(norm.eps, norm.momentum, norm.time_steps) for norm in norms.values()} == {(1e-4, 0.1, 4)}


@pytest.mark.parametrize("residual", PLACEMENTS)
@pytest.mark.parametrize("n", [0, 1, 2])
def test_every_placement_runs_step_by_step_as_it_does_at_once(residual, n):
    method = make(n=n, residual=residual, sides=(9, 7)).double().eval()
    frames = torch.rand(4, 2, 1, 9, 7, dtype=torch.float64)
    outputs, states = [], None
    for frame in frames:
        output, states = method.network.step(frame, states)
        outputs.append(output)
    torch.testing.assert_close(method.network(frames), torch.stack(outputs))
    torch.testing.assert_close(observe(method.network, frames).outputs, torch.stack(outputs))
    assert len(method.network.neurons()) == 1 + 6 * n + (2 * (n > 0) if residual in ("and", "iand") else 0)


def test_what_leaves_a_block_of_each_placement():
    frames = torch.rand(4, 6, 1, 8, 8) * 3
    for residual in PLACEMENTS:
        network = SResNet(3, 1, residual)(BLOCKS, (1, 8, 8), 2)
        kept: dict[str, torch.Tensor] = {}
        for name, layer in network.layers.items():
            layer.register_forward_hook(lambda _l, _i, out, name=name, kept=kept: kept.update({name: out}))
        with network.observe() as seen:
            network(frames)
        if residual in ("current", "none"):
            continue  # a neuron of the chain
        first, inner = kept["block1"], seen.get("block1_conv2")
        stem = kept.get("stem", kept["weight_stem"].unflatten(0, (4, 6)) if residual == "preactivation" else None)
        if residual == "add":
            assert torch.equal(first, stem + inner) and first.max() == 2
            values = kept["block2"]
            assert values.min() < 0 and not torch.equal(values, values.round())  # real behind a shortcut
        elif residual == "and":
            assert torch.equal(first, stem * inner)
        elif residual == "iand":
            assert torch.equal(first, ((stem == 1) & (inner == 0)).float())
        elif residual == "preactivation":
            body = network.layers["block1"].body
            assert torch.equal(first, stem + body(stem)) and "stem" not in network.layers
        if residual in ("and", "iand"):
            assert all(set(kept[f"block{i}"].unique().tolist()) <= {0.0, 1.0} for i in (1, 2, 3))


# the same numbers by the other method ---------------------------------------------------------------------------------
def test_stbp_with_the_same_parts_is_the_same_net():
    """Surrogate 0.3 max(0, 1 - |v - 1|), soft detached reset, a readout without a leak: gradients to the bit."""
    ours = make(shift=True)
    theirs = make(
        kind=STBP,
        norm="bntt",
        shift=True,
        threshold=1.0,
        reset="soft",
        detach_reset=True,
        surrogate="damped_triangle",
        width=1.0,
        bias=False,
        readout="leaky",
        readout_decay=0.0,
        criterion="cross_entropy",
    )
    theirs.network.load_state_dict(ours.network.state_dict())
    frames, labels, grads = frames_of(), torch.arange(6) % 3, []
    for method in (ours, theirs):
        method.loss(method.scores(frames), labels).backward()
        grads.append([parameter.grad for parameter in method.parameters()])
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    assert sum(grad.abs().sum() for grad in grads[0]) > 0


# counters, exports ----------------------------------------------------------------------------------------------------
def test_counters_multiply_where_a_block_reads_real_numbers():
    method = make(n=2).eval()
    network, frames = method.network, frames_of()
    edges = {edge.name: edge for edge in Chain(network).edges(spikes=False)}
    reading_spikes = [name for name, edge in edges.items() if edge.spikes]
    first_stage = [f"block{i}_weight{j}" for i in (1, 2) for j in (1, 2)]
    inner = [f"block{i}_weight2" for i in range(3, 7)]
    assert reading_spikes == [*first_stage, "block3_weight_shortcut", "block3_weight1", *inner]
    assert edges["block2_weight1"].sources == ("stem", "block1_conv2")
    cost, operations = Cost(), SynapticOperations()
    inputs = {}
    for name, edge in edges.items():
        edge.weight.layer.register_forward_hook(lambda _l, i, _o, name=name: inputs.update({name: i[0].detach()}))
    with cost.watch(network, frames, spiking_input=False), operations.watch(network, spiking_input=False):
        network(frames)
    assert inputs["block3_weight1"].max() == 3  # the sum of three layers of spikes
    adds = multiplies = 0.0
    for name, edge in edges.items():
        x = inputs[name]
        reach = edge.weight.reach(x[:1], edge.weight.used != 0).double()
        if name in reading_spikes:
            adds += (x.double() * reach).sum().item()  # a value of 2 is added twice
        else:
            active = 4 * (x != 0).double() if name == "weight_stem" and len(x) == 6 else (x != 0).double()
            multiplies += (active * reach).sum().item()
    found = cost.values()
    assert found["accumulates"].item() == pytest.approx(adds / 6)
    assert found["multiply_accumulates"].item() == pytest.approx(multiplies / 6)
    assert operations.compute().item() == pytest.approx(adds / 6)
    assert found["energy_joule"].item() == pytest.approx((4.6e-12 * multiplies + 0.9e-12 * adds) / 6)


def test_gammas_of_all_blocks_are_found():
    assert set(gamma_over_time(make(n=1).network)) == {
        "norm_stem",
        *(f"block{i}_norm{j}" for i in (1, 2, 3) for j in (1, 2)),
        "block2_norm_shortcut",
        "block3_norm_shortcut",
    }


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SResNet(n=-1), "SResNet: n = -1 must be at least 0 blocks of each stage"),
        (lambda: SResNet(channels=0), "SResNet: hidden = [0] needs at least 1 unit"),
        (lambda: SResNet(stem_stride=0), "SResNet: stem_stride = 0 must be at least 1"),
        (lambda: SResNet(residual="sum"), "SResNet: residual = 'sum' must be one of add, and, iand, current"),
        (lambda: SResNet(width=0), "SResNet: width = 0 must be positive"),
        (lambda: SResNet(4, 1)(BLOCKS, (20,), 2), "SResNet: input [20] has no picture to convolve"),
        (lambda: SResNet(4, 1, "iand")(RectifiedBlocks(True), (1, 8, 8), 2), "residual = iand is a logical function"),
        (lambda: Residual(nn.Identity(), None, "or"), "Residual: join = 'or' must be add, and or iand"),
    ],
)
def test_what_cannot_be_built_is_named(make, words):
    with pytest.raises(ValueError) as error:
        make()
    assert words in str(error.value)


@pytest.mark.parametrize("options", [{"residual": "and"}, {"residual": "add", "model": {"boost": True}}, {}])
def test_nir_has_the_sums_and_refuses_the_rest(options):
    nir = pytest.importorskip("nir")
    from snnlab.export.nir_graph import to_nir

    network = make(kind=STBP, **options).eval().network
    if options.get("residual") == "and":
        with pytest.raises(InputError, match="block1 joins its branches by and, and NIR's edges add"):
            to_nir(network, (1, 8, 8))
        return
    graph, _ = to_nir(network, (1, 8, 8))
    assert {("stem", "block2_weight1"), ("block1_conv2", "block2_weight1")} <= set(graph.edges)
    if "model" in options:
        assert isinstance(graph.nodes["boost"], nir.Linear) and graph.nodes["boost"].weight.shape == (3, 30)
        assert (graph.nodes["boost"].weight.sum(1) == pytest.approx(1)) and graph.nodes["boost"].weight[0, 10] == 0
