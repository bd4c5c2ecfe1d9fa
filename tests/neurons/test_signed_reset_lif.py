"""Neurons of VDSP against closed forms: signed reset, refractory time, winner-take-all, adaptation."""

import math

import pytest
import torch

from snnlab import kernels
from snnlab.neurons.signed_reset_lif import SignedResetLIF
from snnlab.neurons.winner_take_all_lif import WinnerTakeAllLIF
from take import take

TAU = 0.06


def drive(neuron, current, steps):
    return neuron.unroll(torch.full((steps, 1, 1), current, dtype=torch.float64))


def test_below_the_threshold_v_approaches_the_drive():
    _, states = drive(SignedResetLIF(gain=2.0, bias=0.1), 0.3, 20)
    assert states.v[-1].item() == pytest.approx(0.7 * (1 - math.exp(-20 * 0.005 / TAU)), abs=1e-12)


def test_a_case_made_by_hand():
    # drive 2, 5 ms: v = 2 (1 - exp(-k / 12)) reaches 1 at k = 12 ln 2 = 8.3, that is at the 9th step
    spikes, states = drive(SignedResetLIF(), 1.0, 12)
    assert spikes.flatten().nonzero().flatten().tolist() == [8]
    assert states.v[8].item() == -1
    assert states.v[9].item() == pytest.approx(-1 + 3 * (1 - math.exp(-0.003 / TAU)), abs=1e-12)  # 2 of 5 ms rest
    assert states.v[10].item() == pytest.approx(2 - 3 * math.exp(-0.008 / TAU), abs=1e-12)


@pytest.mark.parametrize("refractory", [0.0, 0.012])
@pytest.mark.parametrize("current", [0.6, 3.0])
def test_3_v_crosses_0_at_t0_after_the_refractory_period(refractory, current):
    step, j = 1e-4, 2 * current
    spikes, states = drive(SignedResetLIF(tau_refractory=refractory, time_step=step), current, 3000)
    first, second = spikes.flatten().nonzero().flatten()[:2].tolist()
    v = states.v.flatten()[first : second + 1]
    t0 = TAU * math.log((j + 1) / j)
    crossing = step * (v >= 0).nonzero()[0].item()
    assert crossing == pytest.approx(refractory + t0, abs=2 * step)
    t = step * torch.arange(len(v) - 1) - refractory  # V(t) = J - (J + 1) exp(-t / tau)
    expected = torch.where(t > 0, j - (j + 1) * torch.exp(-t.double() / TAU), -1.0)
    torch.testing.assert_close(v[:-1], expected, atol=1e-5, rtol=0)


def test_v_has_a_floor():
    _, states = drive(SignedResetLIF(), -10.0, 50)
    assert states.v.min().item() == -1.8


def test_fused_and_step_by_step_agree(monkeypatch):
    torch.manual_seed(0)
    neuron, currents = SignedResetLIF(gain=6.0, bias=0.5, tau_refractory=0.012), torch.rand(70, 4, 300)
    outputs = []
    for enabled in (True, False):
        take(monkeypatch, enabled)
        outputs.append(neuron(currents))
        assert ("SignedResetLIF" in kernels.current().fused) is enabled
    assert torch.equal(*outputs) and outputs[0].sum() > 1000


def winners(currents, **options):
    layer = WinnerTakeAllLIF(currents.shape[-1], tau_synapse=0.0, tau_refractory=0.0, **options).double()
    return layer.unroll(currents.double())


def test_5_at_most_one_output_spike_per_step():
    torch.manual_seed(0)
    for inhibition_time in (0.0, 0.01, 0.05):
        spikes, _ = winners(20 * torch.rand(100, 8, 12), inhibition_time=inhibition_time)
        assert spikes.sum(-1).max() == 1 and set(spikes.unique().tolist()) == {0, 1} and spikes.sum() > 400


def test_the_neuron_of_largest_v_wins_and_holds_the_others_at_0():
    current = torch.tensor([[5.0, 7.0, 6.0, 7.0]]).expand(12, 1, 4)
    spikes, states = winners(current, gain=1.0, inhibition_time=0.01, adaptation=0.0)
    first = spikes[:, 0].sum(-1).nonzero()[0].item()
    assert spikes[first, 0].tolist() == [0, 1, 0, 0]  # the first of equals
    assert states.v[first, 0].tolist() == [0, -1, 0, 0]
    assert states.v[first + 1, 0, [0, 2, 3]].tolist() == states.v[first + 2, 0, [0, 2, 3]].tolist() == [0, 0, 0]
    pull = 1 - math.exp(-0.005 / TAU)
    assert states.v[first + 1, 0, 1].item() == pytest.approx(-1 + 8 * pull, abs=1e-12)  # the winner goes on
    assert states.v[first + 3, 0, 0].item() == pytest.approx(5 * pull, abs=1e-12)
    assert first + 3 <= 11


def test_adaptation_counts_spikes_and_decays():
    current = torch.tensor([[4.0]]).expand(60, 1, 1)
    spikes, states = winners(current, adaptation=0.5, tau_adaptation=0.1, inhibition_time=0.0)
    n, expected = 0.0, []
    for spike in spikes.flatten().tolist():
        n += -0.05 * n + 0.5 * spike
        expected.append(n)
    torch.testing.assert_close(states.adaptation.flatten(), torch.tensor(expected).double())
    gaps = spikes.flatten().nonzero().flatten().diff()
    assert gaps[-1] > gaps[0]  # it tires


def test_adaptation_starts_where_it_was_left():
    layer = WinnerTakeAllLIF(2, tau_synapse=0.0)
    layer.adaptation_start[0] = 5.0
    spikes = layer(torch.full((30, 1, 2), 2.0))
    assert spikes[:, 0, 1].sum() > 0 and spikes[:, 0].sum(-1).nonzero()[0] == spikes[:, 0, 1].nonzero()[0]
    assert "adaptation_start" in layer.state_dict()


def test_the_synaptic_current_is_filtered():
    layer = WinnerTakeAllLIF(1, tau_synapse=0.005).double()
    _, states = layer.unroll(torch.tensor([1.0, 0, 0]).double().view(3, 1, 1))
    k = math.exp(-1)
    torch.testing.assert_close(states.current.flatten(), (1 - k) * torch.tensor([1, k, k * k]).double())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SignedResetLIF(tau_membrane=0.0), "tau_membrane = 0.0 must be positive"),
        (lambda: SignedResetLIF(tau_refractory=-1.0), "tau_refractory = -1.0"),
        (lambda: SignedResetLIF(v_reset=0.5), "v_reset = 0.5 < 0 is needed"),
        (lambda: WinnerTakeAllLIF(0), "features = 0"),
        (lambda: WinnerTakeAllLIF(2, tau_adaptation=0.001), "at least a step of 0.005 s"),
        (lambda: WinnerTakeAllLIF(2, inhibition_time=-1.0), "inhibition_time = -1.0"),
        (lambda: WinnerTakeAllLIF(2, adaptation=-1.0), "adaptation = -1.0"),
    ],
)
def test_bad_arguments_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_state_of_another_batch_is_refused():
    layer = WinnerTakeAllLIF(3)
    state = layer.initial_state(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="start the batch with initial_state"):
        layer.step(torch.zeros(4, 3), state)
