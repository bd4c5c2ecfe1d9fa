"""The AHP neuron in whole numbers: integer and float arithmetic agree, and the rounding is the one that is stated."""

import pytest
import torch

from snnlab.neurons.ahp import AHP
from snnlab.neurons.integer_ahp import ONE, IntegerAHP, keep

RELEASED = {"decay_v": int(ONE / 20), "decay_a": int(ONE / 700), "threshold": 127 * 64}


def random_currents(steps, units, seed=0):
    """Weights of 8 bits and a sign behind random spikes, in the unit of the membrane."""
    rng = torch.Generator().manual_seed(seed)
    weights = torch.randint(-255, 256, (units, 40), generator=rng)
    spikes = (torch.rand(steps, 4, 40, generator=rng) < 0.1).long()
    return 64 * (spikes @ weights.T)


def test_a_decay_is_cut_towards_zero():
    x = torch.tensor([1000, -1000, 1, -1, 0, 4096])
    expected = [949, -949, 0, 0, 0, 3891]  # 1000 * 3891 / 4096 = 949.95
    assert keep(x, 205).tolist() == expected
    assert keep(x.double(), 205).tolist() == expected
    assert keep(x, 0).tolist() == x.tolist() and keep(x, ONE).tolist() == [0] * 6


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("bits", [24, 14])
def test_integer_and_float_arithmetic_agree(reset, bits):
    """Card, invariant 4: |w| <= 255, 12-bit decays; every spike and every state, the clip of 14 bits included."""
    currents, w_a = random_currents(1500, 30), torch.where(torch.arange(30) < 15, 0, 96)
    whole, rounded = (
        IntegerAHP(w_a, **RELEASED, reset=reset, bits=bits, arithmetic=a).unroll(currents) for a in ("integer", "float")
    )
    assert whole[0].sum() > 1000 and whole[0][..., 15:].sum() < whole[0][..., :15].sum()
    assert torch.equal(whole[0], rounded[0])
    for integer, number in zip(whole[1], rounded[1], strict=True):
        assert integer.dtype == torch.int64 and number.dtype == torch.float64
        assert torch.equal(integer, number.long())
    assert (whole[1].v.abs().max() <= 2 ** (bits - 1) - 1).item()


def test_the_clip_holds_the_membrane():
    neuron = IntegerAHP(torch.zeros(1), 0, 0, 8128, bits=14)
    _, states = neuron.unroll(torch.full((3, 1, 1), -5000))
    assert states.v.flatten().tolist() == [-5000, -8191, -8191]


def test_whole_numbers_follow_the_real_neuron():
    """12 bits of a decay and whole numbers move a few spikes by a step or so, and hardly change how many there are."""
    currents = random_currents(300, 20)
    whole = IntegerAHP(torch.full((20,), 96), **RELEASED, reset="soft").unroll(currents)[0]
    real = AHP(20, ahp=1.0, threshold=8128.0).double().unroll(currents.double())[0]
    assert real.sum() > 2000 and (whole != real).double().mean() < 0.03
    assert whole.sum().item() == pytest.approx(real.sum().item(), rel=0.02)


def test_no_floating_point_number_is_in_the_integer_form():
    neuron = IntegerAHP(torch.tensor([0, 96]), **RELEASED)
    state = neuron.initial_state(torch.zeros(1, 2, dtype=torch.int64))
    spikes, state = neuron.step(torch.tensor([[9000, 9000]]), state)
    assert spikes.tolist() == [[1, 1]] and {part.dtype for part in (spikes, *state)} == {torch.int64}
    _, state = neuron.step(torch.tensor([[100, 100]]), state)
    assert state.a.tolist() == [[0, -4 * 96]] and state.v.tolist() == [[100, 4 * 4]]  # the AHP unit counts in quarters


@pytest.mark.parametrize(("finer", "forgotten", "pull"), [(1, 97, 0.0), (4, 385, -0.126)])
def test_one_spike_is_remembered_for_as_long_as_whole_numbers_allow(finer, forgotten, pull):
    """a loses 1 a step by the cut: 96 is gone in step 97, four times 96 in step 385. Real numbers pull -0.184."""
    neuron = IntegerAHP(torch.tensor([96]), **RELEASED, finer=finer)
    currents = torch.zeros(400, 1, 1, dtype=torch.int64)
    currents[0] = 9000  # the spike; v is set to 0
    spikes, states = neuron.unroll(currents)
    assert spikes.flatten().nonzero().flatten().tolist() == [0]
    a, v = states.a.flatten(), states.v.flatten()
    assert a[1] == -96 * finer and int((a[1:] == 0).nonzero()[0]) + 1 == forgotten
    assert (v[200] / (finer * 127 * 64)).item() == pytest.approx(pull, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decay_v": 5000}, "decay_v = 5000 must lie in 0 to 4096"),
        ({"threshold": 0}, "threshold = 0 must be at least 1"),
        ({"bits": 60}, "bits = 60 must lie in 8 to 41"),
        ({"arithmetic": "roman"}, "arithmetic = 'roman' must be integer or float"),
        ({"reset": "none"}, "reset = 'none' must be soft or hard"),
        ({"finer": 0}, "finer = 0 must lie in 1 to 64"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(ValueError, match=words):
        IntegerAHP(torch.zeros(2), **{**RELEASED, **options})
