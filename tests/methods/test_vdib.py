"""VDIB as a method: hidden credit by hand, what reaches what, twins, refusals, determinism, figures."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Latency
from snnlab.data.images.digits import Digits
from snnlab.data.loader import with_loader
from snnlab.data.tasks.drifting_blobs import DriftingBlobs
from snnlab.errors import InputError, RunFailure
from snnlab.methods.vdib import VDIB, criterion, judge
from snnlab.models.mlp import MLP
from snnlab.models.resnet import ResNet
from snnlab.questions.class_per_step import ClassPerStep

ADAM = functools.partial(torch.optim.Adam, lr=1e-3)
SPEC = DataSpec("toy", "image", (1, 4, 4), classes=3, signal_shape=(1, 4, 4), prototype_shape=(1, 4, 4))


def make(spec: DataSpec = SPEC, hidden: tuple[int, ...] = (6,), steps: int = 6, **kwargs: Any) -> VDIB:
    settings: dict[str, Any] = {
        "readout_optimizer": ADAM,
        "hidden_optimizer": functools.partial(torch.optim.Adam, lr=1e-4),
        "decoder_optimizer": ADAM,
        "n_out": 5,
        "samples": 3,
        "warmup": 0,
    }
    encoder = Latency(steps) if spec.kind == "image" else None
    return VDIB(MLP(list(hidden)), spec, encoder, **(settings | kwargs))


def toy_batch(size: int = 4) -> Batch:
    images = torch.rand(size, 1, 4, 4)
    return Batch(images, torch.arange(size) % 3, images)


def trainer(**kwargs: Any) -> L.Trainer:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return L.Trainer(accelerator="cpu", **(quiet | {"max_epochs": 1, "num_sanity_val_steps": 0} | kwargs))


def encoder_gradients(method: VDIB, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """dL/du and the gradients by name of one joint update."""
    frames = method.frames(batch)
    encoding, potential = method.encoder_graph(frames)
    outcome = method.outcome(potential.detach(), batch, method.samples)
    credit, feedback = method.score_gradients(outcome)
    grads = method.encoder_gradients(encoding, potential, credit, feedback, batch)
    names = {id(p): name for name, p in method.network.named_parameters()}
    return credit, {names[id(p)]: g for p, g in zip(method.encoder_parameters(), grads, strict=True)}


def test_hidden_gradient_is_error_times_box_times_trace() -> None:
    """Unit test 5: dW = sum over t of (e[t] B box(U[t])) outer P[t], and 0 with U outside the box."""
    torch.manual_seed(0)
    method = make()
    weight = method.network.layers["weight1"].weight
    weight.data *= 0.01  # potentials of the order of the box
    batch = toy_batch()
    credit, grads = encoder_gradients(method, batch)
    frames = method.frames(batch).flatten(2)  # [T, B, 16]
    _, states = method.network.layers["hidden1"].unroll(frames @ weight.T)
    error = credit @ method.hidden_credit.weight(0)  # e B, [T, B, 6]
    box = ((states.v > -0.5) & (states.v <= 0.5)).float()
    assert 0 < box.mean() < 1
    q, p = torch.zeros_like(frames[0]), torch.zeros_like(frames[0])
    expected = torch.zeros_like(weight)
    for t, x in enumerate(frames):
        p = 0.9 * p + 10 * q
        q = 0.85 * q + x / 0.15
        expected += torch.einsum("bi,bj->ij", error[t] * box[t], p)
    assert expected.abs().max() > 0
    torch.testing.assert_close(grads["layers.weight1.weight"], expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(grads["layers.hidden1.bias"], (error * box).sum((0, 1)), atol=1e-6, rtol=1e-4)
    method.network.layers["hidden1"].bias.data.fill_(100.0)  # far above the box
    _, grads = encoder_gradients(method, batch)
    assert grads["layers.weight1.weight"].abs().max() == 0
    assert grads["layers.hidden1.bias"].abs().max() == 0


def test_score_of_the_readout_is_y_minus_p() -> None:
    torch.manual_seed(0)
    method = make(samples=2, baseline="none", beta=0.0)
    batch = toy_batch(1)
    potential = method.readout.potential(method.encode(method.frames(batch)).outputs).detach()
    outcome = method.outcome(potential, batch, 2)
    errors = outcome.y - torch.sigmoid(outcome.u)
    expected = (outcome.loss.detach().view(1, 2, 1, 1) * errors).mean(1)
    torch.testing.assert_close(method.score_gradients(outcome)[0], expected)


@pytest.mark.parametrize("options", [{}, {"kl": "sampled", "score": "mean"}, {"baseline": "none"}], ids=str)
@pytest.mark.parametrize("spec", ["images", "task", "a task's sequence"])
def test_what_is_written_out_is_the_gradient_of_the_objective(spec: str, options: dict[str, Any]) -> None:
    """(2) by autograd: the mean of (ell - b) log p, and beta times the mean KL divergence."""
    torch.manual_seed(0)
    if spec == "images":
        method, batch = make(**options), toy_batch()
    else:
        task = DataSpec("blobs", "task", (20,), classes=4, time_steps=6, question=ClassPerStep())
        credit = {"credit": "sequence"} if "sequence" in spec else {}
        method = make(task, hidden=(), **(options | credit))
        batch = Batch((torch.rand(6, 4, 20) < 0.3).float(), torch.randint(4, (6, 4)), None)
    leaf = (
        method.readout.potential(method.frames(batch))
        if spec != "images"
        else method.encoder_graph(method.frames(batch))[1]
    )
    leaf = leaf.detach().requires_grad_()
    outcome = method.outcome(leaf, batch, 3)
    ell = method.learning_signal(outcome)
    ell = criterion.credited(ell, method.credit, method.window) if method.task else ell
    ell = ell - criterion.leave_one_out(ell, dim=1) if method.baseline == "leave_one_out" else ell
    objective = method.score_scale() * (ell * method.log_probability(outcome)).mean()
    if method.kl == "exact":
        objective = objective + method.beta * criterion.kl_divergence(outcome.u, method.prior).mean()
    expected = torch.autograd.grad(objective, [leaf, method.readout.feedback])
    for one, other in zip(method.score_gradients(outcome), expected, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("feedback", ["dfa", "fa"])
def test_a_mean_score_is_divided_by_neurons_and_steps_in_the_readout_only(feedback: str) -> None:
    """N_out T = 5 x 6: the readout gets a 30th of the summed score, direct feedback the raw (y - p) B."""
    found = {}
    for score in ("sum", "mean"):
        torch.manual_seed(0)
        method = make(samples=1, baseline="none", kl="sampled", score=score, feedback=feedback)
        method.network.layers["weight1"].weight.data *= 0.01
        found[score] = encoder_gradients(method, toy_batch())[1]
    for name, grad in found["mean"].items():
        raw = feedback == "dfa" and not name.startswith("layers.readout")
        assert grad.abs().max() > 0
        torch.testing.assert_close(grad * (1 if raw else 30), found["sum"][name], msg=name)


def test_without_beta_the_learning_signal_is_the_decoder_loss() -> None:
    """Unit test 4, second half."""
    method = make(beta=0.0, kl="sampled")
    outcome = method.outcome(torch.randn(6, 4, 5), toy_batch(), 3)
    assert torch.equal(method.learning_signal(outcome)[0], outcome.loss.detach())
    assert not torch.equal(make(beta=1.0, kl="sampled").learning_signal(outcome)[0], outcome.loss.detach())


def test_decoder_gradient_does_not_reach_the_encoder() -> None:
    """Unit test 8."""
    method = make()
    batch = toy_batch()
    potential = method.readout.potential(method.encode(method.frames(batch)).outputs)
    assert potential.requires_grad
    method.outcome(potential, batch, 3).loss.mean().backward()
    assert all(p.grad is not None for p in method.decoder.parameters())
    assert all(p.grad is None for p in method.network.parameters())


@pytest.mark.parametrize("feedback", ["dfa", "fa", "drtp", "initial", "exact"])
def test_every_feedback_reaches_every_hidden_layer(feedback: str) -> None:
    torch.manual_seed(0)
    method = make(hidden=(7, 6), feedback=feedback)
    for name in ("weight1", "weight2"):
        method.network.layers[name].weight.data *= 0.01
    method.hidden_credit.take(method.readout_path() if feedback == "initial" else [])
    _, grads = encoder_gradients(method, toy_batch(16))
    assert set(grads) == {name for name, _ in method.network.named_parameters()}
    assert all(grad.abs().max() > 0 for grad in grads.values()), {n: float(g.abs().max()) for n, g in grads.items()}


def test_exact_feedback_is_the_gradient_through_the_readout() -> None:
    torch.manual_seed(0)
    method = make(feedback="exact")
    method.network.layers["weight1"].weight.data *= 0.01
    frames = method.frames(toy_batch())
    encoding, potential = method.encoder_graph(frames)
    credit = torch.randn_like(potential)
    grads = method.encoder_gradients(encoding, potential, credit, torch.zeros(5, 1), toy_batch())
    hidden = method.network.layers["hidden1"]
    currents = torch.nn.functional.linear(frames.flatten(2), method.network.layers["weight1"].weight)
    total = (method.readout.potential(hidden(currents)) * credit).sum()
    expected = torch.autograd.grad(total, method.hidden_parameters())
    for one, other in zip(grads[-2:], expected, strict=True):
        torch.testing.assert_close(one, other)


def test_initial_feedback_is_the_exact_one_until_the_readout_moves() -> None:
    found = {}
    for feedback in ("initial", "exact"):
        torch.manual_seed(0)
        method = make(feedback=feedback, gain="measured", surrogate="triangle", readout_start="prior")
        batch = toy_batch()
        method.measure(method.frames(batch))
        if feedback == "initial":
            method.hidden_credit.take(method.readout_path())
        torch.manual_seed(1)
        found[feedback] = encoder_gradients(method, batch)[1]
    for name, grad in found["exact"].items():
        assert grad.abs().max() > 0
        torch.testing.assert_close(found["initial"][name], grad, msg=name)


def test_initial_feedback_of_a_lower_layer_is_the_product_of_the_weights_above() -> None:
    torch.manual_seed(0)
    method = make(hidden=(7, 6), feedback="initial")
    lower, upper = method.readout_path()
    readout = torch.einsum("kjm,ml->lkj", method.readout.weight, method.readout.phi)  # [lags, N_out, 6]
    torch.testing.assert_close(upper, readout)
    torch.testing.assert_close(lower, readout @ method.network.layers["weight2"].weight)


def test_gain_and_feedback_are_set_when_learning_begins_and_stay(digits: Digits) -> None:
    options = {
        "gain": "measured",
        "feedback": "initial",
        "readout_start": "prior",
        "prior": 0.2,
        "surrogate": "triangle",
    }
    method = make(digits.spec, steps=6, **options)
    method.prepare(digits)
    first = method.readout_path()[0].flatten(0, 1)
    assert not method.network.layers["hidden1"].measured
    run = trainer(limit_train_batches=3, limit_val_batches=0)
    run.fit(method, datamodule=digits)
    hidden = method.network.layers["hidden1"]
    assert hidden.measured and hidden.gain != 1
    assert torch.equal(method.hidden_credit.weight(0), first)
    assert not torch.equal(method.readout_path()[0].flatten(0, 1), first)  # the readout has moved
    gain = hidden.gain.clone()
    method.prepare(digits)  # as where a run is opened
    method.evaluated(next(iter(digits.test_dataloader())), method.frames(next(iter(digits.test_dataloader()))))
    again = make(digits.spec, steps=6, **options)  # as where weights of another run begin a new one
    again.load_state_dict(method.state_dict())
    trainer(limit_train_batches=1, limit_val_batches=0).fit(again, datamodule=digits)
    for one in (method, again):
        assert torch.equal(one.network.layers["hidden1"].gain, gain)


def test_an_unfed_readout_starts_at_the_prior() -> None:
    readout = make(readout_start="prior", prior=0.2).readout
    torch.testing.assert_close(torch.sigmoid(readout.bias), torch.full((5, 1), 0.2))
    assert readout.feedback.abs().max() <= (6 / ((6 + 5) * 8)) ** 0.5


def test_scores_are_means_over_draws_with_an_interval(digits: Digits) -> None:
    torch.manual_seed(0)
    method = make(digits.spec, steps=6, draws=3)
    method.prepare(digits)
    torch.manual_seed(1)
    (metrics,) = trainer().test(method, datamodule=digits, verbose=False)
    torch.manual_seed(1)
    right = []
    with torch.no_grad():
        for batch in digits.test_dataloader():
            _, outcome = method.evaluated(batch, method.frames(batch))
            assert outcome.y.shape[1] == 3
            pictures = torch.sigmoid(outcome.logits).unflatten(-1, (1, 8, 8))
            right.append(torch.stack([method.judged(draw).argmax(-1) == batch.labels for draw in pictures]))
    share = torch.cat(right, 1).double().mean(0)  # of each sample, over its draws
    assert metrics["test/judge_accuracy"] == pytest.approx(share.mean().item(), abs=1e-6)
    half = 1.96 * share.std() / len(share) ** 0.5
    assert metrics["test/judge_accuracy_interval"] == pytest.approx(half.item(), rel=1e-3)


def test_the_literal_rule_is_the_authors_arithmetic(digits: Digits) -> None:
    """Three steps of the literal command, one sample each, against the card's equations written out in loops."""
    literal = {"samples": 1, "baseline": "ema", "ema_factor": 0.01, "signal_memory": 0.01, "kl": "sampled"}
    sgd = functools.partial(torch.optim.SGD, lr=1e-3)
    literal |= {"score": "mean", "readout_start": "weights", "beta": 0.001, "warmup": 0, "decoder": "mlp"}
    literal |= {"readout_optimizer": sgd, "hidden_optimizer": sgd, "decoder_hidden": 4}
    torch.manual_seed(0)
    method = make(**literal).double()
    method.network.layers["weight1"].weight.data *= 0.02  # so that some potentials lie in the box
    decoder = method.make_optimizer(method.decoder.parameters())
    optimizers = [decoder, sgd(method.readout.parameters()), sgd(method.hidden_parameters())]
    stand_ins = [type("Wrapped", (), {"optimizer": o, "zero_grad": o.zero_grad, "step": o.step})() for o in optimizers]
    method.optimizers = lambda: stand_ins  # type: ignore[method-assign, assignment, return-value]
    method.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign]
    method.on_before_optimizer_step = lambda _: None  # type: ignore[method-assign]
    readout, hidden = method.readout, method.network.layers["hidden1"]
    w1, b1 = method.network.layers["weight1"].weight.detach().clone(), hidden.bias.detach().clone()
    w, v, c = (x.detach().clone() for x in (readout.weight, readout.feedback[:, 0], readout.bias[:, 0]))
    before = (w, v, c, w1, b1)
    feedback, phi, tap = method.hidden_credit.weight(0), readout.phi, readout.phi_feedback
    signal, squares, weighted = None, None, None
    for _ in range(3):
        batch = toy_batch(1)
        batch = Batch(batch.inputs.double(), batch.labels, batch.inputs.double())
        frames = method.frames(batch)
        outcome = method.update_one_by_one(frames, batch)
        x, y = frames.flatten(2)[:, 0], outcome.y[:, 0, 0]
        q, p, r, s = (torch.zeros(n, dtype=x.dtype) for n in (16, 16, 6, 6))
        grads = [torch.zeros_like(g) for g in (w, v, c, w1, b1)]
        past, fired, ratio, inside = [], [], 0.0, 0
        for t, now in enumerate(x):
            q, p = 0.85 * q + now / 0.15, 0.9 * p + 10 * q
            r = 0.65 * r - s
            potential = w1 @ p + b1 + r
            s = (potential >= 0).double()
            past.insert(0, s)
            traces = torch.stack([sum(phi[m, lag] * past[lag] for lag in range(min(len(past), 10))) for m in range(8)])
            own = sum((tap[lag] * fired[lag] for lag in range(min(len(fired), 10))), torch.zeros(5, dtype=x.dtype))
            u = torch.einsum("kjm,mj->k", w, traces) + v * own + c
            rate, error = torch.sigmoid(u), y[t] - torch.sigmoid(u)
            torch.testing.assert_close(outcome.u[t, 0, 0], u)
            ratio += (y[t] * (rate / 0.3).log() + (1 - y[t]) * ((1 - rate) / 0.7).log()).mean().item() / len(x)
            box = ((potential > -0.5) & (potential <= 0.5)).double()
            inside += int(box.sum())
            sent = (error @ feedback) * box
            scale = 1 / (5 * len(x))  # N_out T, of the readout's alone
            steps = (scale * torch.einsum("k,mj->kjm", error, traces), scale * error * own, scale * error)
            grads = [g + step for g, step in zip(grads, (*steps, torch.outer(sent, p), sent), strict=True)]
            fired.insert(0, y[t])
        assert inside > 0
        ell = outcome.loss.mean().item() + 0.001 * ratio
        signal = ell if signal is None else 0.01 * signal + 0.99 * ell
        new = [g.square() for g in grads]
        squares = new if squares is None else [0.01 * a + 0.99 * b for a, b in zip(squares, new, strict=True)]
        fresh = [signal * b for b in new]
        weighted = fresh if weighted is None else [0.01 * a + 0.99 * b for a, b in zip(weighted, fresh, strict=True)]
        bases = [a / (b + 1e-7) for a, b in zip(weighted, squares, strict=True)]
        w, v, c, w1, b1 = (
            old - 1e-3 * (signal - base) * g for old, base, g in zip((w, v, c, w1, b1), bases, grads, strict=True)
        )
    after = (readout.weight, readout.feedback[:, 0], readout.bias[:, 0], method.network.layers["weight1"].weight)
    for one, other, old in zip((*after, hidden.bias), (w, v, c, w1, b1), before, strict=True):
        assert (other - old).abs().max() > 1e-8
        torch.testing.assert_close(one.detach(), other, atol=1e-12, rtol=0)


