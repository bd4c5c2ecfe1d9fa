"""Fluctuation-driven initialisation against its card: statistics of the free membrane, closed forms, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.initializers.fluctuation import Afferents, Fluctuation, dale_scales, solve
from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network
from snnlab.layers.residual import Residual
from snnlab.layers.trace import Traced
from snnlab.models.recurrent_mlp import RecurrentMLP
from snnlab.neurons.cuba_lif import CubaLIF
from snnlab.neurons.filtered_lif import FilteredLIF
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.neurons.plif import PLIF

NU = 0.02  # 20 Hz at 1 ms, the card's


def free():
    """The card's neuron, 20 and 10 ms at 1 ms, whose threshold is off."""
    return CubaLIF(20.0, 10.0, 1.0, reset="none")


def spikes(steps, batch, *shape, rate=NU):
    return (torch.rand(steps, batch, *shape) < rate).float()


@torch.no_grad()
def deviation(weight, neuron, inputs, rate=NU, dead=200):
    """Root of the mean variance of v over neurons (weight draws), samples and time.

    The mean rate is taken off the input, so that v is centred and a finite window brings no bias.
    """
    currents = weight(inputs.flatten(0, 1) - rate).unflatten(0, inputs.shape[:2])
    return neuron.unroll(currents)[1][0][dead:].square().mean().sqrt().item()


def initialised(membrane, inputs=100, outputs=400, **options):
    torch.manual_seed(0)
    weight = nn.Linear(inputs, outputs, bias=False)
    network = Network([("weight1", weight), ("hidden1", membrane)])
    Fluctuation(rate=NU, **options)(network, torch.zeros(1, 1, inputs))
    return weight


@pytest.mark.parametrize("sigma", [1.0, 0.5])
def test_the_free_membrane_fluctuates_as_asked(sigma):
    weight = initialised(free(), sigma=sigma)
    found = deviation(weight, free(), spikes(4000, 4, 100))
    assert found == pytest.approx(sigma, rel=0.03)


def test_the_mean_and_xi_are_those_asked_for():
    weight = initialised(free(), outputs=5000, mu=0.4, xi=1.2)
    inputs = spikes(4000, 1, 100)
    currents = (inputs.flatten(0, 1) @ weight.weight.detach().T).unflatten(0, (4000, 1))
    v = free().unroll(currents)[1].v[200:]
    assert v.mean().item() == pytest.approx(0.4, abs=0.03)
    assert weight.weight.mean().item() == pytest.approx(
        0.4 / (100 * NU * free().response().kernel.sum().item()), rel=0.05
    )
    assert v.var(0).mean().sqrt().item() == pytest.approx(0.6 / 1.2, rel=0.03)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LIF(0.9, 1e9, "none"),
        lambda: LIF(0.9, 1e9, "none", leak="scaled"),
        lambda: PLIF(5.0, 1e9, "none"),
        lambda: Integrator(0.95),
    ],
    ids=["first", "scaled", "plif", "integrator"],
)
def test_every_membrane_that_says_its_response_fluctuates_as_asked(make):
    found = deviation(initialised(make(), sigma=1.0), make(), spikes(4000, 4, 100))
    assert found == pytest.approx(1, rel=0.03)


def test_xi_comes_back_from_the_closed_forms():
    n, nu = 100, NU
    for threshold, mu, xi in ((1.0, 0.0, 1.0), (0.5, 0.3, 2.0), (0.5, -0.2, 0.7), (1.0, 1.5, -0.5)):
        response = CubaLIF(20.0, 10.0, 1.0, threshold=threshold).response()
        area, square = float(response.kernel.sum()), float(response.kernel.square().sum())
        sigma = Fluctuation(xi=xi, mu=mu).fluctuations("weight1", response)
        ((mu_w, sigma_w),) = solve(mu, sigma, area, square, [Afferents(n, nu, nu)])
        mu_u = n * nu * mu_w * area
        sigma_u = math.sqrt(n * nu * (sigma_w**2 + mu_w**2) * square)
        assert mu_u == pytest.approx(mu, abs=1e-9)
        assert (threshold - mu_u) / sigma_u == pytest.approx(xi, abs=1e-6)


