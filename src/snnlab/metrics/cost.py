"""What an inference costs: the metrics of this room on one network, and beside it the same network without spikes.

The artificial network has the same weights and is shown one frame: every weight multiplies once, whatever its input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snnlab.layers.network import Network
from snnlab.metrics.activation_sparsity import ActivationSparsity
from snnlab.metrics.connection_sparsity import ConnectionSparsity
from snnlab.metrics.energy import AC_JOULE, MAC_JOULE, Energy
from snnlab.metrics.mean import Mean
from snnlab.metrics.membrane_updates import MembraneUpdates
from snnlab.metrics.memory import Bits, Memory, as_stored
from snnlab.metrics.operations import Operations
from snnlab.metrics.sizes import sizes
from snnlab.weights.weight import Weight


class Cost(nn.Module):
    """Counts while batches of a test are scored; ``values`` are the means, by the names that run.json has.

    Args:
        time_step: seconds of a step; None counts delays in steps.
        mac_joule, ac_joule: see energy.py.
        weight_bits, state_bits: see memory.py.
    """

    def __init__(
        self,
        time_step: float | None = None,
        mac_joule: float = MAC_JOULE,
        ac_joule: float = AC_JOULE,
        weight_bits: Bits = as_stored,
        state_bits: Bits = as_stored,
    ) -> None:
        super().__init__()
        self.time_step = time_step
        self.operations, self.others = Operations(), Operations()  # of weights; of what a method counts itself
        self.membrane_updates = MembraneUpdates()
        self.activations, self.connections = ActivationSparsity(), ConnectionSparsity()
        self.energy, self.memory = Energy(mac_joule, ac_joule), Memory(weight_bits, state_bits)
        self.delay = Mean().set_dtype(torch.float64)
        self.macs: float | None = None  # of the artificial network; None until a network was looked at
        self.membranes = 0  # of one sample

    def run_on(self, mac_joule: float, ac_joule: float, weight_bits: Bits, state_bits: Bits) -> None:
        """Count for another machine from now on; arguments as above."""
        self.energy, self.memory = Energy(mac_joule, ac_joule), Memory(weight_bits, state_bits)

    @contextmanager
    def watch(
        self,
        network: Network,
        frames: Tensor,
        spiking_input: bool,
        beside: Mapping[str, Weight] | None = None,
        synapses: float = 0.0,
    ) -> Iterator[None]:
        """Count, while the context is open, what ``network`` does with frames [T, B, ...]; see operations.py.

        Args:
            beside: weights outside of the network, which read analog values.
            synapses: of what is no weight, for the artificial network.
        """
        if self.macs is None:
            with parametrize.cached():  # a weight under a constraint is worked out once for all that look at it
                found = sizes(network, frames)
                self.membranes = sum(found.neurons.values())
                self.memory.update(network, found, beside)
                self.look_at(network, found.macs | {"": synapses}, beside)
        with self.operations.watch(network, frames, spiking_input, beside):
            yield
        steps, samples = frames.shape[:2]
        self.membrane_updates.update(self.membranes, steps, samples)
        self.took(steps * (self.time_step or 1), samples)

    def look_at(self, network: Network, macs: Mapping[str, float], beside: Mapping[str, Weight] | None = None) -> None:
        """Note what of a network does not depend on the samples; ``macs`` are those of each weight, see sizes.py."""
        self.macs = sum(macs.values()) + sum(float(weight.used.numel()) for weight in (beside or {}).values())
        self.connections.update(network)

    def took(self, delay: float, samples: int) -> None:
        """Note how long an inference takes, in seconds, or in steps where a step is no time."""
        self.delay.update(torch.tensor(delay, dtype=torch.float64), samples)

    def count(self, accumulates: Tensor, dense: Tensor | float, samples: int) -> None:
        """Add the accumulates, and dense operations, of what is no weight of a network, or takes no step."""
        zero = torch.zeros_like(accumulates)
        self.others.update(accumulates, zero, zero, torch.as_tensor(dense, dtype=torch.float64), samples)

    def values(self) -> dict[str, Tensor]:
        """The figures by name, as far as something was counted for them; all of them are float64 numbers."""
        found: dict[str, Tensor] = {}
        for counter in (self.operations, self.others):
            if counter.update_called:
                found = {name: value + found.get(name, 0.0) for name, value in counter.compute().items()}
        ann = torch.tensor(self.macs or 0.0, dtype=torch.float64)
        found |= {"ann_multiply_accumulates": ann, "ann_energy_joule": self.energy.mac_joule * ann}
        if "accumulates" in found:
            self.energy.reset()
            self.energy.update(found["multiply_accumulates"], found["accumulates"], self.delay.compute())
            energy = self.energy.compute()
            unit = "steps" if self.time_step is None else "seconds"
            found |= {"energy_joule": energy["energy"], f"energy_delay_joule_{unit}": energy["energy_delay"]}
            found["ann_energy_ratio"] = found["ann_energy_joule"] / energy["energy"]
        if self.memory.update_called:
            found |= {f"memory_bytes/{name}": value for name, value in self.memory.compute().items()}
        for name, metric in (
            ("membrane_updates", self.membrane_updates),
            ("sparsity/activations", self.activations),
            ("sparsity/connections", self.connections),
        ):
            if metric.update_called:
                found[name] = metric.compute()
        return {name: value.double() for name, value in found.items()}

    def reset(self) -> None:
        """Begin anew, also with what the network is."""
        self.macs = None
        for metric in self.children():
            metric.reset()  # type: ignore[operator]
