"""Weights on levels: hand-worked numbers, which levels there are, and that what is learned passes straight through."""

import math

import pytest
import torch
from torch import nn

from snnlab.errors import InputError
from snnlab.weights.fan_in import Largest
from snnlab.weights.find import weight_of
from snnlab.weights.levels import Levels, OnLevels, keep_on_levels, typed

INT8 = OnLevels(Levels(-127, 127))
LOIHI = OnLevels(Levels(-255, 255), Levels(-256, 254, 2), power_of_two=True)


def test_eight_bits_by_hand():
    levels, unit = INT8.of(torch.tensor([[1.27, -0.004, 0.006, -1.0]]))
    assert levels.tolist() == [[127, 0, 1, -100]] and unit.item() == pytest.approx(0.01)


def test_four_bits_clip_what_is_rare():
    values = torch.cat([torch.full((1, 99), 0.1), torch.tensor([[5.0]])], 1)
    levels, unit = OnLevels(Levels(-8, 7)).of(values)
    assert unit.item() == pytest.approx(2 * 0.149 / math.sqrt(7))
    assert levels[0, 0] == 1 and levels[0, -1] == 7


def test_ternary_and_binary_by_hand():
    values = torch.tensor([[1.0, -0.5, 0.1, 0.0]])  # 0.7 of the mean size is 0.28
    levels, unit = OnLevels(Levels(-1, 1)).of(values)
    assert levels.tolist() == [[1, -1, 0, 0]] and unit.item() == 0.75
    levels, unit = OnLevels(Levels(-1, 1, zero=False)).of(values)
    assert levels.tolist() == [[1, -1, 1, 1]] and unit.item() == pytest.approx(0.4)


def test_a_chips_layer_of_both_signs_holds_even_weights_and_one_of_a_single_sign_all():
    both, unit = LOIHI.of(torch.tensor([[-1.0, 0.13, 0.992, 0.0118]]))
    assert unit.item() == 2**-8 and both.tolist() == [[-256, 34, 254, 4]]  # 0.13 is 33.28 units, 0.0118 is 3.02
    one, unit = LOIHI.of(torch.tensor([[1.0, 0.13, 0.992, 0.0118]]))
    assert unit.item() == 2**-7 and one.tolist() == [[128, 17, 127, 2]]
    values = torch.randn(40, 40)
    levels, unit = LOIHI.of(values)
    assert levels.min() >= -256 and levels.max() <= 254 and not (levels % 2).any()
    assert math.log2(unit).is_integer()
    for sign in (1, -1):
        levels, _ = LOIHI.of(sign * values.abs())
        assert (sign * levels).min() >= 0 and levels.abs().max() <= 255 and (levels % 2).any()


@pytest.mark.parametrize(("low", "high", "most"), [(-127, 127, 255), (-8, 7, 16), (-1, 1, 3)])
@pytest.mark.parametrize("unit", ["layer", "output"])
def test_as_many_values_as_there_are_levels(low, high, most, unit):
    values = torch.randn(6, 500, generator=torch.Generator().manual_seed(0))
    used = OnLevels(Levels(low, high), unit=unit)(values)
    groups = [used] if unit == "layer" else list(used)
    assert all(len(group.unique()) <= most for group in groups)
    assert torch.equal(used, OnLevels(Levels(low, high), unit=unit)(values))


def test_a_layer_of_zeros_has_zeros():
    for made in (INT8, LOIHI, OnLevels(Levels(-1, 1)), OnLevels(Levels(-8, 7), unit="output")):
        assert not made(torch.zeros(3, 4)).any()


def test_the_gradient_passes_straight_through_and_small_steps_add_up():
    layer = nn.Linear(4, 3, bias=False)
    weight = weight_of(layer)
    keep_on_levels(weight, OnLevels(Levels(-8, 7)))
    assert weight.values.passes_gradient() and weight.values.straight()
    signal = torch.randn(3, 4)
    (layer.weight * signal).sum().backward()
    assert torch.equal(layer.parametrizations.weight.original.grad, signal)
    before = weight.used.clone()
    for _ in range(50):
        values = weight.latent
        values[0, 0] += 0.005
        weight.write(values)
    assert weight.used[0, 0] > before[0, 0]


def test_a_unit_keeps_between_its_bounds():
    made = OnLevels(Levels(-128, 127), power_of_two=True, least=2**-7, most=2**-7)
    levels, unit = made.of(torch.tensor([[3.0, 0.5, 0.001]]))
    assert unit.item() == 2**-7 and levels.tolist() == [[127, 64, 0]]


def test_types_give_each_neuron_one_value_a_type():
    values = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    made = typed(values, 4)
    for row in made:
        for kind in range(4):
            assert len(set(row[kind::4].tolist()) - {0.0}) == 1
    assert typed(torch.tensor([[1.0, 0.0, 0.8, 0.0]]), 2).tolist()[0] == pytest.approx([0.9, 0.0, 0.9, 0.0])
    with pytest.raises(InputError):
        OnLevels(Levels(-255, 255), types=4)


def test_the_largest_of_each_neuron_are_kept():
    values = torch.tensor([[0.1, -0.9, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    used = Largest(2)(values)
    assert used.tolist()[0] == pytest.approx([0, -0.9, 0.5, 0])
    used.sum().backward()
    assert torch.equal(values.grad, torch.ones(2, 4))
    with pytest.raises(InputError):
        Largest(0)
