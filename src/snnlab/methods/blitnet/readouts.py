"""What reads classes from features x that do not learn any more. Labels are used here and nowhere else.

    ridge       W, b = argmin |X W + b - Y|^2 + penalty s |W|^2, Y one-hot          closed form, in 64 bits
    logistic    W, b = argmin sum of cross-entropy + penalty s |W|^2 / 2            scikit-learn
    forcing     d_k = (0.5 for the label, 0 for the rest) - y_k;  y as in neurons/amplitude.py
                W_ki += eta d_k p_i / f_i, both signs;  theta_k -= sign(d_k) eta / 10,  theta_k >= 0

s = sum over samples of |x - mean|^2 / number of features: small amplitudes are held back no more than large ones.
W of ``forcing`` keeps its signs: a synapse that would change its own is set to 1e-6, as in rules.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.methods.blitnet.rules import LEAST
from snnlab.neurons.amplitude import Amplitude
from snnlab.weights.both_signs import BothSigns

FORCED = 0.5  # amplitude of the labelled neuron
Samples = Callable[[], Iterable[tuple[Tensor, Tensor]]]  # a pass over the training samples: features [B, F], labels [B]


def fit_ridge(layer: nn.Linear, samples: Samples, classes: int, penalty: float) -> None:
    """Set W and b of ``layer``; sums are of ``samples``, batch by batch."""
    features = layer.in_features
    square = torch.zeros(features, features, dtype=torch.float64, device=layer.weight.device)
    cross = torch.zeros(features, classes, dtype=torch.float64, device=layer.weight.device)
    sum_x, sum_y, count = cross.new_zeros(features), cross.new_zeros(classes), 0
    for x, labels in samples():
        y = nn.functional.one_hot(labels, classes).to(x)
        square += x.T @ x
        cross += x.T @ y
        sum_x += x.sum(0)
        sum_y += y.sum(0)
        count += len(x)
    mean_x, mean_y = sum_x / count, sum_y / count
    square -= count * torch.outer(mean_x, mean_x)
    scale = square.diagonal().mean()
    square.diagonal().add_(torch.where(scale > 0, penalty * scale, 1.0))  # 1: nothing ever fired
    weight = torch.linalg.solve(square, cross - count * torch.outer(mean_x, mean_y))
    layer.weight.copy_(weight.T)
    layer.bias.copy_(mean_y - mean_x @ weight)


def fit_logistic(layer: nn.Linear, samples: Samples, classes: int, penalty: float, most_steps: int) -> None:
    """Set W and b of ``layer``; a class without a sample keeps a bias that it never wins by."""
    import warnings

    from scipy.sparse import csr_matrix, vstack
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rows: Any = []
    labels: list[Tensor] = []
    for x, of_batch in samples():
        rows.append(csr_matrix(x.cpu().numpy()))
        labels.append(of_batch.cpu())
    named = torch.cat(labels).unique()
    layer.weight.zero_()
    layer.bias.fill_(-1e6)
    if len(named) == 1:
        layer.bias[named] = 0.0
        return
    x = vstack(rows).astype(np.float64)
    mean = np.asarray(x.mean(0)).ravel()
    scale = float(x.multiply(x).sum() - x.shape[0] * (mean**2).sum()) / x.shape[1]
    root = np.sqrt(scale / x.shape[0]) if scale > 0 else 1.0  # features of unit variance converge faster
    model = LogisticRegression(C=1 / (penalty * x.shape[0]), max_iter=most_steps)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)  # the number of steps is an argument
        model.fit(x / root, torch.cat(labels).numpy())
    weight, bias = torch.as_tensor(model.coef_ / root), torch.as_tensor(model.intercept_)
    if len(named) == 2:  # one row, for the second class
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    layer.weight[named] = weight.to(layer.weight)
    layer.bias[named] = bias.to(layer.bias)


def force(weight: BothSigns, neuron: Amplitude, p: Tensor, labels: Tensor, f: Tensor, rates: list[float]) -> None:
    """Spike forcing on samples p [B, F] one after the other; f [F] target rates of the features, rates [B]."""
    wanted = FORCED * nn.functional.one_hot(labels, len(neuron.threshold)).to(p)
    for sample, forced, eta in zip(p, wanted, rates, strict=True):
        values = weight.latent
        current = weight.product(sample.unsqueeze(0), weight.used)
        d = forced - neuron.potential(current)[0].clamp(0, neuron.most)
        change = eta * torch.outer(d, sample / f)
        excited = (weight.excitatory(values) + change).clamp(min=LEAST)
        inhibited = (weight.inhibitory(values) + change).clamp(max=-LEAST)
        values.copy_(torch.cat([excited, inhibited], weight.along))
        weight.write(values)
        neuron.threshold.sub_(d.sign() * eta / 10).clamp_(min=0)
