"""Crop, flip and Cutout of training images: what they may change, what they may not, and that they repeat."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from torch import Tensor

from snnlab.data.augmentation import ImageAugmentation
from snnlab.data.contract import Batch
from snnlab.data.images.digits import Digits
from snnlab.data.loader import with_loader
from snnlab.errors import InputError


def numbered(count: int, height: int, width: int, channels: int = 3) -> Tensor:
    """Images whose every pixel has a value of its own, none of them 0."""
    return torch.arange(1, count * channels * height * width + 1).float().reshape(count, channels, height, width)


def test_off_changes_nothing_and_draws_nothing() -> None:
    images = numbered(4, 6, 5)
    before = torch.get_rng_state()
    assert not ImageAugmentation()
    assert torch.equal(ImageAugmentation()(images), images)
    assert torch.equal(torch.get_rng_state(), before)


def test_crop_keeps_pixels_in_their_order() -> None:
    """Each image is a window of its padded self: shifted by (dy, dx), black where it shows the border."""
    torch.manual_seed(0)
    images = numbered(300, 6, 5)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    seen = set()
    for image, wide in zip(ImageAugmentation(crop_padding=2)(images), padded, strict=True):
        fits = [(y, x) for y in range(5) for x in range(5) if torch.equal(image, wide[:, y : y + 6, x : x + 5])]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) == 25  # every offset occurs, each image has its own


def test_flip_mirrors_its_share_left_to_right() -> None:
    torch.manual_seed(0)
    images = numbered(2000, 3, 4)
    shown = ImageAugmentation(flip=0.3)(images)
    same, mirrored = ((shown == other).flatten(1).all(1) for other in (images, images.flip(3)))
    assert (same ^ mirrored).all()
    assert mirrored.float().mean().item() == pytest.approx(0.3, abs=0.04)
    assert torch.equal(ImageAugmentation(flip=1.0)(images), images.flip(3))


@pytest.mark.parametrize(("side", "height", "width"), [(4, 12, 10), (5, 12, 10), (1, 12, 10), (10, 12, 10)])
def test_cutout_blackens_one_square(side: int, height: int, width: int) -> None:
    """The area is side^2 inside; mean lines hit along an axis of n: sum over centres of the lines left, over n."""
    torch.manual_seed(0)
    count = 4000
    images = numbered(count, height, width)
    shown = ImageAugmentation(cutout=side)(images)
    black = shown == 0
    assert torch.equal(shown[~black], images[~black])
    assert torch.equal(black[:, 0], black[:, 2])  # all colours at once
    rows, columns = black[:, 0].any(2), black[:, 0].any(1)
    assert torch.equal(black[:, 0], rows[:, :, None] & columns[:, None, :])  # a rectangle
    for lines, size in ((rows, height), (columns, width)):
        lengths = lines.sum(1)
        gaps = (lines[:, 1:] != lines[:, :-1]).sum(1)
        assert (gaps <= 2).all()  # in one piece
        assert lengths.max() == side
        expected = sum(min(c - side // 2 + side, size) - max(c - side // 2, 0) for c in range(size)) / size
        assert lengths.float().mean().item() == pytest.approx(expected, abs=0.06 * side)


def test_seeds_repeat_to_the_bit_and_differ() -> None:
    augmentation = ImageAugmentation(crop_padding=2, flip=0.5, cutout=3)
    images = torch.rand(50, 3, 8, 8)
    torch.manual_seed(7)
    first, second = augmentation(images), augmentation(images)
    torch.manual_seed(7)
    assert torch.equal(first, augmentation(images))
    assert torch.equal(second, augmentation(images))
    assert not torch.equal(first, second)
    assert first.dtype == images.dtype
    assert augmentation(images.double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"crop_padding": 5}, r"^data\.augmentation\.crop_padding = 5 must lie in 0 to 4"),
        ({"crop_padding": -1}, r"^data\.augmentation\.crop_padding = -1"),
        ({"flip": 1.5}, r"^data\.augmentation\.flip = 1\.5 must lie in 0 to 1"),
        ({"cutout": 9}, r"^data\.augmentation\.cutout = 9 must lie in 0 to 8"),
        ({"patch": 2.0}, r"^data\.augmentation\.patch = 2\.0 must lie in 0 to 1"),
        (
            {"patch_area": (0.4, 0.02)},
            r"^data\.augmentation\.patch_area = \[0\.4, 0\.02\] must start above 0, not fall",
        ),
        ({"patch_area": (0.1, 2.0)}, r"^data\.augmentation\.patch_area = \[0\.1, 2\.0\] .* end at 1 or below"),
        ({"patch_aspect": (0.0, 1.0)}, r"^data\.augmentation\.patch_aspect = \[0\.0, 1\.0\] must start above 0"),
    ],
)
def test_ranges_are_refused_before_anything_is_read(arguments: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        with_loader(Digits, "x", "x", augmentation=ImageAugmentation(**arguments))
    assert "\n" not in str(error.value)


class Watch(L.LightningModule):
    """Remembers the images of every batch that the trainer hands over."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[Tensor]] = {"train": [], "val": [], "test": []}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        assert batch.inputs is batch.signals or batch.inputs.dim() == 3
        self.seen["train"].append(batch.signals)
        return self.weight * batch.inputs.mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.seen["val"].append(batch.signals)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.seen["test"].append(batch.signals)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def watched(epochs: int = 1, **arguments: object) -> dict[str, Tensor]:
    torch.manual_seed(0)
    data, module = with_loader(Digits, "x", "x", batch_size=200, **arguments), Watch()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", **quiet)
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    return {split: torch.cat(images) for split, images in module.seen.items()}


