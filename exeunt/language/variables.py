"""Variables in texts: `{{inputs.parameters.x}}` and `{{=expression}}`, found and replaced as Argo does it.

Argo puts values into the JSON of a whole template, with JSON's quoting; what that comes to for each text is done here
text by text. Values are put in once: what looks like a tag in a value stays as it is in that pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

from exeunt.language.expression import Expression, ExpressionError, evaluate, parse, to_text
from exeunt.language.expression.limits import MAX_TEXT, Budget
from exeunt.language.expression.render import plain_float, to_json

OPEN: Final = "{{"
CLOSE: Final = "}}"

# Known only later than the rest; while one of them is missing, an expression that uses it waits even where
# `??` or `==` would give it a value without it (Argo: variablesToCheck).
LATE: Final = frozenset(
    {
        ("item",), ("retries",), ("lastRetry", "exitCode"), ("lastRetry", "status"), ("lastRetry", "duration"),
        ("lastRetry", "message"), ("workflow", "status"), ("workflow", "failures"),
    }
)  # fmt: skip


NOTHING: Final[Mapping[str, Any]] = {}
"""In a scope: there may be names below this one. Expressions can ask for them with `??`; it is no variable itself."""


NESTED: Final = re.compile(r"\{\{(?!=)[^{}]+(?P<inner>\{\{(?!=)[^{}]*\}\})")
"""A tag inside a tag: `{{steps.run-{{inputs.parameters.day}}.status}}`. The inner one is put in first."""


class Tag(NamedTuple):
    """A tag in a text: `text[start:end]` with its braces; `body` is what stands between, without the `=`."""

    start: int
    end: int
    kind: Literal["simple", "expression"]
    body: str


class UnresolvedError(ExpressionError):
    """A variable that a text needs is not there, or not there yet; `name` is which."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class AbsentError(ExpressionError):
    """A variable is known and has no value: the output of a step that was skipped, with no default."""


def tags(text: str) -> Iterator[Tag]:
    """The tags of a text from left to right. A tag ends at the first `}}`; one that never ends is none.

    `{{a-{{b}}}}` holds the tag `a-{{b`: see `substitute` for what becomes of it.
    """
    start = text.find(OPEN)
    while start >= 0:
        end = text.find(CLOSE, start + 2)
        if end < 0:
            return
        body = text[start + 2 : end]
        yield (
            Tag(start, end + 2, "expression", body[1:]) if body.startswith("=") else Tag(start, end + 2, "simple", body)
        )
        start = text.find(OPEN, end + 2)


