"""Encoders: images [B, C, H, W] in [0, 1] become currents or spikes [T, B, C, H, W], on the images' device.

``frames(images)`` yields one time step [B, C, H, W] at a time, so memory does not grow with T; ``forward`` returns
all of them, the same numbers when the generator of the device starts in the same state.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from snnlab import ranks
from snnlab.errors import InputError

MOST_STEPS = 1_000_000  # a step takes about 0.1 ms at least, so such a sample minutes


class Encoder(nn.Module):
    """Shared form of the encoders.

    Args:    time_steps: T, at least ``fewest``.
    Shapes:  images [B, ...] -> [T, B, ...], same dtype and device.
    Raises:  InputError when time_steps is too small, or so large that no sample would ever end.
    """

    spiking: ClassVar[bool] = True  # whether the frames are spikes
    fewest: ClassVar[int] = 1
    draws: ClassVar[bool] = False  # whether they are drawn at random, through ranks.of_whole

    def __init__(self, time_steps: int) -> None:
        super().__init__()
        if time_steps < self.fewest:
            raise InputError(
                f"encoder.{type(self).__name__}: time_steps = {time_steps} must be at least {self.fewest}; "
                "10 to 100 are usual"
            )
        if time_steps > MOST_STEPS:
            raise InputError(
                f"encoder.{type(self).__name__}: time_steps = {time_steps} must be at most {MOST_STEPS:,}; 10 to 100 "
                "are usual"
            )
        self.time_steps = time_steps

    def check(self, input_shape: tuple[int, ...]) -> None:
        """Raise InputError where images of shape (C, H, W) cannot be encoded; called before any data is read."""

    @abstractmethod
    def frames(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the T frames [B, ...] in order."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack(list(self.frames(images)))

    def extra_repr(self) -> str:
        return f"time_steps={self.time_steps}"


PerChannel = float | list[float]


class Normalise(nn.Module):
    """z = (image - mean) / std, for all channels or channel by channel; mean None is 0, std None is 1.

    Shapes:  images [B, C, ...] -> the same; lists hold C numbers.
    Raises:  InputError: a std that is not positive, or lists of different lengths.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, mean: PerChannel | None, std: PerChannel | None, way_out: str) -> None:
        super().__init__()
        self.name = name
        lengths = {key: len(value) for key, value in (("mean", mean), ("std", std)) if isinstance(value, list)}
        if len(set(lengths.values())) > 1 or 0 in lengths.values():
            raise InputError(
                f"{name}: mean = {mean} and std = {std} must have one number for all channels or one for each"
            )
        if min(std if isinstance(std, list) else [1.0 if std is None else std]) <= 0:
            raise InputError(f"{name}: std = {std} must be positive; {way_out}")
        self.channels = next(iter(lengths.values()), None)
        self.identity = mean is None and std is None
        for key, value in (("mean", 0.0 if mean is None else mean), ("std", 1.0 if std is None else std)):
            self.register_buffer(key, torch.tensor(value, dtype=torch.float32), persistent=False)

    def check(self, input_shape: tuple[int, ...]) -> None:
        """Raise InputError unless lists hold as many numbers as images (C, H, W) have channels."""
        if self.channels is not None and self.channels != input_shape[0]:
            raise InputError(
                f"{self.name}: mean = {_plain(self.mean)}, std = {_plain(self.std)} are for {self.channels} channels, "
                f"the images have {input_shape[0]}; give one number, or one for each channel"
            )

    def forward(self, images: Tensor) -> Tensor:
        if self.identity:
            return images
        mean, std = (
            value.to(images.dtype).reshape(-1, *[1] * (images.dim() - 2)) if value.dim() else value.to(images.dtype)
            for value in (self.mean, self.std)
        )
        return (images - mean) / std


def _plain(value: Tensor) -> list[float] | float:
    return [round(x, 4) for x in value.tolist()] if value.dim() else round(value.item(), 4)