@pytest.mark.parametrize("sequence", ["none", "rows"])
def test_only_training_batches_change(sequence: str) -> None:
    plain = watched(sequence=sequence)
    changed, again = (watched(sequence=sequence, augmentation=ImageAugmentation(1, cutout=2)) for _ in range(2))
    assert torch.equal(changed["val"], plain["val"])
    assert torch.equal(changed["test"], plain["test"])
    assert not torch.equal(changed["train"], plain["train"])
    assert torch.equal(changed["train"], again["train"])


def test_training_changes_anew_in_each_epoch_also_after_a_validation() -> None:
    images = watched(epochs=2, augmentation=ImageAugmentation(1))["train"]
    first, second = images.chunk(2)
    order = [sorted(image.sum().item() for image in epoch) for epoch in (first, second)]
    assert order[0] != order[1]
    plain = watched(epochs=2)["train"].chunk(2)
    assert sorted(i.sum().item() for i in plain[0]) == sorted(i.sum().item() for i in plain[1])


def test_a_patch_is_one_grey_rectangle_inside_of_half_of_the_images() -> None:
    """Area 2 to 40 %, aspect .4 to 2.5, sides cut to whole pixels; every multiple of 1 / 255 is as likely."""
    torch.manual_seed(0)
    images = torch.full((4000, 3, 32, 32), 2.0)
    shown = ImageAugmentation(patch=0.5)(images)
    covered = shown != 2
    assert torch.equal(covered[:, 0], covered[:, 1]) and torch.equal(covered[:, 0], covered[:, 2])
    covered = covered[:, 0]
    some = covered.flatten(1).any(1)
    assert some.float().mean().item() == pytest.approx(0.5, abs=0.03)
    rows, columns = covered[some].any(2), covered[some].any(1)
    assert torch.equal(covered[some], rows[:, :, None] & columns[:, None, :])  # a rectangle
    height, width = rows.sum(1), columns.sum(1)
    area = height * width
    # sides: sqrt(20.48 x 0.4) = 2.86 by 7.2 at the least, sqrt(409.6 x 2.5) = 32 at the most; whole pixels of them
    assert area.min() >= 2 * 7 - 2 and 409 - 60 <= area.max() <= 409
    assert 28 < height.max() <= 32 and 28 < width.max() <= 32 and 2 <= min(height.min(), width.min()) <= 4
    assert area.float().mean().item() == pytest.approx(0.21 * 1024 - 13, abs=12)  # the mean less what the cuts take
    values = shown[some][covered[some][:, None].expand(-1, 3, -1, -1)]
    assert values.min() == 0 and values.max() == 1
    torch.testing.assert_close(values * 255, (values * 255).round(), atol=1e-4, rtol=0)
    first = [image[mask[None].expand(3, -1, -1)] for image, mask in zip(shown[some], covered[some], strict=True)]
    assert all((greys == greys[0]).all() for greys in first) and len({greys[0].item() for greys in first}) > 240


def test_a_patch_fits_into_any_picture_and_follows_its_arguments() -> None:
    torch.manual_seed(0)
    shown = ImageAugmentation(patch=1.0, patch_area=(0.25, 0.25), patch_aspect=(1.0, 1.0))(
        torch.full((50, 1, 8, 8), 2.0)
    )
    assert ((shown != 2).flatten(1).sum(1) == 16).all()  # sqrt(0.25 x 64) = 4 by 4
    flat = ImageAugmentation(patch=1.0, patch_area=(1.0, 1.0))(torch.full((50, 1, 3, 20), 2.0))
    assert (flat != 2).flatten(1).any(1).all() and flat.isfinite().all()