def text(value: Any) -> str:
    """A YAML scalar or JSON value as the text of a parameter (Argo's AnyString): a text as it is, else JSON.

    Null is the empty text, and numbers stand without an exponent: `2`, `1.5`, `0.0000001`.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value):
        return plain_float(value)
    return to_json(Budget(), value, html=False)


class ArtifactValue(dict[str, Any]):
    """The value of a variable that is an artifact, in Argo's shape. Texts cannot take it: only `from` and
    `fromExpression` of artifacts read it.
    """


def environment(scope: Mapping[str, Any], *, artifacts: bool = False) -> dict[str, Any]:
    """The variables of expressions: `{"inputs.parameters.x": "1"}` as `{"inputs": {"parameters": {"x": "1"}}}`.

    Of `item` and `item.name` the longer one counts, as in Argo. Maps and lists in the scope stay what they are;
    `artifacts` are there only where asked for.
    """
    made: dict[str, Any] = {}
    own = {id(made)}
    names = scope if artifacts else [key for key, value in scope.items() if type(value) is not ArtifactValue]
    for key in sorted(names, key=_by_length):
        place = made
        *path, last = key.split(".")
        for part in path:
            inner: dict[str, Any] | None = place.get(part)
            if inner is None or id(inner) not in own:  # a shorter name's value gives way
                inner = {}
                own.add(id(inner))
                place[part] = inner
            place = inner
        place[last] = scope[key]
    return made


def _by_length(key: str) -> int:
    return key.count(".")


def substitute(
    text: str,
    scope: Mapping[str, Any],
    *,
    allow_unresolved: bool,
    strict: Collection[str] = (),
    env: dict[str, Any] | None = None,
    now: float | None = None,
    seed: str = "",
) -> str:
    """Put the values of a flat scope into a text.

    A simple tag takes its value, which must be a text; an expression is worked out over `environment(scope)`. What is
    not in the scope stays as it stands where `allow_unresolved`, save for names under one of the prefixes in `strict`
    (`"steps"`, `"tasks"`), and is an UnresolvedError otherwise. A name whose value is None is an output that is absent:
    a simple tag of it is an AbsentError, an expression may say what to take instead (`??`).

    Of nested tags (`{{a-{{b}}}}`) the inner is replaced; a second call replaces the outer. `env` is
    `environment(scope)` where many calls share one scope; `now` and `seed` are as for `expression.evaluate`.
    """
    if OPEN not in text:
        return text
    return _Substitution(scope, allow_unresolved, strict, env, (now, seed)).text(text)


def substitute_tree(
    value: Any,
    scope: Mapping[str, Any],
    *,
    allow_unresolved: bool,
    strict: Collection[str] = (),
    env: dict[str, Any] | None = None,
    now: float | None = None,
    seed: str = "",
) -> Any:
    """`substitute` for every text in a tree of dicts and lists, keys too; parts without change are shared."""
    return _Substitution(scope, allow_unresolved, strict, env, (now, seed)).tree(value)


class _Substitution:
    """One pass over texts with the same scope: the environment of expressions is made once, when it is needed."""

    def __init__(
        self,
        scope: Mapping[str, Any],
        allow_unresolved: bool,
        strict: Collection[str],
        env: dict[str, Any] | None,
        surroundings: tuple[float | None, str],
    ) -> None:
        self.scope = scope
        self.allow_unresolved = allow_unresolved
        self.strict = frozenset(strict)
        self.env = env
        self.now, self.seed = surroundings
        self.expressions = 0

    def tree(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value) if OPEN in value else value
        if isinstance(value, dict):
            items = [(self.tree(key), self.tree(item)) for key, item in value.items()]
            same = all(
                key is old and item is held for (key, item), (old, held) in zip(items, value.items(), strict=True)
            )
            return value if same else dict(items)
        if isinstance(value, list):
            made = [self.tree(item) for item in value]
            return value if all(item is old for item, old in zip(made, value, strict=True)) else made
        return value

    def text(self, text: str) -> str:
        parts: list[str] = []
        end = size = 0
        for tag in tags(text):
            parts.append(text[end : tag.start])
            if tag.kind == "simple":
                made = self.simple(tag.body)
            else:
                made = self.expression(tag.body, cut=text.startswith("}", tag.end))
            size += len(made)
            if size > MAX_TEXT:
                raise ExpressionError(f"the text becomes longer than {MAX_TEXT} characters")
            parts.append(made)
            end = tag.end
        parts.append(text[end:])
        return "".join(parts)

    # simple tags

    def simple(self, body: str) -> str:
        name = body.strip()
        value = self.scope.get(name, NOTHING)
        if value is NOTHING or type(value) is ArtifactValue:
            return self.nested(body)
        if value is None:
            raise AbsentError(
                f"unable to substitute {{{{{body}}}}}: output is an absent optional "
                "(skipped/omitted node with no default)"
            )
        if not isinstance(value, str):
            raise ExpressionError(f"failed to resolve {{{{{body}}}}} to string")
        return value

    def nested(self, body: str) -> str:
        outer, mark, inner = body.rpartition(OPEN)
        inner = inner.strip()
        if mark and outer and inner in self.scope:
            value = self.scope[inner]
            if value is None:
                raise AbsentError(f'unable to substitute nested tag {{{{{body}}}}}: "{inner}" is an absent optional')
            if isinstance(value, str):
                return f"{OPEN}{outer}{value}"
        name = body.strip()
        if self.must_resolve(name) and not (self.allow_unresolved and ".outputs.artifacts." in name):
            raise UnresolvedError(f"failed to resolve {{{{{body}}}}}", name)
        return f"{OPEN}{body}{CLOSE}"

    def must_resolve(self, name: str) -> bool:
        return not self.allow_unresolved or name.partition(".")[0] in self.strict

    # expressions

    def expression(self, body: str, *, cut: bool) -> str:
        """The value of an expression as text; `cut`: a third brace follows, which may have been meant to be inside."""
        if self.env is None:
            self.env = environment(self.scope)
        unresolved = f"{OPEN}={body}{CLOSE}"
        try:
            read = parse(body)
        except ExpressionError as error:  # however much may stay unresolved: it will not get better
            hint = f'\nhint: a tag ends at the first "{CLOSE}"; write "}} {CLOSE}" behind a map' if cut else ""
            raise ExpressionError(f"failed to evaluate expression: {error}{hint}") from error
        missing = self.missing(read)
        for path in missing:
            if self.must_resolve(path[0]):
                name = ".".join(path)
                raise UnresolvedError(f"failed to evaluate expression: {name} is missing", name)
        tolerant = bool(missing) or (self.allow_unresolved and not self.strict)
        if tolerant and any(path in LATE for path in missing):
            return unresolved
        try:
            self.expressions += 1  # two expressions of one pass do not draw the same
            seed = f"{self.seed}\0{self.expressions}" if self.seed else ""
            value = evaluate(read, self.env, now=self.now, seed=seed)
            if value is None and not tolerant:
                raise ExpressionError(f'failed to evaluate expression "{body}"')
            return unresolved if value is None else to_text(value)
        except ExpressionError as error:
            if tolerant:
                return unresolved
            if error.message.startswith("failed to evaluate expression"):
                raise
            raise ExpressionError(f"failed to evaluate expression: {error}") from error

    def missing(self, read: Expression) -> list[tuple[str, ...]]:
        """The variables that the expression must have and that are not there, the shortest path that fails of each."""
        found: list[tuple[str, ...]] = []
        for path in sorted(read.required):
            place: Any = self.env
            for depth, key in enumerate(path):
                if not isinstance(place, Mapping) or key not in place:
                    # an absent part of a path is missing as a whole: `workflow.status` while there is no `workflow`
                    found.append(path if path in LATE else path[: depth + 1])
                    break
                place = place[key]
        return found