def test_numeric_integrals_tend_to_the_analytic_ones():
    for dt, limit in ((1.0, None), (0.05, 0.01)):
        response = CubaLIF(20.0, 10.0, dt).response()
        area, square = (float(x) * dt / 1e3 for x in (response.kernel.sum(), response.kernel.square().sum()))  # s
        assert response.area * dt / 1e3 == pytest.approx(0.010)
        assert response.square * dt / 1e3 == pytest.approx(1.667e-3, rel=1e-3)
        if limit is None:
            assert square == pytest.approx(1.842e-3, rel=1e-3)  # the card's
        else:
            assert area == pytest.approx(0.010, rel=limit)
            assert square == pytest.approx(0.01**2 / 0.06, rel=limit)
    narrow = initialised(free(), sigma=1.0).weight.std()
    wide = initialised(free(), sigma=1.0, integrals="analytic").weight.std()
    assert (wide / narrow).item() == pytest.approx(math.sqrt(1.842 / 1.667), rel=1e-3)


def test_a_recurrent_layer_splits_its_variance():
    torch.manual_seed(0)
    blocks = Blocks(free, lambda: Integrator(0.99), bias=False)
    network = RecurrentMLP([400])(blocks, (100,), 2)
    Fluctuation(rate=NU, sigma=1.0, alpha=0.9)(network, torch.zeros(1, 1, 100))
    forward, back = network.layers["weight1"], network.layers["hidden1"].weight
    of_forward = deviation(forward, free(), spikes(4000, 4, 100))
    of_back = deviation(back, free(), spikes(4000, 4, 400))
    assert of_forward**2 / (of_forward**2 + of_back**2) == pytest.approx(0.9, rel=0.03)
    assert of_forward**2 + of_back**2 == pytest.approx(1, rel=0.06)


def test_what_cannot_be_solved_raises_and_leaves_no_nan():
    with pytest.raises(InputError, match="needs a mean weight"):
        initialised(free(), inputs=10, mu=0.9, xi=3.0)
    with pytest.raises(InputError, match="is no deviation"):
        initialised(free(), mu=2.0)
    with pytest.raises(InputError, match="no input moves it"):
        initialised(LIF(0.0), integrals="analytic")
    limit = 0.9**2 / (100 * NU) ** 2 / 10.5**2  # mu_w^2; sigma just above and below what it needs
    for factor, fails in ((0.999, True), (1.001, False)):
        sigma = math.sqrt(factor * limit * 100 * NU * 1.8)
        if fails:
            with pytest.raises(InputError, match=r"weight1: mu = 0\.9"):
                solve(0.9, sigma, 10.5, 1.8, [Afferents(100, NU, NU)], "weight1")
        else:
            assert solve(0.9, sigma, 10.5, 1.8, [Afferents(100, NU, NU)])[0][1] > 0


