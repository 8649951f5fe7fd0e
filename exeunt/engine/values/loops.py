"""Loops: the items of withItems, withParam and withSequence, and their names (Argo: docs/walk-through/loops.md).

Items keep the text of their JSON: a number is shown as it was written.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from exeunt.engine.facts.problem import NodeError
from exeunt.language.manifest import Sequence, Step
from exeunt.language.variables import text
from exeunt.utf8 import loads

MAX_ITEMS = 100_000
_FORMAT = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>\d*)(?P<verb>[dxXobcqvsU%])")


class Written(str):
    """A number of JSON, as it was written."""

    __slots__ = ()


class Item(NamedTuple):
    """One item: its place in names, and what `{{item}}` and `{{item.key}}` read."""

    name: str
    variables: dict[str, str]


def loops(step: Step) -> bool:
    """Whether the step stands for many. An empty withItems is no loop for Argo; here it is one of no items."""
    return step.with_items is not None or step.with_param is not None or step.with_sequence is not None


def items_of(step: Step) -> list[Any]:
    """The items, references resolved. Raises NodeError where there is no list."""
    if step.with_items is not None:
        items = list(step.with_items)
    elif step.with_param is not None:
        items = _parameter(step.with_param)
    elif step.with_sequence is not None:
        items = list(_sequence(step.with_sequence))
    else:
        items = []
    if len(items) > MAX_ITEMS:
        raise NodeError(f"the loop has {len(items)} items; at most {MAX_ITEMS} are possible")
    return items


def parse(source: str) -> Any:
    """JSON with its numbers as they were written; ValueError for anything else."""
    return loads(source, parse_float=Written, parse_int=Written, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(f"invalid character '{name[0]}' looking for beginning of value")


def _parameter(source: str) -> list[Any]:
    if not source.strip():
        return []
    try:
        items = parse(source)
    except (ValueError, RecursionError) as error:
        raise NodeError(
            f"withParam value could not be parsed as a JSON list: {source.strip()}: {json_problem(source, error)}"
        ) from error
    if items is None:
        return []
    if not isinstance(items, list):
        raise NodeError(
            f"withParam value could not be parsed as a JSON list: {source.strip()}: json: cannot unmarshal "
            f"{_kind(items)} into Go value of type []v1alpha1.Item"
        )
    return items


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "object"
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, Written) else "string"


def json_problem(source: str, error: Exception) -> str:
    """What is wrong with a text that is no JSON, in the words that Argo's users know."""
    stripped = source.strip()
    if not stripped:
        return "unexpected end of JSON input"
    for literal in ("null", "true", "false"):
        if stripped[0] == literal[0]:
            for have, want in zip(stripped, literal, strict=False):
                if have != want:
                    return f"invalid character '{have}' in literal {literal} (expecting '{want}')"
    if not isinstance(error, json.JSONDecodeError) or error.pos >= len(source):
        return "unexpected end of JSON input"
    return f"invalid character '{source[error.pos]}' {_place(source, error)}"


def _place(source: str, error: json.JSONDecodeError) -> str:
    if error.msg.startswith("Expecting ','"):
        return "after object key:value pair" if _in_object(source[: error.pos]) else "after array element"
    return {
        "Extra data": "after top-level value",
        "Expecting ':' delimiter": "after object key",
        "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
        "Invalid control character at": "in string literal",
        "Invalid \\escape": "in string escape code",
    }.get(error.msg, "looking for beginning of value")


def _in_object(before: str) -> bool:
    """Whether the innermost bracket that is open at the end is a brace."""
    open_: list[str] = []
    text_ = False
    skip = False
    for character in before:
        if skip:
            skip = False
        elif character == "\\" and text_:
            skip = True
        elif character == '"':
            text_ = not text_
        elif not text_ and character in "[{":
            open_.append(character)
        elif not text_ and character in "]}" and open_:
            open_.pop()
    return bool(open_) and open_[-1] == "{"


def _sequence(sequence: Sequence) -> list[str]:
    start = _number(sequence.start) if sequence.start is not None else 0
    if sequence.end is not None:
        end = _number(sequence.end)
    elif sequence.count is not None:
        count = _number(sequence.count)
        if count == 0:
            return []
        end = start + count - 1
    else:
        raise NodeError("neither end nor count was specified in withSequence")
    if abs(end - start) >= MAX_ITEMS:
        raise NodeError(f"the sequence from {start} to {end} has too many items; at most {MAX_ITEMS} are possible")
    numbers = range(start, end + 1) if start <= end else range(start, end - 1, -1)
    return [_formatted(sequence.format or "%d", number) for number in numbers]


def _number(value: object) -> int:
    written = text(value)
    if not re.fullmatch(r"[+-]?\d+", written):
        raise NodeError(f'strconv.Atoi: parsing "{written}": invalid syntax')
    return int(written)


def _formatted(pattern: str, number: int) -> str:
    """Go's verbs for whole numbers."""

    def one(match: re.Match[str]) -> str:
        verb = match["verb"]
        if verb == "%":
            return "%"
        if verb in "vs":
            verb = "d" if verb == "v" else verb
        if verb == "s":
            return f"%!s(int={number})"
        width = min(int(match["width"] or 0), 100)
        digits = format(abs(number), {"U": "X"}.get(verb, verb if verb in "dxXobc" else "d"))
        sign = "-" if number < 0 else "+" if "+" in match["flags"] else " " if " " in match["flags"] else ""
        if "-" in match["flags"]:
            return (sign + digits).ljust(width)
        if "0" in match["flags"]:
            return sign + digits.rjust(width - len(sign), "0")
        return (sign + digits).rjust(width)

    return _FORMAT.sub(one, pattern)


def item(value: Any, index: int) -> Item:
    """What one item is called and what its variables read."""
    if isinstance(value, dict):
        parts = {str(key): _bare(inner) for key, inner in value.items()}
        variables = {f"item.{key}": inner for key, inner in parts.items()}
        variables["item"] = compact(dict(sorted(value.items())))
        name = ",".join(sorted(f"{key}:{inner}" for key, inner in parts.items()))
    elif isinstance(value, list) or value is None:
        variables = {"item": "null" if value is None else compact(value)}
        name = "[" + " ".join(_bare(inner) for inner in value or []) + "]"
    elif isinstance(value, str) and not isinstance(value, Written):
        variables = {"item": value}
        name = _bare(value)
    else:
        variables = {"item": _bare(value)}
        name = _bare(value)
    return Item(f"({index}:{name.replace('(', '').replace(')', '')})", variables)


def _bare(value: Any) -> str:
    """JSON without the quotes around a text."""
    written = compact(value)
    return written[1:-1] if written.startswith('"') else written


def compact(value: Any) -> str:
    """JSON without blanks; numbers as they were written."""
    if isinstance(value, Written):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(k), ensure_ascii=False)}:{compact(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(compact(inner) for inner in value) + "]"
    return json.dumps(value)
