"""The natural signals that VDIB decodes: which ones a data set has, and the best guess from the class alone."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from snnlab.data.contract import DataModule, DataSpec
from snnlab.errors import InputError

Target = Literal["prototype", "same_image"]


def target_shape(data: DataSpec, target: Target) -> tuple[int, ...]:
    """Shape of the natural signals; refuse a target that the data does not have."""
    shape = data.prototype_shape if target == "prototype" else data.signal_shape
    if shape is None:
        what = "one natural image per class" if target == "prototype" else "the natural image behind each sample"
        other = data.signal_shape if target == "prototype" else data.prototype_shape
        way = (
            f"use method.target={'same_image' if target == 'prototype' else 'prototype'}"
            if other
            else "use data=mnist_dvs"
        )
        raise InputError(f"method.target={target} needs {what}, which data={data.name} does not have; {way}")
    return shape


def class_means(images: DataModule) -> Tensor:
    """Mean training image of each class [classes, C, H, W], within (0, 1): the best predictor from the class alone."""
    images.setup()
    assert images.splits is not None
    train, spec = images.splits.train, images.spec
    total, count = torch.zeros(spec.classes, *spec.input_shape), torch.zeros(spec.classes)
    for start in range(0, len(train), 1000):
        batch = train.batch(range(start, min(start + 1000, len(train))))
        total.index_add_(0, batch.labels, batch.inputs)
        count.index_add_(0, batch.labels, torch.ones(len(batch.labels)))
    return (total / count.clamp(min=1).view(-1, 1, 1, 1)).clamp(1e-4, 1 - 1e-4)