def test_sparse_connections_keep_the_deviation_and_stay_away():
    weight = initialised(free(), inputs=400, outputs=200, sigma=1.0, density=0.25)
    share = (weight.weight != 0).float().mean().item()
    assert share == pytest.approx(0.25, abs=0.01)
    full = initialised(free(), inputs=400, outputs=200, sigma=1.0)
    assert (weight.weight[weight.weight != 0].std() / full.weight.std()).item() == pytest.approx(2, rel=0.02)
    found = deviation(weight, free(), spikes(2500, 1, 400))
    assert found == pytest.approx(1, rel=0.03)
    absent = weight.weight == 0
    optimizer = torch.optim.Adam(weight.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        weight(torch.rand(8, 400)).square().sum().backward()
        optimizer.step()
    assert torch.equal(weight.weight == 0, absent)


def test_dales_law_balances_and_keeps_its_signs():
    weight = initialised(free(), outputs=800, sigma=1.0, inhibitory=0.2)
    values = weight.weight
    assert (values[:, :80] > 0).all() and (values[:, 80:] < 0).all()
    excite, inhibit = values[:, :80].mean().item(), -values[:, 80:].mean().item()
    assert inhibit / excite == pytest.approx(4, rel=0.03)  # 80 excite, 20 inhibit
    assert values[:, :80].std().item() == pytest.approx(excite, rel=0.03)  # exponential: deviation = mean
    found = deviation(weight, free(), spikes(4000, 4, 100))
    assert found == pytest.approx(1, rel=0.03)
    before = values.detach().sign()
    optimizer = torch.optim.SGD(weight.parameters(), 0.5)
    for _ in range(5):
        optimizer.zero_grad()
        (weight(torch.rand(8, 100)) - torch.randn(8, 800)).square().mean().backward()
        optimizer.step()
    assert not torch.allclose(weight.weight.sign() * values.detach().abs(), weight.weight)  # it has learned
    assert (weight.weight.sign() * before >= 0).all()


def test_the_scales_of_dales_law():
    scale_e, scale_i = dale_scales(0.7, 0.8)
    assert 0.8 * scale_e == pytest.approx(0.2 * scale_i)
    assert 0.8 * 2 * scale_e**2 + 0.2 * 2 * scale_i**2 == pytest.approx(0.49)


def test_signs_are_those_of_the_unit_in_every_weight_that_reads_it():
    blocks = Blocks(free, lambda: Integrator(0.9))
    torch.manual_seed(0)
    layers = [
        ("weight1", blocks.conv(5, 10, 3)),
        ("conv1", blocks.neuron(10)),
        ("pool1", blocks.pool(2)),
        ("flatten", nn.Flatten()),
        ("weight2", blocks.linear(10 * 9, 20)),
        ("hidden1", blocks.recurrent(20)),
    ]
    network = Network([*layers, *blocks.readout(20, 3)])
    Fluctuation(rate=NU, inhibitory=0.2, bias=0.5)(network, torch.zeros(1, 1, 5, 8, 8))
    signs = {name: network.layers[name].weight.sign() for name in ("weight1", "weight2", "readout_weight")}
    assert (signs["weight1"][:, :4] == 1).all() and (signs["weight1"][:, 4:] == -1).all()
    assert (signs["weight2"][:, :72] == 1).all() and (signs["weight2"][:, 72:] == -1).all()
    assert (network.layers["hidden1"].weight.weight[:, 16:] < 0).all()
    assert (signs["readout_weight"][:, 16:] == -1).all()
    assert 0 < network.layers["weight2"].bias.abs().max() <= 0.5 / math.sqrt(90)
    assert network(spikes(4, 2, 5, 8, 8)).shape == (4, 2, 3)


def test_a_convolution_counts_channels_times_kernel_and_a_pool_its_average():
    torch.manual_seed(0)
    blocks = Blocks(free, lambda: Integrator(0.9), bias=False)
    layers = [("weight1", blocks.conv(8, 64, 3)), ("conv1", blocks.neuron(64)), ("pool1", blocks.pool(2))]
    layers += [("weight2", blocks.conv(64, 64, 3)), ("conv2", blocks.neuron(64))]
    network = Network(layers)
    Fluctuation(rate=NU, sigma=1.0)(network, torch.zeros(1, 1, 8, 10, 10))
    kernel = free().response().kernel.square().sum().item()
    for name, inputs, rate in (("weight1", 8 * 9, NU), ("weight2", 64 * 9, NU / 4)):
        expected = 1 / math.sqrt(inputs * rate * kernel)
        assert network.layers[name].weight.std().item() == pytest.approx(expected, rel=0.03)
    with torch.no_grad():
        pooled = nn.functional.avg_pool2d(spikes(1000, 64, 8, 8), 2).unflatten(0, (1000, 1))
    assert deviation(network.layers["weight2"], free(), pooled) == pytest.approx(1, rel=0.03)


def test_the_rate_is_measured_on_the_frames_shown():
    torch.manual_seed(0)
    make = lambda: CubaLIF(20.0, 10.0, 1.0)  # noqa: E731
    network = RecurrentMLP([300, 200])(Blocks(make, lambda: Integrator(0.9), bias=False), (100,), 4)
    frames = spikes(400, 8, 100, rate=0.05)
    Fluctuation(rate=None, sigma=1.0)(network, frames)
    measured = network.layers["weight1"].weight.std().item()
    kernel = make().response().kernel.square().sum().item()
    assert measured == pytest.approx(math.sqrt(0.9 / (100 * 0.05 * 0.95 * kernel)), rel=0.03)
    with network.observe() as seen, torch.no_grad():
        network(frames)
    rate = seen["hidden1"].mean().item()
    assert network.layers["weight2"].weight.std().item() == pytest.approx(
        math.sqrt(0.9 / (300 * rate * (1 - rate) * kernel)), rel=0.03
    )
    with pytest.raises(InputError, match=r"init\.rate = null measures the input of weight1"):
        Fluctuation(rate=None)(network, torch.zeros(1, 1, 100))


def test_a_busy_layer_returns_the_variance_of_its_spikes():
    """nu (1 - nu), which is far from nu here: what the layer does before anything returns to it, its bias included."""
    torch.manual_seed(0)
    make = lambda: LIF(0.5, 1.0)  # noqa: E731
    network = RecurrentMLP([400])(Blocks(make, lambda: Integrator(0.9)), (100,), 4)
    frames = spikes(200, 8, 100, rate=0.05)
    Fluctuation(rate=None, sigma=3.0, bias=1.0)(network, frames)
    with torch.no_grad():
        fired = make().unroll(network.layers["weight1"](frames))[0].mean().item()
    assert 0.2 < fired < 0.5
    kernel = make().response().kernel.square().sum().item()
    assert network.layers["hidden1"].weight.weight.std().item() == pytest.approx(
        math.sqrt(0.1 * 9 / (400 * fired * (1 - fired) * kernel)), rel=0.03
    )


def test_a_wrapped_weight_is_found():
    torch.manual_seed(0)
    network = Network([("weight1", Traced(nn.Linear(100, 400, bias=False), 0.5)), ("hidden1", LIF(0.5, 1e9, "none"))])
    Fluctuation(rate=NU, sigma=1.0)(network, torch.zeros(1, 1, 100))
    kernel = LIF(0.5).response().kernel.square().sum().item()
    assert network.layers["weight1"].layer.weight.std().item() == pytest.approx(1 / math.sqrt(2 * kernel), rel=0.02)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([("weight1", nn.Linear(4, 4)), ("norm1", nn.BatchNorm1d(4)), ("hidden1", LIF())], "norm1 .* stands between"),
        ([("weight1", nn.Linear(4, 4))], "no membrane follows weight1"),
        ([("block1", Residual(Network([("weight1", nn.Linear(4, 4)), ("hidden1", LIF())])))], "joins branches"),
        ([("weight1", nn.Linear(4, 4)), ("hidden1", FilteredLIF(4))], "FilteredLIF: .* give the class a method"),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(layers, words):
    network = Network([("weight0", nn.Linear(4, 4)), ("hidden0", LIF()), *layers])
    before = network.layers["weight0"].weight.clone()
    with pytest.raises(InputError, match=words) as error:
        Fluctuation()(network, torch.zeros(1, 1, 4))
    assert "\n" not in str(error.value)
    if "FilteredLIF" not in words:  # a net of the wrong shape is left as it came
        assert torch.equal(network.layers["weight0"].weight, before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0.0}, "init.rate = 0.0"),
        ({"xi": 0.0}, "init.xi = 0"),
        ({"sigma": -1.0}, "init.sigma"),
        ({"alpha": 1.0}, "init.alpha"),
        ({"density": 0.0}, "init.density"),
        ({"inhibitory": 1.0}, "init.inhibitory"),
        ({"inhibitory": 0.2, "mu": 0.1}, "balance to mu = 0"),
        ({"bias": -1.0}, "init.bias"),
        ({"integrals": "guess"}, "init.integrals"),
    ],
)
def test_bad_values_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        Fluctuation(**options)


