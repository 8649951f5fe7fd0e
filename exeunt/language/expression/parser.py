"""From the tokens of an expression to its tree: expr-lang's grammar, precedence and words."""

from __future__ import annotations

from typing import Final, NoReturn

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.lexer import Token, tokens
from exeunt.language.expression.limits import MAX_DEPTH, MAX_NODES, MAX_SOURCE
from exeunt.language.expression.tree import (
    Array,
    Binary,
    Builtin,
    Call,
    Chain,
    Conditional,
    Constant,
    Expr,
    Let,
    Map,
    Member,
    Name,
    Pointer,
    Predicate,
    Slice,
    Statements,
    Unary,
    children,
)

_UNARY: Final = {"not": 50, "!": 50, "-": 90, "+": 90}
_BINARY: Final = {
    "|": 0, "or": 10, "||": 10, "and": 15, "&&": 15,
    "==": 20, "!=": 20, "<": 20, ">": 20, ">=": 20, "<=": 20,
    "in": 20, "matches": 20, "contains": 20, "startsWith": 20, "endsWith": 20,
    "..": 25, "+": 30, "-": 30, "*": 60, "/": 60, "%": 60, "**": 100, "^": 100, "??": 500,
}  # fmt: skip
_RIGHT: Final = frozenset({"**", "^"})
_COMPARISONS: Final = frozenset({"<", ">", ">=", "<="})
_NEGATABLE: Final = frozenset({"contains", "matches", "startsWith", "endsWith", "in"})

# How each function that takes a predicate is called: e an expression, p a predicate; capital letters may be left out.
PREDICATES: Final = {
    "all": "ep", "none": "ep", "any": "ep", "one": "ep", "filter": "ep", "map": "ep", "count": "eP", "sum": "eP",
    "find": "ep", "findIndex": "ep", "findLast": "ep", "findLastIndex": "ep", "groupBy": "ep",
    "sortBy": "epE", "reduce": "epE",
}  # fmt: skip

_BIG: Final = 1 << 63


def parse_tree(source: str, builtins: frozenset[str]) -> Expr:
    """The tree of an expression; `builtins` are the functions known by name. Raises ExpressionError."""
    if len(source) > MAX_SOURCE:
        raise ExpressionError(f"the expression is longer than {MAX_SOURCE} characters")
    node = _Parser(source, builtins).parse()
    _check_size(node, source)
    return node


def _check_size(root: Expr, source: str) -> None:
    """Hold the bounds on parts and depth; a chain of operators is one level, since it is worked out in a loop."""
    count = 0
    stack: list[tuple[Expr, int]] = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        count += 1
        if count > MAX_NODES:
            raise ExpressionError(f"expression exceeds maximum allowed nodes ({MAX_NODES})", source, 0)
        if depth > MAX_DEPTH:
            raise ExpressionError(f"the expression is nested more than {MAX_DEPTH - 1} deep", source, node.offset)
        if isinstance(node, Binary):
            stack += ((node.left, depth if isinstance(node.left, Binary) else depth + 1), (node.right, depth + 1))
        else:
            stack += ((child, depth + 1) for child in children(node))


