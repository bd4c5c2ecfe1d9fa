"""What an inference costs, against numbers counted by hand."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from snnlab.layers.feedback import Feedback
from snnlab.layers.network import Network
from snnlab.layers.recurrent import Recurrent
from snnlab.layers.residual import Residual
from snnlab.layers.trace import Traced
from snnlab.metrics.activation_sparsity import ActivationSparsity
from snnlab.metrics.connection_sparsity import ConnectionSparsity
from snnlab.metrics.cost import Cost
from snnlab.metrics.energy import Energy
from snnlab.metrics.membrane_updates import MembraneUpdates
from snnlab.metrics.memory import Memory
from snnlab.metrics.operations import Operations
from snnlab.metrics.sizes import sizes
from snnlab.neurons.alif import ALIF
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.neurons.ltc import LTC
from snnlab.weights.find import weight_of
from snnlab.weights.masked import keep_mask


class Step(nn.Module):
    """Levels a hundredth apart, as of a constraint that stores what it rounds."""

    def forward(self, stored):
        return (100 * stored).round() / 100


def counted(network, frames, spiking=True, way="forward", **more):
    """accumulates, multiply_accumulates and dense_operations of an inference."""
    counter = Operations()
    with torch.no_grad(), counter.watch(network, frames, spiking, **more):
        if way == "forward":
            network(frames)
        else:
            states = None
            for frame in frames:
                _, states = network.step(frame, states)
    return tuple(value.item() for value in counter.compute().values())


def ones(layer):
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    return layer


def test_spikes_accumulate():
    spikes = torch.zeros(4, 2, 20)
    spikes[0, 0, :3] = 1
    spikes[2, 0, 5:7] = 1
    spikes[3, 1, 0] = -1  # a signed spike subtracts
    assert counted(Network([("weight", nn.Linear(20, 50))]), spikes) == (6 * 50 / 2, 0, 4 * 20 * 50)


def test_direct_coding_multiplies_at_every_step_and_what_follows_accumulates():
    network = Network(
        [
            ("first", ones(nn.Linear(3, 4))),
            ("lif", LIF(0.5, 0.1)),
            ("second", nn.Linear(4, 6)),
            ("out", Integrator(0.5)),
        ]
    )
    image = torch.tensor([[0.5, 0.0, 0.25]])
    assert counted(network, image.expand(5, 1, 3), False) == (5 * 4 * 6, 5 * 2 * 4, 5 * (3 * 4 + 4 * 6))
    assert counted(network, image.repeat(5, 1, 1), False) == (5 * 4 * 6, 5 * 2 * 4, 5 * (3 * 4 + 4 * 6))
    black_and_white = torch.tensor([[1.0, 0.0, 1.0]]).expand(5, 1, 3)
    assert counted(network, black_and_white, False)[:2] == (5 * 4 * 6, 5 * 2 * 4)  # an image, whatever its values


def test_convolutions_leave_out_padding():
    network = Network([("conv", nn.Conv2d(1, 2, 3, padding=1))])
    frames = torch.zeros(1, 1, 1, 4, 4)
    frames[0, 0, 0, 0, 0] = 1  # a corner reaches 4 places of each of 2 channels
    frames[0, 0, 0, 1, 1] = 1  # the inside reaches 9
    every = 2 * (4 * 4 + 8 * 6 + 4 * 9)  # corners, edges, inside
    assert counted(network, frames) == (2 * (4 + 9), 0, every)
    assert counted(network, frames / 2, False) == (0, 2 * (4 + 9), every)


def test_pooled_spikes_multiply_and_counts_accumulate():
    network = Network([("pool", nn.AvgPool2d(2)), ("flatten", nn.Flatten()), ("weight", nn.Linear(2, 7))])
    frames = torch.zeros(1, 1, 1, 2, 4)
    frames[..., 0, 0] = 1  # 0.25 behind the pool
    frames[..., 2:] = 1  # 1 behind the pool
    assert counted(network, frames) == (0, 2 * 7, 2 * 7)
    largest = Network([("pool", nn.MaxPool2d(2)), ("flatten", nn.Flatten()), ("weight", nn.Linear(2, 7))])
    assert counted(largest, frames) == (2 * 7, 0, 2 * 7)
    assert counted(Network([("weight", nn.Linear(2, 5))]), torch.tensor([[[2.0, 0.0]]])) == (10, 0, 10)


@pytest.mark.parametrize("way", ["forward", "step"])
@pytest.mark.parametrize("trace", [False, True])
def test_a_loop_counts_at_every_step(trace, way):
    torch.manual_seed(0)
    below, back = nn.Linear(5, 4), nn.Linear(4, 4)
    if trace:
        below, back = Traced(below, 0.5), Traced(back, 0.5)
    network = Network([("weight", below), ("lif", Recurrent(LIF(0.9, 0.2), back))])
    frames = (torch.rand(6, 3, 5) < 0.5).float()
    with network.observe() as seen, torch.no_grad():
        network(frames)
    adds, multiplies, dense = counted(network, frames, way=way)
    assert adds == pytest.approx((frames.sum() * 4 + seen["lif"][:-1].sum() * 4).item() / 3) and multiplies == 0
    assert dense == 6 * (5 * 4 + 4 * 4)  # at the first step silence returns
    found = sizes(network, frames)
    assert list(found.macs.values()) == [20, 16]
    assert found.neurons == found.spiking == found.states == {"lif": 4}


def test_a_sum_of_spikes_is_a_count_and_a_feedback_path_is_part_of_the_network():
    body = Network([("body_weight", ones(nn.Linear(2, 2))), ("body_lif", LIF(0.5, 0.1))])
    network = Network([("sum", Residual(body)), ("weight", nn.Linear(2, 3))])
    assert counted(network, torch.ones(1, 1, 2)) == (2 * 2 + (2 + 2) * 3, 0, 2 * 2 + 2 * 3)
    loop = Feedback(Network([("lif", LIF(0.5, 0.1))]), Network([("back", nn.Linear(2, 2))]))
    network = Network([("weight", ones(nn.Linear(3, 2))), ("loop", loop)])
    assert counted(network, torch.ones(4, 1, 3))[0] == 4 * 3 * 2 + 3 * 2 * 2  # the last spikes return nowhere
    assert sizes(network, torch.ones(4, 1, 3)).macs == {"weight": 6, "loop_back": 4}


def test_weights_of_0_and_masked_ones_are_dense_operations_only():
    layer = nn.Linear(3, 2)
    keep_mask(weight_of(layer), torch.tensor([[1.0, 1, 1], [1, 0, 0]]))
    assert counted(Network([("weight", layer)]), torch.ones(1, 1, 3)) == (4, 0, 6)
    layer = ones(nn.Linear(3, 2))
    layer.weight.data[0] = 0
    network = Network([("weight", layer)])
    assert counted(network, torch.ones(1, 1, 3)) == (3, 0, 6)
    sparsity = ConnectionSparsity()
    sparsity.update(network)
    assert sparsity.compute().item() == 0.5


def test_weights_beside_the_network_multiply():
    network = Network([("weight", nn.Linear(2, 3))])
    reader = nn.Linear(3, 4)
    counter = Operations()
    with torch.no_grad(), counter.watch(network, torch.ones(1, 1, 2), True, {"reader": weight_of(reader)}):
        reader(network(torch.ones(1, 1, 2))[0])
    assert counter.compute()["accumulates"] == 2 * 3 and counter.compute()["multiply_accumulates"] == 3 * 4


def test_gates_of_liquid_neurons_multiply():
    network = Network([("weight", ones(nn.Linear(2, 3))), ("ltc", LTC(3, strength=0.0))])
    adds, multiplies, _ = counted(network, torch.ones(4, 1, 2))
    assert adds == 4 * 2 * 3 and multiplies == 4 * 3 * 3  # currents, never 0; hard reset: v is 0 at every step
    maps = Network([("conv", ones(nn.Conv2d(1, 3, 1))), ("ltc", LTC(3, strength=0.0))])
    assert counted(maps, torch.ones(4, 1, 1, 2, 2))[1] == 4 * 4 * 3 * 3


def test_batches_of_another_size_and_a_test_in_inference_mode():
    torch.manual_seed(0)
    network = Network([("conv", nn.Conv2d(1, 2, 3, padding=1)), ("lif", LIF(0.5, 0.1)), ("more", nn.Conv2d(2, 3, 2))])
    frames = (torch.rand(3, 5, 1, 4, 4) < 0.5).float()
    counter = Operations()
    with torch.inference_mode():
        for part in (frames[:, :2], frames[:, 2:]):
            with counter.watch(network, part):
                network(part)
    assert tuple(value.item() for value in counter.compute().values()) == pytest.approx(counted(network, frames))


def test_counting_changes_no_number_of_the_network():
    torch.manual_seed(0)
    layers = [
        ("flatten", nn.Flatten()),
        ("weight", nn.Linear(64, 32)),
        ("lif", LIF(0.8, 0.2)),
        ("out", nn.Linear(32, 9)),
    ]
    network = Network(layers)
    frames = torch.rand(16, 1, 8, 8).expand(7, 16, 1, 8, 8)
    with torch.no_grad():
        alone = network(frames)
        random = torch.random.get_rng_state()
        with Cost().watch(network, frames, False):
            beside = network(frames)
    assert torch.equal(alone, beside) and torch.equal(random, torch.random.get_rng_state())


def test_membranes_of_silent_neurons_are_updated_too():
    updates = MembraneUpdates()
    updates.update(7, 5, 2)
    updates.update(7, 10, 2)
    assert updates.compute().item() == 7 * 7.5


def test_activations_are_those_of_all_layers():
    sparsity = ActivationSparsity()
    sparsity.update({"a": torch.tensor([[[1.0, 0.0]]]), "b": torch.tensor([[[-1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]])})
    assert sparsity.compute().item() == 6 / 8


def test_memory_at_the_bits_of_the_target():
    layers = [
        ("weight", nn.Linear(10, 5)),  # 50 weights, 5 biases
        ("norm", nn.BatchNorm1d(5)),  # 5 + 5 learned, 5 + 5 running, one count of 8 bytes
        ("alif", ALIF(0.9)),  # v and adaptation; spikes are 1 bit
        ("readout_weight", nn.Linear(5, 3, bias=False)),
        ("readout", Integrator(0.9)),  # v
    ]
    network = Network(layers).eval()
    found = sizes(network, torch.zeros(2, 1, 10))
    assert found.neurons == {"alif": 5, "readout": 3} and found.spiking == {"alif": 5}
    assert found.states == {"alif": 10, "readout": 3}
    memory = Memory()
    memory.update(network, found)
    values = {name: value.item() for name, value in memory.compute().items()}
    assert values == {"weights": (55 + 15 + 20) * 4 + 8, "states": 13 * 4, "spikes": 1}
    memory = Memory(lambda name: {"weight": 4}.get(name, 8), lambda name: 16)
    memory.update(network, found)
    values = {name: value.item() for name, value in memory.compute().items()}
    assert values == {"weights": 28 + 15 + 20 * 4 + 8, "states": 13 * 2, "spikes": 1}  # 55 x 4 bits are 28 bytes


def test_what_a_constraint_stores_is_no_memory_of_the_network():
    layer = nn.Linear(10, 5, bias=False)
    parametrize.register_parametrization(layer, "weight", Step())
    memory = Memory(lambda name: 2)
    memory.update(Network([("weight", layer)]))
    assert {name: value.item() for name, value in memory.compute().items()} == {"weights": 13}


def test_energy_and_delay():
    energy = Energy()
    energy.update(1000, 4000, 10)
    energy.update(3000, 0, 30)
    values = energy.compute()
    assert values["energy"].item() == pytest.approx((4.6e-12 * 4000 + 0.9e-12 * 4000) / 2, abs=0)
    assert values["energy_delay"].item() == pytest.approx((4.6e-12 * 4000 + 0.9e-12 * 4000) / 2 * 20, abs=0)
    energy = Energy(2e-12, 1e-12)
    energy.update(1, 1, 1)
    assert energy.compute()["energy"].item() == pytest.approx(3e-12, abs=0)
    with pytest.raises(ValueError, match="mac_joule = 0"):
        Energy(mac_joule=0)


def test_all_of_it_beside_the_same_network_without_spikes():
    network = Network(
        [
            ("first", ones(nn.Linear(3, 4))),
            ("lif", LIF(0.5, 0.1)),
            ("second", nn.Linear(4, 6)),
            ("out", Integrator(0.5)),
        ]
    )
    frames = torch.tensor([[0.5, 0.0, 0.25]]).expand(5, 1, 3)
    cost = Cost(time_step=0.002)
    with torch.no_grad(), cost.watch(network, frames, False), network.observe() as seen:
        network(frames)
    cost.activations.update(seen)
    values = {name: value.item() for name, value in cost.values().items()}
    energy = 4.6e-12 * 5 * 2 * 4 + 0.9e-12 * 5 * 4 * 6
    wanted = {
        "accumulates": 120,
        "multiply_accumulates": 40,
        "dense_operations": 180,
        "energy_joule": energy,
        "energy_delay_joule_seconds": energy * 5 * 0.002,
        "ann_multiply_accumulates": 3 * 4 + 4 * 6,
        "ann_energy_joule": 36 * 4.6e-12,
        "ann_energy_ratio": 36 * 4.6e-12 / energy,
        "sparsity/connections": 0,
        "sparsity/activations": 0,
        "membrane_updates": 5 * (4 + 6),
        "memory_bytes/weights": 4 * (16 + 30),
        "memory_bytes/states": 4 * 10,
        "memory_bytes/spikes": 1,
    }
    assert values == pytest.approx(wanted, rel=1e-12, abs=0)
    cost.reset()
    cost.run_on(2e-12, 1e-12, lambda name: 8, lambda name: 24)
    with torch.no_grad(), cost.watch(network, frames, False):
        network(frames)
    values = cost.values()
    assert values["energy_joule"].item() == pytest.approx(40 * 2e-12 + 120 * 1e-12, rel=1e-12, abs=0)
    assert values["memory_bytes/weights"] == 46 and values["memory_bytes/states"] == 3 * 10
    cost = Cost()
    cost.count(torch.tensor(7.0), torch.nan, 1)
    cost.took(3, 1)
    values = cost.values()
    assert values["energy_delay_joule_steps"].item() == pytest.approx(3 * 7 * 0.9e-12, abs=0)
    assert "membrane_updates" not in values and values["dense_operations"].isnan()  # nothing was counted
