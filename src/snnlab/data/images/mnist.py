"""MNIST: 70,000 handwritten digits of 28 x 28.

Source: LeCun, Bottou, Bengio, Haffner 1998, doi 10.1109/5.726791. Batches, splits and arguments: ``IDXImages``.
"""

from __future__ import annotations

from snnlab.data.images.idx import IDXFile, IDXImages


class MNIST(IDXImages):
    """MNIST, 60,000 + 10,000 handwritten digits, 28 x 28 (LeCun et al. 1998); arguments as in IDXImages."""

    __doc__ = IDXImages.__doc__
    title = "mnist"
    folders = ("mnist", "MNIST/raw", "MNIST")
    mirrors = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
    files = (
        IDXFile(
            "train-images-idx3-ubyte",
            md5="f68b3c2dcbeaaa9fbdd348bbdeb94873",
            sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        IDXFile(
            "train-labels-idx1-ubyte",
            md5="d53e105ee54ea40749a09fcbcd1e9432",
            sha256="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        IDXFile(
            "t10k-images-idx3-ubyte",
            md5="9fb629c4189551a2d022fa330f9573f3",
            sha256="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        IDXFile(
            "t10k-labels-idx1-ubyte",
            md5="ec29112dd5afa0611ce80d1b7f02629c",
            sha256="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    )
