"""Learning to Time-Decode in Spiking Neural Networks Through the Information Bottleneck (VDIB).

Skatchkovsky, Simeone, Jang, NeurIPS 2021, arXiv:2106.01177. A spiking encoder turns input spikes x into spikes y, an
artificial decoder turns the last tau_d samples of y into a natural signal r (or the class of a task at each step).

    bound = E[-log q_phi(r | y)] + beta * mean over steps and neurons of E[log p_theta(y[t] | ...) / q(y[t])]     (1)

Symbols:    theta encoder, phi decoder, q(y) = Bernoulli(prior), u readout potential, p = sigmoid(u), ell learning
            signal, b baseline, K ``samples``, B feedback weights, e[t] = dL/du[t].
Update:     theta follows the score function: (ell - b) grad log p_theta(y), ell = decoder loss + beta * l       (2)
            hidden layers get g[t] = e[t] B, times box surrogate, times eligibility trace                          (3)
            with score=mean only the readout's is divided by N_out T: (3) takes the raw y - p, as in the authors' code
            phi follows backpropagation with y detached                                                            (4)
Departures: K samples per input with a leave-one-out baseline, exact KL gradient, Adam, decoder warm-up (defaults);
            the authors' literal rule is baseline=ema, kl=sampled, score=mean, readout_start=weights, samples=1,
            data.batch_size=1, SGD.
            One joint update per batch, in the predictive task too. See docs/methods/vdib.md.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnlab import ranks
from snnlab.data.contract import Batch, DataModule, DataSpec
from snnlab.errors import InputError
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.methods.base.schedule import make_schedule
from snnlab.methods.vdib import criterion, figures
from snnlab.methods.vdib.autoencoder import Autoencoder, Encoding, Outcome, VDIBBlocks
from snnlab.methods.vdib.criterion import Baseline, Credit
from snnlab.methods.vdib.decoders import DecoderKind
from snnlab.methods.vdib.feedback import Feedback, HiddenCredit
from snnlab.methods.vdib.options import check_choice, check_least
from snnlab.methods.vdib.signals import Target
from snnlab.neurons.filtered_lif import FilteredLIF, Gain
from snnlab.neurons.stochastic_readout import Start, StochasticReadout
from snnlab.neurons.surrogate import Curve, make_surrogate

Learn = Literal["both", "readout", "frozen"]
Gradient = Literal["score", "straight_through"]
KL = Literal["exact", "sampled"]
Score = Literal["sum", "mean"]


class VDIB(Autoencoder):
    """Hybrid SNN-ANN autoencoder; the rule is in the docstring of this file.

    Args:
        model, data, encoder: see ``Method``; the model's last layer becomes the stochastic readout.
        decoder: logistic, mlp, cnn, or rate (sums y over time first).
        tau_d: steps the decoder sees; None takes all steps for signals and 5 for a task.
        decoder_hidden: hidden units of the mlp decoder; None takes tau_d * n_out / 2 as the paper.
        decoder_gigabytes: refuse a decoder that needs more with Adam; None takes half of the machine's memory.
        n_out: readout neurons N_out.  filters, memory, centred: of the readout; see neurons/stochastic_readout.py.
        readout_start: of the readout's feedback and bias: own, weights or prior; see neurons/stochastic_readout.py.
        gain: of the hidden neurons' currents: one, or measured on the first batch, so that a free membrane has the
            deviation 1; see neurons/filtered_lif.py.  hidden_bias: where their biases begin.
        surrogate, width: curve of the hidden neurons' surrogate gradient and its parameter a; None takes its own.
        target: prototype (one natural signal per class) or same_image; None takes same_image for image data and
            prototype for events, as the paper. A task has its own targets.
        beta: weight of the KL term per neuron and step, in nats.  prior: rate r of the reference q, in (0, 1).
        samples: K encoder samples per input.
        baseline: none, ema (the authors' one per parameter, sample by sample), or leave_one_out (needs K >= 2).
        ema_factor: weight of the old value in the ema baseline.  signal_memory: the same for ell itself, 0 is off.
        kl: exact gradient of KL(p || q) at each step, or the sampled log ratio inside ell.
        score: log p summed over steps and neurons (unbiased for (1)) or averaged as in the authors' code; the credit of
            ``feedback=dfa`` is never averaged.
        credit: which losses a spike is credited with in a task: step, window (tau_d of them) or sequence; None
            takes step. Signals have one loss per sequence.
        feedback: hidden credit: dfa, fa, drtp, initial (fixed, from the readout's first weights), or exact (the readout
            as it is, by autograd); see methods/vdib/feedback.py.
        learn: both, readout (hidden layers fixed), or frozen (encoder fixed; the twin that shows what learning adds).
        gradient: score, or straight_through (a reference that is not the paper's rule).
        warmup: batches at the start in which only the decoder learns.
        draws: of the encoder for each sample of validation and test: figures are means over them, and the interval
            of the test's accuracy (95 %) is that of a mean over samples, each with its mean over draws.
        readout_optimizer, hidden_optimizer, decoder_optimizer: one each.
        scheduler: learning-rate scheduler, one for each optimizer, as in ``Method``.

    Raises:
        InputError: when an argument leaves its range, the data has no such targets, or the decoder does not fit memory;
            all before any data is read.
    """

    clips = True

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        readout_optimizer: Optimizer,
        hidden_optimizer: Optimizer,
        decoder_optimizer: Optimizer,
        decoder: DecoderKind = "logistic",
        tau_d: int | None = None,
        decoder_hidden: int | None = None,
        decoder_gigabytes: float | None = None,
        n_out: int = 64,
        filters: int = 8,
        memory: int = 10,
        centred: bool = False,
        readout_start: Start = "own",
        gain: Gain = "one",
        hidden_bias: float = 0.0,
        surrogate: Curve = "box",
        width: float | None = None,
        target: Target | None = None,
        beta: float = 0.05,
        prior: float = 0.3,
        samples: int = 8,
        baseline: Baseline = "leave_one_out",
        ema_factor: float = 0.99,
        signal_memory: float = 0.0,
        kl: KL = "exact",
        score: Score = "sum",
        credit: Credit | None = None,
        feedback: Feedback = "dfa",
        learn: Learn = "both",
        gradient: Gradient = "score",
        warmup: int = 100,
        draws: int = 4,
        scheduler: Scheduler | None = None,
    ) -> None:
        for name, value, kinds in (
            ("readout_start", readout_start, Start),
            ("gain", gain, Gain),
            ("surrogate", surrogate, Curve),
            ("baseline", baseline, Baseline),
            ("kl", kl, KL),
            ("score", score, Score),
            ("credit", credit, Credit | None),
            ("feedback", feedback, Feedback),
            ("learn", learn, Learn),
            ("gradient", gradient, Gradient),
        ):
            check_choice(name, value, kinds)
        check_least("filters", filters, 1, "the paper has 8")
        check_least("memory", memory, 2, "the paper has 10")
        check_least("samples", samples, 1, "4 to 8 are usual")
        check_least("draws", draws, 1, "4 are usual")
        check_least("warmup", warmup, 0, "60 to 100 batches are usual")
        for name, factor in (("ema_factor", ema_factor), ("signal_memory", signal_memory)):
            if not 0 <= factor < 1:
                raise InputError(f"method.{name} = {factor} must lie in [0, 1); it weighs the old value")
        if baseline == "leave_one_out" and samples < 2 and gradient == "score" and learn != "frozen":
            raise InputError(
                f"method.baseline=leave_one_out needs method.samples >= 2, not {samples}; or method.baseline=none"
            )
        if baseline == "ema" and samples != 1:
            raise InputError(f"method.baseline=ema takes one sample per input, not method.samples = {samples}")
        if baseline == "ema" and data.question.per_step:
            raise InputError(
                "method.baseline=ema has one learning signal per sequence and a task has one per step; "
                "use method.baseline=none (paper) or leave_one_out"
            )
        if score == "mean" and kl == "exact":
            raise InputError(
                "method.score=mean belongs to method.kl=sampled: the exact KL gradient is not scaled with it"
            )
        if not data.question.per_step and credit not in (None, "sequence"):
            raise InputError(f"method.credit={credit} belongs to tasks; data={data.name} has one loss per sequence")
        if not 0 < prior < 1:
            raise InputError(f"method.prior = {prior} must lie in (0, 1); the paper has 0.2 to 0.3")
        if width is not None and not 0 < width < math.inf:
            raise InputError(f"method.width = {width} must be positive; null is the surrogate's own")
        blocks = VDIBBlocks(
            lambda features: FilteredLIF(
                features, surrogate=make_surrogate(surrogate, width), gain=gain, bias=hidden_bias
            ),
            lambda inputs, outputs: StochasticReadout(inputs, outputs, filters, memory, centred, readout_start, prior),
        )
        parts = (decoder, tau_d, decoder_hidden, decoder_gigabytes, n_out, blocks)
        super().__init__(model, data, encoder, decoder_optimizer, *parts, target, beta, prior, draws, scheduler)
        self.make_readout_optimizer, self.make_hidden_optimizer = readout_optimizer, hidden_optimizer
        self.samples, self.baseline, self.kl, self.score = samples, baseline, kl, score
        self.credit: Credit = credit or ("step" if self.task else "sequence")
        self.feedback, self.learn, self.gradient, self.warmup = feedback, learn, gradient, warmup
        self.hidden_credit = HiddenCredit(feedback, self.hidden_shapes(), n_out, data.classes, memory)
        self.ema_baseline = criterion.EMABaseline(ema_factor)
        self.signal_memory = signal_memory
        self.signal: Tensor | None = None  # ell, as its average remembers it

    def check_freezing(self, asked: str) -> None:
        raise InputError(
            f"{asked}: credit is sent to all hidden layers at once; method.learn=readout keeps them as they are, "
            "method.learn=frozen the readout, too"
        )

    def check_processes(self, asked: str) -> None:
        if self.baseline == "ema" and self.learn != "frozen":
            raise InputError(
                f"{asked}: method.baseline=ema goes from sample to sample, so no batch can be shared out; use one "
                "device, or method.baseline=leave_one_out"
            )
        super().check_processes(asked)

    def configure_optimizers(self) -> Any:
        first = self.make_optimizer(self.decoder.parameters())
        optimizers = [first, self.make_readout_optimizer(self.readout.parameters())]
        if self.hidden_parameters():
            optimizers.append(self.make_hidden_optimizer(self.hidden_parameters()))
        if self.make_scheduler is None:
            return optimizers, []
        schedules = [make_schedule(self.make_scheduler, o, self.optimizer_steps) for o in optimizers]
        return optimizers, [schedule.config(self.monitor) for schedule in schedules]

    def on_train_start(self) -> None:
        super().on_train_start()
        if self.global_step == 0 and self.feedback == "initial" and self.learn == "both":
            self.hidden_credit.take(self.readout_path())

    # the training step, in the order of the paper's algorithm ---------------------------------------------------------
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        frames = self.frames(batch)
        if self.global_step == 0:
            self.measure(frames)
        if self.learn == "frozen" or self.global_step < self.warmup:
            outcome = self.update_decoder(frames, batch)
        elif self.baseline == "ema" and self.gradient == "score":
            outcome = self.update_one_by_one(frames, batch)
        else:
            outcome = self.update_together(frames, batch)
        self.log_outcome("train", outcome)

    def update_decoder(self, frames: Tensor, batch: Batch) -> Outcome:
        """Warm-up and frozen twin: sample y from the fixed encoder and teach the decoder."""
        with torch.no_grad():
            outputs = self.encode(frames).outputs
            self.readout.follow(outputs)
            potential = self.readout.potential(outputs)
        outcome = self.outcome(potential, batch, self.samples)
        self.step_decoder(outcome.loss)
        return outcome

    def update_together(self, frames: Tensor, batch: Batch) -> Outcome:
        """All samples at once: hidden layers and feed-forward potential are computed once and shared by the K."""
        encoding, potential = self.encoder_graph(frames)
        if self.gradient == "score":
            outcome = self.outcome(potential.detach(), batch, self.samples)
            credit, feedback = self.score_gradients(outcome)
        else:
            leaf = potential.detach().requires_grad_()
            outcome = self.outcome(leaf, batch, self.samples)
            p = torch.sigmoid(outcome.u)
            objective = self.decoder_loss(self.decode(outcome.y + p - p.detach()), batch).mean()
            objective = objective + self.beta * criterion.kl_divergence(outcome.u, self.prior).mean()
            credit, feedback = torch.autograd.grad(objective, [leaf, self.readout.feedback])
        grads = self.encoder_gradients(encoding, potential, credit, feedback, batch)
        self.step_decoder(outcome.loss)  # (4)
        self.step_encoder(grads)
        return outcome

    @torch.no_grad()
    def score_gradients(self, outcome: Outcome) -> tuple[Tensor, Tensor]:
        """(2): the score-function estimate of the gradient of (1), in the potential [T, B, N_out] and the feedback."""
        ell = self.learning_signal(outcome)  # [T or 1, K, B]
        if self.task:
            ell = criterion.credited(ell, self.credit, self.window)
        if self.baseline == "leave_one_out":
            ell = ell - criterion.leave_one_out(ell, dim=1)
        weight = (self.score_scale() / ell.numel() * ell).unsqueeze(-1)
        divergence = self.beta / outcome.u.numel() if self.kl == "exact" else 0.0
        credit = criterion.gradient(outcome.u, outcome.y, weight, divergence, self.prior)  # of each sample
        feedback = (credit * self.readout.own_past(outcome.y)).sum((0, 1, 2))
        return credit.sum(1), feedback.unsqueeze(1)

    def learning_signal(self, outcome: Outcome) -> Tensor:
        """ell of each sample [1, K, B], or of each step in a task [T, K, B]."""
        loss = outcome.loss.detach()
        ell = loss if self.task else loss.unsqueeze(0)
        if self.kl == "sampled":
            per_step = criterion.log_ratio(outcome.u.detach(), outcome.y, self.prior).mean(-1)  # l[t], [T, K, B]
            ell = ell + self.beta * (per_step if self.task else per_step.mean(0, keepdim=True))
        return ell

    def log_probability(self, outcome: Outcome) -> Tensor:
        """log p of the spikes that share a learning signal: [T, K, B] in a task, else summed over T: [1, K, B]."""
        log_p = criterion.log_probability(outcome.u, outcome.y).sum(-1)
        return log_p if self.task else log_p.sum(0, keepdim=True)

    def score_scale(self) -> float:
        """score=mean divides log p by what it was summed over, N_out T for signals, N_out for a task."""
        return 1.0 if self.score == "sum" else 1 / (self.n_out * (1 if self.task else self.steps))

    def update_one_by_one(self, frames: Tensor, batch: Batch) -> Outcome:
        """The authors' rule: for each sample its score, its ell and a baseline per parameter; updates are averaged."""
        total: list[Tensor] = []
        outcomes: list[Outcome] = []
        size = frames.shape[1]
        for i in range(size):
            one = self.one(batch, i)
            encoding, potential = self.encoder_graph(frames[:, i : i + 1])
            leaf = potential.detach().requires_grad_()
            outcome = self.outcome(leaf, one, 1)
            log_p = self.score_scale() * self.log_probability(outcome).mean()
            credit, feedback = torch.autograd.grad(log_p, [leaf, self.readout.feedback])
            scores = self.encoder_gradients(encoding, potential, credit, feedback, one)
            ell = self.learning_signal(outcome).mean()
            ell = ell if self.signal is None else self.signal_memory * self.signal + (1 - self.signal_memory) * ell
            self.signal = ell
            baselines = self.ema_baseline(scores, ell)
            updates = [(ell - b) * score / size for b, score in zip(baselines, scores, strict=True)]
            total = updates if not total else [a + b for a, b in zip(total, updates, strict=True)]
            outcomes.append(outcome)
        by_field = zip(zip(*outcomes, strict=True), (2, 2, -2, -1), strict=True)  # where B stands in each field
        joined = Outcome(*[torch.cat(parts, dim) for parts, dim in by_field])
        if self.kl == "exact":
            total = self.add_exact_kl(frames, joined.y, total, batch)
        self.step_decoder(joined.loss)  # (4)
        self.step_encoder(total)
        return joined

    def add_exact_kl(self, frames: Tensor, y: Tensor, grads: list[Tensor], batch: Batch) -> list[Tensor]:
        """Add the gradient of beta KL(p || q) given the spikes y."""
        encoding, potential = self.encoder_graph(frames, follow=False)
        leaf = potential.detach().requires_grad_()
        u = self.readout.conditional(leaf, y)
        divergence = self.beta * criterion.kl_divergence(u, self.prior).mean()
        credit, feedback = torch.autograd.grad(divergence, [leaf, self.readout.feedback])
        extra = self.encoder_gradients(encoding, potential, credit, feedback, batch)
        return [a + b for a, b in zip(grads, extra, strict=True)]

    def one(self, batch: Batch, index: int) -> Batch:
        """Sample ``index`` as a batch of its own; events are time-first."""
        at = slice(index, index + 1)
        inputs = batch.inputs[at] if self.encoder is not None else batch.inputs[:, at]
        return Batch(inputs, batch.labels[at], None if batch.signals is None else batch.signals[at])

    def encoder_graph(self, frames: Tensor, follow: bool = True) -> tuple[Encoding, Tensor]:
        """Hidden spikes and feed-forward potential [T, B, N_out], with the graph that the credit rule needs.

        With ``follow`` a centred readout takes the batch into its running mean first.
        """
        cut = self.feedback != "exact"
        with torch.set_grad_enabled(self.learn == "both"):
            encoding = self.encode(frames, cut, boxes=self.feedback == "fa" and len(self.hidden_neurons) > 1)
        if follow:
            self.readout.follow(encoding.outputs)
        return encoding, self.readout.potential(encoding.outputs)

    def encoder_gradients(
        self, encoding: Encoding, potential: Tensor, credit: Tensor, feedback: Tensor, batch: Batch
    ) -> list[Tensor]:
        """Gradients in the order of ``encoder_parameters`` from credit dL/du [T, B, N_out] and dL/d(feedback)."""
        readout = self.readout
        outputs, grads = [potential], [credit]
        if self.learn == "both" and self.feedback != "exact" and self.hidden_neurons:  # (3)
            lag0 = (readout.weight.detach() @ readout.phi[:, 0]).to(credit)
            outputs += [encoding.hidden[name] for name in self.hidden_neurons]
            raw = self.feedback == "dfa" and self.gradient == "score"  # y - p without the readout's scale
            sent = credit / self.score_scale() if raw else credit
            grads += self.hidden_credit(sent, lag0, encoding.boxes, batch.labels)
        direct = [p for p in self.encoder_parameters() if p is not readout.feedback]
        found = torch.autograd.grad(outputs, direct, grads, allow_unused=True)
        by_id = {id(p): g for p, g in zip(direct, found, strict=True)} | {id(readout.feedback): feedback}
        gradients = [by_id[id(p)] for p in self.encoder_parameters()]
        return [
            torch.zeros_like(p) if g is None else g for p, g in zip(self.encoder_parameters(), gradients, strict=True)
        ]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """What learns in the encoder."""
        return list(self.readout.parameters()) + (self.hidden_parameters() if self.learn == "both" else [])

    def step_encoder(self, grads: list[Tensor]) -> None:
        for parameter, grad in zip(self.encoder_parameters(), grads, strict=True):
            parameter.grad = grad if ranks.number() == 1 else grad * ranks.share()
        for optimizer in self.optimizers()[1:]:  # type: ignore[index]
            self.on_before_optimizer_step(optimizer)
            optimizer.optimizer.step()  # the inner one: global_step counts batches, the decoder's steps
            optimizer.zero_grad()

    def step_decoder(self, loss: Tensor) -> None:
        optimizer = self.optimizers()[0]  # type: ignore[index]
        optimizer.zero_grad()
        self.manual_backward(loss.mean())
        optimizer.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        memory = self.ema_baseline
        checkpoint["vdib"] = {"signal": self.signal, "squares": memory.squares, "weighted": memory.weighted}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint["vdib"]
        self.signal = kept["signal"]
        self.ema_baseline.squares, self.ema_baseline.weighted = kept["squares"], kept["weighted"]

    def figures(self, data: DataModule) -> dict[str, Any]:
        return figures.all_figures(self, data)
