"""What a weight is: the contract of every linear map between two layers, and the constraint that it may keep.

    y = W x + b         x [B, inputs, ...] and y [B, outputs, ...] of one step

    used        W, what the product takes
    stored      the tensor that an optimizer or a rule owns; ``used`` itself where nothing limits the weight
    write       new values go in through the constraint; afterwards ``used`` is what the constraint makes of them
    exists      1 where there is a synapse, 0 where a constraint leaves none, such as a mask
    fan_out     synapses that each input reaches, for counters; ``reach`` is the same of some of them
    back        W^T signal, or V^T signal through another tensor of W's shape: a feedback path
    outer       sum over the batch of signal x^T, in the shape of W

A constraint is a parametrization of torch (its forward makes ``used`` of ``stored``). A rule moves a weight by

    values = weight.latent; values += change; weight.write(values)

where ``latent`` is ``used`` without what has no way back, such as a rounding: small changes add up below a level.
One that has a ``right_inverse``, such as a sign, is gone through both ways.

``weight_of(layer)`` (find.py) is the weight of a layer of torch; a layer of one's own is a ``WeightLayer``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from snnlab.errors import InputError


class Values:
    """A tensor of a layer, its weight or its bias, seen through the constraint that it keeps.

    Raises:
        InputError: (stored, latent, write) when the constraint stores more than one tensor.
    """

    def __init__(self, layer: nn.Module, name: str) -> None:
        self.layer, self.name = layer, name

    @property
    def used(self) -> Tensor:
        """What the product takes."""
        return getattr(self.layer, self.name)  # type: ignore[no-any-return]

    @property
    def constrained(self) -> bool:
        return is_parametrized(self.layer, self.name)

    @property
    def stored(self) -> Tensor:
        """What the optimizer or the rule owns."""
        if not self.constrained:
            return self.used
        chain = self._chain()
        if not chain.is_tensor:
            raise InputError(
                f"{type(chain[0]).__name__} makes a {self.name} of {chain.ntensors} tensors, and a rule that writes "
                "it knows one; use a constraint of one tensor"
            )
        return chain.original  # type: ignore[no-any-return]

    @property
    @torch.no_grad()
    def latent(self) -> Tensor:
        """The values that a rule adds its change to; ``stored`` itself where nothing has to be undone.

        To be changed in place and given to ``write``.
        """
        values = self.stored
        for part in self._invertible():
            values = part(values)
        return values.detach()

    @torch.no_grad()
    def write(self, values: Tensor) -> None:
        """Put ``values`` in through the constraint."""
        for part in reversed(self._invertible()):
            values = part.right_inverse(values)
        stored = self.stored
        if values.data_ptr() != stored.data_ptr() or values.stride() != stored.stride():
            stored.copy_(values)

    def set_gradient(self, gradient: Tensor) -> None:
        """Put a gradient of ``used`` into ``.grad`` of what is stored, through the constraint's derivative."""
        if not self.constrained:
            self.stored.grad = gradient
            return
        owned = [p for p in self._chain().parameters() if p.requires_grad]
        for parameter in owned:
            parameter.grad = None
        with torch.enable_grad():
            torch.autograd.backward(self.used, gradient.to(self.used), inputs=owned)

    def passes_gradient(self) -> bool:
        """Whether a gradient of ``used`` reaches what is stored: a plain rounding, whose derivative is 0, lets none."""
        found = self._slopes(lambda used: torch.linspace(1, 2, used.numel()).to(used).view_as(used))
        return any(slope is not None and bool(slope.any()) for slope in found)

    def straight(self) -> bool:
        """Whether a change of ``latent`` is the same change of ``used``, up to a rounding: every slope is 1, or 0."""
        if not self._chain().is_tensor:
            return False
        (slope,) = self._slopes(torch.ones_like, [part for part in self.parts if not hasattr(part, "right_inverse")])
        return slope is None or bool(((slope == 0) | (slope == 1)).all())

    def _slopes(self, signal: Callable[[Tensor], Tensor], parts: list[nn.Module] | None = None) -> list[Tensor | None]:
        """The gradient of ``signal(used)`` at each tensor that is stored, through all the parts or these alone."""
        chain = self._chain()
        count = 1 if chain.is_tensor else chain.ntensors
        stored = [chain.original] if chain.is_tensor else [getattr(chain, f"original{i}") for i in range(count)]
        with torch.enable_grad():
            given = [normal(tensor).clone().requires_grad_() for tensor in stored]
            values: Any = given
            for part in self.parts if parts is None else parts:
                values = [part(*values)]
            (used,) = values
            if not used.requires_grad:
                return [None] * count
            return list(torch.autograd.grad(used, given, signal(used.detach()), allow_unused=True))

    def _chain(self) -> Any:
        return self.layer.parametrizations[self.name]  # type: ignore[index]

    @property
    def parts(self) -> list[nn.Module]:
        """The constraint, one parametrization after the other from ``stored`` to ``used``."""
        return list(self._chain()) if self.constrained else []

    def _invertible(self) -> list[Any]:
        return [part for part in self.parts if hasattr(part, "right_inverse")]


