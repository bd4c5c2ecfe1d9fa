"""A limit on a weight or a bias that a rule cannot honour is refused in one line; no update is lost without a word."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import register_parametrization

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.layers.chain import Chain
from snnlab.runs.wiring import make_trainer
from snnlab.weights.quantised import keep_rounded
from snnlab.weights.standardised import Scaled

FEW = [
    "data=digits",
    "logger=none",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
]
WRITERS = ("biolcnet", "desire_bp", "pal", "blitnet", "vdsp", "ssnn_bp", "multispike_fast_deep", "multispike_timing")


class Plain(nn.Module):
    def forward(self, x):
        return torch.round(x * 64) / 64


class Detached(nn.Module):
    def forward(self, x):
        return torch.round(x.detach() * 64) / 64


class Turned(nn.Module):
    def forward(self, x):
        return -x


def method(name, *more):
    parts = build(compose([f"method={name}", *FEW, *more]).config)
    return parts, next(iter(Chain(parts.method.network).weights().values())).layer


@pytest.mark.parametrize("limit", [Plain(), Detached()], ids=["plain", "detached"])
@pytest.mark.parametrize("what", ["weight", "bias"])
def test_a_rounding_that_no_gradient_passes(limit, what):
    parts, layer = method("stbp")
    register_parametrization(layer, what, limit)
    with pytest.raises(InputError, match=f"no gradient passes {type(limit).__name__}, which makes its {what}"):
        parts.method.check_weights()


def test_one_that_is_put_on_after_the_method_was_made_is_refused_where_training_starts():
    parts, layer = method("stbp")
    register_parametrization(layer, "weight", Plain())
    trainer = make_trainer(parts.config, None, [], [])
    with pytest.raises(InputError, match="no gradient passes Plain"):
        trainer.fit(parts.method, datamodule=parts.data)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("limit", [Turned(), Scaled(2.0)], ids=["turned", "scaled"])
def test_a_rule_that_writes_refuses_another_sign_or_size(name, limit):
    parts, layer = method(name)
    register_parametrization(layer, "weight", limit)
    with pytest.raises(InputError, match=f"{type(limit).__name__} makes its weight of another size, sign"):
        parts.method.check_weights()


@pytest.mark.parametrize("name", WRITERS)
def test_a_straight_rounding_is_taken(name):
    parts, layer = method(name)
    keep_rounded(layer, 8)
    parts.method.check_weights()


def test_two_tensors_learn_by_gradients_and_not_by_a_rule_that_writes():
    parts, layer = method("stbp")
    weight_norm(layer)
    parts.method.check_weights()
    parts, layer = method("ssnn_bp")
    weight_norm(layer)
    with pytest.raises(InputError, match="number of tensors"):
        parts.method.check_weights()


def test_many_synapses_are_counted_in_16_bits_too():
    layer = nn.Conv2d(3, 301, 3, padding=1).to(torch.bfloat16)
    weight = next(iter(Chain(chain_of(layer)).weights().values()))
    assert float(weight.fan_out(torch.zeros(1, 3, 5, 5)).max()) == 9 * 301


def chain_of(layer):
    from snnlab.layers.network import Network

    return Network([("conv", layer)])
