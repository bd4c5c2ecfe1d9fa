"""CIFAR-100: 60,000 colour photographs of 32 x 32 in 100 classes, which form 20 groups, in the official binary layout.

Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
Layout: train.bin and test.bin; a record is the group's byte, the class's byte and 3,072 pixel bytes.
"""

from __future__ import annotations

from typing import Literal

from snnlab.data.augmentation import ImageAugmentation
from snnlab.data.contract import check_choice
from snnlab.data.images.cifar import CIFARImages
from snnlab.data.images.module import Order
from snnlab.data.loader import Loader


class CIFAR100(CIFARImages):
    """Colour photographs in 100 classes, 500 of each for training; no hash of a single file is known to us.

    So files are verified by the marker that a download (or the archive under the root) leaves.

    Args:
        labels: fine names the class (100), coarse its group (20).
        All others as in PublishedImages.

    Batches: images [B, 3, 32, 32] in [0, 1], labels [B]; the image is its own natural signal.
    Raises:  InputError: an argument out of range, or files that are missing, broken or unknown.
    """

    title = "cifar100"
    urls = ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",)
    md5 = "03b5dce01913d631647c71ecec9e9cb8"
    archive, folder = "cifar-100-binary.tar.gz", "cifar-100-binary"
    files = ("train.bin", "test.bin")
    label_classes = (20, 100)

    def __init__(
        self,
        loader: Loader,
        download: bool = True,
        unverified: bool = False,
        val_size: int = 5000,
        train_size: int | None = None,
        labels: Literal["fine", "coarse"] = "fine",
        augmentation: ImageAugmentation = ImageAugmentation(),  # noqa: B008  frozen
        sequence: Order = "none",
    ) -> None:
        check_choice("data.cifar100: labels", labels, ("fine", "coarse"))
        self.label_byte = int(labels == "fine")
        self.classes = self.label_classes[self.label_byte]
        super().__init__(loader, download, unverified, val_size, train_size, augmentation, sequence)