def test_a_density_that_leaves_no_input_is_refused():
    with pytest.raises(
        InputError, match=r"init\.density = 0\.001 leaves 0\.1 of the 100 inputs of weight1; 0\.01 leaves"
    ):
        initialised(free(), density=0.001)


def test_a_population_too_small_for_both_signs_is_refused():
    with pytest.raises(InputError, match="of the 2 units before weight1 0 would be inhibitory"):
        initialised(free(), inputs=2, inhibitory=0.2)


def test_the_net_of_the_paper_starts_as_asked(empty_data):
    """20-128-10 at 5 Hz and 2 ms: the hidden membranes with their threshold off, by the recipe of data=randman."""
    method = build(compose(["method=stbp", "data=randman"]).config).method
    layers = method.network.layers
    found = deviation(layers["weight1"], CubaLIF(20.0, 10.0, 2.0, reset="none"), spikes(1500, 60, 20, rate=0.01), 0.01)
    assert found == pytest.approx(1, rel=0.05)  # 128 x 20 numbers drawn once; 3 % is held over many draws above
    assert isinstance(layers["readout"], Integrator) and layers["readout"].decay == 0.99


def test_a_constrained_net_is_stored_and_read_back(empty_data):
    options = ["method=stbp", "data=randman", "model=recurrent_mlp", "model.hidden=[20]"]
    options += ["init.inhibitory=0.2", "init.density=0.5"]
    one, other = (build(compose([*options, f"seed={seed}"]).config).method for seed in (0, 1))
    inputs = spikes(50, 3, 20, rate=0.05)
    with torch.no_grad():
        assert not torch.equal(one.scores(inputs), other.scores(inputs))
        other.load_state_dict(one.state_dict())
        assert torch.equal(one.scores(inputs), other.scores(inputs))
