"""Spike functions: a Heaviside step forward, a surrogate gradient backward, one class per curve.

Each curve h is a function of x = v - threshold. ``derivative`` is h; ``antiderivative`` is its integral from minus
infinity, a smooth stand-in for the step with which gradients can be checked by finite differences.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

Curve = Literal[
    "rectangle",
    "triangle",
    "sigmoid",
    "gaussian",
    "atan",
    "fast_sigmoid",
    "box",
    "multi_gaussian",
    "damped_triangle",
]


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        return (x > 0 if surrogate.strict else x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * (ctx.surrogate.scale * ctx.surrogate.derivative(x)), None


class Surrogate(nn.Module):
    """Spike where x >= 0 (``strict=True``: where x > 0); backward multiplies by ``scale * derivative(x)``.

    Args:
        width: the parameter a of the curve, in the unit of v; > 0.
        strict: whether equality stays silent.
        peak: height of the scaled curve at x = 0, > 0; None leaves scale = 1 and the curve's own peak and area.

    Raises:
        ValueError: when width or peak is not positive.
    """

    default_width = 1.0

    def __init__(self, width: float | None = None, strict: bool = False, peak: float | None = None) -> None:
        super().__init__()
        self.width = self.default_width if width is None else width
        if not self.width > 0:
            raise ValueError(
                f"{type(self).__name__}: width = {width} must be positive; {self.default_width} is the default"
            )
        if peak is not None and not peak > 0:
            raise ValueError(f"{type(self).__name__}: peak = {peak} must be positive; null is the curve's own")
        self.strict = strict
        self.scale = 1.0 if peak is None else peak / float(self.derivative(torch.zeros((), dtype=torch.float64)))

    def forward(self, x: Tensor) -> Tensor:
        return _Spike.apply(x, self)

    @abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """Return h(x)."""

    @abstractmethod
    def antiderivative(self, x: Tensor) -> Tensor:
        """Return the integral of h from minus infinity to x."""

    def extra_repr(self) -> str:
        scale = "" if self.scale == 1 else f", scale={self.scale:g}"
        return f"width={self.width}, strict={self.strict}{scale}"


class Rectangle(Surrogate):
    """h(x) = 1/a where |x| < a/2. Peak 1/a, area 1. STBP's h1 (Wu et al. 2018), a = 1."""

    def derivative(self, x: Tensor) -> Tensor:
        return (x.abs() < self.width / 2).to(x.dtype) / self.width

    def antiderivative(self, x: Tensor) -> Tensor:
        return (x / self.width + 0.5).clamp(0, 1)


class Triangle(Surrogate):
    """h(x) = max(0, sqrt(a)/2 - a/4 |x|). Peak sqrt(a)/2, area 1. STBP's h2, a = 4."""

    default_width = 4.0

    def derivative(self, x: Tensor) -> Tensor:
        return (math.sqrt(self.width) / 2 - self.width / 4 * x.abs()).clamp(min=0)

    def antiderivative(self, x: Tensor) -> Tensor:
        root = math.sqrt(self.width)
        z = x.clamp(-2 / root, 2 / root)
        return 0.5 + root / 2 * z - self.width / 8 * z * z.abs()


class Sigmoid(Surrogate):
    """h(x) = s(x/a) (1 - s(x/a)) / a with s the logistic function. Peak 1/(4a), area 1. STBP's h3, a = 0.25."""

    default_width = 0.25

    def derivative(self, x: Tensor) -> Tensor:
        s = torch.sigmoid(x / self.width)
        return s * (1 - s) / self.width

    def antiderivative(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x / self.width)


class Gaussian(Surrogate):
    """h(x) = exp(-x^2 / (2a)) / sqrt(2 pi a), a the variance. Peak 1/sqrt(2 pi a), area 1. STBP's h4, a = 0.16."""

    default_width = 0.16

    def derivative(self, x: Tensor) -> Tensor:
        return torch.exp(-x * x / (2 * self.width)) / math.sqrt(2 * math.pi * self.width)

    def antiderivative(self, x: Tensor) -> Tensor:
        return 0.5 * (1 + torch.erf(x / math.sqrt(2 * self.width)))


class ATan(Surrogate):
    """h(x) = (1/a) / (1 + (pi x / a)^2). Peak 1/a, area 1. Fang et al. 2021 (PLIF), whose alpha is 2/a; a = 1."""

    def derivative(self, x: Tensor) -> Tensor:
        return 1 / (self.width * (1 + (math.pi * x / self.width) ** 2))

    def antiderivative(self, x: Tensor) -> Tensor:
        return torch.atan(math.pi * x / self.width) / math.pi + 0.5


