"""Every deep topology can learn: a narrow one memorises 64 pictures with STBP.

The pictures are noise, so that nothing but memory helps; init=kaiming keeps the deep layers firing, and the wide
triangle lets gradients through them (the paper's rectangle falls silent in nets this deep without normalisation).
"""

import pytest
import torch

from snnlab.data.datamodule import DataSpec
from snnlab.data.encoders import Direct
from snnlab.initializers.kaiming import Kaiming
from snnlab.methods.stbp import STBP
from snnlab.models.nf_resnet import NFResNet
from snnlab.models.resnet import ResNet
from snnlab.models.vgg import VGG

MODELS = {
    "vgg9": VGG([64, 64, "P", 128, 128, "P", 256, 256, 256, "P"], [1024], width=1 / 8),
    "vgg11": VGG([64, "P", 128, "P", 256, 256, "P", 512, 512, "P", 512, 512], [4096], global_pool=True, width=1 / 8),
    "resnet9": ResNet(64, [[128, 1], [256, 2], [512, 2]], [1024], width=1 / 8),
    "resnet11": ResNet(64, [[128, 1], [256, 2], [512, 1], [512, 2]], [1024], width=1 / 8),
    "nf_resnet34": NFResNet([64, 128, 256, 512], [3, 4, 6, 3], width=1 / 8),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_narrow_net_memorises_64_pictures(name):
    torch.manual_seed(0)
    spec = DataSpec("pictures", "image", (3, 16, 16), 10)
    method = STBP(MODELS[name], spec, Direct(2), torch.optim.Adam, surrogate="triangle", width=1.0)
    pictures, labels = torch.rand(64, 3, 16, 16), torch.arange(64) % 10
    Kaiming()(method.network, method.encoder(pictures))
    optimizer = torch.optim.Adam(method.parameters(), lr=2e-3)
    accuracy = 0.0
    for _ in range(150):
        right = 0
        for chosen in torch.randperm(64).split(16):
            scores = method.scores(method.encoder(pictures[chosen]))
            optimizer.zero_grad()
            method.loss(scores, labels[chosen]).backward()
            optimizer.step()
            right += int((scores.argmax(-1) == labels[chosen]).sum())
        if right >= 60:
            with torch.no_grad():
                accuracy = float((method.scores(method.encoder(pictures)).argmax(-1) == labels).double().mean())
            if accuracy == 1:
                break
    assert accuracy == 1
