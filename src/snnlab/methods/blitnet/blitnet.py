"""BLiTNet, a reconstruction after Stratton, Wabnitz, Essam, Cheung, Hamilton 2022 (arXiv:2208.01204).

    p_i        inputs of one sample, in [0, 1]: one wave, no time steps
    x_j        amplitude of neuron j, of I_j + C_j - theta_j, I_j = sum W+ p - sum W- p    neurons/amplitude.py (1), (2)
    W+, W-     a synapse exists with a probability of its own for either sign      weights/both_signs.py, blocks.py
    f_j        target firing rate: equal steps from the lowest to the highest, dealt out at random
    rules      excitatory and inhibitory plasticity, balance, thresholds                   rules.py (2) to (8)
    eta        eta_0 (1 - t)^2 with t in [0, 1) the part of the training that is over; eta_theta likewise
    readout    fitted with labels to features that do not learn any more                   readouts.py

No label is used before the readout, and no gradient anywhere. The readout is made anew before each validation and is
stored with the weights. ``learn=thresholds`` is the fair twin: weights of the same size and sparsity stay as they were
drawn, the thresholds learn.

Source:     the paper could not be read. rule=paper is what a reading note has of its equations (2), (4), (6) to (8);
            rule=code is src/blitnet_open.py of QVPR/VPRTempo, versions 22 to 25.
Departures: rule=paper has the bounds of the code, too. In (2) the spikes of two steps are those of successive samples.
            The size of (7) for rule=paper, connection probabilities, rates and the readout's constants are ours, chosen
            on validation images. ``forcing`` starts from W+ = W- = 1 / inputs and theta = 0, not from weights that are
            drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.data.contract import Batch, DataModule, DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.chain import Chain, Stage, through
from snnlab.methods.base.method import Model, Scheduler
from snnlab.methods.base.sample_by_sample import SampleBySample
from snnlab.methods.blitnet.blocks import BLiTNetBlocks, Draws
from snnlab.methods.blitnet.readouts import FORCED, fit_logistic, fit_ridge, force
from snnlab.methods.blitnet.rules import LEAST, MOST, Learn, Rule, moved, settle
from snnlab.neurons.amplitude import Amplitude
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.whole import OnLevels
from snnlab.weights.both_signs import BothSigns

Rates = tuple[Tensor, Tensor]  # eta and eta_theta of each sample [B]


class BLiTNet(SampleBySample):
    """The rule is in the docstring of this file.

    Args:
        model, data, encoder, scheduler: as in Method; the model is local or mlp. Frames are averaged over time.
        lr: eta_0; a scheduler moves it, too.
        threshold_rate: eta_theta / eta.
        rule: paper or code, see rules.py.
        balance: of (7); None is 50 for the code's rule and 1 for the paper's.
        row_sum: sum of the excitatory weights of a neuron, at first and by (4); of the inhibitory ones at first.
        learn: all; thresholds (the fair twin); none.
        annealing: whether eta falls.
        in_turn: one hidden layer learns after the other, an equal part of the training each.
        rate_low, rate_high: of the target rates.
        p_excitatory, p_inhibitory: probability that a synapse exists.
        constant, noise: C_j is drawn from [0, constant]; in training [0, noise] is added to each input current.
        threshold_high: theta starts in [0, threshold_high].
        most: largest amplitude.
        pixel_threshold: inputs above it are 1, others 0; None leaves amplitudes.
        readout: ridge, logistic or forcing.
        penalty: of ridge and logistic.
        readout_lr, readout_passes: of forcing; logistic takes 100 steps a pass.
        label_samples: the readout is fitted to that many training samples; None takes all.

    Raises:
        InputError: when an argument leaves its range, or the model has other layers.
    """

    label = "BLiTNet (reconstruction)"
    writes_weights = True

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        lr: float = 0.02,
        scheduler: Scheduler | None = None,
        threshold_rate: float = 0.2,
        rule: Literal["paper", "code"] = "paper",
        balance: float | None = None,
        row_sum: float = 1.0,
        learn: Learn = "all",
        annealing: bool = True,
        in_turn: bool = False,
        rate_low: float = 0.1,
        rate_high: float = 0.5,
        p_excitatory: float = 0.5,
        p_inhibitory: float = 0.1,
        constant: float = 0.1,
        noise: float = 0.0,
        threshold_high: float = 0.25,
        most: float = 0.9,
        pixel_threshold: float | None = 0.5,
        readout: Literal["ridge", "logistic", "forcing"] = "ridge",
        penalty: float = 0.01,
        readout_lr: float = 0.001,
        readout_passes: int = 1,
        label_samples: int | None = None,
    ) -> None:
        for name, word, known in (
            ("rule", rule, ("paper", "code")),
            ("learn", learn, ("all", "thresholds", "none")),
            ("readout", readout, ("ridge", "logistic", "forcing")),
        ):
            if word not in known:
                raise InputError(f"method.{name} = {word!r} must be {', '.join(known[:-1])} or {known[-1]}")
        numbers = (("lr", lr), ("row_sum", row_sum), ("penalty", penalty), ("readout_lr", readout_lr))
        for name, number in numbers:
            if not 0 < number < float("inf"):
                raise InputError(f"method.{name} = {number} must be positive; 0.02, 1, 0.01 and 0.001 are usual")
        balance = {"paper": 1.0, "code": 50.0}[rule] if balance is None else balance
        free = (("threshold_rate", threshold_rate), ("balance", balance), ("constant", constant), ("noise", noise))
        for name, number in (*free, ("threshold_high", threshold_high)):
            if not 0 <= number < float("inf"):
                raise InputError(f"method.{name} = {number} must be 0 or more")
        if rule == "paper" and not balance * lr < 1:
            raise InputError(
                f"method.balance = {balance} times method.lr = {lr} must be below 1, or inhibition would change its "
                f"sign in one step; balance {0.5 / lr:g} is half of that"
            )
        if not 0 < rate_low <= rate_high < 1:
            raise InputError(
                f"method.rate_low = {rate_low} and method.rate_high = {rate_high} must lie in (0, 1), in this order; "
                "0.1 and 0.5 are ours, and equal ones are a single target"
            )
        for name, number in (("p_excitatory", p_excitatory), ("most", most)):
            if not 0 < number <= 1:
                raise InputError(f"method.{name} = {number} must lie in (0, 1]; 0.5 and 0.9 are usual")
        if not 0 <= p_inhibitory <= 1:
            raise InputError(f"method.p_inhibitory = {p_inhibitory} must lie in [0, 1]; 0.1 is usual")
        if pixel_threshold is not None and not 0 <= pixel_threshold < 1:
            raise InputError(
                f"method.pixel_threshold = {pixel_threshold} must lie in [0, 1); null leaves amplitudes as they are"
            )
        for name, whole in (("readout_passes", readout_passes), ("label_samples", label_samples)):
            if whole is not None and whole < 1:
                raise InputError(f"method.{name} = {whole} must be at least 1")
        total = row_sum if rule == "paper" else 0.0
        self.rule, self.learn = Rule(rule, balance, total, learn), learn
        self.threshold_rate, self.annealing, self.in_turn, self.noise = threshold_rate, annealing, in_turn, noise
        of_weights = (row_sum, p_excitatory, p_inhibitory)
        self.draws = Draws(*of_weights, rate_low, rate_high, constant, threshold_high, most, readout == "forcing")
        self.pixel_threshold, self.reads = pixel_threshold, readout
        self.penalty, self.readout_lr, self.readout_passes = penalty, readout_lr, readout_passes
        self.label_samples = label_samples
        super().__init__(model, data, encoder, partial(torch.optim.SGD, lr=lr), scheduler)
        self.check_layers()

    def blocks(self) -> Blocks:
        return BLiTNetBlocks(self.draws)

    def check_layers(self) -> None:
        """Refuse a network that is not weight - neurons - ... - readout, each weight with both signs."""
        used = Chain(self.network).without((nn.Flatten, nn.Identity, nn.ZeroPad2d))
        pairs = [(used[i].layer, used[i + 1].layer) for i in range(0, len(used) - 1, 2)]
        hidden = all(isinstance(w, BothSigns) and isinstance(n, Amplitude) for w, n in pairs[:-1])
        if not hidden or len(used) % 2 or not isinstance(pairs[-1][1], Amplitude | Integrator):
            names = " - ".join(type(link.layer).__name__ for link in used)
            raise InputError(
                f"method=blitnet trains layers whose units have weights of their own, and this model is {names}; use "
                "model=local, or model=mlp without dropout"
            )

    def stages(self) -> list[Stage]:
        """The hidden layers: what stands before a weight, the weight, and its neurons."""
        return Chain(self.network).stages()[:-1]

    def targets(self) -> list[Tensor]:
        """f of each hidden layer, in the shape of its neurons."""
        return [stage.end.layer.get_buffer("target") for stage in self.stages() if stage.end is not None]

    # what is refused --------------------------------------------------------------------------------------------------
    def check_freezing(self, asked: str) -> None:
        raise InputError(f"{asked}: this rule moves its weights itself; method.learn=thresholds leaves them as drawn")

    def prepare(self, data: DataModule) -> None:
        for name, weight in Chain(self.network).weights().items():
            if isinstance(weight, BothSigns) and not weight.constrained:
                used = weight.used.detach()
                if bool((weight.excitatory(used) < 0).any() or (weight.inhibitory(used) > 0).any()):
                    raise InputError(f"method=blitnet: init gives {name} synapses of the wrong sign; use init=default")

    # the input --------------------------------------------------------------------------------------------------------
    @property
    def spiking_input(self) -> bool:
        return True

    def frames(self, batch: Batch) -> Tensor:
        """One wave [1, B, ...] in [0, 1]: the mean over time; of data with a time axis, as a share of its largest."""
        p = self.encoded(batch).mean(0, keepdim=True).to(next(self.parameters()).dtype)
        if self.encoder is None:
            p = p / p.flatten(2).amax(2).clamp(min=1e-12).view(1, -1, *[1] * (p.dim() - 2))
        p = p.clamp(0, 1)
        return p if self.pixel_threshold is None else (p > self.pixel_threshold).to(p)

    # the training step ------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        frames = self.frames(batch)
        rates = self.rates(optimizer.param_groups[0]["lr"], frames.shape[1])
        shown = self.present(frames, rates)
        optimizer.step()  # moves nothing, as no parameter has a gradient: it counts the batch
        for stage, x in zip(self.stages(), shown, strict=True):
            assert stage.end is not None
            every: Any = {"on_step": False, "on_epoch": True, "batch_size": x.shape[0]}
            self.log(f"train/activity/{stage.end.name}", (x > 0).float().mean(), **every)

    def rates(self, lr: float, samples: int) -> list[Rates]:
        """eta and eta_theta of each hidden layer for each of the next samples."""
        layers = len(self.stages())
        steps = float(self.trainer.estimated_stepping_batches)
        over = (self.global_step + torch.arange(samples, dtype=torch.float64) / samples) / steps
        found = []
        for layer in range(layers):
            part = over * layers - layer if self.in_turn else over
            turn = ((part >= 0) & (part < 1)).double()
            eta = lr * turn * ((1 - part) ** 2 if self.annealing else 1.0)
            off = torch.zeros_like(eta)
            moves, settles = self.learn == "all", self.learn != "none"
            found.append((eta if moves else off, self.threshold_rate * eta if settles else off))
        return found

    @torch.no_grad()
    def present(self, frames: Tensor, rates: list[Rates]) -> list[Tensor]:
        """Show the samples of frames [1, B, ...] to each layer, one after the other: amplitudes of each [B, ...]."""
        shown = []
        for stage, (eta, eta_theta) in zip(self.stages(), rates, strict=True):
            p = through(stage.before, frames)[0]
            x = self.run_layer(stage, p, eta, eta_theta)
            shown.append(x)
            frames = x.unsqueeze(0)
        return shown

    def run_layer(self, stage: Stage, p: Tensor, eta: Tensor, eta_theta: Tensor) -> Tensor:
        """Amplitudes [B, ...] of one layer for inputs p [B, ...], learning on the way."""
        assert stage.weight is not None and stage.end is not None
        weight: Any = stage.weight.weight
        neuron: Any = stage.end.layer
        noise = self.noise * torch.rand(len(p) if self.noise else 0, *neuron.threshold.shape).to(p)
        moves = bool((eta > 0).any())
        path = self.network.path
        limited = isinstance(neuron, OnLevels) or (weight.constrained and moves)
        if path.enabled and kernels.on_cpu(weight.used) and not limited:
            path.fused.add("BLiTNet")
            return self.by_kernel(weight, neuron, p, noise, eta, eta_theta)
        path.looped.add("BLiTNet")
        return self.sample_by_sample(weight, neuron, p, noise, eta, eta_theta)

    def sample_by_sample(
        self, weight: BothSigns, neuron: Amplitude, p: Tensor, noise: Tensor, eta: Tensor, eta_theta: Tensor
    ) -> Tensor:
        """The reference; arguments as ``run_layer``, noise [B or 0, ...]."""
        f, before = neuron.get_buffer("target"), neuron.get_buffer("before")
        shown = []
        for b, (of_weight, of_threshold) in enumerate(zip(eta.tolist(), eta_theta.tolist(), strict=True)):
            sample = p[b : b + 1]
            net = weight.product(sample, weight.used)
            drive = net + noise[b] if len(noise) else net
            x = neuron.step(drive, neuron.initial_state(drive))[0][0]
            if of_weight:
                values = weight.latent
                values.copy_(moved(values, weight, self.rule, of_weight, sample, x, before[1], net[0], f))
                weight.write(values)
            if of_threshold:
                settle(neuron, of_threshold, x, f)
            before.copy_(torch.stack([x, before[0]]))
            shown.append(x)
        return torch.stack(shown)

    def by_kernel(
        self, weight: Any, neuron: Amplitude, p: Tensor, noise: Tensor, eta: Tensor, eta_theta: Tensor
    ) -> Tensor:
        """The same by kernel.py."""
        from snnlab.methods.blitnet.kernel import present

        used = weight.used.detach()
        shape, places = neuron.threshold.shape, neuron.threshold[0].numel()
        x = used.new_zeros(len(p), *shape)
        rows = used.reshape(len(used), places, -1)
        flat = [part.detach().to(used).view(len(used), places) for part in (neuron.threshold, neuron.constant)]
        f, before = neuron.get_buffer("target").view(len(used), places), neuron.get_buffer("before")
        of_rule = (self.rule.balance, self.rule.total, LEAST, MOST)
        numbers = torch.tensor([0, 1, 0.5, neuron.most, *of_rule], dtype=used.dtype)
        rates = torch.stack([eta, eta_theta], 1).to(used)
        arrays = [weight.windows(), p.flatten(1).to(used).contiguous(), rows, *flat, f]
        arrays += [noise.to(used).view(-1, len(used), places)]
        arrays += [before.view(2, len(used), places), rates]
        whole = (bool((eta > 0).any()), self.rule.version == "code")
        present(
            *(array.numpy() for array in arrays), whole, tuple(numbers.numpy()), x.view(-1, *rows.shape[:2]).numpy()
        )
        return x

    # labels -----------------------------------------------------------------------------------------------------------
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self.trainer.is_last_batch and not any(self.trainer.num_val_batches):  # nothing validates: data.val_size=0
            self.fit_readout()

    def on_validation_epoch_start(self) -> None:
        self.fit_readout()

    @torch.no_grad()
    def fit_readout(self) -> None:
        """Fit the readout to the features of training samples, as many as an epoch shows."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        limit = self.trainer.num_training_batches  # infinite or 0 where nothing is trained
        shown = int(limit) if 0 < limit < float("inf") else None
        self.read(lambda: islice(data.train_dataloader(), shown))

    @torch.no_grad()
    def read(self, batches: Any) -> None:
        """Fit the readout to samples; ``batches()`` is one pass over them."""
        layers: Any = self.network.layers
        weight, neuron, classes = layers["readout_weight"], layers["readout"], self.data.classes
        samples = lambda: self.features(batches())  # noqa: E731
        if self.reads == "ridge":
            fit_ridge(weight, samples, classes, self.penalty)
        elif self.reads == "logistic":
            fit_logistic(weight, samples, classes, self.penalty, 100 * self.readout_passes)
        else:
            targets = self.targets()
            f = targets[-1].flatten() if targets else weight.used.new_ones(weight.inputs)
            values = weight.latent.fill_(1 / weight.inputs)
            weight.inhibitory(values).neg_()
            weight.write(values)
            neuron.threshold.zero_()
            found = list(samples()) * self.readout_passes
            whole, done = sum(len(x) for x, _ in found), 0
            for x, labels in found:
                over = (done + torch.arange(len(x), dtype=torch.float64)) / whole
                eta = self.readout_lr * ((1 - over) ** 2 if self.annealing else torch.ones_like(over))
                force(weight, neuron, x, labels, f, eta.tolist())
                done += len(x)

    def features(self, batches: Iterable[Batch]) -> Iterable[tuple[Tensor, Tensor]]:
        """What the readout sees of samples [B, F], with their labels."""
        left = self.label_samples
        for batch in map(self.here, batches):
            x = Chain(self.network).through(self.frames(batch), until="readout_weight")[0][:left]
            yield x.flatten(1), batch.labels[:left]
            left = None if left is None else left - len(batch.labels)
            if left is not None and left <= 0:
                return

    # scoring ----------------------------------------------------------------------------------------------------------
    def score_of(self, outputs: Tensor) -> Tensor:
        return outputs[-1]  # there is one

    def scores_over_time(self, frames: Tensor) -> Tensor:
        outputs: Tensor = self.network(frames)
        return outputs

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """What the readout was fitted by: squared error, or cross-entropy of the logistic one."""
        if self.reads == "logistic":
            return nn.functional.cross_entropy(scores, labels)
        wanted = nn.functional.one_hot(labels, self.data.classes).to(scores)
        return ((scores - (FORCED if self.reads == "forcing" else 1.0) * wanted) ** 2).sum(1).mean()

    @torch.no_grad()
    def figures(self, data: DataModule) -> dict[str, Any]:
        """Weights of some neurons, and how often each fires beside its target."""
        stages = self.stages()
        if not stages:
            return {}
        from snnlab.methods.blitnet.figures import fields_figure, rates_figure

        batch = self.here(next(iter(data.test_dataloader())))
        with self.network.observe() as seen:
            self.network(self.frames(batch))
        ends = [stage.end.name for stage in stages if stage.end is not None]
        rates = {
            name: (f.flatten(), seen[name][0].mean(0).flatten()) for name, f in zip(ends, self.targets(), strict=True)
        }
        assert stages[0].weight is not None
        weight: Any = stages[0].weight.weight
        used = weight.used.detach()
        net = weight.excitatory(used) + weight.inhibitory(used)  # [N, inputs] or [N, rows, columns, channels, k, k]
        shape = self.data.input_shape if net.dim() == 2 else tuple(net.shape[3:])
        return {
            "receptive_fields": fields_figure(net.view(-1, *shape)),
            "rates": rates_figure(rates),
        }
