"""The methods that learn from one sample after the other, each from the weights that the one before it left."""

from __future__ import annotations

from snnlab.errors import InputError
from snnlab.methods.base.own_steps import OwnSteps


class SampleBySample(OwnSteps):
    """Arguments as OwnSteps'; what such a rule cannot take is refused."""

    def check_processes(self, asked: str) -> None:
        raise InputError(
            f"{asked}: this method shows its samples one after the other, and weights move in between, so no batch can "
            "be shared out; use one device"
        )

    def check_precision(self, precision: str) -> None:
        if not precision.startswith(("32", "64")):
            raise InputError(f"trainer.precision = {precision}: small changes are lost in 16 bits; use 32-true")
