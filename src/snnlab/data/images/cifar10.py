"""CIFAR-10: 60,000 colour photographs of 32 x 32 in 10 classes, in the official binary layout.

Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
Layout: data_batch_1.bin to data_batch_5.bin and test_batch.bin; a record is 1 label byte and 3,072 pixel bytes.
"""

from __future__ import annotations

from typing import ClassVar

from snnlab.data.images.cifar import CIFARImages


class CIFAR10(CIFARImages):
    """Colour photographs in 10 classes; arguments and batches as in PublishedImages."""

    title = "cifar10"
    classes = 10
    urls = ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",)
    md5 = "c32a1d4ab5d03f1284b67883e8d87530"
    archive, folder = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
    sha256: ClassVar[dict[str, str]] = {  # that of the genuine test_batch.bin is known only from a download's marker
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    }
    files = (*sha256, "test_batch.bin")
    altered: ClassVar[dict[str, str]] = {
        "71691bc386e2c1ea3bba8b0947cefbf359613dbcc7d1f8a29f61e79127902f72": (
            "9,000 of 10,000 test images are JPEG-altered"
        ),
    }
    label_classes = (10,)
