"""Every kind of weight keeps the contract: written then used, sent back as autograd does, fan-out counted by hand."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import register_parametrization

from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.layers.network import Network
from snnlab.metrics.synaptic_operations import SynapticOperations
from snnlab.weights.deep_rewiring import Rewired
from snnlab.weights.find import weight_of, weights_inside
from snnlab.weights.local import Local2d
from snnlab.weights.masked import Masked, keep_mask
from snnlab.weights.quantised import Rounded, keep_rounded
from snnlab.weights.signed import Signed, keep_signs
from snnlab.weights.standardised import Scaled, Standardised
from snnlab.weights.weight import WeightLayer

FORMS = {
    "linear": (lambda: nn.Linear(6, 4), (6,)),
    "linear without bias": (lambda: nn.Linear(6, 4, bias=False), (6,)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, padding=1), (2, 7)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 3, padding=1), (2, 5, 6)),
    "strided": (lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False), (2, 7, 6)),
    "dilated": (lambda: nn.Conv2d(2, 3, 3, dilation=2), (2, 7, 8)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (4, 5, 5)),
    "same": (lambda: nn.Conv2d(2, 3, 4, padding="same"), (2, 6, 6)),
    "circular": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 5, 5)),
    "conv3d": (lambda: nn.Conv3d(1, 2, 2, padding=1), (1, 3, 4, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1), (2, 4, 4)),
    "transposed in groups": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), (4, 5)),
    "local": (lambda: Local2d(2, 3, (5, 6), 3, padding=1), (2, 5, 6)),
    "local with stride": (lambda: Local2d(2, 3, (6, 5), 2, stride=2, bias=False), (2, 6, 5)),
}


@pytest.fixture(params=FORMS)
def form(request):
    make, shape = FORMS[request.param]
    torch.manual_seed(0)
    layer = make().double()
    return layer, weight_of(layer), torch.randn(3, *shape, dtype=torch.float64)


# form -----------------------------------------------------------------------------------------------------------------
def test_the_product_is_the_layer(form):
    layer, weight, x = form
    bias = None if weight.bias_values is None else weight.bias_values.used
    assert torch.equal(weight.product(x, weight.used, bias), layer(x))


def test_back_outer_and_sum_equal_autograd(form):
    layer, weight, x = form
    x.requires_grad_()
    y = layer(x)
    signal = torch.randn_like(y)
    wanted = torch.autograd.grad(y, [x, *layer.parameters()], signal)
    found = [weight.back(signal, x), weight.outer(signal, x)]
    if weight.bias_values is not None:
        found.append(weight.sum_of(signal))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_another_tensor_of_its_shape_is_a_feedback_path(form):
    _, weight, x = form
    other = torch.randn_like(weight.used)
    y = weight.product(x.requires_grad_(), other)
    signal = torch.randn_like(y)
    (wanted,) = torch.autograd.grad(y, x, signal)
    torch.testing.assert_close(weight.back(signal, x, other), wanted, atol=1e-12, rtol=0)


def test_fan_out_is_the_number_of_outputs_that_an_input_changes(form):
    layer, weight, x = form
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(1, 2)  # no synapse is 0
    fan_out = weight.fan_out(x).expand_as(x[:1]).flatten()
    for i in range(len(fan_out)):
        one = torch.zeros_like(x[:1]).flatten()
        one[i] = 1
        y = weight.product(one.view_as(x[:1]), weight.used)
        assert fan_out[i] == (y != 0).sum()


def test_it_counts_in_inference_mode_and_under_mixed_precision(form):
    layer, weight, x = form
    layer.float()
    wanted = weight.fan_out(x.float())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        shown = x.float() * 1
        assert torch.equal(weight.fan_out(shown), wanted)
        signal = torch.ones_like(weight.product(shown, weight.used)).float()
        assert weight.back(signal, shown).shape == x.shape
        assert weight.outer(signal, shown).shape == weight.used.shape


@pytest.mark.parametrize(
    ("layer", "shape", "wanted"),
    [
        # valid 3 x 3 windows on 5 x 5: a corner lies in 1, the middle in 9; 2 channels
        (nn.Conv2d(1, 2, 3), (1, 5, 5), {(0, 0): 2, (0, 2): 6, (2, 2): 18}),
        # dilation 2 on 6 x 6 leaves 2 x 2 windows: (0, 0) in one, (2, 2) in 1 of rows 0, 2, 4 times the same
        (nn.Conv2d(1, 1, 3, dilation=2), (1, 6, 6), {(0, 0): 1, (2, 2): 1, (1, 1): 1, (5, 5): 1}),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), (1, 4, 4), {(0, 0): 9, (1, 2): 9}),
        (nn.Conv2d(2, 4, 1, groups=2), (2, 2, 2), {(0, 0): 2}),  # not 4: its own group only
        (nn.ConvTranspose2d(1, 1, 2, stride=2), (1, 2, 2), {(0, 0): 4, (1, 1): 4}),
        (Local2d(1, 2, (4, 4), 3), (1, 4, 4), {(0, 0): 2, (1, 1): 8, (0, 1): 4}),
    ],
)
def test_fan_out_by_hand(layer, shape, wanted):
    fan_out = weight_of(layer).fan_out(torch.zeros(1, *shape))
    assert {place: int(fan_out[0, 0][place]) for place in wanted} == wanted


def test_a_dilated_convolution_counts_its_own_windows():
    layer, frames = nn.Conv2d(2, 3, 3, dilation=2, padding=2), torch.ones(1, 1, 2, 6, 6)
    rows = [2, 2, 3, 3, 2, 2]  # of the 3 taps, 2 apart, those that have an output in 6 rows
    counter, network = SynapticOperations(), Network([("weight", layer)])
    with counter.watch(network):
        network(frames)
    assert counter.compute().item() == 2 * 3 * sum(rows) ** 2


def test_fan_in_is_that_of_one_output():
    wanted = {"linear": 6, "conv2d": 18, "grouped": 18, "conv3d": 8, "local": 18, "transposed": 18}
    assert {name: weight_of(FORMS[name][0]()).fan_in for name in wanted} == wanted


def test_a_value_for_each_input_reaches_its_synapses(form):
    _, weight, x = form
    values = torch.arange(1.0, weight.inputs + 1, dtype=torch.float64)
    scaled = (values.view(-1, *[1] * (x.dim() - 2))) * x
    spread = weight.used * weight.per_input(values)
    torch.testing.assert_close(weight.product(x, spread), weight.product(scaled, weight.used), atol=1e-12, rtol=0)


def test_local_weights_are_a_convolution_where_all_places_share_them():
    conv, local = nn.Conv2d(2, 3, 3, stride=2, padding=1), Local2d(2, 3, (5, 7), 3, stride=2, padding=1)
    x = torch.randn(4, 2, 5, 7)
    with torch.no_grad():
        local.weight.copy_(conv.weight[:, None, None].expand_as(local.weight))
        local.bias.copy_(conv.bias[:, None, None].expand_as(local.bias))
    torch.testing.assert_close(local(x), conv(x))
    with pytest.raises(ValueError, match=r"kernel = 4 does not fit into \[3, 5\]"):
        Local2d(1, 1, (3, 5), 4)


# values ---------------------------------------------------------------------------------------------------------------
def signs():
    return torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, 1.0]).view(1, -1)


CONSTRAINTS = {
    "none": lambda: None,
    "rounded": lambda: Rounded(0.25, 4),
    "signed": lambda: Signed(signs()),
    "masked": lambda: Masked((torch.arange(24) % 3 > 0).float().view(4, 6)),
    "scaled": lambda: Scaled(2.0),
    "standardised": lambda: Standardised(torch.zeros(4, 6), 1.0),
    "rewired": lambda: Rewired(signs().expand(4, 6).clone(), torch.arange(24).view(4, 6) % 3 > 0),
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_written_values_are_used_as_the_constraint_makes_them(name):
    torch.manual_seed(0)
    layer, part, values = nn.Linear(6, 4), CONSTRAINTS[name](), torch.randn(4, 6)
    if part is not None:
        register_parametrization(layer, "weight", part)
    weight = weight_of(layer)
    assert weight.constrained == (part is not None) and weight.stored is next(
        p for n, p in layer.named_parameters() if n in ("weight", "parametrizations.weight.original")
    )
    weight.write(values)
    assert torch.equal(weight.used, values if part is None else part(values)) or name == "rewired"
    if name == "rewired":
        assert torch.equal(weight.used, signs() * values.abs() * part.active)


def test_a_rounded_weight_lies_on_levels_and_learns_between_them():
    layer = nn.Linear(1, 3, bias=False)
    layer.weight.data = torch.tensor([[0.3], [-2.0], [0.125]])
    register_parametrization(layer, "weight", Rounded(0.25, 3))  # levels -0.75 ... 0.75
    weight = weight_of(layer)
    assert weight.used.flatten().tolist() == [0.25, -0.75, 0.0]  # half to even
    values = weight.latent
    values += 0.05
    weight.write(values)
    assert weight.stored.flatten().tolist() == pytest.approx([0.35, -1.95, 0.175])
    assert weight.used.flatten().tolist() == [0.25, -0.75, 0.25]
    layer(torch.ones(1, 1)).sum().backward()
    assert weight.stored.grad.flatten().tolist() == [1, 1, 1]  # straight through


def test_a_signed_weight_is_moved_in_the_direction_of_the_rule():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[0.5, 0.5]])
    keep_signs(weight_of(layer), torch.tensor([True, False]))
    weight = weight_of(layer)
    assert weight.used.tolist() == [[0.5, -0.5]]
    values = weight.latent
    values += 0.125
    weight.write(values)
    assert weight.used.tolist() == [[0.625, -0.375]]
    weight.values.set_gradient(torch.tensor([[1.0, 1.0]]))  # dW/dV = sign of W times sign of V
    assert weight.stored.grad.tolist() == [[1.0, 1.0]]  # V is what was written


def test_a_rounded_and_signed_weight_goes_through_both():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[0.5, 0.5]])
    keep_signs(weight_of(layer), torch.tensor([True, False]))
    register_parametrization(layer, "weight", Rounded(0.25, 8))
    weight = weight_of(layer)
    values = weight.latent
    values += 0.0625
    weight.write(values)
    assert weight.stored.tolist() == [[0.5625, -0.4375]] and weight.used.tolist() == [[0.5, -0.5]]


def test_what_a_mask_leaves_out_stays_out():
    layer = nn.Linear(2, 1, bias=False)
    keep_mask(weight_of(layer), torch.tensor([[1, 0]]))
    weight = weight_of(layer)
    weight.write(torch.tensor([[3.0, 4.0]]))
    assert weight.used.tolist() == [[3, 0]]
    weight.values.set_gradient(torch.tensor([[1.0, 1.0]]))
    assert weight.stored.grad.tolist() == [[1, 0]]


def test_the_largest_weight_is_the_last_level():
    layer = nn.Linear(20, 10)
    largest = layer.weight.abs().max().item()
    keep_rounded(layer)
    levels = (weight_of(layer).used / (largest / 127)).detach()
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    assert levels.abs().max().round() == 127


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: Rounded(0.1, 1), "bits = 1 must lie in 2 to 16"),
        (lambda: Rounded(0.0), "step = 0.0 must be positive"),
        (lambda: keep_rounded(nn.Flatten()), "a Flatten has no weight to round"),
        (lambda: weight_of(weight_norm(nn.Linear(2, 2))).stored, "makes a weight of 2 tensors"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(act, words):
    with pytest.raises(InputError, match=words) as refusal:
        act()
    assert "\n" not in str(refusal.value)


class Pairs(WeightLayer):
    """W = plus - minus would be a constraint; this one is a product of two numbers per output, to show the defaults."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.tensor([[2.0], [3.0]])), nn.Parameter(torch.tensor([1.0, -1.0]))

    def product(self, x, weight, bias=None):
        y = x.sum(1, keepdim=True) * weight[:, 0]
        return y if bias is None else y + bias


