"""The pictures behind recorded or filmed digits: MNIST where it lies under the data root, else the bundled digits."""

from __future__ import annotations

from pathlib import Path

from snnlab.data.contract import DataModule
from snnlab.data.images.digits import Digits
from snnlab.data.images.mnist import MNIST
from snnlab.data.loader import Loader


def digit_images(root: Path, cache: Path, unverified: bool = False) -> DataModule:
    """Return the image data set; nothing is read and nothing is downloaded."""
    if MNIST.find(root):
        return MNIST(Loader(root, cache), download=False, unverified=unverified)
    return Digits(Loader(root, cache))
