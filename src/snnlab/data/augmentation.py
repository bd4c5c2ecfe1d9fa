"""Augmentation, for training only: events are flipped, shifted, jittered, dropped; images cropped, flipped, cut out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.data.contract import check_range
from snnlab.data.recordings import MOST_US, Events, Recordings
from snnlab.errors import InputError


@dataclass(frozen=True)
class EventAugmentation:
    """Changes the events of a batch; each recording draws its own flip and shift, each event its own jitter and fate.

    Args:
        flip: probability that a recording is mirrored left to right.
        shift: largest shift in x and (but for a line of sensors) in y, pixels; events shifted off are dropped.
        jitter_us: standard deviation of the time jitter, microseconds.
        drop: probability that an event is dropped.

    The random numbers are seeded from torch's generator, so a run that restores it sees the same augmentation.
    Raises: InputError when an argument leaves its range.
    """

    flip: float = 0.0
    shift: int = 0
    jitter_us: float = 0.0
    drop: float = 0.0

    def __post_init__(self) -> None:
        check_range("augmentation: flip", self.flip, 0, 1, "0.5 mirrors half of the recordings")
        check_range("augmentation: jitter_us", self.jitter_us, 0, 1e9, "1000 is usual")
        check_range("augmentation: drop", self.drop, 0, 1, "0.1 is usual")

    def check(self, width: int, height: int) -> None:
        """Raise InputError where events of a sensor of ``width`` x ``height`` pixels cannot be shifted that far."""
        side = min(width, height) if height > 1 else width
        check_range("augmentation: shift", self.shift, 0, side - 1, "2 is usual")

    def __bool__(self) -> bool:
        return any((self.flip, self.shift, self.jitter_us, self.drop))

    def __call__(self, recordings: Recordings, width: int, height: int) -> Recordings:
        """Return the recordings changed; their sensor has ``width`` x ``height`` pixels."""
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        sample = np.repeat(np.arange(len(recordings)), np.diff(recordings.offsets))  # [events]
        x, y = recordings.events.x.astype(np.int32), recordings.events.y.astype(np.int32)
        t, p = recordings.events.t.astype(np.int64), recordings.events.p
        if self.flip:
            mirrored = (rng.random(len(recordings)) < self.flip)[sample]
            x = np.where(mirrored, width - 1 - x, x)
        if self.shift:
            moves = rng.integers(-self.shift, self.shift + 1, (2, len(recordings)), np.int16)
            x, y = x + moves[0, sample], y + (moves[1, sample] if height > 1 else 0)
        keep = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        if self.drop:
            keep &= rng.random(len(t)) >= self.drop
        if self.jitter_us:
            t = np.clip(t + np.rint(rng.normal(0, self.jitter_us, len(t))).astype(np.int64), 0, MOST_US)
            order = np.lexsort((t, sample))  # each recording stays sorted by time; sample is sorted already
            x, y, t, p, keep = x[order], y[order], t[order], p[order], keep[order]
        counts = np.bincount(sample[keep], minlength=len(recordings))
        x_type, y_type = recordings.events.x.dtype, recordings.events.y.dtype
        events = Events(x[keep].astype(x_type), y[keep].astype(y_type), t[keep].astype(np.uint32), p[keep])
        return Recordings(events, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


@dataclass(frozen=True)
class ImageAugmentation:
    """Changes the images of a batch, on their device; each image draws its own crop, flip, square and patch.

        crop     image[y, x] of the image between ``crop_padding`` black pixels on each side, read from an offset
                 (dy, dx) uniform on 0 to 2 crop_padding
        flip     image[y, W - 1 - x] with probability ``flip``
        cutout   0 in a square of ``cutout`` x ``cutout`` pixels; its centre is uniform, its edges may be off
        patch    with probability ``patch`` one grey value of 0, 1/255 ... 1 for all colours, uniform, in a rectangle
                 that lies inside at a uniform place: height int(sqrt(a r)), width int(sqrt(a / r)), at least 1 and at
                 most the image's; a = H W times a share uniform in ``patch_area``, r uniform in ``patch_aspect``

    Args:
        crop_padding: black pixels on each side before the crop; 0 is no crop.
        flip: probability that an image is mirrored left to right.
        cutout: side of the black square; 0 is none.
        patch: probability of a grey rectangle; 0 is none, 0.5 is OTTT's on CIFAR-10.
        patch_area: least and largest share of the image that it covers, in (0, 1].
        patch_aspect: least and largest height / width, > 0.

    Shapes:  images [B, C, H, W] -> the same, a new tensor.
    The random numbers come from torch's generator of the processor, so that a run that restores it sees the same
    images on every device; what is off draws none.
    Raises:  InputError when an argument leaves its range.
    Source:  Cutout: DeVries, Taylor 2017, arXiv:1708.04552; its square may leave the image too. Patch: the
             Cutout of the library torchtoolbox, from memory, with which Xiao et al. 2022 (arXiv:2210.04195v2) train.
    """

    crop_padding: int = 0
    flip: float = 0.0
    cutout: int = 0
    patch: float = 0.0
    patch_area: tuple[float, float] = (0.02, 0.4)
    patch_aspect: tuple[float, float] = (0.4, 2.5)

    def check(self, height: int, width: int) -> None:
        """Raise InputError where images of ``height`` x ``width`` pixels cannot be changed so."""
        side = min(height, width)
        check_range("data.augmentation.crop_padding", self.crop_padding, 0, side // 2, "4 is usual for 32 x 32")
        check_range("data.augmentation.flip", self.flip, 0, 1, "0.5 mirrors half of the images")
        check_range("data.augmentation.cutout", self.cutout, 0, side, "16 is usual for 32 x 32")
        check_range("data.augmentation.patch", self.patch, 0, 1, "0.5 covers a part of half of the images")
        for name, (least, largest), limit, usual in (
            ("patch_area", self.patch_area, 1.0, "[0.02, 0.4]"),
            ("patch_aspect", self.patch_aspect, float("inf"), "[0.4, 2.5]"),
        ):
            if not (0 < least <= largest <= limit and largest < float("inf")):
                bound = " and end at 1 or below" if limit == 1 else ""
                raise InputError(
                    f"data.augmentation.{name} = {[least, largest]} must start above 0, not fall{bound}; "
                    f"{usual} is usual"
                )

    def __bool__(self) -> bool:
        return any((self.crop_padding, self.flip, self.cutout, self.patch))

    def __call__(self, images: Tensor) -> Tensor:
        (count, _, height, width), padding = images.shape, self.crop_padding
        rows = torch.arange(height).expand(count, -1)  # [B, H]: row of the source that each row shows
        columns = torch.arange(width).expand(count, -1)
        keep = torch.ones(count, height, width, dtype=torch.bool)
        if padding:
            offsets = torch.randint(2 * padding + 1, (2, count, 1))
            rows, columns = rows + offsets[0], columns + offsets[1]
        if self.flip:
            columns = torch.where(torch.rand(count, 1) < self.flip, columns.flip(1), columns)
        if self.cutout:
            inside = [self._inside(size, torch.randint(size, (count, 1))) for size in (height, width)]  # [B, H], [B, W]
            keep = ~(inside[0][:, :, None] & inside[1][:, None, :])
        rows, columns, keep = (index.to(images.device) for index in (rows, columns, keep))
        padded = nn.functional.pad(images, (padding,) * 4)
        sample = torch.arange(count, device=images.device)
        shown = padded[sample[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # [B, H, W, C]
        shown = (shown * keep[..., None]).permute(0, 3, 1, 2).contiguous()
        return self._patched(shown) if self.patch else shown

    def _patched(self, images: Tensor) -> Tensor:
        """The images, some of them behind a grey rectangle."""
        count, _, *sizes = images.shape
        taken = torch.rand(count, 1) < self.patch
        area, aspect = (
            least + (largest - least) * torch.rand(count, 1) for least, largest in (self.patch_area, self.patch_aspect)
        )
        area = area * (sizes[0] * sizes[1])
        covered = []
        for size, length in zip(sizes, ((area * aspect).sqrt(), (area / aspect).sqrt()), strict=True):
            length = length.int().clamp(1, size)
            first = (torch.rand(count, 1) * (size - length + 1)).int()
            lines = torch.arange(size)
            covered.append((lines >= first) & (lines < first + length))  # [B, H], [B, W]
        inside = (taken & covered[0])[:, :, None] & covered[1][:, None, :]
        grey = torch.randint(256, (count, 1, 1, 1)) / 255
        return torch.where(inside[:, None].to(images.device), grey.to(images), images)

    def _inside(self, size: int, centre: Tensor) -> Tensor:
        """Whether each of ``size`` lines lies in the square around ``centre`` [B, 1]; [B, size]."""
        distance = torch.arange(size) - (centre - self.cutout // 2)
        return (distance >= 0) & (distance < self.cutout)
