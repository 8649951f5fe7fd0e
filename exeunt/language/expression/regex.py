"""Regular expressions in RE2's syntax and in linear time: no pattern can make a match run for long."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import re2

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.limits import Budget

MAX_PATTERN: Final = 4096
_MEMORY: Final = 2 << 20  # bytes that RE2 may use for one pattern
_MATCH: Final = 8  # steps that one match costs
_STEP: Final = 64  # characters that are looked at for the price of one step


@lru_cache(maxsize=64)
def pattern(source: str) -> Any:
    """A compiled pattern; raises ExpressionError with RE2's reason."""
    if len(source) > MAX_PATTERN:
        raise ExpressionError(f"the regular expression is longer than {MAX_PATTERN} characters")
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    try:
        return re2.compile(source, options)
    except re2.error as error:
        raise ExpressionError(f"error parsing regexp: {_reason(error)}: `{source}`") from None


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else "cannot be read"
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


def search(budget: Budget, source: str, text: str) -> bool:
    """Whether the pattern matches anywhere in the text (Go's regexp.MatchString)."""
    budget.spend(len(text) // _STEP + 1)
    return pattern(source).search(text) is not None


def matches(budget: Budget, source: str, text: str, most: int = -1) -> list[Any]:
    """The matches from left to right, at most `most` of them when it is not negative."""
    budget.spend(len(text) + 1)
    found: list[Any] = []
    end = -1
    for match in pattern(source).finditer(text):
        if 0 <= most <= len(found):
            break
        if match.start() == match.end() == end:
            continue  # Go passes over an empty match that touches the one before
        end = match.end()
        budget.spend(_MATCH)
        found.append(match)
    budget.allocate(len(found))
    return found


_TEMPLATE: Final = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


def expanded(match: Any, template: str) -> str:
    """A replacement with `$1`, `${1}`, `$name` and `$$` (Go's Regexp.Expand); an unknown group is empty."""

    def group(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name is None:
            return "$"
        number = int(name) if name.isdigit() and len(name) < 4 else match.re.groupindex.get(name, -1)
        return (match.group(number) or "") if 0 <= number <= match.re.groups else ""

    return _TEMPLATE.sub(group, template)
