"""Small networks by hand, one for each form that leaves for NIR."""

from __future__ import annotations

from torch import nn

from snnlab.layers.network import Network
from snnlab.layers.recurrent import Recurrent
from snnlab.layers.residual import Residual
from snnlab.neurons.cuba_lif import CubaLIF
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.neurons.plif import PLIF
from snnlab.neurons.surrogate import Rectangle


def lif(decay, threshold, reset="hard", strict=True, **others):
    return LIF(decay, threshold, reset, surrogate=Rectangle(strict=strict), **others)


def cuba(reset):
    return CubaLIF(tau_mem=4.0, tau_syn=3.0, threshold=0.3, reset=reset)


def chain(*layers):
    """Layers in turn, named after what they are and where."""
    return Network([(f"{type(layer).__name__.lower()}{i}", layer) for i, layer in enumerate(layers)])


def networks():
    """name -> (network, shape of an input at one step)."""
    flat = (16,)
    picture = (1, 12, 12)
    return {
        "hard": (chain(nn.Flatten(), nn.Linear(16, 20), lif(0.5, 0.3), nn.Linear(20, 5), lif(0.2, 0.3)), (1, 4, 4)),
        "soft": (chain(nn.Linear(16, 20), lif(0.5, 0.3, "soft", False), nn.Linear(20, 5), Integrator(0.0)), flat),
        "no memory": (chain(nn.Linear(16, 20), lif(0.0, 0.3), nn.Linear(20, 5, bias=False), Integrator(0.9)), flat),
        "no leak": (chain(nn.Linear(16, 20), lif(1.0, 0.4), nn.Linear(20, 5), Integrator(1.0)), flat),
        "scaled": (chain(nn.Linear(16, 20), lif(0.5, 0.2, leak="scaled"), nn.Linear(20, 5), Integrator(0.0)), flat),
        "last": (chain(nn.Linear(16, 20), lif(0.5, 0.4, leak="last"), nn.Linear(20, 5), Integrator(0.0)), flat),
        "learned": (chain(nn.Linear(16, 20), PLIF(3.0, 0.1, v_reset=0.02), nn.Linear(20, 5), Integrator(0.0)), flat),
        "reset to": (chain(nn.Linear(16, 20), lif(0.5, 0.3, v_reset=-0.2), nn.Linear(20, 5), Integrator(0.0)), flat),
        "synapses": (chain(nn.Linear(16, 20), cuba("hard"), nn.Linear(20, 5), Integrator(0.0)), flat),
        "soft synapses": (chain(nn.Linear(16, 20), cuba("soft"), nn.Linear(20, 5), Integrator(0.0)), flat),
        "pictures": (
            chain(
                nn.Conv2d(1, 4, 3, padding=1),
                lif(0.5, 0.3),
                nn.AvgPool2d(2),
                nn.Conv2d(4, 4, 3, stride=2, bias=False),
                lif(0.5, 0.1),
                nn.Flatten(),
                nn.Linear(16, 5),
                lif(0.2, 0.1),
            ),
            picture,
        ),
        "recurrent": (
            chain(nn.Linear(16, 20), Recurrent(lif(0.5, 0.3), nn.Linear(20, 20)), nn.Linear(20, 5), Integrator(0.0)),
            flat,
        ),
        "residual": (
            chain(
                nn.Linear(16, 20),
                lif(0.5, 0.3),
                Residual(Network([("inner", nn.Linear(20, 20)), ("spiking", lif(0.5, 0.2))])),
                nn.Linear(20, 5),
                Integrator(0.0),
            ),
            flat,
        ),
    }