def test_one_by_one_equals_together_without_a_baseline() -> None:
    """With b = 0 the authors' sample-by-sample rule is the batch rule: same spikes, same update."""
    updates = []
    for baseline in ("none", "ema"):
        torch.manual_seed(0)
        method = make(samples=1, baseline=baseline, kl="sampled", score="mean", learn="both")
        method.ema_baseline = lambda scores, _ell: [torch.zeros_like(s) for s in scores]  # type: ignore[assignment]
        kept: list[torch.Tensor] = []
        method.step_encoder = lambda grads, kept=kept: kept.extend(grads)  # type: ignore[method-assign]
        method.step_decoder = lambda _loss: None  # type: ignore[method-assign]
        batch = toy_batch(1)
        frames = method.frames(batch)
        torch.manual_seed(1)
        (method.update_together if baseline == "none" else method.update_one_by_one)(frames, batch)
        updates.append(kept)
    assert len(updates[0]) == 5
    for one, other in zip(*updates, strict=True):
        torch.testing.assert_close(one, other)


# training on real digits ----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Digits]:
    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "MOST_EPOCHS", 6)
        data = with_loader(Digits, root=folder, cache=folder / "cache", batch_size=64)
        judge.load_judge(data)
        yield data


def fit(data: Digits, batches: int = 160, **kwargs: Any) -> tuple[VDIB, dict[str, float]]:
    L.seed_everything(0, verbose=False)
    settings = {
        "readout_optimizer": functools.partial(torch.optim.Adam, lr=1e-3),
        "decoder_optimizer": functools.partial(torch.optim.Adam, lr=3e-3),
        "n_out": 16,
        "samples": 8,
        "warmup": 40,
    }
    method = make(data.spec, hidden=(64,), steps=12, **(settings | kwargs))
    method.prepare(data)
    epochs = -(-batches // 21)
    trainer(max_epochs=epochs, limit_val_batches=0).fit(method, datamodule=data)
    (metrics,) = trainer().test(method, datamodule=data, verbose=False)
    return method, metrics


def test_learned_encoder_beats_its_frozen_twin(digits: Digits) -> None:
    method, learned = fit(digits)
    _, frozen = fit(digits, learn="frozen")
    assert learned["test/bound"] < frozen["test/bound"] - 0.01
    assert learned["test/judge_accuracy"] > frozen["test/judge_accuracy"]
    assert learned["test/readout_change"] > 0.01
    assert learned["test/hidden_change"] > 0
    assert frozen["test/readout_change"] == frozen["test/hidden_change"] == 0
    assert learned["test/bound"] == pytest.approx(learned["test/loss"] + 0.05 * learned["test/kl"], abs=1e-5)
    names = {"prototype_bce", "readout_rate", "spikes_per_inference", "firing_rate/hidden1", "firing_rate/readout"}
    assert {f"test/{name}" for name in names} <= set(learned)
    assert all(torch.isfinite(torch.tensor(value)) for value in learned.values())
    made = method.figures(digits)
    assert set(made) == {
        "reconstructions",
        "reconstructions_in_time",
        "class_averages",
        "receptive_fields",
        "encoder_raster",
        "tsne",
    }


def test_same_seed_same_numbers(digits: Digits) -> None:
    one, other = (fit(digits, batches=21, warmup=5)[1] for _ in range(2))
    assert one == other


def test_global_step_counts_batches(digits: Digits) -> None:
    method = make(digits.spec, steps=6)
    run = trainer(limit_val_batches=0)
    run.fit(method, datamodule=digits)
    assert run.global_step == 21


def test_the_judge_sees_pictures_of_any_precision(digits: Digits) -> None:
    method = make(digits.spec)
    method.prepare(digits)
    images = torch.rand(2, *digits.spec.input_shape)
    assert torch.equal(method.judged(images.double()), method.judged(images))
    assert method.judged(images.bfloat16()).shape == (2, digits.spec.classes)


@pytest.mark.parametrize(
    "options",
    [
        {"decoder": "mlp", "decoder_hidden": 16},
        {"decoder": "cnn"},
        {"decoder": "rate"},
        {"tau_d": 3},
        {"target": "prototype"},
        {"gradient": "straight_through", "samples": 1},
        {"learn": "readout", "kl": "sampled"},
        {"feedback": "exact"},
        {"samples": 1, "baseline": "ema", "kl": "sampled", "score": "mean", "ema_factor": 0.01, "signal_memory": 0.01},
        {"samples": 1, "baseline": "ema", "kl": "exact"},
    ],
    ids=str,
)
def test_every_option_trains_and_scores(digits: Digits, options: dict[str, Any]) -> None:
    L.seed_everything(0, verbose=False)
    method = make(digits.spec, steps=6, **options)
    method.prepare(digits)
    before = method.readout.weight.detach().clone()
    trainer(limit_train_batches=2, limit_val_batches=1).fit(method, datamodule=digits)
    assert not torch.equal(before, method.readout.weight)
    (metrics,) = trainer(limit_test_batches=1).test(method, datamodule=digits, verbose=False)
    assert ("test/prototype_bce" in metrics) == (options.get("target") != "prototype")
    assert 0 <= metrics["test/judge_accuracy"] <= 1
    batch = next(iter(digits.test_dataloader()))
    assert method.predictions(batch).shape == batch.labels.shape


def test_a_checkpoint_brings_everything_back(digits: Digits, tmp_path: Path) -> None:
    L.seed_everything(0, verbose=False)
    method = make(digits.spec, steps=6, samples=1, baseline="ema", kl="sampled", score="mean")
    method.prepare(digits)
    run = trainer(limit_train_batches=2, limit_val_batches=0)
    run.fit(method, datamodule=digits)
    run.save_checkpoint(tmp_path / "last.ckpt")
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert not any("judge" in name for name in stored["state_dict"])
    again = make(digits.spec, steps=6, samples=1, baseline="ema", kl="sampled", score="mean")
    again.load_state_dict(stored["state_dict"])
    again.on_load_checkpoint(stored)
    assert torch.equal(again.class_signals, method.class_signals)
    assert torch.equal(again.initial_readout, method.initial_readout)
    for one, other in zip(method.ema_baseline.weighted, again.ema_baseline.weighted, strict=True):
        assert torch.equal(one, other)


# the predictive task --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [{}, {"credit": "window", "kl": "exact"}, {"decoder": "rate"}], ids=str)
def test_predictive_coding_learns(tmp_path: Path, options: dict[str, Any]) -> None:
    sizes = {"train_sequences": 32 * 30, "val_sequences": 32, "test_sequences": 64}
    data = with_loader(
        DriftingBlobs, root=tmp_path, cache=tmp_path, batch_size=32, steps_train=30, steps_test=30, **sizes
    )
    fast = functools.partial(torch.optim.Adam, lr=0.01)
    results = []
    for learn in ("readout", "frozen"):
        L.seed_everything(0, verbose=False)
        settings = {"readout_optimizer": fast, "decoder_optimizer": fast, "n_out": 10, "beta": 1.0, "prior": 0.2}
        method = make(data.spec, hidden=(), **(settings | {"kl": "sampled", "samples": 4, "learn": learn} | options))
        method.prepare(data)
        trainer(limit_val_batches=0).fit(method, datamodule=data)
        results.append(trainer().test(method, datamodule=data, verbose=False)[0])
    learned, frozen = results
    assert learned["test/bound"] < frozen["test/bound"]
    assert "test/accuracy" in learned
    assert "test/judge_accuracy" not in learned
    assert "test/hidden_change" not in learned
    figures = method.figures(data)
    assert set(figures) == {"encoder_raster", "decoded"}
    assert [text.get_text() for text in figures["decoded"].axes[0].get_legend().get_texts()] == ["true"]
    batch = next(iter(data.test_dataloader()))
    assert method.predictions(batch).shape == batch.labels.shape


# refusals -------------------------------------------------------------------------------------------------------------
EVENTS = DataSpec("films", "event", (2, 4, 4), classes=10, time_steps=20, prototype_shape=(1, 28, 28))
TASK = DataSpec("blobs", "task", (20,), classes=210, time_steps=100, question=ClassPerStep())


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (SPEC, {"decoder": "lstm"}, "method.decoder = 'lstm' must be one of logistic, mlp, cnn, rate"),
        (SPEC, {"target": "label"}, "method.target = 'label' must be one of prototype, same_image"),
        (SPEC, {"prior": 0.0}, r"method.prior = 0.0 must lie in \(0, 1\)"),
        (SPEC, {"beta": -1.0}, "method.beta = -1.0 must be at least 0"),
        (SPEC, {"samples": 0, "baseline": "none"}, "method.samples = 0 must be at least 1"),
        (SPEC, {"samples": 1}, "method.baseline=leave_one_out needs method.samples >= 2, not 1"),
        (SPEC, {"baseline": "ema"}, "method.baseline=ema takes one sample per input"),
        (SPEC, {"score": "mean"}, "method.score=mean belongs to method.kl=sampled"),
        (SPEC, {"tau_d": 7}, "method.tau_d = 7 must lie in 1 to 6"),
        (SPEC, {"n_out": 0}, "method.n_out = 0 must be at least 1"),
        (SPEC, {"ema_factor": 1.0}, r"method.ema_factor = 1.0 must lie in \[0, 1\)"),
        (SPEC, {"credit": "step"}, "method.credit=step belongs to tasks"),
        (SPEC, {"decoder_gigabytes": 1e-6}, "method.decoder=logistic over 6 steps of 5 neurons to 16 outputs needs"),
        (EVENTS, {"decoder": "mlp", "n_out": 5000}, "use method.decoder=logistic or cnn"),
        (EVENTS, {"target": "same_image"}, "which data=films does not have; use method.target=prototype"),
        (TASK, {"baseline": "ema", "samples": 1}, "method.baseline=ema has one learning signal per sequence"),
        (TASK, {"target": "prototype"}, "data=blobs is a task: use method.target=null"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(spec: DataSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        make(spec, **options)
    assert "\n" not in str(error.value)


def test_events_take_prototypes_and_images_themselves() -> None:
    assert make(EVENTS).target == "prototype"
    assert make(EVENTS).monitor == ("val/judge_accuracy", "max")
    assert make(SPEC).target == "same_image"
    assert make(TASK, hidden=()).monitor == ("val/accuracy", "max")
    assert make(TASK, hidden=()).window == 5


def test_a_diverged_run_fails_in_words() -> None:
    method = make()
    method.decoder[1].weight.data.fill_(float("nan"))
    with pytest.raises(RunFailure, match="training diverged; lower method"):
        method.outcome(torch.randn(6, 4, 5), toy_batch(), 3)


def test_layers_inside_a_block_are_refused() -> None:
    model = ResNet(2, [[3, 1]], [4])
    with pytest.raises(InputError, match=r"vdib sends credit to the layers of a chain, .* layers inside block1; use"):
        VDIB(model, SPEC, Latency(6), readout_optimizer=ADAM, hidden_optimizer=ADAM, decoder_optimizer=ADAM)
