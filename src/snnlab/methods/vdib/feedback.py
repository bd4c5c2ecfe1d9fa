"""Hidden credit: how dL/du [T, B, N_out] of the readout becomes dL/d(spikes) [T, B, N_l] of each hidden layer l.

    dfa    g_l = dL/du B_l                                    B_l [N_out, N_l]
    fa     g_L = dL/du W_0;  g_l = (g_{l+1} box_{l+1}) B_l    B_l [N_{l+1}, N_l]
    drtp   g_L = dL/du W_0;  g_l = target B_l / (T B)         B_l [classes, N_l], target the one-hot class
    initial  g_l[t] = sum over lags m of dL/du[t+m] B_l[m]    B_L[m] the readout's weights at lag m when learning began;
                                                              B_l[m] = B_{l+1}[m] times the weights between, of then
    exact  the gradient through the readout weights and filters, by autograd (``vdib.py`` does it)

L is the last hidden layer, W_0 the readout weights at lag 0; every B_l is fixed, Kaiming-uniform but for ``initial``,
which is ours: feedback that points where the readout's weights pointed, so that no transport of weights is needed.
With one hidden layer, fa and drtp are the gradient of the same step, as in the authors' code.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

Feedback = Literal["dfa", "fa", "drtp", "initial", "exact"]


class HiddenCredit(nn.Module):
    """Fixed feedback weights of one mode.

    Args:
        mode: see above; ``exact`` needs no weights and is not served here.
        sizes: shape of one sample's spikes at each hidden layer, first to last.
        outputs: N_out.  classes: length of the one-hot target.  lags: taps of the readout's filters.
    """

    def __init__(self, mode: Feedback, sizes: list[tuple[int, ...]], outputs: int, classes: int, lags: int) -> None:
        super().__init__()
        if mode not in get_args(Feedback):
            raise ValueError(f"vdib: feedback = {mode!r} must be one of {', '.join(get_args(Feedback))}")
        self.mode, self.sizes, self.classes, self.lags = mode, sizes, classes, lags
        units = [torch.Size(size).numel() for size in sizes]
        for layer, size in enumerate(units):
            last = layer == len(units) - 1
            if mode == "initial":
                self.register_buffer(f"weight{layer}", torch.zeros(lags * outputs, size))
            if mode in ("initial", "exact") or (last and mode != "dfa"):
                continue
            rows = {"dfa": outputs, "fa": units[(layer + 1) % len(units)], "drtp": classes}[mode]
            weight = nn.init.kaiming_uniform_(torch.empty(rows, size))
            self.register_buffer(f"weight{layer}", weight)

    def forward(self, credit: Tensor, lag0: Tensor, boxes: list[Tensor], labels: Tensor) -> list[Tensor]:
        """Return g_l [T, B, ...] for every hidden layer, first to last.

        credit dL/du [T, B, N_out]; lag0 W_0 [N_out, N_L]; boxes: surrogate derivative at each layer [T, B, ...];
        labels [B] or [T, B].
        """
        grads: list[Tensor] = []
        if self.mode == "initial":
            credit = ahead(credit, self.lags)
        for layer in reversed(range(len(self.sizes))):
            last = layer == len(self.sizes) - 1
            if self.mode in ("dfa", "initial"):
                grad = credit @ self.weight(layer)
            elif last:
                grad = credit @ lag0
            elif self.mode == "fa":
                grad = (grads[-1] * boxes[layer + 1]).flatten(2) @ self.weight(layer)
            else:
                target = nn.functional.one_hot(labels, self.classes).to(credit.dtype).expand(*credit.shape[:2], -1)
                grad = target @ self.weight(layer) / target[..., 0].numel()
            grads.append(grad.unflatten(-1, self.sizes[layer]))
        return grads[::-1]

    def take(self, weights: list[Tensor]) -> None:
        """Keep the feedback of ``initial``, B_l [lags, N_out, ...] of each layer, first to last."""
        for layer, weight in enumerate(weights):
            self.weight(layer).copy_(weight.flatten(0, 1).flatten(1))

    def weight(self, layer: int) -> Tensor:
        weight: Tensor = getattr(self, f"weight{layer}")
        return weight


def ahead(credit: Tensor, lags: int) -> Tensor:
    """Credit [T, B, N_out] of a step and of the lags - 1 steps after it, lag by lag: [T, B, lags * N_out]."""
    padded = nn.functional.pad(credit, (0, 0, 0, 0, 0, lags - 1))
    return torch.cat([padded[lag : lag + len(credit)] for lag in range(lags)], -1)
