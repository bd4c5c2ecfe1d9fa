"""Kernels for the CPU: a program written out as two loops over time, compiled by numba.

Neurons are shared among threads and taken in blocks; inside a block time is the outer loop, so that the state stays in
the first-level cache. Compiled code is kept in the cache folder, one file for each program that differs in more than
its numbers.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from numba.extending import intrinsic
from torch import Tensor

from snnlab.kernels.compiled import njit
from snnlab.kernels.module import load
from snnlab.kernels.program import ZERO, Line, Program
from snnlab.kernels.threads import share

BLOCK = 1024  # neurons that share a pass; a few float32 rows of them stay in the first-level cache
CHUNK = 32  # numbers that are looked at together for one that is not 0
SPAN = 256  # rows of a sparse sum that are taken together

# many arrays in one loop: let LLVM check at run time that they do not overlap, and use the widest instructions
llvmlite.binding.set_option("snnlab", "-runtime-memory-check-threshold=256")
compiled: Any = njit(error_model="numpy")


@intrinsic  # type: ignore[misc]
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return a(a, a, a), build


FORMS = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "neg": "-{}",
    "abs": "abs({})",
    "exp": "np.exp({})",
    "log": "np.log({})",
    "sqrt": "np.sqrt({})",
    "floor": "np.floor({})",
    "tanh": "np.tanh({})",
    "sigmoid": "one / (one + np.exp(-{}))",
    "reciprocal": "one / {}",
    "sign": "(one if {0} > zero else (-one if {0} < zero else zero))",
    "relu": "(zero if {0} <= zero else {0})",
    "maximum": "({1} if {0} <= {1} or {1} != {1} else {0})",
    "minimum": "({1} if {0} >= {1} or {1} != {1} else {0})",
    "where": "({1} if {0} else {2})",
    "number": "(one if {} else zero)",
    "and": "({} and {})",
    "or": "({} or {})",
    "not": "(not {})",
    "ge": "{} >= {}",
    "gt": "{} > {}",
    "le": "{} <= {}",
    "lt": "{} < {}",
    "eq": "{} == {}",
    "ne": "{} != {}",
    "fma": "fma({}, {}, {})",
}

HEADER = "import numpy as np\n\nfrom snnlab.kernels.cpu import compiled, fma\n\n"


def source(program: Program, rows: tuple[bool, ...], held: bool) -> str:
    """The functions of a program: infer, forward (which also keeps what the backward needs), forward_over (which keeps
    one of these in the place of the currents), backward.

    ``rows`` says of each prologue value whether it differs between neurons; ``held`` that the current is the same at
    every step.
    """
    writer = _Writer(program, rows, held)
    texts = [writer.forward("infer"), writer.forward("forward"), writer.forward("forward_over"), writer.backward()]
    return HEADER + "\n\n".join(texts)


class _Writer:
    def __init__(self, program: Program, rows: tuple[bool, ...], held: bool) -> None:
        self.program, self.rows, self.held = program, rows, held
        self.states = range(len(program.after))
        self.names = [f"c{i}" for i in range(len(program.constants))]
        self.scalars = self.names + [f"p{i}" for i, row in enumerate(rows) if not row]
        self.arrays = [f"p{i}" for i, row in enumerate(rows) if row]

    def expression(self, line: Line) -> str:
        text = FORMS[line.operation].format(*line.operands)
        return f"{line.name} = {text}"

    def value(self, name: str) -> str:
        """A number for an array: truth is stored as 0 or 1."""
        return f"(one if {name} else zero)" if name in self.program.booleans else name

    def head(self, name: str, arrays: list[str], steps: str) -> list[str]:
        unpack = [f"    {n} = numbers[{i + 2}]" for i, n in enumerate(self.scalars)]
        return [
            "@compiled",
            f"def {name}({', '.join(['begin', 'end', 'numbers', *(a.upper() for a in arrays)])}):",
            f"    steps = len({steps.upper()})",
            "    zero, one = numbers[0], numbers[1]",
            *unpack,
            f"    for first in range(begin, end, {BLOCK}):",
            f"        last = min(end, first + {BLOCK})",
            "        n = last - first",
            *(f"        {a}_ = {a.upper()}[first:last]" for a in self.arrays),
        ]

    def body(self, loads: list[str], lines: list[Line], stores: list[str]) -> list[str]:
        texts = loads + [self.expression(line) for line in lines] + stores
        return ["            for j in range(n):", *(f"                {text}" for text in texts)]

    def forward(self, name: str) -> str:
        program, keep = self.program, name != "infer"
        place = program.place(self.held) if name == "forward_over" else None
        rows = {i: "x_" if i == place else f"k{i}_" for i in range(len(program.kept))} if keep else {}
        saved = [row[:-1] for row in rows.values() if row != "x_"]
        used = {o for line in program.forward for o in line.operands} | {program.output, *program.after, *program.kept}
        states = [i for i in self.states if f"s{i}" in used]
        loads = [f"{a} = {a}_[j]" for a in self.arrays if a in used]
        loads += (["x = x_[j]"] if "x" in used else []) + [f"s{i} = s{i}_[j]" for i in states]
        stores = [f"y_[j] = {self.value(program.output)}"]
        stores += [f"{row}[j] = {self.value(program.kept[i])}" for i, row in rows.items()]
        stores += [f"s{i}_[j] = {self.value(program.after[i])}" for i in states]
        text = self.head(name, ["x", "y", *self.arrays, *(f"s{i}" for i in self.states), *saved], "y")
        text += [f"        s{i}_ = S{i}[first:last].copy()" for i in states]
        text += ["        for t in range(steps):", f"            x_ = X[{'0' if self.held else 't'}, first:last]"]
        text += [f"            {a}_ = {a.upper()}[t, first:last]" for a in ["y", *saved]]
        text += self.body(loads, program.forward, stores)
        text += [f"        S{i}[first:last] = s{i}_" for i in states]  # the last state, for who watches
        return "\n".join(text) + "\n"

    def backward(self) -> str:
        program = self.program
        saved = [f"k{i}" for i in range(len(program.kept))]
        totals = [f"a{i}" for i in range(len(program.sums))]
        results = {program.grad_current, *program.grad_state, *program.sums}
        used = {o for line in program.backward for o in line.operands} | results
        loads = [f"{a} = {a}_[j]" for a in self.arrays if a in used] + (["gy = gy_[j]"] if "gy" in used else [])
        for i, name in enumerate(program.kept):
            loads += [f"{name} = k{i}_[j]" + (" != zero" if name in program.booleans else "")] if name in used else []
        flowing = [i for i in self.states if program.grad_state[i] != ZERO or f"gn{i}" in used]
        loads += [f"gn{i} = g{i}_[j]" for i in flowing]
        place = program.place(self.held)
        grad = "gx_" if place is None else f"k{place}_"
        stores = [f"{grad}[j] {'+=' if self.held else '='} {program.grad_current}"]
        stores += [f"a{i}_[j] += {name}" for i, name in enumerate(program.sums)]
        stores += [f"g{i}_[j] = {program.grad_state[i]}" for i in flowing]
        text = self.head("backward", ["gy", *(["gx"] if place is None else []), *self.arrays, *saved, *totals], "gy")
        text += [f"        g{i}_ = np.zeros(n, GY.dtype)" for i in flowing]
        text += [f"        {a}_ = {a.upper()}[first:last]" for a in totals]
        text += ["        for t in range(steps - 1, -1, -1):"]
        text += [f"            gx_ = GX[{'0' if self.held else 't'}, first:last]"] if place is None else []
        text += [f"            {a}_ = {a.upper()}[t, first:last]" for a in ["gy", *saved]]
        return "\n".join(text + self.body(loads, program.backward, stores)) + "\n"


def kernel(program: Program, rows: tuple[bool, ...], same: bool) -> Any:
    """The compiled functions of a program; see ``source``."""
    key = ("cpu", rows, same)
    if key not in program.kernels:
        program.kernels[key] = load(source(program, rows, same))
    return program.kernels[key]


def numbers(program: Program, scalars: list[Tensor], like: Tensor) -> Any:
    """0, 1, the constants and the prologue's single numbers, in the dtype of ``like``."""
    return tuple(np.array([0.0, 1.0, *program.constants, *(s.item() for s in scalars)], like.numpy().dtype))


