"""Our counters beside those of NeuroBench 2.3 and SpikingJelly 2.0, on the same networks and real digits.

usage: python tests/oracles/counters.py (from the root of the checkout)

Neither is a dependency: ``pip install --no-deps neurobench==2.3.0 snntorch==1.0.0 spikingjelly==2.0.0 loguru`` beside
snnlab. NeuroBench's own code is called as its Benchmark calls it, SpikingJelly's while our network runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.data.images.digits import Digits
from snnlab.data.loader import Loader
from snnlab.layers.network import Network
from snnlab.layers.recurrent import Recurrent
from snnlab.metrics.cost import Cost
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.neurons.neuron import Neuron

STEPS, IMAGES = 6, 40


def images() -> Tensor:
    """Handwritten digits [B, 1, 8, 8] in [0, 1]."""
    data = Digits(Loader(root="", cache="", batch_size=IMAGES))
    data.setup()
    return next(iter(data.test_dataloader())).inputs


def dense() -> tuple[Network, Tensor]:
    """A dense network with a loop, on rate-coded spikes; some weights are 0."""
    torch.manual_seed(0)
    layers = [
        ("flatten", nn.Flatten()),
        ("weight1", nn.Linear(64, 40)),
        ("hidden1", LIF(0.8, 0.3)),
        ("weight2", nn.Linear(40, 20)),
        ("hidden2", Recurrent(LIF(0.8, 0.1), nn.Linear(20, 20))),
        ("readout_weight", nn.Linear(20, 10, bias=False)),
        ("readout", Integrator(0.9)),
    ]
    network = Network(layers)
    network.layers["weight1"].weight.data[:7] = 0.0
    shown = images()
    return network.eval(), (torch.rand(STEPS, *shown.shape) < shown).float()


def convolutional() -> tuple[Network, Tensor]:
    """Convolutions with padding and stride and a pool between, on analog images shown at every step."""
    torch.manual_seed(0)
    layers = [
        ("conv1", nn.Conv2d(1, 6, 3, padding=1)),
        ("hidden1", LIF(0.8, 0.2)),
        ("pool", nn.AvgPool2d(2)),
        ("conv2", nn.Conv2d(6, 8, 3, padding=1, stride=2)),
        ("hidden2", LIF(0.8, 0.1)),
        ("flatten", nn.Flatten()),
        ("readout_weight", nn.Linear(32, 10)),
        ("readout", LIF(0.8, 0.1)),
    ]
    shown = images()
    return Network(layers).eval(), shown.expand(STEPS, *shown.shape)


def events() -> tuple[Network, Tensor]:
    """One weight that reads counts of events: 0, 1 and 2."""
    torch.manual_seed(0)
    network = Network([("flatten", nn.Flatten()), ("weight", nn.Linear(64, 10)), ("readout", LIF(0.8, 0.3))])
    return network.eval(), torch.randint(0, 3, (STEPS, IMAGES, 1, 8, 8)).float()


CASES = {"dense, spikes": (dense, True), "convolutions, images": (convolutional, False), "event counts": (events, True)}


def ours(network: Network, frames: Tensor, spiking_input: bool) -> dict[str, float]:
    cost = Cost()
    with torch.no_grad(), cost.watch(network, frames, spiking_input), network.observe() as seen:
        network(frames)
    cost.activations.update(seen)
    return {name: value.item() for name, value in cost.values().items()}


def neurobench(network: Network, frames: Tensor) -> dict[str, float]:
    """Footprint, sparsities and operations of an inference, by our names."""
    from neurobench.metrics.static.connection_sparsity import ConnectionSparsity
    from neurobench.metrics.static.footprint import Footprint
    from neurobench.metrics.workload.activation_sparsity import ActivationSparsity
    from neurobench.metrics.workload.synaptic_operations import SynapticOperations
    from neurobench.models.torch_model import TorchModel

    model = TorchModel(network)
    model.add_activation_module(Neuron)
    model.register_hooks()
    data = (frames.transpose(0, 1), None)
    with torch.no_grad():
        outputs = model(frames)
        operations = SynapticOperations()(model, outputs, data)
        active = ActivationSparsity()(model, outputs, data)
    model.cleanup_hooks()
    return {
        "accumulates": operations["Effective_ACs"],
        "multiply_accumulates": operations["Effective_MACs"],
        "dense_operations": operations["Dense"],
        "memory_bytes/weights": Footprint()(model),
        "sparsity/connections": ConnectionSparsity()(model),
        "sparsity/activations": active,
    }


def spikingjelly(network: Network, frames: Tensor) -> dict[str, float]:
    """Spike-driven operations, and multiply-accumulates, of an inference."""
    from spikingjelly.activation_based.op_counter import DispatchCounterMode, MACCounter, SynOpCounter

    added: Any = SynOpCounter()
    multiplied: Any = MACCounter()
    with torch.no_grad(), kernels.using(kernels.Path("step")), DispatchCounterMode([added, multiplied]):
        network(frames.contiguous())
    samples = frames.shape[1]
    return {"accumulates": added.get_total() / samples, "multiply_accumulates": multiplied.get_total() / samples}


def main() -> None:
    for title, (make, spiking) in CASES.items():
        network, frames = make()
        mine, nb, sj = ours(network, frames, spiking), neurobench(network, frames), spikingjelly(network, frames)
        print(f"{title}\n  {'':24}{'snnlab':>14}{'NeuroBench':>14}{'SpikingJelly':>14}")
        for name, theirs in nb.items():
            others = "".join(f"{other.get(name, ''):>14.7g}" if name in other else f"{'':>14}" for other in (sj,))
            print(f"  {name:24}{mine[name]:>14.7g}{theirs:>14.7g}{others}")


if __name__ == "__main__":
    main()
