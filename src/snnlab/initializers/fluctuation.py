"""Fluctuation-driven initialisation: weights that make the free membrane fluctuate by a given amount before training.

n afferents of rate nu (spikes per step) and weights of mean mu_w and variance sigma_w^2 give a membrane without
threshold, with eps_area = sum of eps[t] and eps_square = sum of eps[t]^2 (neurons/response.py), the statistics
    mu_U      = n nu mu_w eps_area                                  (1)
    sigma_U^2 = n nu (sigma_w^2 + mu_w^2) eps_square                (2)
    xi        = (threshold - mu_U) / sigma_U                        (3) how far the threshold is, in fluctuations
mu_U and xi (or sigma_U) are asked for; (1) to (3) solved for the weights:
    mu_w      = mu_U / (n nu eps_area)                              (4)
    sigma_w^2 = sigma_U^2 / (n nu eps_square) - mu_w^2              (5) normal weights
Recurrent layers: the feed-forward afferents bring the share alpha of sigma_U^2 in (5), the recurrent ones 1 - alpha;
mu_w is the same for both, over the sum of their n nu.
Sparse connections: each exists with probability p and n p afferents take the place of n (with mu_U = 0 that is a factor
1/sqrt(p) on the weights); those that do not exist stay 0 while the net learns.
Dale's law: of the units of each population, the input's too, the last share is inhibitory. Magnitudes are exponential
of scales s_E, s_I with n_E s_E = n_I s_I, so that mu_U = 0; the mean of w^2 = 2 s^2 over all afferents is (5) if
    s_E = sigma_w sqrt(n_I / (2 n_E)), s_I = sigma_w sqrt(n_E / (2 n_I))                (6)
Signs stay while the net learns (weights/signed.py).

Behind an average pool of K units nu / K takes the place of nu in (2), (5), where it stands for the variance of an input
(nu for rare spikes). Where the rate is measured that is the variance of what is shown, over time, batch and units
together: an input that does not change in time counts by its differences between units and samples.
Departures: the authors' Dalian net has an inhibitory population of its own, and an excitatory input. Sparse weights
keep the mu_U that is asked for; the paper's factor 1/sqrt(p) on the survivors makes it sqrt(p) mu_U. Padding of a
convolution is not counted. A readout that never fires takes 1 for its threshold.
Source: Rossbroich, Gygax, Zenke 2022, arXiv:2206.10226, doi 10.1088/2634-4386/ac97bb; the numeric integrals, alpha and
the weights of Dale's law as in the authors' code (fmi-basel/stork).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import InputError
from snnlab.initializers.initializer import Initializer
from snnlab.layers.chain import Chain, Link, through
from snnlab.layers.network import Network
from snnlab.neurons.neuron import Neuron, Temporal
from snnlab.neurons.response import Response
from snnlab.weights.masked import keep_mask
from snnlab.weights.signed import keep_signs
from snnlab.weights.weight import Weight


class Afferents(NamedTuple):
    """Connections of one kind to a neuron.

    number: n, existing ones (n p); mean, variance: of what each brings in a step; both nu for spikes.
    share: of sigma_U^2.
    """

    number: float
    mean: float
    variance: float
    share: float = 1.0


def solve(
    mu: float, sigma: float, area: float, square: float, kinds: Sequence[Afferents], owner: str = "Fluctuation"
) -> list[tuple[float, float]]:
    """Return (mu_w, sigma_w) for each kind of afferents: equations (4) and (5).

    Raises:
        InputError: no weights give these statistics.
    """
    drive = sum(kind.number * kind.mean for kind in kinds)
    if not (area > 0 and square > 0):
        raise InputError(
            f"{owner}: the integral of the membrane's response is {min(area, square):g}, and no input moves it"
        )
    mu_w = mu / (drive * area)  # (4)
    found = []
    for kind in kinds:
        variance = kind.share * sigma**2 / (kind.number * kind.variance * square) - mu_w**2  # (5)
        if variance < 0:
            raise InputError(
                f"{owner}: mu = {mu:g} needs a mean weight of {mu_w:.4g}, which alone makes the membrane fluctuate by "
                f"more than sigma = {sigma:.4g}; lower init.mu or init.xi, or raise init.sigma"
            )
        found.append((mu_w, math.sqrt(variance)))
    return found


def dale_scales(sigma_w: float, excitatory: float) -> tuple[float, float]:
    """Return s_E and s_I for a share ``excitatory`` of the afferents, in (0, 1): equation (6)."""
    ratio = math.sqrt((1 - excitatory) / excitatory)
    return sigma_w * ratio / math.sqrt(2), sigma_w / ratio / math.sqrt(2)


class Lead(NamedTuple):
    """A weight, the membrane that it leads to, the layers before it, and those from it to the membrane."""

    name: str
    weight: Weight
    membrane: Link
    before: list[Link]
    layers: list[Link]


class Fluctuation(Initializer):
    """Set the weights in front of every membrane of a network, in order, the readout's too.

    Args:
        rate: nu, spikes per presynaptic neuron and step (5 Hz at 2 ms is 0.01), in (0, 1]; None measures it on the
            frames that are shown, layer after layer.
        xi: distance of the threshold from mu in standard deviations of the membrane.
        sigma: standard deviation of the membrane in the unit of v, > 0, in place of xi.
        mu: mean of the membrane, in the unit of v.
        alpha: share of the variance that feed-forward afferents bring to a recurrent layer, in (0, 1).
        density: p, probability that a connection exists, in (0, 1].
        inhibitory: share of inhibitory units under Dale's law, in [0, 1); 0: no such law.
        bias: biases are uniform within bias / sqrt(fan-in), >= 0; they are no part of (1) and (2).
        integrals: numeric (sums over steps) or analytic (over continuous time, the formulas of the paper).

    Raises:
        InputError: an argument out of range; at the call: a network in which a weight does not lead to a membrane of
            known response, or statistics that no weights give.
    """

    def __init__(
        self,
        rate: float | None = 0.01,
        xi: float = 1.0,
        sigma: float | None = None,
        mu: float = 0.0,
        alpha: float = 0.9,
        density: float = 1.0,
        inhibitory: float = 0.0,
        bias: float = 0.0,
        integrals: Literal["numeric", "analytic"] = "numeric",
    ) -> None:
        if rate is not None and not 0 < rate <= 1:
            raise InputError(f"init.rate = {rate} spikes per step must lie in (0, 1]; 5 Hz at 2 ms is 0.01")
        if xi == 0:
            raise InputError("init.xi = 0 leaves the fluctuations open: the threshold lies at mu; give init.sigma")
        if sigma is not None and not sigma > 0:
            raise InputError(f"init.sigma = {sigma} must be positive; null takes (threshold - mu) / xi")
        if not 0 < alpha < 1:
            raise InputError(f"init.alpha = {alpha} must lie in (0, 1); the paper has 0.9")
        if not 0 < density <= 1:
            raise InputError(f"init.density = {density} must lie in (0, 1]; 1 keeps every connection")
        if not 0 <= inhibitory < 1:
            raise InputError(f"init.inhibitory = {inhibitory} must lie in [0, 1); 0.2 is usual, 0 is no Dale's law")
        if inhibitory and mu:
            raise InputError(f"init.mu = {mu}: under Dale's law (init.inhibitory) both signs balance to mu = 0")
        if not bias >= 0:
            raise InputError(f"init.bias = {bias} must be 0 or more")
        if integrals not in ("numeric", "analytic"):
            raise InputError(f"init.integrals = {integrals!r} must be numeric or analytic")
        self.rate, self.xi, self.sigma, self.mu, self.alpha = rate, xi, sigma, mu, alpha
        self.density, self.inhibitory, self.bias, self.integrals = density, inhibitory, bias, integrals

    @torch.no_grad()
    def __call__(self, network: Network, frames: Tensor) -> None:
        """Set the weights; frames [T, B, ...] give the number of input units, and the rate where it is None."""
        units = frames.shape[2]  # neurons or channels that the next weight reads
        for lead in list(leads(network)):  # what is no chain is refused before a weight is touched
            if self.rate is None:
                frames = through(lead.before, frames)
            self.set_weights(lead, *self.activity(lead, frames), units, frames)
            if self.rate is None:
                frames = through(lead.layers, frames)
            units = lead.weight.outputs

    def activity(self, lead: Lead, frames: Tensor) -> tuple[float, float]:
        """Mean and variance of what one input brings to a weight in a step."""
        if self.rate is not None:
            return self.rate, self.rate / pooled(lead.before)
        variance, mean = (float(value) for value in torch.var_mean(frames.double(), correction=0))
        if not (mean > 0 and variance > 0):
            raise InputError(
                f"init.rate = null measures the input of {lead.name}, and the frames shown give it none (the command "
                "shows none before it reads data); give init.rate in spikes per step"
            )
        return mean, variance

    def set_weights(self, lead: Lead, mean: float, variance: float, units: int, frames: Tensor) -> None:
        """Set the weight in front of a membrane and, where it is recurrent, the one that returns to it."""
        name, weight, returning = lead.name, lead.weight, lead.membrane.returning
        membrane: Any = lead.membrane.neuron
        forward = self.afferents(name, weight, mean, variance, 1.0)
        if returning is None:
            response = membrane.response()
            sigma = self.fluctuations(name, response)
            (moments,) = self.solve(name, sigma, response, [forward])
            self.draw(name, weight, units, moments)
            return
        back = returning.weight
        if back is None:
            raise InputError(f"init=fluctuation: what returns behind {name} has no weight; use init=kaiming")
        check_free(f"the recurrent weight behind {name}", back)
        response = membrane.response()
        sigma = self.fluctuations(name, response)
        forward = forward._replace(share=self.alpha)
        fired = spread = self.rate
        if fired is None or spread is None:  # what the layer does while only its feed-forward weights speak
            (moments,) = self.solve(name, sigma, response, [forward])
            nn.init.normal_(weight.stored, *moments)
            self.draw_bias(weight)
            for parameter in back.layer.parameters():
                nn.init.zeros_(parameter)
            spread, fired = (v.item() for v in torch.var_mean(through(lead.layers, frames).double(), correction=0))
            if fired == 0:
                raise InputError(
                    f"init.rate = null: the neurons behind {name} stay silent on these frames; give init.rate"
                )
        returning_kind = self.afferents(f"{name}, recurrent", back, fired, spread, 1 - self.alpha)
        moments, moments_back = self.solve(name, sigma, response, [forward, returning_kind])
        self.draw(name, weight, units, moments)
        self.draw(f"{name}, recurrent", back, weight.outputs, moments_back)

    def fluctuations(self, name: str, response: Response) -> float:
        """sigma_U: what was asked for, or (3)."""
        if self.sigma is not None:
            return self.sigma
        threshold = 1.0 if response.threshold is None else response.threshold
        sigma = (threshold - self.mu) / self.xi  # (3)
        if not sigma > 0:
            raise InputError(
                f"{name}: (threshold - mu) / xi = ({threshold:g} - {self.mu:g}) / {self.xi:g} is no deviation; "
                "with mu above the threshold xi is negative"
            )
        return sigma

    def afferents(self, name: str, weight: Weight, mean: float, variance: float, share: float) -> Afferents:
        inputs = weight.fan_in
        if inputs * self.density < 1:
            raise InputError(
                f"init.density = {self.density} leaves {inputs * self.density:g} of the {inputs} inputs of {name}; "
                f"{1 / inputs:.3g} leaves one"
            )
        return Afferents(inputs * self.density, mean, variance, share)

    def solve(self, name: str, sigma: float, response: Response, kinds: list[Afferents]) -> list[tuple[float, float]]:
        area, square = self.moments(response)
        return solve(self.mu, sigma, area, square, kinds, name)

    def moments(self, response: Response) -> tuple[float, float]:
        """eps_area and eps_square, in steps."""
        if self.integrals == "analytic":
            return response.area, response.square
        return float(response.kernel.sum()), float(response.kernel.square().sum())

    def draw(self, name: str, weight: Weight, units: int, moments: tuple[float, float]) -> None:
        """Draw one weight of mean mu_w and deviation sigma_w, with its signs, its mask and its bias."""
        values = weight.stored
        self.draw_bias(weight)
        if self.inhibitory:
            excitatory = self.excitatory(name, weight.inputs, units).to(values.device)
            scale = torch.where(excitatory, *dale_scales(moments[1], float(excitatory.double().mean())))
            values.exponential_().mul_(weight.per_input(scale.to(values)))
            keep_signs(weight, excitatory)
        else:
            nn.init.normal_(values, *moments)
        if self.density < 1:
            keep_mask(weight, torch.rand_like(values) < self.density)

    def draw_bias(self, weight: Weight) -> None:
        if (bias := weight.bias_values) is not None:
            reach = self.bias / math.sqrt(weight.fan_in)
            nn.init.uniform_(bias.stored, -reach, reach)

    def excitatory(self, name: str, inputs: int, units: int) -> Tensor:
        """Which inputs [inputs] of a weight excite; a flattened channel counts as one of the ``units`` before it."""
        each = inputs // units if inputs % units == 0 else 1
        population = inputs // each
        inhibit = round(self.inhibitory * population)
        if not 0 < inhibit < population:
            raise InputError(
                f"init.inhibitory = {self.inhibitory}: of the {population} units before {name} {inhibit} would be "
                "inhibitory, and Dale's law needs both kinds; use init.inhibitory=0 or a wider layer"
            )
        return (torch.arange(population) < population - inhibit).repeat_interleave(each)


def leads(network: Network) -> Iterator[Lead]:
    """Find every weight and the membrane that it leads to, in order.

    Raises:
        InputError: a network that is no chain of weights and membranes, or something between the two.
    """
    for stage in Chain(network).stages(Temporal):
        for link in [*stage.before, *stage.between]:
            if link.composite:
                raise InputError(
                    f"init=fluctuation: {link.name} ({type(link.layer).__name__}) joins branches, whose shares of the "
                    "fluctuations are not known; use init=kaiming"
                )
        if stage.weight is None or stage.weight.weight is None:
            continue  # what follows the last membrane
        check_free(stage.weight.name, stage.weight.weight)
        for link in stage.between:
            if not isinstance(link.layer, nn.Identity | nn.Flatten):
                raise InputError(
                    f"init=fluctuation: {link.name} ({type(link.layer).__name__}) stands between {stage.weight.name} "
                    "and its membrane, whose fluctuations it changes; use a net without it, or init=kaiming"
                )
        if stage.end is None:
            raise InputError(f"init=fluctuation: no membrane follows {stage.weight.name}; use init=kaiming")
        layers = [stage.weight, *stage.between, stage.end]
        yield Lead(stage.weight.name, stage.weight.weight, stage.end, stage.before, layers)


def pooled(before: list[Link]) -> int:
    """How many spikes these layers average into one input of the weight behind them."""
    count = 1
    for link in before:
        if isinstance(link.layer, Neuron):
            count = 1
        elif isinstance(link.layer, nn.AvgPool2d):
            size = link.layer.kernel_size
            count *= math.prod(size) if isinstance(size, tuple) else size * size
    return count


def check_free(name: str, weight: Weight) -> None:
    """Raise InputError where a parametrization makes the weight: it, not the initialiser, sets the scale."""
    if weight.constrained:
        raise InputError(f"init=fluctuation: {name} is parametrized, which sets its scale; use init=default")