def run(function: Any, steps: int, neurons: int, numbers: Any, arrays: list[Tensor]) -> None:
    """Call a function of ``kernel`` on all neurons; ``steps`` is the length of its arrays."""
    share(function, neurons, numbers, *(a.numpy() for a in arrays))


def number(value: float, like: Tensor) -> Any:
    """A number in the dtype of a tensor; numba takes a plain float beside a float32 as float64."""
    return like.new_tensor(value).numpy()[()]


@compiled
def pack(begin: Any, end: Any, numbers: Any, value: Any, bits: Any, wrong: Any) -> None:
    """Bit k of bits[i] is set where numbers[k len(bits) + i] is ``value``; ``wrong``: one is neither that nor 0."""
    zero, count = value - value, len(bits)
    for first in range(begin, end, BLOCK):
        byte = bits[first : min(end, first + BLOCK)]
        other = np.zeros(len(byte), np.uint8)
        byte[:] = 0
        for k in range(8):
            part = numbers[k * count + first : k * count + first + len(byte)]
            for i in range(len(part)):
                fired = part[i] == value
                byte[i] |= np.uint8(fired) << np.uint8(k)
                other[i] |= np.uint8(part[i] != zero) & np.uint8(not fired)
        if other.any():
            wrong[0] = 1


@compiled
def unpack(begin: Any, end: Any, bits: Any, value: Any, first: Any, numbers: Any) -> None:
    """The inverse of ``pack`` for a part: numbers[begin : end] are those from ``first + begin`` on."""
    zero, count = value - value, len(bits)
    start = begin
    while start < end:
        plane = (first + start) // count
        stop = min(end, (plane + 1) * count - first)
        part = numbers[start:stop]
        byte = bits[first + start - plane * count : first + stop - plane * count]
        mask = np.uint8(1) << np.uint8(plane)
        for i in range(len(part)):
            part[i] = value if byte[i] & mask else zero
        start = stop


