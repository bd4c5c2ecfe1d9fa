"""The judge: a LeNet-5-like classifier of natural signals, trained once per data set and cached.

It reads reconstructions that VDIB's decoder made; a reconstruction is right when the judge names its class. Small
images are padded (28 x 28) or resized (other sizes) to 32 x 32 as in the original LeNet-5.
"""

from __future__ import annotations

import io
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from snnlab.checkpoint import read_weights
from snnlab.data.contract import Batch, BatchedDataset, DataModule
from snnlab.data.files import keep, made_once
from snnlab.data.loader import EpochBatches

log = logging.getLogger(__name__)

VERSION = 1  # part of the cache key: raise it when anything below changes
MOST = 2**24  # bytes of a stored judge, which has about 700,000
LEARNING_RATE, BATCH_SIZE = 2e-3, 128
SMALL, SMALL_BATCH_SIZE = 10_000, 32  # data sets below SMALL samples take smaller batches, so more steps
EPOCH_SAMPLES, FEWEST_EPOCHS, MOST_EPOCHS = 165_000, 2, 20  # and more epochs


class LeNet(nn.Module):
    """LeNet-5 with ReLU, max pooling and wider convolutions (16 and 32 maps; the original has 6 and 16).

    Shapes: images [B, C, H, W] in [0, 1] -> logits [B, classes].
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, 5),  # [B, 16, 28, 28]
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5),  # [B, 32, 10, 10]
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 25, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(to_32(images))
        return logits


def to_32(images: Tensor) -> Tensor:
    """Pad 28 x 28 to 32 x 32; resize any other size bilinearly."""
    if images.shape[-2:] == (32, 32):
        return images
    if images.shape[-2:] == (28, 28):
        return nn.functional.pad(images, (2, 2, 2, 2))
    return nn.functional.interpolate(images, size=(32, 32), mode="bilinear", align_corners=False)


class _Training(L.LightningModule):
    """Adam with one cycle of the learning rate over the whole training."""

    def __init__(self, judge: LeNet, steps: int) -> None:
        super().__init__()
        self.judge, self.steps = judge, steps

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.judge(batch.inputs), batch.labels)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


class _Batches(Dataset[Batch]):
    def __init__(self, dataset: BatchedDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, indices: Any) -> Batch:
        return self.dataset.batch(indices)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning: the judge is a helper and leaves no trace in the run's record."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def train_judge(images: DataModule, seed: int = 0) -> LeNet:
    """Train a judge on the training split of an image data set; the numbers depend on that split and ``seed`` alone."""
    images.setup()
    assert images.splits is not None
    train = images.splits.train
    batch_size = BATCH_SIZE if len(train) >= SMALL else SMALL_BATCH_SIZE
    batches = EpochBatches(len(train), batch_size, shuffle=True, seed=seed)
    loader = DataLoader(_Batches(train), sampler=batches, batch_size=None)
    epochs = min(max(EPOCH_SAMPLES // max(len(train), 1), FEWEST_EPOCHS), MOST_EPOCHS)
    with torch.random.fork_rng(), _quiet(), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(seed)
        judge = LeNet(images.spec.input_shape[0], images.spec.classes)
        trainer = L.Trainer(
            max_epochs=epochs,
            accelerator="auto",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(_Training(judge, epochs * len(batches)), loader)
    return judge.cpu().eval().requires_grad_(False)


def judge_path(images: DataModule) -> Path:
    """Where the judge of this data set lies in the cache; the key holds the hash of the data."""
    spec, hashed = images.spec, images.provenance.hash[:16]
    sizes = images.provenance.sizes
    size = f"{sizes['train']}-{sizes['val']}"  # which images of the data it was trained on
    return images.cache / "judges" / f"{spec.name}-{hashed}-{size}-v{VERSION}.pt"


def load_judge(images: DataModule) -> LeNet:
    """Return the judge of an image data set from the cache, or train and store it (written whole or not at all)."""
    path = judge_path(images)
    return made_once(
        path.with_name(f".{path.name}.lock"), lambda: _stored(images, path), lambda: _trained(images, path)
    )


def _stored(images: DataModule, path: Path) -> LeNet | None:
    if not path.exists():
        return None
    judge = LeNet(images.spec.input_shape[0], images.spec.classes)
    try:
        stored = read_weights(path, MOST)
        if stored["of"] == path.name:
            judge.load_state_dict(stored["weights"])
            return judge.eval().requires_grad_(False)
        raise ValueError("it is another's")
    except Exception:  # a broken pickle raises nearly anything
        log.warning("judge %s cannot be read and is trained again", path)
        return None


def _trained(images: DataModule, path: Path) -> LeNet:
    log.info(
        "vdib: the judge is trained first, a classifier of %s that reads reconstructions; it is kept in %s",
        images.spec.name,
        path.parent,
    )
    started = time.perf_counter()
    judge = train_judge(images)
    weights = io.BytesIO()
    stored = {"of": path.name, "weights": judge.state_dict()}
    torch.save(stored, weights)  # into a file it would not say that the disk is full
    keep(path, lambda file: file.write(weights.getbuffer()))
    log.info("vdib: the judge is trained, %.1f s", time.perf_counter() - started)
    return judge
