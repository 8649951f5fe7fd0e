"""From the tree of an expression to closures that work it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from exeunt.language.expression import tree, values
from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.frame import Frame
from exeunt.language.expression.functions import BUILTINS, GLOBALS
from exeunt.language.expression.members import call_method, fetch, slice_of
from exeunt.language.expression.predicates import LOOPS, Run, cost
from exeunt.language.expression.regex import search
from exeunt.language.expression.values import Function, type_name

_ABSENT: Final[Any] = object()  # what travels up a chain after `?.` on nil
MAX_RANGE: Final = 1_000_000


class Compiler:
    """Turns the parts of one expression into closures; `let` variables become numbered places in the frame."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.scope: dict[str, int] = {}
        self.variables = 0
        self.roots: list[tuple[str, int]] = []
        """The variables it needs from outside, and where it names them."""

    def compile(self, node: tree.Expr) -> Run:
        """The closure of a part; what it raises says where."""
        match node:
            case tree.Constant(value=value):
                return lambda _: value
            case tree.Name():
                return self.name(node)
            case tree.Pointer(name=name):
                return {"": _item, "index": _index, "acc": _accumulator}[name]
            case tree.Let():
                return self.let(node)
            case tree.Conditional():
                return self.conditional(node)
            case tree.Statements(nodes=nodes):
                return self.sequence(nodes)
            case tree.Predicate(body=body):
                return self.compile(body)
            case tree.Chain(node=inner):
                run = self.compile(inner)
                return lambda frame: None if (value := run(frame)) is _ABSENT else value
            case _:
                return self.placed(node, self.fallible(node))

    def fallible(self, node: tree.Expr) -> Run:
        match node:
            case tree.Member():
                return self.member(node)
            case tree.Slice():
                return self.slice(node)
            case tree.Unary():
                return self.unary(node)
            case tree.Binary():
                return self.binary(node)
            case tree.Array(nodes=nodes):
                return self.array(nodes)
            case tree.Map(pairs=pairs):
                return self.map(pairs)
            case tree.Builtin():
                return self.builtin(node)
            case tree.Call():
                return self.call(node)
        raise AssertionError(node)

    def placed(self, node: tree.Expr, run: Run) -> Run:
        source, offset = self.source, node.offset

        def placed(frame: Frame) -> Any:
            try:
                return run(frame)
            except ExpressionError as error:
                error.at(source, offset)
                raise

        return placed

    # names

    def name(self, node: tree.Name) -> Run:
        name = node.name
        if name in self.scope:
            place = self.scope[name]
            return lambda frame: frame.variables[place]
        if name == "$env":
            return lambda frame: dict(frame.env)
        self.roots.append((name, node.offset))
        default = GLOBALS.get(name)

        def look_up(frame: Frame) -> Any:
            return frame.env.get(name, default)

        return look_up

    def let(self, node: tree.Let) -> Run:
        value = self.compile(node.value)
        place = self.variables
        self.variables += 1
        self.scope[node.name] = place
        body = self.compile(node.body)
        del self.scope[node.name]

        def run(frame: Frame) -> Any:
            frame.variables[place] = value(frame)
            return body(frame)

        return run

    # shapes

    def sequence(self, nodes: tuple[tree.Expr, ...]) -> Run:
        runs = [self.compile(node) for node in nodes]

        def run(frame: Frame) -> Any:
            value = None
            for one in runs:
                value = one(frame)
            return value

        return run

    def conditional(self, node: tree.Conditional) -> Run:
        test, yes, no = self.compile(node.test), self.compile(node.yes), self.compile(node.no)
        source, offset = self.source, node.test.offset

        def run(frame: Frame) -> Any:
            chosen = test(frame)
            if not isinstance(chosen, bool):
                message = f"non-bool expression (type {type_name(chosen)}) used as condition"
                raise ExpressionError(message, source, offset)
            return yes(frame) if chosen else no(frame)

        return run

    def array(self, nodes: tuple[tree.Expr, ...]) -> Run:
        runs = [self.compile(node) for node in nodes]

        def run(frame: Frame) -> Any:
            frame.allocate(len(runs))
            return [one(frame) for one in runs]

        return run

    def map(self, pairs: tuple[tuple[tree.Expr, tree.Expr], ...]) -> Run:
        runs = [(self.compile(key), self.compile(value)) for key, value in pairs]

        def run(frame: Frame) -> Any:
            frame.allocate(len(runs))
            made: dict[str, Any] = {}
            for key_run, value_run in runs:
                key = key_run(frame)
                if not isinstance(key, str):
                    raise ExpressionError(f"a map key must be a string (got {type_name(key)})")
                made[key] = value_run(frame)
            return made

        return run

    # members

    def member(self, node: tree.Member) -> Run:
        base = self.compile(node.node)
        optional = node.optional
        if isinstance(node.key, tree.Constant):
            key = node.key.value

            def named(frame: Frame) -> Any:
                value = base(frame)
                if type(value) is dict and type(key) is str:
                    return value.get(key)
                if value is _ABSENT or (optional and value is None):
                    return _ABSENT
                return fetch(value, key)

            return named
        key_run = self.compile(node.key)

        def indexed(frame: Frame) -> Any:
            value = base(frame)
            if value is _ABSENT or (optional and value is None):
                return _ABSENT
            return fetch(value, key_run(frame))

        return indexed

    def slice(self, node: tree.Slice) -> Run:
        base = self.compile(node.node)
        first = self.compile(node.first) if node.first else None
        last = self.compile(node.last) if node.last else None

        def run(frame: Frame) -> Any:
            value = base(frame)
            start = first(frame) if first else None
            return slice_of(frame, value, start, last(frame) if last else None)

        return run

    # calls

    def builtin(self, node: tree.Builtin) -> Run:
        if node.name in LOOPS:
            runs = [self.compile(argument) for argument in node.arguments]
            return LOOPS[node.name](runs, [cost(argument) for argument in node.arguments])
        return self.calling(BUILTINS[node.name], node.arguments)

    def calling(self, function: Function, nodes: tuple[tree.Expr, ...]) -> Run:
        runs = [self.compile(node) for node in nodes]
        called = function.run
        if len(runs) == 1:
            only = runs[0]
            return lambda frame: called(frame, only(frame))
        return lambda frame: called(frame, *[run(frame) for run in runs])

    def call(self, node: tree.Call) -> Run:
        arguments = [self.compile(argument) for argument in node.arguments]
        if isinstance(node.callee, tree.Member) and isinstance(node.callee.key, tree.Constant):
            return self.method(node.callee, str(node.callee.key.value), arguments)
        callee = self.compile(node.callee)

        def run(frame: Frame) -> Any:
            function = callee(frame)
            if function is _ABSENT:
                return function
            return call_value(frame, function, [argument(frame) for argument in arguments])

        return run

    def method(self, callee: tree.Member, name: str, arguments: list[Run]) -> Run:
        base = self.compile(callee.node)
        optional = callee.optional
        path = f"{callee.node.name}.{name}" if isinstance(callee.node, tree.Name) else name

        def run(frame: Frame) -> Any:
            value = base(frame)
            if value is _ABSENT or (optional and value is None):
                return _ABSENT
            given = [argument(frame) for argument in arguments]
            if isinstance(value, dict):
                if value.get(name) is None:
                    raise ExpressionError(f"unknown function {path}: cannot call nil")
                return call_value(frame, value[name], given)
            return call_method(frame, value, name, given)

        return run

    # operators

    def unary(self, node: tree.Unary) -> Run:
        run = self.compile(node.node)
        if node.operator == "-":
            return lambda frame: values.negate(run(frame))
        if node.operator == "+":
            return lambda frame: plus(run(frame))
        return lambda frame: not truth(run(frame), node.operator)

    def binary(self, node: tree.Binary) -> Run:
        """A chain of operators on the left side is worked out in a loop, not by recursion."""
        chain: list[tree.Binary] = []
        left: tree.Expr = node
        while isinstance(left, tree.Binary):
            chain.append(left)
            left = left.left
        first = self.compile(left)
        steps = [self.step(part) for part in reversed(chain)]
        if len(steps) == 1:
            only = steps[0]
            return lambda frame: only(frame, first(frame))

        def run(frame: Frame) -> Any:
            value = first(frame)
            for step in steps:
                value = step(frame, value)
            return value

        return run

    def step(self, node: tree.Binary) -> Callable[[Frame, Any], Any]:
        right = self.compile(node.right)
        operator, source, offset = node.operator, self.source, node.offset
        work = _SHORT.get(operator)
        if work is None:
            eager = _OPERATORS[operator]

            def work(frame: Frame, left: Any, right: Run) -> Any:
                return eager(frame, left, right(frame))

        lazy = work

        def step(frame: Frame, left: Any) -> Any:
            try:
                return lazy(frame, left, right)
            except ExpressionError as error:
                error.at(source, offset)
                raise

        return step