def test_a_weight_of_ones_own_needs_its_tensors_and_its_product():
    layer = Pairs()
    weight, x = weight_of(layer), torch.tensor([[1.0, 2.0]])
    assert weight is layer and layer(x).tolist() == [[7, 8]]
    assert weight.fan_out(x).tolist() == [[2, 2]] and weight.back(torch.ones(1, 2), x).tolist() == [[5, 5]]
    assert weight.outer(torch.tensor([[1.0, 10.0]]), x).tolist() == [[3], [30]]
    assert weight.sum_of(torch.ones(4, 2)).tolist() == [4, 4]
    keep_rounded(layer, 8, 0.75)
    assert weight_of(layer).used.tolist() == [[2.25], [3.0]] and layer(x).tolist() == [[7.75, 8]]
    assert [name for name, _ in weights_inside(nn.Sequential(nn.ReLU(), nn.Sequential(layer)))] == ["1.0"]


class Plain(nn.Module):
    """A rounding whose derivative is 0, as somebody writes it first."""

    def forward(self, values):
        return torch.round(values * 127) / 127


@pytest.mark.parametrize("name", [name for name in CONSTRAINTS if name != "none"])
def test_gradients_pass_the_constraints_of_the_house(name):
    layer = nn.Linear(6, 4)
    register_parametrization(layer, "weight", CONSTRAINTS[name]())
    assert weight_of(layer).values.passes_gradient()


@pytest.mark.parametrize("method", ["stbp", "burstccn", "multispike_fast_deep"])
def test_a_constraint_without_a_gradient_is_refused_before_a_folder_is_made(method, monkeypatch, tmp_path, capsys):
    from hydra.utils import get_object

    from snnlab.train import main

    kind = get_object(compose([f"method={method}", "data=digits"]).config.method._target_)
    make, signature = kind.__init__, inspect.signature(kind)

    def limited(self, *args, **options):
        make(self, *args, **options)
        register_parametrization(self.network.layers["readout_weight"], "weight", Plain())

    monkeypatch.setattr(kind, "__init__", limited)
    monkeypatch.setattr(kind, "__signature__", signature, raising=False)
    monkeypatch.chdir(tmp_path)
    assert main([f"method={method}", "data=digits", "logger=none", "callbacks.progress=false"]) == 2
    error = capsys.readouterr().err
    assert "readout_weight: no gradient passes Plain" in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "outputs").exists()
