"""The parts of an expression as the parser finds them (expr-lang's language definition)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Expr:
    """One part; `offset` is where it stands in the source, in characters."""

    offset: int


@dataclass(frozen=True, slots=True, eq=False)
class Constant(Expr):
    """A literal: nil, boolean, number, text or bytes."""

    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class Name(Expr):
    """A variable, by its name; `$env` is all of them."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Pointer(Expr):
    """`#`, `#index` or `#acc` inside a predicate."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Member(Expr):
    """`node.key`, `node[key]`; with `optional` also `node?.key`, which leaves the chain when node is nil."""

    node: Expr
    key: Expr
    optional: bool


@dataclass(frozen=True, slots=True, eq=False)
class Chain(Expr):
    """How far a `?.` inside leaves to."""

    node: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Slice(Expr):
    """`node[first:last]`."""

    node: Expr
    first: Expr | None
    last: Expr | None


@dataclass(frozen=True, slots=True, eq=False)
class Call(Expr):
    """A call of something that is a value: `sprig.upper(x)`, `date.Year()`."""

    callee: Expr
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Builtin(Expr):
    """A call of a function of the language, by its name; predicates are among its arguments."""

    name: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Predicate(Expr):
    """What is worked out for each item."""

    body: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Unary(Expr):
    """`-x`, `+x`, `!x`, `not x`."""

    operator: str
    node: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Binary(Expr):
    """`left operator right`."""

    operator: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Conditional(Expr):
    """`test ? yes : no`, or `if test { yes } else { no }`."""

    test: Expr
    yes: Expr
    no: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Let(Expr):
    """`let name = value; body`."""

    name: str
    value: Expr
    body: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Statements(Expr):
    """`a; b; c`: the value of the last."""

    nodes: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Array(Expr):
    """`[a, b]`."""

    nodes: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Map(Expr):
    """`{key: value}`."""

    pairs: tuple[tuple[Expr, Expr], ...]


def children(node: Expr) -> tuple[Expr, ...]:
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
        case Statements() | Array():
            return node.nodes
        case Map():
            return tuple(part for pair in node.pairs for part in pair)
        case _:
            return ()
