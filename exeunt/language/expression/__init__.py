"""The language inside `{{= }}`, in hooks and in retry strategies (expr-lang with Argo's and Sprig's functions), and
the language of `when` (govaluate).

nil is None. An evaluation runs no code, reads no file, knows no clock, and ends: `limits` has its bounds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from exeunt.language.expression import tree
from exeunt.language.expression.check import Checker, CheckError
from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.evaluate import Compiler
from exeunt.language.expression.frame import Frame
from exeunt.language.expression.functions import BUILTINS, GLOBALS
from exeunt.language.expression.govaluate import when
from exeunt.language.expression.limits import Budget, charge
from exeunt.language.expression.parser import parse_tree
from exeunt.language.expression.paths import free_paths
from exeunt.language.expression.predicates import Run
from exeunt.language.expression.render import format_value, to_json
from exeunt.language.expression.values import type_name

__all__ = [
    "Expression",
    "ExpressionError",
    "evaluate",
    "evaluate_bool",
    "names",
    "parse",
    "required",
    "to_text",
    "when",
]

_BUILTIN_NAMES = frozenset(BUILTINS)


class Expression:
    """An expression that has been read: its source, its tree, and how to work it out."""

    __slots__ = ("checked", "names", "required", "root", "roots", "run", "source", "variables")

    def __init__(self, source: str, root: tree.Expr) -> None:
        checker = Checker(source)
        checker.type_of(root)
        compiler = Compiler(source)
        self.source = source
        self.root = root
        self.checked = not checker.uses_variables
        self.run: Run = compiler.compile(root)
        self.variables = compiler.variables
        self.roots = [(name, offset) for name, offset in compiler.roots if name not in GLOBALS]
        self.names, self.required = free_paths(root, frozenset(GLOBALS))

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"


class _Cache:
    """The expressions read last, as many as have `parts` parts together (most have 10, one may have 10,000)."""

    def __init__(self, parts: int) -> None:
        self.room = parts
        self.found: OrderedDict[str, Expression | ExpressionError] = OrderedDict()

    def get(self, source: str) -> Expression | ExpressionError | None:
        found = self.found.get(source)
        if found is not None:
            self.found.move_to_end(source)
        return found

    def put(self, source: str, found: Expression | ExpressionError) -> None:
        if source in self.found:
            return
        self.found[source] = found
        self.room -= _size(source)
        while self.room < 0:
            self.room += _size(self.found.popitem(last=False)[0])


def _size(source: str) -> int:
    return len(source) // 2 + 10  # no expression has many more parts than half its characters


_CACHE = _Cache(100_000)


def _read(source: str) -> Expression | ExpressionError:
    found = _CACHE.get(source)
    if found is None:
        charge(len(source))
        try:
            found = Expression(source, parse_tree(source, _BUILTIN_NAMES))
        except ExpressionError as error:
            found = type(error)(error.message, error.source, error.offset)  # without what it happened in
        except RecursionError:
            found = ExpressionError("the expression is nested too deep")
        _CACHE.put(source, found)
    return found


def parse(source: str) -> Expression:
    """Read an expression; raises ExpressionError with the place of what is wrong."""
    found = _read(source)
    if isinstance(found, ExpressionError):
        raise type(found)(found.message, found.source, found.offset)
    return found


def evaluate(expression: Expression | str, env: Mapping[str, Any], *, now: float | None = None, seed: str = "") -> Any:
    """Work an expression out over the variables in `env`; raises ExpressionError.

    `now`, in seconds since the epoch, is what `now()` says, and `seed` what Sprig's random functions draw from; without
    them these functions fail. A name that `env` does not have is an error wherever it stands, as in Argo.
    """
    read = parse(expression) if isinstance(expression, str) else expression
    for name, offset in read.roots:
        if name not in env:
            raise CheckError(f"unknown name {name}", read.source, offset)
    try:
        if not read.checked:
            Checker(read.source, env).type_of(read.root)
        frame = Frame(env, read.variables, now, seed)
        try:
            return read.run(frame)
        finally:
            frame.settle()
    except RecursionError:
        raise ExpressionError("the values of the expression are nested too deep", read.source, 0) from None
    except (UnicodeError, ArithmeticError) as error:
        raise ExpressionError(f"the expression cannot be worked out: {error}", read.source, 0) from None


def evaluate_bool(source: str, env: Mapping[str, Any], *, now: float | None = None, seed: str = "") -> bool:
    """An expression of a hook or a retry strategy; raises ExpressionError, with Argo's words, when it is no boolean."""
    read = parse(source)
    try:
        value = evaluate(read, env, now=now, seed=seed)
    except CheckError:
        raise  # Argo finds these before it evaluates
    except ExpressionError as error:
        raise ExpressionError(f"unable to evaluate expression '{source}': {error}") from error
    if not isinstance(value, bool):
        shown = format_value(Budget(), value) if isinstance(value, str) else f"%!s({type_name(value)})"
        raise ExpressionError(f"unable to cast expression result '{shown}' to bool")
    return value


def names(expression: Expression | str) -> set[tuple[str, ...]]:
    """The variables that an expression uses, as far as their paths are fixed: `("steps", "a", "outputs", "result")`."""
    read = parse(expression) if isinstance(expression, str) else expression
    return set(read.names)


def required(expression: Expression | str) -> set[tuple[str, ...]]:
    """Those of `names` that must be there: of what stands before `??` or `?.` only the variable itself."""
    read = parse(expression) if isinstance(expression, str) else expression
    return set(read.required)


def to_text(value: Any) -> str:
    """The result of an expression as Argo puts it into a text: a text as it is, everything else as JSON.

    Raises ExpressionError for nil, which is no text, and for what JSON cannot say.
    """
    if isinstance(value, str):
        return value
    if value is None:
        raise ExpressionError("the expression gives nil, which is no text")
    rendered = to_json(Budget(), value)
    return rendered[1:-1] if rendered.startswith('"') else rendered