class _Parser:
    def __init__(self, source: str, builtins: frozenset[str]) -> None:
        self.source = source
        self.builtins = builtins
        self.tokens = tokens(source)
        self.index = 0
        self.current = self.tokens[0]
        self.predicates = 0
        self.depth = 0

    def parse(self) -> Expr:
        node = self.sequence()
        if self.current.kind != "end":
            self.unexpected()
        return node

    # moving on

    def fail(self, message: str, token: Token | None = None) -> NoReturn:
        raise ExpressionError(message, self.source, (token or self.current).offset)

    def unexpected(self) -> NoReturn:
        self.fail(f"unexpected token {self.current}")

    def next(self) -> Token:
        token = self.current
        if self.index + 1 < len(self.tokens):
            self.index += 1
        self.current = self.tokens[self.index]
        return token

    def sees(self, *values: str) -> bool:
        return self.current.kind in ("operator", "bracket") and self.current.value in values

    def takes(self, value: str) -> bool:
        if self.sees(value):
            self.next()
            return True
        return False

    def expect(self, value: str) -> None:
        if not self.takes(value):
            self.unexpected()

    def identifier(self) -> Token:
        if self.current.kind != "identifier":
            self.unexpected()
        return self.next()

    # operators

    def sequence(self) -> Expr:
        nodes = [self.expression(0)]
        while self.takes(";"):
            if self.current.kind == "end":
                break
            nodes.append(self.expression(0))
        return nodes[0] if len(nodes) == 1 else Statements(nodes[0].offset, tuple(nodes))

    def expression(self, precedence: int) -> Expr:
        self.depth += 1
        if self.depth > MAX_DEPTH:  # the parser calls itself too
            self.fail(f"the expression is nested more than {MAX_DEPTH - 1} deep")
        try:
            if precedence == 0 and self.sees("let"):
                return self.let()
            if precedence == 0 and self.sees("if"):
                return self.if_else()
            node = self.operators(self.primary(), precedence)
            return self.conditional(node) if precedence == 0 else node
        finally:
            self.depth -= 1

    def operators(self, left: Expr, precedence: int) -> Expr:
        previous = ""
        while self.current.kind == "operator":
            negation: Token | None = None
            operator = self.current
            if operator.value == "not":
                following = self.tokens[min(self.index + 1, len(self.tokens) - 1)]
                if following.kind != "operator" or following.value not in _NEGATABLE:
                    self.next()
                    self.unexpected()
                negation, operator = operator, following
            level = _BINARY.get(operator.value, -1)
            if level < precedence:
                break
            if negation:
                self.next()
            self.next()
            if operator.value == "|":
                left = self.call(self.identifier(), (left,))
            elif previous == "??" and operator.value != "??":
                self.fail(
                    f"Operator ({operator.value}) and coalesce expressions (??) cannot be mixed. "
                    "Wrap either by parentheses.",
                    operator,
                )
            elif operator.value in _COMPARISONS:
                left = self.comparison(left, operator, level)
            else:
                right = self.expression(level if operator.value in _RIGHT else level + 1)
                left = Binary(operator.offset, operator.value, left, right)
                if negation:
                    left = Unary(negation.offset, "not", left)
            previous = operator.value
        return left

    def comparison(self, left: Expr, operator: Token, level: int) -> Expr:
        """`a < b <= c` means `a < b && b <= c`."""
        root: Expr | None = None
        while True:
            right = self.expression(level + 1)
            compared = Binary(operator.offset, operator.value, left, right)
            root = compared if root is None else Binary(operator.offset, "&&", root, compared)
            if not self.sees(*_COMPARISONS):
                return root
            left, operator = right, self.next()

    def conditional(self, node: Expr) -> Expr:
        while self.sees("?"):
            offset = self.next().offset
            if self.takes(":"):
                yes = node
            else:
                yes = self.expression(0)
                self.expect(":")
            node = Conditional(offset, node, yes, self.expression(0))
        return node

    def let(self) -> Expr:
        self.next()
        name = self.identifier()
        self.expect("=")
        value = self.expression(0)
        self.expect(";")
        if name.value in self.builtins or name.value in PREDICATES:
            self.fail(f"cannot redeclare builtin {name.value}", name)
        return Let(name.offset, name.value, value, self.sequence())

    def if_else(self) -> Expr:
        offset = self.next().offset
        test = self.expression(0)
        yes = self.block()
        self.expect("else")
        if not self.sees("if"):
            return Conditional(offset, test, yes, self.block())
        return Conditional(offset, test, yes, self.expression(0))

    def block(self) -> Expr:
        self.expect("{")
        node = self.sequence()
        self.expect("}")
        return node

    # values

    def primary(self) -> Expr:
        token = self.current
        if token.kind == "operator" and token.value in _UNARY:
            self.next()
            node = self.expression(_UNARY[token.value])
            return self.postfix(Unary(token.offset, token.value, node))
        if self.takes("("):
            node = self.sequence()
            self.expect(")")
            return self.postfix(node)
        if self.predicates and self.sees("#", "."):
            name = ""
            if self.takes("#"):
                adjoining = self.current.kind == "identifier" and self.current.offset == token.offset + 1
                name = self.next().value if adjoining else ""
            if name not in ("", "index", "acc"):
                self.fail(f"unknown pointer #{name}", token)
            return self.postfix(Pointer(token.offset, name))
        if self.takes("::"):
            return self.postfix(self.call(self.identifier(), ()))
        return self.secondary()

    def secondary(self) -> Expr:
        token = self.current
        if token.kind == "identifier":
            self.next()
            constants: dict[str, object] = {"true": True, "false": False, "nil": None}
            if token.value in constants:
                return Constant(token.offset, constants[token.value])
            if self.sees("("):
                return self.postfix(self.call(token, ()))
            return self.postfix(Name(token.offset, token.value))
        if token.kind == "number":
            return self.number()
        if token.kind in ("string", "bytes"):
            self.next()
            return self.postfix(Constant(token.offset, token.data if token.kind == "bytes" else token.value))
        if self.sees("["):
            return self.postfix(self.array())
        if self.sees("{"):
            return self.postfix(self.map())
        return self.unexpected()

    def number(self) -> Expr:
        token = self.next()
        text = token.value.replace("_", "").lower()
        try:
            if text[:2] in ("0x", "0o", "0b"):
                value: int | float = int(text, 0)
            elif "." in text or "e" in text:
                value = float(text)
            else:
                value = int(text[:30])
        except ValueError:
            self.fail(f'bad number syntax: "{token.value}"', token)
        if isinstance(value, int) and value >= _BIG:
            self.fail(f"invalid integer literal: {token.value} is out of range", token)
        if value == float("inf"):
            self.fail("float literal is too large", token)
        return Constant(token.offset, value)

    def call(self, name: Token, before: tuple[Expr, ...]) -> Expr:
        if name.value in PREDICATES:
            return Builtin(name.offset, name.value, self.predicate_arguments(name, before))
        if name.value in self.builtins:
            return Builtin(name.offset, name.value, self.arguments(before))
        return Call(name.offset, Name(name.offset, name.value), self.arguments(before))

    def predicate_arguments(self, name: Token, before: tuple[Expr, ...]) -> tuple[Expr, ...]:
        self.expect("(")
        found = list(before)
        wanted = PREDICATES[name.value][len(before) :]
        for position, kind in enumerate(wanted):
            if self.sees(")"):
                if kind.isupper():
                    break
                self.fail(f"expected at least {len(wanted)} arguments")
            if position > 0:
                self.expect(",")
                if kind.isupper() and self.sees(")"):
                    break
            found.append(self.predicate() if kind in "pP" else self.expression(0))
        self.takes(",")
        self.expect(")")
        return tuple(found)

    def predicate(self) -> Expr:
        offset = self.current.offset
        self.predicates += 1
        if self.sees("{"):
            node = self.block()
        else:
            node = self.expression(0)
            if self.sees(";"):
                self.fail("wrap predicate with brackets { and }")
        self.predicates -= 1
        return Predicate(offset, node)

    def arguments(self, before: tuple[Expr, ...]) -> tuple[Expr, ...]:
        self.expect("(")
        return before + self.items(")")

    def items(self, end: str) -> tuple[Expr, ...]:
        """Expressions between commas up to `end`; a comma before it may stand."""
        found: list[Expr] = []
        while not self.sees(end):
            if found:
                self.expect(",")
                if self.sees(end):
                    break
            found.append(self.expression(0))
        self.next()
        return tuple(found)

    def array(self) -> Expr:
        offset = self.next().offset
        return Array(offset, self.items("]"))

    def map(self) -> Expr:
        offset = self.next().offset
        pairs: list[tuple[Expr, Expr]] = []
        while not self.sees("}"):
            if pairs:
                self.expect(",")
                if self.sees("}"):
                    break
            if self.current.kind in ("number", "string", "identifier"):
                token = self.next()
                key: Expr = Constant(token.offset, token.value)
            elif self.sees("("):
                key = self.expression(0)
            else:
                self.fail(
                    "a map key must be a quoted string, a number, a identifier, or an expression enclosed in "
                    f"parentheses (unexpected token {self.current})"
                )
            self.expect(":")
            pairs.append((key, self.expression(0)))
        self.next()
        return Map(offset, tuple(pairs))

    # what may follow a value

    def postfix(self, node: Expr) -> Expr:
        while True:
            if self.sees(".", "?."):
                optional = self.next().value == "?."
                if optional and self.sees("["):
                    node = self.index_or_slice(node, optional=True)
                else:
                    node = self.member(node, optional)
            elif self.sees("["):
                node = self.index_or_slice(node, optional=False)
            else:
                return node

    def member(self, node: Expr, optional: bool) -> Expr:
        name = self.next()
        # words such as "not" and "matches" are names here
        if name.kind != "identifier" and not (name.kind == "operator" and name.value.isidentifier()):
            self.fail("expected name")
        chained = isinstance(node, Chain)
        inner = node.node if isinstance(node, Chain) else node
        node = Member(name.offset, inner, Constant(name.offset, name.value), optional)
        if self.sees("("):
            node = Call(name.offset, node, self.arguments(()))
        return Chain(name.offset, node) if chained or optional else node

    def index_or_slice(self, node: Expr, optional: bool) -> Expr:
        offset = self.next().offset
        first = None if self.sees(":") else self.expression(0)
        if self.takes(":"):
            last = None if self.sees("]") else self.expression(0)
            self.expect("]")
            return Slice(offset, node, first, last)
        self.expect("]")
        assert first is not None
        member = Member(offset, node, first, optional)
        return Chain(offset, member) if optional else member