class FastSigmoid(Surrogate):
    """h(x) = 1 / (1 + |x|/a)^2. Peak 1, area 2a. Zenke & Ganguli 2018, whose slope is 1/a; a = 0.1."""

    default_width = 0.1

    def derivative(self, x: Tensor) -> Tensor:
        return 1 / (1 + x.abs() / self.width) ** 2

    def antiderivative(self, x: Tensor) -> Tensor:
        return self.width + x / (1 + x.abs() / self.width)


class Box(Surrogate):
    """h(x) = 1 on (-a/2, a/2], else 0. Peak 1, area a. VDIB (Skatchkovsky et al. 2021), a = 1; OTTT's theory, a = 2."""

    def derivative(self, x: Tensor) -> Tensor:
        return ((x > -self.width / 2) & (x <= self.width / 2)).to(x.dtype)

    def antiderivative(self, x: Tensor) -> Tensor:
        return (x + self.width / 2).clamp(0, self.width)


class MultiGaussian(Surrogate):
    """h(x) = 0.5 (1.15 N(x; 0, a) - 0.15 N(x; a, 6a) - 0.15 N(x; -a, 6a)), N of mean and standard deviation.

    Peak 0.2196/a, area 0.425; negative where |x| > 2.55 a. Yin, Corradi, Bohte 2021, a = 0.3.
    """

    default_width = 0.3

    def derivative(self, x: Tensor) -> Tensor:
        a, sides = self.width, 72 * self.width**2
        bumps = torch.exp(-((x - a) ** 2) / sides) + torch.exp(-((x + a) ** 2) / sides)
        return (0.575 * torch.exp(-x * x / (2 * a * a)) - 0.0125 * bumps) / (a * math.sqrt(2 * math.pi))

    def antiderivative(self, x: Tensor) -> Tensor:
        a, root = self.width, math.sqrt(2)
        middle, sides = (
            torch.erf(x / (root * a)),
            torch.erf((x - a) / (6 * root * a)) + torch.erf((x + a) / (6 * root * a)),
        )
        return 0.2125 + 0.2875 * middle - 0.0375 * sides


class DampedTriangle(Surrogate):
    """h(x) = 0.3/a max(0, 1 - |x|/a). Peak 0.3/a, area 0.3. Bellec et al. 2018 (LSNN), a = the threshold; a = 1.

    The damping 0.3 keeps a gradient that runs through hundreds of steps from growing.
    """

    damping = 0.3

    def derivative(self, x: Tensor) -> Tensor:
        return (1 - x.abs() / self.width).clamp(min=0) * (self.damping / self.width)

    def antiderivative(self, x: Tensor) -> Tensor:
        z = (x / self.width).clamp(-1, 1)
        return self.damping * (0.5 + z - z * z.abs() / 2)


class Truncated(Surrogate):
    """h(x) = that of ``curve`` where |x| < reach, else 0: entries beyond the reach have no gradient, and are skipped.

    Perez-Nieves & Goodman 2021. Not one of CURVES: it takes a curve.

    Args:
        curve: whose h, width and strictness it has.
        reach: > 0, in the unit of v; infinite leaves the curve as it is.
        skip: whether a fused backward may visit the entries within reach alone (layers/active_set.py); same numbers.

    Raises:
        ValueError: when reach is not positive.
    """

    def __init__(self, curve: Surrogate, reach: float, skip: bool = True) -> None:
        super().__init__(curve.width, curve.strict)
        if not reach > 0:
            raise ValueError(f"Truncated: reach = {reach} must be positive; 0.2 is the paper's, inf truncates nothing")
        self.curve, self.reach, self.skip = curve, reach, skip

    def derivative(self, x: Tensor) -> Tensor:
        return self.curve.scale * self.curve.derivative(x) * (x.abs() < self.reach).to(x.dtype)

    def antiderivative(self, x: Tensor) -> Tensor:
        if math.isinf(self.reach):
            return self.curve.scale * self.curve.antiderivative(x)
        reach = torch.full_like(x, self.reach)
        inside = self.curve.antiderivative(torch.minimum(torch.maximum(x, -reach), reach))
        return self.curve.scale * (inside - self.curve.antiderivative(-reach))

    def extra_repr(self) -> str:
        return f"reach={self.reach}, skip={self.skip}"


CURVES: dict[str, type[Surrogate]] = {
    "rectangle": Rectangle,
    "triangle": Triangle,
    "sigmoid": Sigmoid,
    "gaussian": Gaussian,
    "atan": ATan,
    "fast_sigmoid": FastSigmoid,
    "box": Box,
    "multi_gaussian": MultiGaussian,
    "damped_triangle": DampedTriangle,
}


def make_surrogate(
    curve: Curve, width: float | None = None, strict: bool = False, peak: float | None = None
) -> Surrogate:
    """Return the spike function named ``curve``; ``width`` and ``peak`` None take the curve's own."""
    if curve not in CURVES:
        raise ValueError(f"surrogate = {curve!r} is unknown; choose one of {', '.join(CURVES)}")
    return CURVES[curve](width, strict, peak)
