"""Where the values of a graph's inputs flow, and which of them decide what a run takes.

A tensor's *shape* is what a request pays for in bytes: `Shape` and `Size` of it are no values here.
A tensor's *values* cost nothing to send: where they reach an input that decides how large something
becomes (`sizing`), one number of a request is an allocation. So each tensor is followed with the
graph inputs that its values depend on, and those among them that they can grow with beyond all
bounds. A comparison's result depends on an input and is bounded; so are indices and counts, which
are bounded by a size (the number of `NonZero`s, say), and a size made of them counts as a size of
the request's. What is reached is found for nodes in any order, through `If`, `Loop` and `Scan`,
and never missed: at a join both sides count, and loops are followed until nothing changes.

Beside sizes there is one operation of values that ends a process: the least whole number divided by
-1 (SIGFPE on x86-64).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from fogline.errors import Exhausted
from fogline.runtime.dependence import (
    BOOL,
    CONSTANT,
    INT64,
    WHOLE,
    Inputs,
    Scope,
    Value,
    choose,
    join,
    operator_of,
    outputs_of,
    whole_numbers,
)
from fogline.runtime.sizing import DIVISORS, SIZED, UNCHANGED
from fogline.schema import MAX_FIELDS
from fogline.wire.onnx_model_pb2 import Graph, Tensor

MAX_ROUNDS = 65_536
"""Constant trip count up to which a `Loop` may end early by a value: no more rounds than this."""


class Need(NamedTuple):
    """One graph input whose values decide what a run takes."""

    input: str
    element_type: int
    """`TensorProto.DataType`; 0 if the file does not say."""
    node: str
    """Where, for people: operator, name and argument."""


def find_needs(graph: Graph, max_visits: int) -> tuple[Need, ...]:
    """The inputs of `graph` that need bounds, by name; each with one place that needs them.

    Args:
        graph: The main graph of a model whose nesting was checked.
        max_visits: Nodes that are looked at, each as often as loops make it necessary.

    Raises:
        Exhausted: more than that.
    """
    return _Flow(graph, max_visits).run()


class _Flow:
    def __init__(self, graph: Graph, max_visits: int) -> None:
        self._graph = graph
        self._max = self._left = max_visits
        self._early = 0
        """How often a name was looked for that a later node gives, also by inner graphs."""
        self._inputs: list[tuple[str, int]] = []
        """Names and element types, by their bits in sets."""
        self._needs: dict[str, Need] = {}

    def run(self) -> tuple[Need, ...]:
        scope = Scope(None)
        valued = {t.name for t in self._graph.initializer}
        valued |= {s.values.name for s in self._graph.sparse_initializer}
        for one in self._graph.input:
            if one.name not in valued:  # onnxruntime lets nobody set an input that has a value
                kind = one.type.tensor_type.elem_type
                own = 1 << len(self._inputs)
                self._inputs.append((one.name, kind))
                scope.values[one.name] = Value(own, 0 if kind == BOOL else own, type=kind)
        if len(self._inputs) > MAX_FIELDS:
            raise Exhausted(f"{len(self._inputs)} inputs, a model has at most {MAX_FIELDS}")
        self._follow(self._graph, scope)
        return tuple(self._needs[name] for name in sorted(self._needs))

    def _follow(self, graph: Graph, scope: Scope) -> None:
        """Fills `scope`; nodes may stand in any order, because onnxruntime sorts them."""
        for tensor in graph.initializer:
            scope.values[tensor.name] = Value(type=tensor.data_type)
            scope.constants[tensor.name] = tensor
        given = [name for node in graph.node for name in node.output]
        own = set(given)
        early = self._early
        if len(own) < len(given):  # refused when it is loaded, and followed all the same
            self._early += 1
        nodes = list(graph.node)
        while True:
            changed = False
            for node in nodes:
                taken = [self._find(name, own, scope) for name in node.input]
                values = self._node(node, taken, scope)
                self._count(len(taken) + len(values))
                for name, value in zip(node.output, values, strict=False):
                    old = scope.values.get(name)
                    new = value if old is None else join((old, value))
                    if new != old:
                        changed = True
                        scope.values[name] = new
            if early == self._early or not changed:
                return
            nodes.reverse()  # what stands before what it needs, mostly stands so throughout

    def _find(self, name: str, own: set[str], scope: Scope) -> Value:
        if not name:
            return CONSTANT
        found = scope.find(name)
        if found is None or (name in own and name not in scope.values):
            self._early += 1
        return found or CONSTANT

    def _node(self, node: Any, given: list[Value], scope: Scope) -> list[Value]:
        operator = operator_of(node)
        if operator == "Constant":
            return [self._constant(node, scope)]
        if operator in UNCHANGED and node.input and node.output:
            passed = scope.constant(node.input[0])
            if passed is not None:
                scope.constants[node.output[0]] = passed
        self._size(node, operator, given)
        if operator == "Div":
            self._divide(node, given, scope)
        if operator == "If":
            return self._branch(node, given, scope)
        if operator == "Loop":
            return self._loop(node, given, scope)
        if operator == "Scan":
            return self._scan(node, given, scope)
        inner = [self._inside(graph, given, scope) for graph in _graphs(node)]
        return outputs_of(node, operator, [*given, *(v for values in inner for v in values)])

    def _constant(self, node: Any, scope: Scope) -> Value:
        attribute = node.attribute[0] if node.attribute else None
        if attribute is None or not node.output:
            return CONSTANT
        if attribute.HasField("t"):
            scope.constants[node.output[0]] = attribute.t
            return Value(type=attribute.t.data_type)
        if attribute.name in ("value_int", "value_ints"):
            whole = list(attribute.ints) or [attribute.i]
            tensor = Tensor(data_type=INT64, dims=[len(whole)], int64_data=whole)
            scope.constants[node.output[0]] = tensor
            return Value(type=INT64)
        return CONSTANT

    # ------------------------------------------------------------------- where values decide

    def _size(self, node: Any, operator: str, given: Sequence[Value]) -> None:
        sized = SIZED.get(operator, {})
        if operator == "Resize" and len(given) == 2:  # operator set 10
            sized = {1: "scales"}
        for position, argument in sized.items():
            if position < len(given):
                self._need(given[position].grows, node, argument)
        divisor = DIVISORS.get(operator)
        if divisor is not None and divisor < len(given) and given[divisor].depends:
            for value in given:
                self._need(value.depends, node, "delta")

    def _divide(self, node: Any, given: Sequence[Value], scope: Scope) -> None:
        if len(given) != 2 or not given[0].grows:
            return
        kind = given[0].type or given[1].type
        if kind not in WHOLE:
            return
        divisor = scope.constant(node.input[1])
        if given[1].depends or (divisor is not None and _holds(divisor, -1)):
            self._need(given[0].grows, node, "the least whole number by -1")

    def _need(self, inputs: Inputs, node: Any, argument: str) -> None:
        while inputs:
            name, kind = self._inputs[inputs.bit_length() - 1]
            inputs ^= 1 << (inputs.bit_length() - 1)
            if name not in self._needs:
                label = (node.name or (node.output[0] if node.output else ""))[:80]
                where = f"{operator_of(node)[:80]} node {label!r} ({argument})"
                self._needs[name] = Need(name, kind, where)

    # ------------------------------------------------------------------------- inner graphs

    def _branch(self, node: Any, given: Sequence[Value], scope: Scope) -> list[Value]:
        sides = [self._inside(graph, (), scope) for graph in _graphs(node)]
        width = max(map(len, sides), default=0)
        outputs = [join(side[i] for side in sides if i < len(side)) for i in range(width)]
        return [choose(value, given[:1]) for value in outputs]

    def _loop(self, node: Any, given: Sequence[Value], scope: Scope) -> list[Value]:
        graphs = _graphs(node)
        if not graphs:
            return []
        trips, condition = [*given[:2], CONSTANT, CONSTANT][:2]
        carried = list(given[2:])
        while True:
            heads = (Value(trips.depends, trips.grows, type=INT64), condition, *carried)
            values = self._inside(graphs[0], heads, scope)
            again = values[0] if values else CONSTANT
            turned = [join((old, new)) for old, new in zip(carried, values[1:], strict=False)]
            turned += carried[len(turned) :]
            joined = join((condition, again))
            if turned == carried and joined == condition:
                break
            carried, condition = turned, joined
        if condition.depends and not self._is_short(node, scope):
            self._need(condition.depends, node, "condition")
        results = [*carried, *values[1 + len(carried) :]]
        return [choose(value, (trips, condition)) for value in results]

    def _is_short(self, node: Any, scope: Scope) -> bool:
        """Whether a trip count ends a `Loop` that a value would not end."""
        name = node.input[0] if node.input else ""
        if not name:
            return False
        tensor = scope.constant(name)
        if tensor is None:
            return True  # a size, or a value that has to be bounded for itself
        whole = whole_numbers(tensor)
        return whole is not None and len(whole) == 1 and int(whole[0]) <= MAX_ROUNDS

    def _scan(self, node: Any, given: Sequence[Value], scope: Scope) -> list[Value]:
        graphs = _graphs(node)
        if not graphs:
            return []
        body = graphs[0]
        count = next((a.i for a in node.attribute if a.name == "num_scan_inputs"), 0)
        given = given[max(0, len(given) - len(body.input)) :]  # operator set 8 begins with lengths
        states = list(given[: max(0, len(given) - count)])
        slices = given[len(states) :]
        while True:
            values = self._inside(body, (*states, *slices), scope)
            turned = [join((old, new)) for old, new in zip(states, values, strict=False)]
            turned += states[len(turned) :]
            if turned == states:
                return [*states, *values[len(states) :]]
            states = turned

    def _inside(self, graph: Graph, given: Sequence[Value], scope: Scope) -> list[Value]:
        """What a graph inside another gives for these inputs; of inputs beyond them, for all."""
        inner = Scope(scope)
        rest = join(given)
        for i, one in enumerate(graph.input):
            value = given[i] if i < len(given) else rest
            kind = one.type.tensor_type.elem_type
            inner.values[one.name] = value._replace(type=kind or value.type)
        self._follow(graph, inner)
        return [inner.find(one.name) or CONSTANT for one in graph.output]

    def _count(self, ends: int) -> None:
        self._left -= 1 + ends // 16
        if self._left < 0:
            raise Exhausted(
                f"following its values takes more than {self._max} looks at nodes: simplify the "
                "graph, or its loops"
            )


def _graphs(node: Any) -> list[Graph]:
    return [
        graph
        for attribute in node.attribute
        for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)
    ]


def _holds(tensor: Tensor, value: int) -> bool:
    whole = whole_numbers(tensor)
    return whole is not None and bool((whole == value).any())
