"""What can be seen to be wrong before an expression is worked out: operators between types that never go together.

expr-lang checks types before it runs, wherever the part stands. The types of literals, of most functions and of whole
variables are known; members of variables (`inputs.parameters.x`) are not, and go with everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from exeunt.language.expression import tree
from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.values import type_name

_GO_NAMES: Final = {"float": "float64", "array": "[]interface {}", "map": "map[string]interface {}", "nil": "unknown"}
_NUMBERS: Final = frozenset({"int", "float"})
_EQUALITY: Final = frozenset({"==", "!="})
_ORDER: Final = frozenset({"<", ">", "<=", ">="})
_ARITHMETIC: Final = frozenset({"+", "-", "*", "/", "%", "**", "^"})
_LOGIC: Final = frozenset({"and", "or", "&&", "||"})
_TEXT: Final = frozenset({"matches", "contains", "startsWith", "endsWith"})
_TIMES: Final = frozenset({"time.Time", "time.Duration"})

_RESULTS: Final = {
    name: kind
    for kind, names in {
        "int": "len int count indexOf lastIndexOf bitand bitor bitxor bitnand bitnot bitshl bitshr bitushr",
        "float": "float ceil floor round",
        "bool": "all any none one hasPrefix hasSuffix",
        "string": "type string trim trimPrefix trimSuffix upper lower replace repeat join toJSON toBase64 fromBase64",
        "array": "map filter sort sortBy split splitAfter keys values toPairs reverse uniq concat flatten",
        "time.Time": "now date",
        "time.Duration": "duration",
    }.items()
    for name in names.split()
}


class CheckError(ExpressionError):
    """A fault that was found before the expression ran."""


def fits(operator: str, left: str, right: str) -> bool:
    """Whether an operator is there for two types."""
    numbers = left in _NUMBERS and right in _NUMBERS
    if operator in _EQUALITY:
        return left == right or numbers or "nil" in (left, right)
    if operator in _LOGIC:
        return left == right == "bool"
    if operator in _ORDER:
        return numbers or (left == right and (left in _TIMES or left == "string"))
    if operator in _ARITHMETIC:
        if operator == "%":
            return left == right == "int"
        return numbers or bool({left, right} & _TIMES) or (operator == "+" and left == right == "string")
    if operator in _TEXT:
        return right == "string" and left in ("string", "array")
    return True


class Checker:
    """One pass over a tree; without an environment the types of variables are unknown."""

    def __init__(self, source: str, env: Mapping[str, Any] | None = None) -> None:
        self.source = source
        self.env = env
        self.scope: dict[str, str | None] = {}
        self.uses_variables = False
        """Whether the type of a whole variable has been asked for."""

    def type_of(self, node: tree.Expr) -> str | None:
        """The type that a part certainly has, None where it is not known; raises CheckError."""
        match node:
            case tree.Constant(value=value):
                return type_name(value)
            case tree.Name():
                return self.name(node.name)
            case tree.Let():
                return self.let(node)
            case tree.Unary():
                inner = self.type_of(node.node)
                return "bool" if node.operator in ("not", "!") else inner if inner in _NUMBERS else None
            case tree.Binary():
                return self.binary(node)
            case tree.Conditional():
                return self.conditional(node)
            case tree.Builtin():
                self.visit(node)
                return _RESULTS.get(node.name)
            case tree.Call(callee=tree.Name(name="toJson")):
                self.visit(node)
                return "string"
            case tree.Slice():
                self.visit(node)
                inner = self.type_of(node.node)
                return inner if inner in ("string", "array") else None
            case tree.Member():
                self.member(node)
                return None
            case tree.Statements(nodes=nodes):
                return [self.type_of(part) for part in nodes][-1]
            case tree.Array() | tree.Map():
                self.visit(node)
                return "array" if isinstance(node, tree.Array) else "map"
        self.visit(node)
        return None

    def visit(self, node: tree.Expr) -> None:
        for part in tree.children(node):
            if not isinstance(part, tree.Name | tree.Constant):
                self.type_of(part)

    def member(self, node: tree.Member) -> None:
        """What is written as a text has no fields, and a list only places."""
        base = self.type_of(node.node)
        if not isinstance(node.key, tree.Name | tree.Constant):
            self.type_of(node.key)
        if not (isinstance(node.key, tree.Constant) and isinstance(node.key.value, str)):
            return
        if base == "array":
            told = "array elements can only be selected using an integer (got string)"
            raise CheckError(told, self.source, node.offset)
        if base == "string":
            raise CheckError(f"type string has no field {node.key.value}", self.source, node.offset)

    def name(self, name: str) -> str | None:
        if name in self.scope:
            return self.scope[name]
        self.uses_variables = True
        value = self.env.get(name) if self.env is not None else None
        return None if value is None else type_name(value)

    def let(self, node: tree.Let) -> str | None:
        value = self.type_of(node.value)
        if node.name in self.scope:
            raise CheckError(f"cannot redeclare variable {node.name}", self.source, node.offset)
        self.scope[node.name] = value
        found = self.type_of(node.body)
        del self.scope[node.name]
        return found

    def conditional(self, node: tree.Conditional) -> str | None:
        test = self.type_of(node.test)
        if test not in (None, "bool"):
            message = f"non-bool expression (type {go_name(str(test))}) used as condition"
            raise CheckError(message, self.source, node.test.offset)
        yes, no = self.type_of(node.yes), self.type_of(node.no)
        return yes if yes == no else None

    def binary(self, node: tree.Binary) -> str | None:
        chain: list[tree.Binary] = []
        left: tree.Expr = node
        while isinstance(left, tree.Binary):
            chain.append(left)
            left = left.left
        found = self.type_of(left)
        for part in reversed(chain):
            right = self.type_of(part.right)
            if found and right and not fits(part.operator, found, right):
                raise CheckError(
                    f"invalid operation: {part.operator} (mismatched types {go_name(found)} and {go_name(right)})",
                    self.source,
                    part.offset,
                )
            found = self.result(part.operator, found, right)
        return found

    def result(self, operator: str, left: str | None, right: str | None) -> str | None:
        if operator == "??":
            return right if left in ("nil", right) else None
        if operator == "..":
            return "array"
        if operator not in _ARITHMETIC:
            return "bool"
        if operator == "%":
            return "int"
        if left in _NUMBERS and right in _NUMBERS:
            return "float" if operator in ("/", "**", "^") or "float" in (left, right) else "int"
        return "string" if left == right == "string" else None


def go_name(name: str) -> str:
    """A type as Go writes it, which is what Argo shows."""
    return _GO_NAMES.get(name, name)
