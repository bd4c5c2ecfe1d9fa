"""Kernels for a GPU: a program written out in Triton, one thread for each neuron, time inside, the state in registers.

The source is a module in the cache folder; Triton keeps its machine code itself. Multiply and add are not contracted,
so that spikes are those of ``step``. With TRITON_INTERPRET=1 the same kernels run on the CPU, slowly: that is how they
are tested without a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from snnlab.kernels.module import load
from snnlab.kernels.program import ZERO, Line, Program

BLOCK = 256  # neurons of one program of the grid

FORMS = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "neg": "-{}",
    "abs": "tl.abs({})",
    "exp": "tl.exp({})",
    "log": "tl.log({})",
    "sqrt": "tl.sqrt({})",
    "floor": "tl.floor({})",
    "tanh": "one - (one + one) / (tl.exp({0} + {0}) + one)",
    "sigmoid": "one / (one + tl.exp(-{}))",
    "reciprocal": "one / {}",
    "sign": "tl.where({0} > zero, one, tl.where({0} < zero, -one, zero))",
    "relu": "tl.where({0} <= zero, zero, {0})",
    "maximum": "tl.where({1} != {1}, {1}, tl.where({0} <= {1}, {1}, {0}))",
    "minimum": "tl.where({1} != {1}, {1}, tl.where({0} >= {1}, {1}, {0}))",
    "where": "tl.where({}, {}, {})",
    "number": "tl.where({}, one, zero)",
    "and": "{} & {}",
    "or": "{} | {}",
    "not": "{} == 0",
    "ge": "{} >= {}",
    "gt": "{} > {}",
    "le": "{} <= {}",
    "lt": "{} < {}",
    "eq": "{} == {}",
    "ne": "{} != {}",
    "fma": "tl.fma({}, {}, {})",
}

HEADER = "import triton\nimport triton.language as tl\n\n\n"


def source(program: Program, rows: tuple[bool, ...], same: bool) -> str:
    """The functions of a program, named and with arguments as in cpu.py."""
    writer = _Writer(program, rows, same)
    texts = [writer.forward("infer"), writer.forward("forward"), writer.forward("forward_over"), writer.backward()]
    return HEADER + "\n\n".join(texts)


class _Writer:
    def __init__(self, program: Program, rows: tuple[bool, ...], same: bool) -> None:
        self.program, self.same = program, same
        self.states = range(len(program.after))
        self.scalars = [f"c{i}" for i in range(len(program.constants))]
        self.scalars += [f"p{i}" for i, row in enumerate(rows) if not row]
        self.arrays = [f"p{i}" for i, row in enumerate(rows) if row]

    def value(self, name: str) -> str:
        """A number for an array: truth is stored as 0 or 1."""
        return f"tl.where({name}, one, zero)" if name in self.program.booleans else f"{name} + zeros"

    def head(self, name: str, arrays: list[str], used: set[str]) -> list[str]:
        numbers = [(n, i) for i, n in enumerate(["zero", "one", *self.scalars]) if i < 2 or n in used]
        return [
            "@triton.jit",
            f"def {name}(steps, neurons, numbers, {', '.join(a.upper() for a in arrays)}, BLOCK: tl.constexpr):",
            "    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)",
            "    inside = j < neurons",
            *(f"    {n} = tl.load(numbers + {i})" for n, i in numbers),
            "    zeros = tl.zeros([BLOCK], numbers.dtype.element_ty)",
            *(f"    {a} = tl.load({a.upper()} + j, mask=inside)" for a in self.arrays if a in used),
        ]

    def lines(self, lines: list[Line]) -> list[str]:
        return [f"        {line.name} = {FORMS[line.operation].format(*line.operands)}" for line in lines]

    def forward(self, name: str) -> str:
        program, keep = self.program, name != "infer"
        place = program.place(self.same) if name == "forward_over" else None
        rows = {i: "X" if i == place else f"K{i}" for i in range(len(program.kept))} if keep else {}
        used = {o for line in program.forward for o in line.operands} | {program.output, *program.after, *program.kept}
        arrays = ["x", "y", *self.arrays, *(f"s{i}" for i in self.states), *(r for r in rows.values() if r != "X")]
        states = [i for i in self.states if f"s{i}" in used]
        text = self.head(name, arrays, used)
        text += [f"    s{i} = tl.load(S{i} + j, mask=inside)" for i in states]
        text += ["    for t in range(steps):", "        at = t * neurons.to(tl.int64) + j"]
        text += [f"        x = tl.load(X + {'j' if self.same else 'at'}, mask=inside)"] if "x" in used else []
        text += self.lines(program.forward)
        text += [f"        tl.store(Y + at, {self.value(program.output)}, mask=inside)"]
        text += [f"        tl.store({r} + at, {self.value(program.kept[i])}, mask=inside)" for i, r in rows.items()]
        text += [f"        n{i} = {self.value(program.after[i])}" for i in states]
        text += [f"        s{i} = n{i}" for i in states]
        text += [f"    tl.store(S{i} + j, s{i}, mask=inside)" for i in states]  # the last state, for who watches
        return "\n".join(text) + "\n"

    def backward(self) -> str:
        program = self.program
        place = program.place(self.same)
        results = {program.grad_current, *program.grad_state, *program.sums}
        used = {o for line in program.backward for o in line.operands} | results
        saved = [f"k{i}" for i in range(len(program.kept))]
        totals = [f"a{i}" for i in range(len(program.sums))]
        flowing = [i for i in self.states if program.grad_state[i] != ZERO or f"gn{i}" in used]
        text = self.head("backward", ["gy", *(["gx"] if place is None else []), *self.arrays, *saved, *totals], used)
        text += [f"    gn{i} = zeros" for i in flowing]
        text += [f"    {a} = tl.zeros([BLOCK], tl.float64)" for a in totals]
        text += ["    held = zeros"] if self.same else []
        text += ["    for back in range(steps):", "        at = (steps - 1 - back) * neurons.to(tl.int64) + j"]
        text += ["        gy = tl.load(GY + at, mask=inside)"] if "gy" in used else []
        for i, name in enumerate(program.kept):
            text += [f"        {name} = tl.load(K{i} + at, mask=inside)" + " != 0" * (name in program.booleans)]
        text += self.lines(program.backward)
        text += [f"        a{i} += ({name} + zeros).to(tl.float64)" for i, name in enumerate(program.sums)]
        if self.same:
            text += [f"        held += {program.grad_current}"]
        else:
            target = "GX" if place is None else f"K{place}"
            text += [f"        tl.store({target} + at, {program.grad_current} + zeros, mask=inside)"]
        text += [f"        m{i} = {program.grad_state[i]} + zeros" for i in flowing]
        text += [f"        gn{i} = m{i}" for i in flowing]
        text += ["    tl.store(GX + j, held, mask=inside)"] if self.same else []
        text += [f"    tl.store(A{i} + j, a{i}, mask=inside)" for i in range(len(totals))]
        return "\n".join(text) + "\n"


def kernel(program: Program, rows: tuple[bool, ...], same: bool) -> Any:
    """The functions of a program; see ``source``."""
    key = ("gpu", rows, same)
    if key not in program.kernels:
        program.kernels[key] = load(source(program, rows, same))
    return program.kernels[key]


def numbers(program: Program, scalars: list[Tensor], like: Tensor) -> Tensor:
    """0, 1, the constants and the prologue's single numbers, in one tensor on the device."""
    fixed = torch.tensor([0.0, 1.0, *program.constants], dtype=like.dtype, device=like.device)
    return torch.cat([fixed, *(scalar.view(1) for scalar in scalars)])


def run(function: Any, steps: int, neurons: int, numbers: Tensor, arrays: list[Tensor]) -> None:
    """Call a function of ``kernel`` on all neurons."""
    grid = (triton.cdiv(neurons, BLOCK),)
    function[grid](steps, neurons, numbers, *arrays, BLOCK=BLOCK, enable_fp_fusion=False)