def _item(frame: Frame) -> Any:
    return frame.item


def _index(frame: Frame) -> Any:
    return frame.index


def _accumulator(frame: Frame) -> Any:
    return frame.accumulator


def call_value(frame: Frame, function: Any, arguments: list[Any]) -> Any:
    """Call what a part has given; raises ExpressionError when it is no function."""
    if not isinstance(function, Function):
        raise ExpressionError(f"invalid operation: cannot call {type_name(function)}")
    return function.run(frame, *arguments)


def plus(value: Any) -> Any:
    """Unary `+`."""
    if not values.is_number(value):
        raise ExpressionError(f"invalid operation: + {type_name(value)}")
    return value


def truth(value: Any, operator: str) -> bool:
    """A boolean for a logical operator; raises ExpressionError for anything else."""
    if isinstance(value, bool):
        return value
    raise ExpressionError(f"invalid operation: {operator} on {type_name(value)}, want bool")


def _and(frame: Frame, left: Any, right: Run) -> bool:
    return truth(left, "&&") and truth(right(frame), "&&")


def _or(frame: Frame, left: Any, right: Run) -> bool:
    return truth(left, "||") or truth(right(frame), "||")


def _coalesce(frame: Frame, left: Any, right: Run) -> Any:
    return right(frame) if left is None else left


