"""successCondition and failureCondition of a resource: Kubernetes' label selectors over the fields of the object.

As in Argo (docs/fields.md, ResourceTemplate):
`status.phase == Succeeded, metadata.labels.team in (a, b), !status.message`.
A failure condition holds when one of its terms does, a success condition when all of them do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from exeunt.actions.arguments import BadArguments
from exeunt.language.variables import text

_TERM = re.compile(
    r"""\s*(?:
        !\s*(?P<absent>[^\s!=<>,()]+)
      | (?P<field>[^\s!=<>,()]+)\s*(?:
            (?P<word>notin|in)\s*\((?P<values>[^()]*)\)
          | (?P<operator>==|!=|=|>|<)\s*(?P<value>[^\s,()]*)
        )?
    )\s*(?:,|$)""",
    re.VERBOSE,
)


class BadCondition(BadArguments):
    """A condition that cannot be read. The text is for people."""


class Term(NamedTuple):
    """One requirement; `operator` is exists, absent, in, notin, > or <."""

    field: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, tree: Mapping[str, Any]) -> bool:
        """Whether it is true of the object. As with labels, `notin` holds of what is not there."""
        value = _field(tree, self.field)
        match self.operator:
            case "exists":
                return value is not None
            case "absent":
                return value is None
            case "in":
                return value in self.values
            case "notin":
                return value is None or value not in self.values
        try:
            have, bound = int(value or ""), int(self.values[0])
        except ValueError:
            return False
        return have > bound if self.operator == ">" else have < bound

    def __str__(self) -> str:
        if self.operator in {"exists", "absent"}:
            return self.field if self.operator == "exists" else f"!{self.field}"
        if len(self.values) == 1 and self.operator in {"in", "notin"}:
            return f"{self.field}{'==' if self.operator == 'in' else '!='}{self.values[0]}"
        values = self.values[0] if self.operator in "<>" else f" ({','.join(self.values)})"
        return f"{self.field}{'' if self.operator in '<>' else ' '}{self.operator}{values}"


def parse(condition: str) -> list[Term]:
    """The terms of a condition, none for an empty one. Raises BadCondition."""
    terms: list[Term] = []
    position = 0
    while position < len(condition) and condition[position:].strip():
        found = _TERM.match(condition, position)
        if found is None:
            raise BadCondition(
                f"{condition!r} is no condition at {condition[position:].strip()!r}; try a == b, c in (d, e)"
            )
        position = found.end()
        terms.append(_term(found))
    return terms


def failed_term(terms: list[Term], tree: Mapping[str, Any]) -> Term | None:
    """The first term of a failure condition that holds."""
    return next((term for term in terms if term.holds(tree)), None)


def all_hold(terms: list[Term], tree: Mapping[str, Any]) -> bool:
    """Whether a success condition holds."""
    return all(term.holds(tree) for term in terms)


def _term(found: re.Match[str]) -> Term:
    if found["absent"]:
        return Term(found["absent"], "absent")
    if found["word"]:
        return Term(found["field"], found["word"], tuple(v.strip() for v in found["values"].split(",")))
    match found["operator"]:
        case None:
            return Term(found["field"], "exists")
        case "=" | "==":
            return Term(found["field"], "in", (found["value"],))
        case "!=":
            return Term(found["field"], "notin", (found["value"],))
        case operator:
            return Term(found["field"], operator, (found["value"],))


def _field(tree: Mapping[str, Any], path: str) -> str | None:
    value: Any = tree
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return None if value is None else text(value)
