"""Fashion-MNIST: 70,000 pictures of clothes of 28 x 28, in the format of MNIST.

Source: Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747. Batches, splits and arguments: ``IDXImages``.
"""

from __future__ import annotations

from snnlab.data.images.idx import IDXFile, IDXImages


class FashionMNIST(IDXImages):
    """Fashion-MNIST: 60,000 + 10,000 pictures of clothes, 28 x 28 (Xiao et al. 2017); arguments as in IDXImages."""

    __doc__ = IDXImages.__doc__
    title = "fashion_mnist"
    folders = ("fashion-mnist", "FashionMNIST/raw", "fashion_mnist", "FashionMNIST")
    mirrors = (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    )
    files = (
        IDXFile(
            "train-images-idx3-ubyte",
            md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        IDXFile(
            "train-labels-idx1-ubyte",
            md5="25c81989df183df01b3e8a0aad5dffbe",
            sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        IDXFile(
            "t10k-images-idx3-ubyte",
            md5="bef4ecab320f06d8554ea6380940ec79",
            sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        IDXFile(
            "t10k-labels-idx1-ubyte",
            md5="bb300cfdad3c16e7a12a480ee83cd310",
            sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    )
