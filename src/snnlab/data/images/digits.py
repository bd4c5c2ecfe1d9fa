"""The handwritten digits bundled with scikit-learn: 1,797 images of 8 x 8 in 17 grey levels; no network needed.

Source: Alpaydin, Kaynak 1998, UCI "Optical Recognition of Handwritten Digits" (its test part), doi 10.24432/C50P49.
"""

from __future__ import annotations

import hashlib

import numpy as np

from snnlab.data.augmentation import ImageAugmentation
from snnlab.data.contract import DataSpec, Provenance, Splits, check_range
from snnlab.data.images.module import ArrayDataset, ImageModule, Order
from snnlab.data.loader import Loader
from snnlab.data.splits import stratified_order
from snnlab.errors import InputError

TOTAL, TEST_SIZE, WHITE = 1797, 300, 16
SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"  # pixels, then labels, as uint8


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 [1797, 1, 8, 8] in 0 to 16 and labels uint8 [1797], in scikit-learn's order.

    Raises:
        InputError: scikit-learn bundles other content than the known one.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images.astype(np.uint8)[:, None], bunch.target.astype(np.uint8)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    if digest != SHA256:
        raise InputError(
            f"data.digits: scikit-learn bundles content {digest[:12]}..., known is {SHA256[:12]}...; "
            "reinstall scikit-learn"
        )
    return images, labels


def split_digits(labels: np.ndarray, val_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sorted indices of train, val and test: fixed, stratified, the test images the same for every val_size."""
    order = stratified_order(labels)
    cut = TEST_SIZE + val_size
    return np.sort(order[cut:]), np.sort(order[TEST_SIZE:cut]), np.sort(order[:TEST_SIZE])


class Digits(ImageModule):
    """The 8 x 8 digits as images.

    Args:
        val_size: validation images; 300 are always for testing and the rest for training.
        augmentation, sequence: as in ImageModule.

    Batches: images [B, 1, 8, 8] in [0, 1], exact multiples of 1/16; labels [B]; the image is its own natural signal.
    Raises:  InputError: val_size out of range.
    """

    title = "digits"
    shape = (1, 8, 8)

    def __init__(
        self,
        loader: Loader,
        val_size: int = 200,
        augmentation: ImageAugmentation = ImageAugmentation(),  # noqa: B008  frozen
        sequence: Order = "none",
    ) -> None:
        super().__init__(loader, augmentation, sequence)
        check_range("data.digits: val_size", val_size, 1, TOTAL - TEST_SIZE - 10, "200 is usual")
        self.val_size = val_size

    @property
    def still(self) -> DataSpec:
        train = TOTAL - TEST_SIZE - self.val_size
        return DataSpec(
            "digits",
            "image",
            self.shape,
            classes=10,
            signal_shape=self.shape,
            prototype_shape=self.shape,
            sizes={"train": train, "val": self.val_size, "test": TEST_SIZE},
        )

    def where(self) -> str:
        return "bundled"

    def read(self) -> tuple[Splits, Provenance]:
        images, labels = read_digits()
        splits = Splits(*(ArrayDataset(images[i], labels[i], WHITE) for i in split_digits(labels, self.val_size)))
        train: ArrayDataset = splits.train  # type: ignore[assignment]
        self.keep_first(train.images.numpy(), train.labels.numpy(), WHITE)
        return splits, Provenance("bundled", SHA256, dict(self.spec.sizes), verified="known content hash (SHA-256)")
