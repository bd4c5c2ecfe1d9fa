"""The mean counts samples, not batches."""

import torch

from snnlab.metrics.mean import Mean


def test_a_batch_counts_by_its_samples():
    mean = Mean()
    mean.update(torch.tensor(1.0), 3)
    mean.update(torch.tensor(5.0, dtype=torch.bfloat16), 1)
    assert mean.compute() == 2.0
