"""A neuron's ``step`` and its gradient as straight-line arithmetic, read off by tracing them once.

PyTorch records ``step`` and the backward that autograd makes of it: the surrogate derivatives, every ``detach``, every
parameter. What depends on a neuron's own numbers only becomes lines of a kernel (cpu.py, gpu.py); what depends on
parameters alone is computed once per sequence in PyTorch, before it (``prologue``) or after it (``epilogue``, from the
sums over time that the kernel returns).

A step that mixes neurons or uses an operation that is not listed raises Unsupported, as does one that cannot be
recorded (record.py): that neuron keeps its loop over ``step``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from snnlab.kernels.record import Unsupported, record

ZERO, ONE = "zero", "one"
NOTHING = "nothing"  # the gradient of what reaches no output: absent, where ZERO times infinity is not a number


@dataclass(frozen=True)
class Line:
    """``name = operation(*operands)`` on the numbers of one neuron; an operand is a name."""

    name: str
    operation: str
    operands: tuple[str, ...]


@dataclass
class Program:
    """One time step forward and backward; names are those that the kernels use.

    x current, s0, s1 ... state before, y output, n0, n1 ... state after; gy gradient of the output, gn0 ... of the
    state after, gx, gs0 ... those that result; c0 ... constants, p0 ... values of the prologue, one number or one per
    neuron; kept: what the backward needs of the forward; sums: what is summed over time for the epilogue.
    """

    constants: list[float]
    forward: list[Line]
    backward: list[Line]
    output: str
    after: list[str]
    grad_current: str
    grad_state: list[str]  # "zero" where no gradient reaches the state before
    kept: list[str]
    sums: list[str]
    prologue: Callable[..., tuple[Tensor, ...]]  # parameters and buffers -> p0, p1 ...
    epilogue: Callable[..., tuple[Tensor | None, ...]]  # sums [B, ...], then parameters and buffers -> their gradients
    booleans: set[str] = field(default_factory=set)
    kernels: dict[Any, Any] = field(default_factory=dict)  # compiled forms, by what they assume
    graded: bool = True  # whether a gradient reaches the output at all
    runs: bool | None = None  # whether they could be compiled and run; None: not tried yet

    def place(self, held: bool) -> int | None:
        """Which kept value the gradient of the current may overwrite: it is not needed after its step. Or None."""
        return 0 if self.kept and not held else None


def _ops() -> dict[Any, str]:
    aten = torch.ops.aten
    return {
        aten.add.Tensor: "add",
        aten.add.Scalar: "add",
        aten.sub.Tensor: "sub",
        aten.sub.Scalar: "sub",
        aten.rsub.Scalar: "rsub",
        aten.rsub.Tensor: "rsub",
        aten.mul.Tensor: "mul",
        aten.mul.Scalar: "mul",
        aten.div.Tensor: "div",
        aten.div.Scalar: "div",
        aten.neg.default: "neg",
        aten.abs.default: "abs",
        aten.exp.default: "exp",
        aten.log.default: "log",
        aten.sqrt.default: "sqrt",
        aten.floor.default: "floor",
        aten.tanh.default: "tanh",
        aten.sigmoid.default: "sigmoid",
        aten.reciprocal.default: "reciprocal",
        aten.sign.default: "sign",
        aten.sgn.default: "sign",
        aten.relu.default: "relu",
        aten.maximum.default: "maximum",
        aten.minimum.default: "minimum",
        aten.where.self: "where",
        aten.bitwise_and.Tensor: "and",
        aten.bitwise_or.Tensor: "or",
        aten.bitwise_not.default: "not",
        aten.logical_and.default: "and",
        aten.logical_or.default: "or",
        aten.logical_not.default: "not",
        **{
            getattr(getattr(aten, n), kind): n
            for n in ("ge", "gt", "le", "lt", "eq", "ne")
            for kind in ("Scalar", "Tensor")
        },
    }


BOOLEAN = {"ge", "gt", "le", "lt", "eq", "ne", "and", "or", "not"}
TRUTHS = {"add": "or", "mul": "and", "maximum": "or", "minimum": "and", "where": "where"}  # of two truths


def trace(neuron: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu") -> Program:
    """Return the program of ``neuron`` for currents whose neurons have this shape (without time and batch).

    It is recorded where the neuron lies: its parameters are part of it.

    Raises:
        Unsupported: see the docstring of this file.
    """
    try:
        # a draw of the tracer's must not move the caller's; a program has a backward, whoever asks for it first
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            graph, fields, tensors, graded = record(neuron, shape, dtype, device)
    except Unsupported:
        raise
    except Exception as error:  # whatever the tracer cannot follow, the loop can
        raise Unsupported(str(error).split("\n")[0]) from error
    program = _Reader(graph, fields, tensors).program()
    program.graded = graded
    return program


def writes(node: fx.Node) -> bool:
    """Whether a node changes its first argument."""
    returns = node.target._schema.returns if node.op == "call_function" else []  # type: ignore[union-attr]
    return any(r.alias_info is not None and r.alias_info.is_write for r in returns)


def returns_alias(node: fx.Node) -> bool:
    """Whether what a node gives may be the memory of one of its arguments."""
    return any(r.alias_info is not None for r in node.target._schema.returns)  # type: ignore[union-attr]


class _Reader:
    """Sorts the nodes of a recorded graph into prologue, lines of the kernel, and epilogue."""

    def __init__(self, graph: fx.Graph, fields: int, held: int) -> None:
        self.graph, self.fields, self.held = graph, fields, held
        self.constants: list[float] = []
        self.lines: list[Line] = []
        self.known: dict[tuple[str, tuple[str, ...]], str] = {}  # common subexpressions
        self.names: dict[fx.Node, str] = {}  # numbers of a neuron
        self.small: set[fx.Node] = set()  # of parameters alone
        self.late: set[fx.Node] = set()  # of sums over neurons
        self.summed: dict[fx.Node, str] = {}  # sum node -> the line it sums
        self.values: list[fx.Node] = []  # p0, p1 ...
        self.booleans: set[str] = set()
        self.operations = _ops()
        current = next(n for n in graph.nodes if n.op == "placeholder").meta["val"]
        self.dtype: torch.dtype = current.dtype
        self.rank: int = current.ndim - 1  # without the batch

    def program(self) -> Program:
        places = [n for n in self.graph.nodes if n.op == "placeholder"]
        roles = ["x"] + [f"s{i}" for i in range(self.fields)] + [""] * self.held
        roles += ["gy"] + [f"gn{i}" for i in range(self.fields)]
        results = next(n for n in self.graph.nodes if n.op == "output").args[0]
        silent = {f"gn{i}" for i, grad in enumerate(results[2 + self.fields : 2 + 2 * self.fields]) if grad is None}
        for node, role in zip(places, roles, strict=True):
            if role:
                self.names[node] = NOTHING if role in silent else role
            else:
                self.small.add(node)
        for node in self.graph.nodes:
            if node.op == "call_function":
                self.check(node)
                self.read(node)
            elif node.op == "get_attr":
                self.small.add(node)
        row = [self.row(node) for node in results[: 2 + 2 * self.fields]]
        row = [ZERO if name == NOTHING else name for name in row]
        output, after = row[0], row[1 : 1 + self.fields]
        grad_current, grad_state = row[1 + self.fields], row[2 + self.fields :]
        gradients = results[2 + 2 * self.fields :]
        sums = list(dict.fromkeys(self.summed.values()))
        forward = self.needed([output, *after])
        reach = {line.name for line in forward} | {"x"} | {f"s{i}" for i in range(self.fields)}
        backward, kept = self.backward([grad_current, *grad_state, *sums], reach)
        return Program(
            self.constants,
            forward,
            backward,
            output,
            after,
            grad_current,
            grad_state,
            kept,
            sums,
            self.code(places, self.values),
            self.code(places, gradients, sums),
            self.booleans,
        )

    def check(self, node: fx.Node) -> None:
        """Refuse what one line a step, or one value a sequence, cannot say."""
        if torch.Tag.nondeterministic_seeded in node.target.tags:  # type: ignore[union-attr]
            raise Unsupported(f"{node.target} draws random numbers")
        if writes(node):
            target: Any = node.args[0]
            if target.op != "call_function" or (returns_alias(target) and not writes(target)):
                raise Unsupported(f"{node.target} changes a tensor that has another name")

    def read(self, node: fx.Node) -> None:
        aten = torch.ops.aten
        sources = node.all_input_nodes
        if any(n in self.late for n in sources):
            if any(n in self.names for n in sources):
                raise Unsupported("a sum over neurons returns to them")
            self.late.add(node)
        elif node.target in (aten.zeros.default, aten.ones.default):  # zeros(current.shape)
            self.names[node] = ZERO if node.target is aten.zeros.default else ONE
        elif not any(n in self.names for n in sources):
            self.small.add(node)
        elif node.target in (aten.sum.default, aten.sum.dim_IntList):
            summand = self.row(sources[0])
            self.summed[node] = ZERO if summand == NOTHING else summand
            self.late.add(node)
        elif node.target in (aten.zeros_like.default, aten.ones_like.default):
            self.names[node] = ZERO if node.target is aten.zeros_like.default else ONE
        else:
            shapes = {n.meta["val"].shape for n in sources if n in self.names}
            if {node.meta["val"].shape} != shapes:
                raise Unsupported(f"{node.target} changes the shape")
            self.names[node] = self.line(node)

    def row(self, node: Any) -> str:
        """The name of a number of a neuron, whatever gives it."""
        if node is None:
            return ZERO
        if isinstance(node, bool):
            return ONE if node else ZERO
        if isinstance(node, int | float):
            return self.constant(float(node))
        if node in self.late:
            raise Unsupported("a sum over neurons returns to them")
        if node in self.small:
            while node.target is torch.ops.aten.expand.default:  # to the shape of the currents: said by its source
                node = node.args[0]
            if node.op != "get_attr" and node.meta["val"].ndim > self.rank:
                raise Unsupported(f"{node.target} makes a number for each sample")
            if node not in self.values:
                self.values.append(node)
            return f"p{self.values.index(node)}"
        return self.names[node]

    def constant(self, value: float) -> str:
        if value in (0.0, 1.0):
            return ONE if value else ZERO
        if value not in self.constants:
            self.constants.append(value)
        return f"c{self.constants.index(value)}"

    def line(self, node: fx.Node) -> str:
        aten = torch.ops.aten
        target, arguments, options = self.pure(node), list(node.args), dict(node.kwargs)
        if target in (aten.detach.default, aten.clone.default, aten.alias.default):
            return self.row(arguments[0])
        if target is aten._to_copy.default:
            source, dtype = self.row(arguments[0]), node.meta["val"].dtype
            boolean = dtype is torch.bool
            if dtype not in (torch.bool, self.dtype):
                raise Unsupported(f"a number of type {dtype} among {self.dtype}")
            if (source in self.booleans) == boolean:
                return source
            return self.emit("ne", source, ZERO) if boolean else self.emit("number", source)
        if target is aten.pow.Tensor_Scalar:
            return self.power(self.row(arguments[0]), arguments[1])  # type: ignore[arg-type]
        if target in (aten.clamp.default, aten.clamp_min.default, aten.clamp_max.default):
            low, high = [*arguments, None, None][1:3]
            low, high = options.get("min", low), options.get("max", high)
            if target is aten.clamp_max.default:
                low, high = None, low
            value = self.row(arguments[0])
            value = value if low is None else self.emit("maximum", value, self.row(low))
            return value if high is None else self.emit("minimum", value, self.row(high))
        if target is aten.sigmoid_backward.default:  # grad s (1 - s)
            grad, s = map(self.row, arguments)
            return self.emit("mul", grad, self.emit("mul", self.emit("sub", ONE, s), s))
        if target is aten.tanh_backward.default:  # grad (1 - y^2)
            grad, y = map(self.row, arguments)
            return self.emit("mul", grad, self.emit("sub", ONE, self.emit("mul", y, y)))
        if target is aten.threshold_backward.default:
            grad, value, limit = map(self.row, arguments)
            return self.emit("where", self.emit("gt", value, limit), grad, ZERO)
        if target not in self.operations:
            raise Unsupported(str(target))
        operation, operands = self.operations[target], [self.row(a) for a in arguments]
        made = node.meta["val"].dtype
        if made is torch.bool and operation not in BOOLEAN:
            if operation not in TRUTHS:
                raise Unsupported(f"{target} of truths")
            operation = TRUTHS[operation]
        if made not in (torch.bool, self.dtype):
            raise Unsupported(f"a number of type {made} among {self.dtype}")
        alpha = options.pop("alpha", 1)
        if operation == "rsub":
            operation, operands = "sub", operands[::-1]
            if alpha != 1:
                raise Unsupported("rsub with alpha")
        if any(value is not None for value in options.values()):
            raise Unsupported(f"{target} with {', '.join(options)}")
        if alpha != 1:  # PyTorch rounds a + alpha b once
            factor = float(alpha) if operation == "add" else -float(alpha)  # type: ignore[arg-type]
            return self.emit("fma", self.row(factor), operands[1], operands[0])
        return self.emit(operation, *operands)

    def power(self, base: str, exponent: float) -> str:
        """base to a constant power, as PyTorch works it out; others than these differ in rounding or for base < 0."""
        if exponent == 2:
            return self.emit("mul", base, base)
        if exponent == 3:
            return self.emit("mul", self.emit("mul", base, base), base)
        if exponent == -1:
            return self.emit("reciprocal", base)
        if exponent == -2:
            return self.emit("reciprocal", self.emit("mul", base, base))
        if exponent == 0.5:
            return self.emit("sqrt", base)
        if exponent in (0, 1):
            return base if exponent else ONE
        raise Unsupported(f"the power {exponent}")

    def pure(self, node: fx.Node) -> Any:
        """The operation of a node; one in place, on what nobody else reads, is its plain form."""
        name = node.target.__name__.split(".")[0]  # type: ignore[union-attr]
        if not writes(node):
            return node.target
        if len(node.args[0].users) > 1:  # type: ignore[union-attr]
            raise Unsupported(f"{name} changes a tensor that is used again")
        return getattr(getattr(torch.ops.aten, name[:-1], None), node.target._overloadname, node.target)  # type: ignore[union-attr]

    def emit(self, operation: str, *operands: str) -> str:
        """Add a line, or return the name that already holds the value; sums with 0 and products with 1 are dropped."""
        a, b = (*operands, "", "")[:2]
        if NOTHING in (a, b) and operation in ("mul", "neg"):
            return NOTHING
        if NOTHING in (a, b) and operation == "add":
            return b if a == NOTHING else a
        operands = tuple(ZERO if name == NOTHING else name for name in operands)
        a, b = (*operands, "", "")[:2]
        if operation == "mul" and ONE in (a, b):
            return b if a == ONE else a
        if operation == "add" and ZERO in (a, b):
            return b if a == ZERO else a
        if (operation in ("sub", "fma") and (b == ZERO or (operation == "fma" and a == ZERO))) or (
            operation == "div" and b == ONE
        ):
            return operands[2] if operation == "fma" else a
        if operation == "neg" and a == ZERO:
            return ZERO
        key = (operation, operands)
        if key not in self.known:
            self.known[key] = f"v{len(self.lines)}"
            self.lines.append(Line(self.known[key], operation, operands))
            if operation in BOOLEAN or (operation == "where" and b in self.booleans):
                self.booleans.add(self.known[key])
        return self.known[key]

    def needed(self, names: list[str], given: set[str] | None = None) -> list[Line]:
        """The lines behind these names, in order, but for those that are given."""
        wanted, chosen = set(names), []
        for line in reversed(self.lines):
            if line.name in wanted and line.name not in (given or ()):
                chosen.append(line)
                wanted.update(line.operands)
        return chosen[::-1]

    def backward(self, names: list[str], forward: set[str]) -> tuple[list[Line], list[str]]:
        """The lines of the backward and the values of the forward that they follow from less those that others give."""
        made = {line.name: line for line in self.lines}
        grads = {"gy"} | {f"gn{i}" for i in range(self.fields)}
        touched: set[str] = set(grads)  # what depends on a gradient
        for line in self.lines:
            if touched & set(line.operands):
                touched.add(line.name)

        def inputs_of(lines: list[Line]) -> set[str]:
            return {o for line in lines for o in line.operands} - {line.name for line in lines}

        def ground(name: str, kept: set[str]) -> bool:
            """Whether a value follows from the kept ones without the current and the state."""
            if name in kept or name[0] in "cp" or name in (ZERO, ONE):
                return True
            return name in made and all(ground(o, kept) for o in made[name].operands)

        lines = [line for line in self.needed(names) if line.name in touched]
        kept = {n for n in inputs_of(lines) | set(names) if n in forward and n not in touched}
        loose = {n for n in (inputs_of(lines) | set(names)) - kept if n in made and n not in touched}  # not forward's
        kept |= {o for n in loose for o in self._roots(n, made, forward)}
        order = ["x", *(f"s{i}" for i in range(self.fields)), *(line.name for line in self.lines)]
        for name in sorted(kept, key=order.index, reverse=True):
            if ground(name, kept - {name}):
                kept.discard(name)
        return self.needed(names, kept), sorted(kept, key=order.index)

    def _roots(self, name: str, made: dict[str, Line], forward: set[str]) -> set[str]:
        if name in forward:
            return {name}
        return {r for o in made[name].operands if o in made or o in forward for r in self._roots(o, made, forward)}

    def code(self, places: list[fx.Node], results: list[Any], sums: list[str] | None = None) -> Callable[..., Any]:
        """A function of the sums and the held tensors that returns these nodes."""
        graph = fx.Graph()
        env: dict[fx.Node, fx.Node] = {}
        rows = [graph.placeholder(f"sum{i}") for i in range(len(sums or ()))]
        for node in places[1 + self.fields : 1 + self.fields + self.held]:
            env[node] = graph.placeholder(node.name)
        for node in self.graph.nodes:
            if node in env or node.op == "placeholder":
                continue
            if node in self.summed:
                if sums is not None:
                    own = rows[sums.index(self.summed[node])]
                    env[node] = graph.call_function(node.target, (own, *node.args[1:]), dict(node.kwargs))
            elif node.op == "get_attr":
                raise Unsupported("a tensor made inside step")
            elif (node in self.small or node in self.late) and all(n in env for n in node.all_input_nodes):
                env[node] = graph.node_copy(node, lambda n: env[n])
        graph.output(tuple(None if node is None else env[node] for node in results))
        graph.eliminate_dead_code()
        return fx.GraphModule({}, graph).forward