class Direct(Encoder):
    """Direct coding: the same analog image at each step; the first layer of the network makes the spikes.

    Args:    mean, std: the image becomes (image - mean) / std; one number, or a list with one for each channel.
             None leaves the image in [0, 1].
    Raises:  InputError: a std that is not positive, or lists that do not fit the channels.
    """

    spiking = False

    def __init__(self, time_steps: int, mean: PerChannel | None = None, std: PerChannel | None = None) -> None:
        super().__init__(time_steps)
        self.normalise = Normalise("encoder.Direct", mean, std, "null divides by nothing")

    def check(self, input_shape: tuple[int, ...]) -> None:
        self.normalise.check(input_shape)

    def frames(self, images: Tensor) -> Iterator[Tensor]:
        normalised = self.normalise(images)
        for _ in range(self.time_steps):
            yield normalised

    def forward(self, images: Tensor) -> Tensor:
        return self.normalise(images).expand(self.time_steps, *images.shape)  # one image in memory, seen T times


class Rate(Encoder):
    """Rate coding: spikes[t] = 1 where peak * image > U[t], U[t] uniform on [0, 1), drawn anew at each step.

    Args:    random_bits: None draws U in full precision; 16 draws multiples of 2^-16, six times as fast: a rate is met
             to 2^-16, black stays silent and white misses one step in 65,536.
             peak: probability of a spike of white, in (0, 1]; 128 Hz at steps of 1 ms are 0.128.
    Raises:  InputError: random_bits or peak that is none of these.
    Source:  Wu et al. 2018, doi 10.3389/fnins.2018.00331 (STBP).
    """

    draws = True

    def __init__(self, time_steps: int, random_bits: Literal[16] | None = None, peak: float = 1.0) -> None:
        super().__init__(time_steps)
        if not 0 < peak <= 1:
            raise InputError(f"encoder.Rate: peak = {peak} must lie in (0, 1], the probability of a spike of white")
        self.peak = peak
        if random_bits not in (None, 16):
            raise InputError(f"encoder.Rate: random_bits = {random_bits} must be 16, or null for full precision")
        self.random_bits = random_bits

    def frames(self, images: Tensor) -> Iterator[Tensor]:
        images = images if self.peak == 1 else self.peak * images
        if self.random_bits is None:
            for _ in range(self.time_steps):
                yield (images > ranks.of_whole(torch.rand_like, images, 0)).to(images.dtype)
            return
        level = (images * 2**16 - 2**15).round().clamp(max=2**15 - 1).to(torch.int16)
        held: dict[int, Tensor] = {}

        def draw(like: Tensor) -> Tensor:
            size = -(-like.numel() // 4)  # four in each
            if size not in held:
                held[size] = torch.empty(size, dtype=torch.int64, device=like.device)
            return held[size].random_(-(2**63), None).view(torch.int16)[: like.numel()].view(like.shape)

        for _ in range(self.time_steps):
            yield (level > ranks.of_whole(draw, images, 0)).to(images.dtype)


class IntegrateAndFire(Encoder):
    """Deterministic rate code: each pixel drives an integrate-and-fire neuron that does not leak.

        v[t] = v[t-1] + image,  spikes[t] = 1 where v[t] >= 1,  v[t] = v[t] - spikes[t]         v[-1] = 0

    A pixel x in [0, 1] sends floor(x T) spikes, evenly spread; x T is summed in the dtype of the images.

    Source:  Gerlinghoff et al. 2023, arXiv:2211.05412 (desire backpropagation), authors' code.
    """

    def frames(self, images: Tensor) -> Iterator[Tensor]:
        v = torch.zeros_like(images)
        for _ in range(self.time_steps):
            v = v + images
            spikes = (v >= 1).to(images.dtype)
            v = v - spikes
            yield spikes


class SignedPoisson(Encoder):
    """Signed rate coding: spikes[t] = sign(z) where 2 U[t] <= |z|, else 0, with z = (image - mean) / std.

    The rate is min(1, |z| / 2) and the spikes are -1, 0 or 1.

    Args:    mean, std: normalisation of the image, one number or a list with one for each channel; z lies in [-1, 1] by
             default.
    Raises:  InputError: a std that is not positive, or lists that do not fit the channels.
    Source:  Kim, Panda 2021, doi 10.3389/fnins.2021.773954 (BNTT).
    """

    draws = True

    def __init__(self, time_steps: int, mean: PerChannel = 0.5, std: PerChannel = 0.5) -> None:
        super().__init__(time_steps)
        self.normalise = Normalise("encoder.SignedPoisson", mean, std, "0.5 maps [0, 1] to [-1, 1]")

    def check(self, input_shape: tuple[int, ...]) -> None:
        self.normalise.check(input_shape)

    def frames(self, images: Tensor) -> Iterator[Tensor]:
        normalised = self.normalise(images)
        sign, size = normalised.sign(), normalised.abs() / 2
        for _ in range(self.time_steps):
            yield sign * (ranks.of_whole(torch.rand_like, images, 0) <= size)


class Latency(Encoder):
    """Latency coding: one spike per pixel, brighter is earlier, none for a dark pixel.

    The spike of a pixel x comes at index T - round(x (T - 1)), in 1 to T - 1; where the rounded term is 0 there is
    none, and index 0 is never used. With ``reverse`` it comes at round(x (T - 1)): brighter is later. ``times`` gives
    the same spikes before they are rounded to a step, for methods that have none.

    curve="logarithmic": a membrane of time constant tau, driven by x, reaches ``floor`` at tau ln(x / (x - floor)). The
    spike comes at the step in which that lies; none where x <= floor or it lies at T or later.

    Args:    reverse: whether brighter is later; of the linear curve alone.
             curve: linear or logarithmic.
             tau: of the logarithmic curve, > 0, in steps.
             floor: of the logarithmic curve, in (0, 1): the pixel that never spikes.
    Raises:  InputError: an argument out of its range, or ``reverse`` of a logarithmic curve.
    Source:  linear: Skatchkovsky, Simeone, Jang 2021, arXiv:2106.01177 (VDIB, time encoding). logarithmic:
             Perez-Nieves, Goodman 2021, arXiv:2105.08810, authors' code.
    """

    fewest = 2

    def __init__(
        self,
        time_steps: int,
        reverse: bool = False,
        curve: Literal["linear", "logarithmic"] = "linear",
        tau: float = 20.0,
        floor: float = 0.2,
    ) -> None:
        super().__init__(time_steps)
        if curve not in ("linear", "logarithmic"):
            raise InputError(f"encoder.curve = {curve!r} must be linear or logarithmic")
        if curve == "logarithmic" and reverse:
            raise InputError(
                "encoder.reverse=true is of encoder.curve=linear; a brighter pixel charges a membrane faster"
            )
        if not tau > 0:
            raise InputError(f"encoder.tau = {tau} steps must be positive; 20 is the paper's at 1 ms")
        if not 0 < floor < 1:
            raise InputError(f"encoder.floor = {floor} must lie in (0, 1), the range of a pixel; 0.2 is the paper's")
        self.reverse, self.curve, self.tau, self.floor = reverse, curve, tau, floor

    def index(self, images: Tensor) -> Tensor:
        """The step of each pixel's spike, -1 where there is none."""
        if self.curve == "logarithmic":
            times = self.times(images)
            return torch.where(times < self.time_steps, times.floor(), -1)
        level = (images * (self.time_steps - 1)).round()
        return torch.where(level > 0, level if self.reverse else self.time_steps - level, -1)

    def frames(self, images: Tensor) -> Iterator[Tensor]:
        index = self.index(images)
        for t in range(self.time_steps):
            yield (index == t).to(images.dtype)

    def forward(self, images: Tensor) -> Tensor:
        index = self.index(images)[None]
        frames = images.new_zeros(self.time_steps, *images.shape)
        return frames.scatter_(0, index.clamp(min=0).long(), (index >= 0).to(images.dtype))

    def times(self, images: Tensor) -> Tensor:
        """Return the exact time of each pixel's spike in steps, [B, C, H, W], infinite where there is none."""
        if self.curve == "logarithmic":
            above = images - self.floor
            times = self.tau * torch.log(images / torch.where(above > 0, above, 1))
            return torch.where((above > 0) & (times < self.time_steps), times, torch.inf)
        level = images * (self.time_steps - 1)
        return torch.where(level.round() > 0, level if self.reverse else self.time_steps - level, torch.inf)
