"""Variational ground states: gradient, bound, samplers, closed forms, Hamiltonians, refusals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.methods.variational_spin.energies import covariance, local_energies, log_weights
from snnlab.neurons.sampling_units import SamplingUnits
from snnlab.questions.energy import Estimate
from snnlab.questions.hamiltonian import Hamiltonian
from snnlab.runs.wiring import run

LINE = ["method=variational_spin"]


def made(*line):
    return build(compose([*LINE, *line]).config)


def hamiltonian(*line):
    return made(*line).data.hamiltonian


def drawn(n, m, size=1.0, seed=0):
    weight = torch.randn(m + 1, n + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * size
    weight[-1, -1] = 0
    return weight


def energy(weight, h):
    log_p, hidden = log_weights(weight, torch.from_numpy(h.states).double())
    p, local = log_p.softmax(0), local_energies(log_p, h)
    return (p * local).sum(), p, local, hidden


@pytest.mark.parametrize("data", ["transverse_ising", "heisenberg", "pauli_strings"])
def test_the_covariance_is_the_finite_difference_of_the_energy(data):
    h = hamiltonian(f"data={data}")
    weight = drawn(h.spins, 5, 0.7)
    _, p, local, hidden = energy(weight, h)
    gradient = covariance(local, hidden, torch.from_numpy(h.states).double(), p)
    step, found = 1e-5, torch.zeros_like(weight)
    for place in np.ndindex(*weight.shape):
        ends = []
        for sign in (1, -1):
            moved = weight.clone()
            moved[place] += sign * step
            ends.append(energy(moved, h)[0])
        found[place] = (ends[0] - ends[1]) / (2 * step)
    assert float((gradient - found).abs().max()) < 1e-6
    assert float(gradient.abs().max()) > 1e-2


@pytest.mark.parametrize("data", ["transverse_ising", "heisenberg", "pauli_strings"])
def test_no_state_is_below_the_bound(data):
    h = hamiltonian(f"data={data}")
    for seed in range(40):
        assert float(energy(drawn(h.spins, 4, 0.2 + 0.1 * seed, seed), h)[0]) >= h.ground[0] - 1e-9


def test_the_energy_of_visits_is_that_of_a_state_and_never_below_the_bound():
    parts = made("data=transverse_ising", "method.sampler=refractory", "method.ratios=visits", "method.samples=500")
    h = parts.data.hamiltonian
    numbers = torch.randint(0, 16, (50, 10), generator=torch.Generator().manual_seed(1))
    z = torch.cat([torch.from_numpy(h.states)[numbers], torch.zeros(50, 10, 8)], -1).double()
    _, local = parts.method.measured(z, parts.method.weight())
    psi = torch.bincount(numbers.flatten(), minlength=16).double().div(500).sqrt().numpy()
    assert float(local.mean()) == pytest.approx(float(psi @ h.matrix() @ psi), abs=1e-12)
    assert float(local.mean()) >= h.ground[0]


@pytest.mark.parametrize(("n", "h", "e"), [
    (3, 0.5, -3.232051), (3, 1.0, -4.0), (3, 2.0, -6.464102), (4, 0.5, -4.271558), (4, 1.0, -5.226252),
    (4, 2.0, -8.543117), (6, 0.5, -6.384695), (6, 1.0, -7.727407), (6, 2.0, -12.769389), (8, 0.5, -8.509082),
    (8, 1.0, -10.251662), (8, 2.0, -17.018164),
])  # fmt: skip
def test_exact_energies_of_the_ring(n, h, e):
    from snnlab.questions.hamiltonian import bonds, on, summed

    ring = [(-1.0, on(n, {i: "Z", j: "Z"})) for i, j in bonds(n, True)]
    assert summed([*ring, *((-h, on(n, {i: "X"})) for i in range(n))]).ground[0] == pytest.approx(e, abs=1e-6)


def test_without_a_field_and_without_a_coupling():
    assert hamiltonian("data=transverse_ising", "data.field=0").ground[0] == pytest.approx(-4)
    free = hamiltonian("data=transverse_ising", "data.coupling=0", "data.field=1.5", "data.spins=5")
    assert free.ground[0] == pytest.approx(-7.5)


def test_marshalls_rule_keeps_the_energy_and_takes_the_signs():
    turned, plain = (build_data("heisenberg", f"data.marshall={word}", "data.spins=4") for word in ("true", "false"))
    assert turned.ground[0] == pytest.approx(plain.ground[0], abs=1e-9) == pytest.approx(-8)
    turned.check_stoquastic()
    state = turned.ground[1]
    assert (state * np.sign(state.sum()) >= -1e-9).all()
    with pytest.raises(InputError, match=r"is positive, so its ground state may have signs.*data\.marshall=true"):
        made("data=heisenberg", "data.marshall=false")


def build_data(name, *line):
    from snnlab.config.parts import instantiate_part

    return instantiate_part("data", compose([*LINE, f"data={name}", *line]).config.data).hamiltonian


def test_a_pauli_string_is_the_product_of_its_matrices():
    letters = {
        "I": np.eye(2),
        "X": np.array([[0, 1], [1, 0]]),
        "Y": np.array([[0, -1j], [1j, 0]]),
        "Z": np.diag([1, -1]),
    }
    terms = ((0.3, "XYY"), (-1.2, "ZIX"), (0.7, "YZY"))
    whole = 0
    for coefficient, string in terms:
        one = np.eye(1)
        for letter in string:  # spin 0 is the lowest bit, the last factor
            one = np.kron(letters[letter], one)
        whole = whole + coefficient * one
    assert np.abs(Hamiltonian(terms).matrix().toarray() - whole).max() < 1e-12


@pytest.mark.parametrize("tau", [1, 5])
def test_the_samplers_find_the_distribution(tau):
    torch.manual_seed(0)
    units = SamplingUnits(4, 4, tau).double()
    with torch.no_grad():
        units.coupling.weight.uniform_(-1, 1)
        units.coupling.weight[-1, -1] = 0
    z = units.run(torch.zeros(100, 4), 1020 * tau)[20 * tau :: tau] > 0
    numbers = (z[..., :4].long() << torch.arange(4)).sum(-1)
    share = torch.bincount(numbers.flatten(), minlength=16).double() / numbers.numel()
    states = torch.tensor([[number >> i & 1 for i in range(4)] for number in range(16)]).double()
    exact = log_weights(units.coupling.weight.detach(), states)[0].softmax(0)
    assert numbers.numel() == 100_000 and float((share - exact).abs().sum() / 2) < 0.02


def test_lif_units_are_calibrated():
    torch.manual_seed(0)
    units = SamplingUnits(5, 1, 10, 0.5)
    drives = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    with torch.no_grad():
        units.coupling.weight.zero_()
        units.coupling.weight[1, :5] = drives
    share = (units.run(torch.zeros(40, 5), 4000)[200:, :, :5] > 0).double().mean((0, 1))
    assert float((share - drives.double().sigmoid()).abs().max()) < 0.05


@pytest.mark.parametrize(("tau", "decay"), [(1, None), (4, None), (4, 0.5)])
def test_kernel_and_step_have_the_same_numbers(tau, decay):
    torch.manual_seed(0)
    units = SamplingUnits(3, 4, tau, decay).double()
    starts = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64).expand(60, 2, 3)
    torch.manual_seed(1)
    fast = units(starts)
    torch.manual_seed(1)
    slow, states = units.unroll(starts)
    assert torch.equal(fast, slow) and 0 < float(fast.mean()) < 1
    torch.manual_seed(1)
    assert torch.equal(units.run(starts[0], 60).double(), states.zeta)


def test_the_gradient_of_many_samples_is_the_exact_one():
    parts = made("data=transverse_ising", "method.samples=200000", "method.spread=0.5")
    method = parts.method
    torch.manual_seed(3)
    found, _ = method.learned_from((torch.rand(1, 100, 4) < 0.5).float().expand(2020, 100, 4))
    p, local, hidden = method.exact(method.weight())
    exact = covariance(local, hidden, method.all_states, p)
    assert float((found - exact).abs().max()) < 0.03 < float(exact.abs().max())


def test_the_figures_of_the_question():
    scores, targets = torch.tensor([[-3.0], [-1.0]]), torch.full((2, 1), -4.0)
    found = {}
    for kind in ("energy", "error", "spread"):
        metric = Estimate(kind)
        metric.update(scores, targets)
        found[kind] = float(metric.compute())
    assert found == pytest.approx({"energy": -2.0, "error": 0.5, "spread": 0.25})


def test_six_bits_and_a_sign_round_weights_and_biases_alike():
    method = made("data=transverse_ising", "hardware=brainscales2").method
    weight = method.weight()
    levels = weight / (weight.abs().max() / 63)
    assert float((levels - levels.round()).abs().max()) < 1e-4 and float(levels.abs().max()) == pytest.approx(63)
    with pytest.raises(InputError, match="and no sampler"):
        build(compose(["method=stbp", "data=digits", "hardware=brainscales2"]).config)


def test_the_chip_holds_every_unit_and_each_synapse_in_both_directions_and_signs():
    parts = made("data=transverse_ising", "hardware=brainscales2", "method.hidden_units=8")
    needs = {need.what: need.need for need in parts.fit.needs}
    assert needs["neurons"] == 4 + 8 and needs["synapses"] == 2 * (2 * 4 * 8 + 4 + 8)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["method.sampler=quantum"], "sampler"),
        (["method.sampler=exact", "method.ratios=visits"], "visits nothing"),
        (["method.samples=0"], "samples = 0 must be at least 1"),
        (["method.decay=1"], r"decay = 1.* must lie in \[0, 1\)"),
        (["method.spread=0"], "spread = 0.* must be positive"),
        (["model.hidden=[3]"], "one layer of hidden units"),
        (["data.field=-1"], "is positive, so its ground state may have signs"),
        (["data.spins=15"], "spins = 15 must lie in 2 to 14"),
        (["data=pauli_strings", "data.terms=['-1 ZQ']"], "must be a string of I, X, Y and Z"),
        (["data=pauli_strings", "data.terms=['ZZ -1']"], "must be a number and a string"),
        (["data=pauli_strings", "data.terms=['1 XY']"], "odd number of Y"),
        (["data=pauli_strings", "data.terms=['1 ZZ','1 ZZZ']"], "is of 3 spins, and ZZ of 2"),
        (["data=heisenberg", "data.spins=5"], "no two sublattices"),
        (["trainer.precision=bf16-mixed"], "energies are lost in 16 bits"),
    ],
)
def test_refusals(line, words):
    data = [] if any(word.startswith("data=") for word in line) else ["data=transverse_ising"]
    with pytest.raises(InputError, match=words):
        made(*data, *line)


def test_the_exact_rule_finds_a_ground_state():
    method = made("data=transverse_ising", "data.spins=3", "method.sampler=exact").method
    weight, optimizer = method.sampling.coupling.weight, torch.optim.Adam([method.sampling.coupling.weight], 0.05)
    for _ in range(400):
        weight.grad = method.learned_from(torch.zeros(2, 1, 3))[0].float()
        optimizer.step()
    p, local, _ = method.exact(method.weight())
    assert 0 <= float((p * local).sum()) + 4 < 4e-3 and math.isclose(float(p.sum()), 1)


def test_a_run_again_and_a_resumed_run_are_equal_to_the_bit(monkeypatch, tmp_path):
    """Starts and samples are drawn: a resumed run goes on with the random numbers that it would have had."""
    monkeypatch.chdir(tmp_path)
    line = ["method=variational_spin", "data=transverse_ising", "data.train_starts=40", "data.batch_size=10"]
    line += ["method.samples=100", "data.val_starts=10", "data.test_starts=10", "trainer.max_epochs=3", "logger=none"]
    line += ["callbacks.figures=false", "callbacks.progress=false", "method.sampler=refractory"]
    whole = run(compose(line))
    weights = weights_of(whole.folder)
    assert torch.equal(weights, weights_of(run(compose([*line, "paths.output=again"])).folder))
    assert not torch.equal(weights, weights_of(run(compose([*line, "paths.output=other", "seed=1"])).folder))
    record = whole.folder / "run.json"
    record.write_text(record.read_text().replace('"status": "completed"', '"status": "interrupted"'))
    sorted(whole.folder.glob("checkpoints/epoch*.ckpt"))[-1].unlink()
    assert torch.equal(weights, weights_of(run(compose([*line, f"resume={whole.folder}"])).folder))


def weights_of(folder: Path) -> torch.Tensor:
    last = sorted(folder.glob("checkpoints/epoch*.ckpt"))[-1]
    state = torch.load(last, weights_only=True)["state_dict"]
    return next(value for name, value in state.items() if name.endswith("coupling.weight"))
