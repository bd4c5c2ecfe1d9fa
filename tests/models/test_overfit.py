"""Every deep topology can learn: at a quarter of its width or less it memorises 64 pictures with STBP, T = 2.

init=kaiming keeps the deep layers firing, and a surrogate with long tails reaches those that are silent; the paper's
rectangle falls silent for good in nets this deep without normalisation.
"""

import pytest
import torch
from torch import nn

from snnlab.data.contract import DataSpec
from snnlab.data.encoders import Direct
from snnlab.initializers.kaiming import Kaiming
from snnlab.methods.stbp import STBP
from snnlab.models.nf_resnet import NFResNet
from snnlab.models.resnet import ResNet
from snnlab.models.vgg import VGG

MODELS = {  # the net, the side of the pictures, gain of the initialiser, batch size and learning rate
    "vgg9": (VGG([64, 64, "P", 128, 128, "P", 256, 256, 256, "P"], [1024], width=1 / 4), 8, 1.0, 16, 1e-3),
    "vgg11": (
        VGG([64, "P", 128, "P", 256, 256, "P", 512, 512, "P", 512, 512], [4096], global_pool=True, width=1 / 4),
        16,
        1.2,  # the average of whole maps takes away signal
        16,
        1e-3,
    ),
    "resnet9": (ResNet(64, [[128, 1], [256, 2], [512, 2]], [1024], width=1 / 4), 8, 1.0, 16, 1e-3),
    "resnet11": (ResNet(64, [[128, 1], [256, 2], [512, 1], [512, 2]], [1024], width=1 / 4), 8, 1.0, 16, 1e-3),
    "nf_resnet34": (NFResNet([64, 128, 256, 512], [3, 4, 6, 3], width=1 / 8), 8, 1.0, 32, 3e-3),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_narrow_net_memorises_64_pictures(name):
    model, side, gain, batch, lr = MODELS[name]
    torch.manual_seed(0)
    method = STBP(
        model, DataSpec("pictures", "image", (3, side, side), 10), Direct(2), torch.optim.Adam, surrogate="atan"
    )
    pictures = nn.functional.interpolate(torch.rand(64, 3, 4, 4), size=side, mode="bilinear")
    labels = torch.arange(64) % 10
    Kaiming(gain)(method.network, method.encoder(pictures))
    optimizer = torch.optim.Adam(method.parameters(), lr=lr)
    accuracy = 0.0
    for _ in range(250):
        right = 0
        for chosen in torch.randperm(64).split(batch):
            scores = method.scores(method.encoder(pictures[chosen]))
            optimizer.zero_grad()
            method.loss(scores, labels[chosen]).backward()
            optimizer.step()
            right += int((scores.argmax(-1) == labels[chosen]).sum())
        if right >= 62:
            with torch.no_grad():
                accuracy = float((method.scores(method.encoder(pictures)).argmax(-1) == labels).double().mean())
            if accuracy == 1:
                break
    assert accuracy == 1