class Weight:
    """Contract of a weight; what depends on its form is found by differentiating ``product`` unless it is overridden.

    Shapes: x [B, ...] -> outputs [B, ...]; the tensor ``used`` is [outputs, inputs, ...] unless the class says it.
    """

    layer: nn.Module  # whose weight it is
    dense = False  # whether every input reaches every output: a matrix [outputs, inputs] and x [B, inputs]

    @abstractmethod
    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The map itself, W x (+ b), for any tensor of W's shape."""

    # values -----------------------------------------------------------------------------------------------------------
    @property
    def values(self) -> Values:
        return Values(self.layer, "weight")

    @property
    def bias_values(self) -> Values | None:
        """The bias, None where there is none."""
        return None if getattr(self.layer, "bias", None) is None else Values(self.layer, "bias")

    @property
    def used(self) -> Tensor:
        return self.values.used

    @property
    def stored(self) -> Tensor:
        return self.values.stored

    @property
    def latent(self) -> Tensor:
        return self.values.latent

    @property
    def constrained(self) -> bool:
        """Whether a constraint stands between ``stored`` and ``used``."""
        return self.values.constrained

    def write(self, values: Tensor) -> None:
        """Put new values of W in through its constraint."""
        self.values.write(values)

    # form -------------------------------------------------------------------------------------------------------------
    @property
    def inputs(self) -> int:
        """Units, or channels, that it reads."""
        return self.used.shape[1]

    @property
    def outputs(self) -> int:
        """Units, or channels, that it drives."""
        return self.used.shape[0]

    @property
    def fan_in(self) -> int:
        """Most synapses of one output."""
        return self.used[0].numel()

    def per_input(self, values: Tensor) -> Tensor:
        """Bring one value for each of ``inputs`` to a shape that broadcasts with W."""
        return values.view(1, -1, *[1] * (self.used.dim() - 2))

    @property
    def exists(self) -> Tensor | None:
        """1 where there is a synapse, in the shape of W; None where every one exists, be it 0 at the moment."""
        masks: list[Any] = [part.exists for part in self.values.parts if hasattr(part, "exists")]
        if not masks:
            return None
        return normal(torch.stack([mask.bool() for mask in masks]).all(0) | (self.used != 0))

    def fan_out(self, inputs: Tensor) -> Tensor:
        """Synapses that each unit of ``inputs`` [B, ...] reaches, broadcastable to them; exact at borders."""
        return self.reach(inputs, self.exists)

    def reach(self, inputs: Tensor, taps: Tensor | None = None) -> Tensor:
        """The same of the synapses ``taps``, 1 or 0 in the shape of W; None is all that there is place for."""
        used = self.used
        exact = torch.promote_types(used.dtype, torch.float32)  # 16 bits cannot count beyond 256, or 2,048
        one = torch.zeros(1, *inputs.shape[1:], dtype=exact, device=used.device)
        ones = normal(torch.ones_like(used, dtype=exact)) if taps is None else normal(taps.to(exact))
        return pulled_back(lambda x: self.product(x, ones), one, None)

    def back(self, signal: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Send ``signal``, of the outputs' shape, back to the shape of ``x``, through W or another ``weight``."""
        taken = normal(self.used if weight is None else weight)
        return pulled_back(lambda given: self.product(given, taken), torch.zeros_like(x), signal)

    def outer(self, signal: Tensor, x: Tensor) -> Tensor:
        """Sum over the batch of signal x^T, in the shape of W."""
        shown = normal(x)
        return pulled_back(lambda weight: self.product(shown, weight), torch.zeros_like(self.used), signal)

    def sum_of(self, signal: Tensor) -> Tensor:
        """Sum of ``signal`` over batch and places, in the shape of the bias."""
        bias = self.bias_values
        if bias is None:
            raise ValueError(f"{type(self.layer).__name__}: a weight without bias has nothing to sum a signal for")
        return signal.sum_to_size(bias.used.shape)


class WeightLayer(Weight, nn.Module):
    """A layer of one's own that is a weight: it sets ``weight`` and ``bias`` (or None), and says ``product``."""

    weight: Tensor
    bias: Tensor | None

    @property
    def layer(self) -> nn.Module:  # type: ignore[override]
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x, self.weight, self.bias)


def normal(tensor: Tensor) -> Tensor:
    """The tensor without gradient, as one that autograd may keep: a copy of what inference mode has made."""
    with torch.inference_mode(False):
        return tensor.clone() if tensor.is_inference() else tensor.detach()


def pulled_back(linear: Callable[[Tensor], Tensor], at: Tensor, signal: Tensor | None) -> Tensor:
    """Return J^T signal of a map that is linear at ``at``; signal None is all ones."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(at.device.type, enabled=False):
        at = normal(at).requires_grad_()
        outputs = linear(at)
        given = torch.ones_like(outputs) if signal is None else normal(signal).to(outputs)
        (found,) = torch.autograd.grad(outputs, at, given)
        return found