def _range(frame: Frame, left: Any, right: Any) -> list[int]:
    first, last = values.to_int(left), values.to_int(right)
    size = max(last - first + 1, 0)
    if size > MAX_RANGE:
        raise ExpressionError(f"memory budget exceeded: a range of more than {MAX_RANGE} numbers")
    frame.allocate(size)
    return list(range(first, last + 1))


def _texts(test: Callable[[str, str], bool], operator: str) -> Callable[[Frame, Any, Any], bool]:
    def run(_: Frame, left: Any, right: Any) -> bool:
        if left is None or right is None:
            return False
        if not (isinstance(left, str) and isinstance(right, str)):
            raise values.mismatch(operator, left, right)
        return test(left, right)

    return run


def _matches(frame: Frame, left: Any, right: Any) -> bool:
    if left is None or right is None:
        return False
    if isinstance(left, bytes):
        left = left.decode("utf-8", "replace")
    if not (isinstance(left, str) and isinstance(right, str)):
        raise values.mismatch("matches", left, right)
    return search(frame, right, left)


_SHORT: Final[dict[str, Callable[[Frame, Any, Run], Any]]] = {
    "and": _and, "&&": _and, "or": _or, "||": _or, "??": _coalesce,
}  # fmt: skip
_OPERATORS: Final[dict[str, Callable[[Frame, Any, Any], Any]]] = {
    "==": values.equal,
    "!=": lambda frame, left, right: not values.equal(frame, left, right),
    "<": lambda _, left, right: values.compare("<", left, right),
    ">": lambda _, left, right: values.compare(">", left, right),
    "<=": lambda _, left, right: values.compare("<=", left, right),
    ">=": lambda _, left, right: values.compare(">=", left, right),
    "in": values.contains,
    "matches": _matches,
    "contains": _texts(lambda left, right: right in left, "contains"),
    "startsWith": _texts(lambda left, right: left.startswith(right), "startsWith"),
    "endsWith": _texts(lambda left, right: left.endswith(right), "endsWith"),
    "..": _range,
    "+": values.add,
    "-": lambda _, left, right: values.subtract(left, right),
    "*": lambda _, left, right: values.multiply(left, right),
    "/": lambda _, left, right: values.divide(left, right),
    "%": lambda _, left, right: values.modulo(left, right),
    "**": lambda _, left, right: values.power(left, right),
    "^": lambda _, left, right: values.power(left, right),
}