@compiled
def gather(begin: Any, end: Any, numbers: Any, weights: Any, bias: Any, outputs: Any) -> None:
    """outputs[r] = bias + the sum of numbers[r, i] weights[i] over the i whose number is not 0, four at a time."""
    inputs, units = weights.shape
    places = np.empty(inputs + 4, np.int64)
    for r in range(begin, end):
        row, output = numbers[r], outputs[r]
        found = 0
        for start in range(0, inputs, CHUNK):
            part, some = row[start : start + CHUNK], np.int32(0)
            for i in range(len(part)):
                some += np.int32(part[i] != 0)
            for i in range(len(part) if some else 0):
                if part[i] != 0:
                    places[found] = start + i
                    found += 1
        for j in range(units):
            output[j] = bias[j]
        for f in range(0, found - 3, 4):
            a, b, c, d = places[f], places[f + 1], places[f + 2], places[f + 3]
            va, vb, vc, vd = row[a], row[b], row[c], row[d]
            wa, wb, wc, wd = weights[a], weights[b], weights[c], weights[d]
            for j in range(units):
                output[j] += (va * wa[j] + vb * wb[j]) + (vc * wc[j] + vd * wd[j])
        for f in range(found - found % 4, found):
            v, w = row[places[f]], weights[places[f]]
            for j in range(units):
                output[j] += v * w[j]


@compiled
def scatter(begin: Any, end: Any, numbers: Any, others: Any, sums: Any) -> None:
    """sums[i] += the sum over rows r of numbers[r, i] others[r], for the r whose number is not 0, four at a time."""
    rows, units = others.shape
    width = end - begin
    places = np.empty((width, SPAN), np.int32)
    found = np.empty(width, np.int32)
    for first in range(0, rows, SPAN):  # so many rows of the others stay in the second-level cache
        found[:] = 0
        for r in range(first, min(rows, first + SPAN)):
            row = numbers[r, begin:end]
            for i in range(width):
                if row[i] != 0:
                    places[i, found[i]] = r
                    found[i] += 1
        for i in range(width):
            total, place, count, k = sums[begin + i], places[i], found[i], begin + i
            for f in range(0, count - 3, 4):
                a, b, c, d = place[f], place[f + 1], place[f + 2], place[f + 3]
                va, vb, vc, vd = numbers[a, k], numbers[b, k], numbers[c, k], numbers[d, k]
                wa, wb, wc, wd = others[a], others[b], others[c], others[d]
                for j in range(units):
                    total[j] += (va * wa[j] + vb * wb[j]) + (vc * wc[j] + vd * wd[j])
            for f in range(count - count % 4, count):
                v, w = numbers[place[f], k], others[place[f]]
                for j in range(units):
                    total[j] += v * w[j]


@compiled
def pool(begin: Any, end: Any, x: Any, down: Any, across: Any, outputs: Any) -> None:
    """outputs[p] = means of x[p] over windows of ``down`` x ``across`` that do not overlap, each summed row by row."""
    rows, columns = outputs.shape[1:]
    size = x.dtype.type(down * across)
    for p in range(begin, end):
        if down == 2 and across == 2:
            for r in range(rows):
                upper, lower, output = x[p, 2 * r], x[p, 2 * r + 1], outputs[p, r]
                for c in range(columns):
                    output[c] = (((upper[2 * c] + upper[2 * c + 1]) + lower[2 * c]) + lower[2 * c + 1]) / size
        else:
            for r in range(rows):
                for c in range(columns):
                    total = size - size
                    for i in range(down):
                        for j in range(across):
                            total += x[p, r * down + i, c * across + j]
                    outputs[p, r, c] = total / size


@compiled
def spread(begin: Any, end: Any, grads: Any, down: Any, across: Any, outputs: Any) -> None:
    """The gradient of ``pool``: an equal part of grads[p] for each number of its window, 0 for what no window holds."""
    rows, columns = grads.shape[1:]
    size = grads.dtype.type(down * across)
    for p in range(begin, end):
        if rows * down < outputs.shape[1] or columns * across < outputs.shape[2]:
            outputs[p] = 0
        for r in range(rows):
            for i in range(down):
                row, grad = outputs[p, r * down + i], grads[p, r]
                if across == 2:
                    for c in range(columns):
                        part = grad[c] / size
                        row[2 * c] = part
                        row[2 * c + 1] = part
                else:
                    for c in range(columns):
                        for j in range(across):
                            row[c * across + j] = grad[c] / size
