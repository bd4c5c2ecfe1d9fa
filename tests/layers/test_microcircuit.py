"""Stages of a rate network: what they send down is what autograd sends down, and odd layers are refused."""

import pytest
import torch
from torch import nn

from snnlab.errors import InputError
from snnlab.layers.microcircuit import EventRate, stages
from snnlab.layers.network import Network


def test_down_and_outer_equal_autograd_through_convolution_pool_and_flatten():
    torch.manual_seed(0)
    layers = [
        ("weight1", nn.Conv2d(2, 3, 3, padding=1)),
        ("norm1", nn.Identity()),
        ("conv1", EventRate()),
        ("pool1", nn.AvgPool2d(2)),  # 7 x 7 to 3 x 3: a row and a column are not pooled
        ("weight2", nn.Conv2d(3, 4, 2, stride=1)),
        ("conv2", EventRate()),
        ("pool2", nn.AvgPool2d(2)),
        ("flatten", nn.Flatten()),
        ("weight3", nn.Linear(4, 5)),
        ("readout", EventRate()),
    ]
    chain = stages(Network(layers).double(), "burstccn")
    assert [stage.name for stage in chain] == ["weight1", "weight2", "weight3"]
    below = torch.rand(6, 2, 7, 7, dtype=torch.float64)
    for stage in chain:
        below.requires_grad_()
        x = stage.gather(below)
        v = stage.weight.layer(x)
        signal = torch.randn_like(v)
        wanted = torch.autograd.grad(v, (below, stage.weight.stored, stage.weight.bias_values.stored), signal)
        got = (
            stage.down(signal, stage.weight.used, x, below),
            stage.weight.outer(signal, x),
            stage.weight.sum_of(signal),
        )
        for a, b in zip(got, wanted, strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
        below = stage.rate(v).detach()


def test_the_slope_of_a_rate_is_its_derivative():
    v = torch.linspace(-4, 4, 9, dtype=torch.float64, requires_grad=True)
    rate = EventRate()(v)
    rate.sum().backward()
    torch.testing.assert_close(EventRate().slope(rate.detach()), v.grad, atol=1e-15, rtol=0)
    torch.testing.assert_close(EventRate().gate(rate.detach()) * rate.detach(), v.grad, atol=1e-15, rtol=0)


@pytest.mark.parametrize("odd", [nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2)])
def test_a_layer_that_is_no_part_of_a_stage_is_refused_by_name(odd):
    network = Network([("weight", nn.Linear(2, 2)), ("odd", odd), ("rate", EventRate())])
    with pytest.raises(InputError, match=f"layer odd of this model is {type(odd).__name__}; use model=mlp"):
        stages(network, "burstccn")


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([nn.Linear(4, 4), EventRate(), nn.Linear(4, 2)], "no rates follow the weight layer2"),
        ([nn.AvgPool2d(3, 2), nn.Linear(4, 4), EventRate()], "windows that are not square and side by side"),
        ([nn.AvgPool2d((2, 3)), nn.Linear(4, 4), EventRate()], "windows that are not square"),
    ],
)
def test_forms_that_are_not_sent_back_are_refused(layers, words):
    network = Network([(f"layer{i}", layer) for i, layer in enumerate(layers)])
    with pytest.raises(InputError, match=words):
        stages(network, "burstccn")


FORMS = {
    "dilation": nn.Conv2d(4, 4, 3, dilation=2),
    "groups": nn.Conv2d(4, 4, 3, groups=2),
    "circular": nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    "same": nn.Conv2d(4, 4, 3, padding="same"),
}


@pytest.mark.parametrize("form", FORMS)
def test_convolutions_of_any_form_are_sent_back_as_autograd_does(form):
    torch.manual_seed(0)
    (stage,) = stages(Network([("weight", FORMS[form]), ("rate", EventRate())]).double(), "burstccn")
    below = torch.rand(3, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    v = stage.weight.layer(stage.gather(below))
    signal = torch.randn_like(v)
    wanted = torch.autograd.grad(v, (below, stage.weight.stored), signal)
    got = stage.down(signal, stage.weight.used, below, below), stage.weight.outer(signal, below)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
