"""The parts of an expression as the parser finds them (expr-lang's language definition)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One part; `offset` is where it stands in the source, in characters."""

    offset: int


@dataclass(frozen=True, slots=True, eq=False)
class Constant(Node):
    """A literal: nil, boolean, number, text or bytes."""

    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class Name(Node):
    """A variable, by its name; `$env` is all of them."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Pointer(Node):
    """`#`, `#index` or `#acc` inside a predicate."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Member(Node):
    """`node.key`, `node[key]`; with `optional` also `node?.key`, which leaves the chain when node is nil."""

    node: Node
    key: Node
    optional: bool


@dataclass(frozen=True, slots=True, eq=False)
class Chain(Node):
    """How far a `?.` inside leaves to."""

    node: Node


@dataclass(frozen=True, slots=True, eq=False)
class Slice(Node):
    """`node[first:last]`."""

    node: Node
    first: Node | None
    last: Node | None


@dataclass(frozen=True, slots=True, eq=False)
class Call(Node):
    """A call of something that is a value: `sprig.upper(x)`, `date.Year()`."""

    callee: Node
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Builtin(Node):
    """A call of a function of the language, by its name; predicates are among its arguments."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Predicate(Node):
    """What is worked out for each item."""

    body: Node


@dataclass(frozen=True, slots=True, eq=False)
class Unary(Node):
    """`-x`, `+x`, `!x`, `not x`."""

    operator: str
    node: Node


@dataclass(frozen=True, slots=True, eq=False)
class Binary(Node):
    """`left operator right`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True, eq=False)
class Conditional(Node):
    """`test ? yes : no`, or `if test { yes } else { no }`."""

    test: Node
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True, eq=False)
class Let(Node):
    """`let name = value; body`."""

    name: str
    value: Node
    body: Node


@dataclass(frozen=True, slots=True, eq=False)
class Sequence(Node):
    """`a; b; c`: the value of the last."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Array(Node):
    """`[a, b]`."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Map(Node):
    """`{key: value}`."""

    pairs: tuple[tuple[Node, Node], ...]


def children(node: Node) -> tuple[Node, ...]:
    """The parts directly inside a part."""
    match node:
        case Member():
            return (node.node, node.key)
        case Chain() | Unary():
            return (node.node,)
        case Slice():
            return tuple(part for part in (node.node, node.first, node.last) if part is not None)
        case Call():
            return (node.callee, *node.arguments)
        case Builtin():
            return node.arguments
        case Predicate():
            return (node.body,)
        case Binary():
            return (node.left, node.right)
        case Conditional():
            return (node.test, node.yes, node.no)
        case Let():
            return (node.value, node.body)
        case Sequence() | Array():
            return node.nodes
        case Map():
            return tuple(part for pair in node.pairs for part in pair)
        case _:
            return ()
