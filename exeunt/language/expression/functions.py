"""The functions of the language by name, and those that Argo adds."""

from __future__ import annotations

import base64
import math
import re
from typing import Any, Final

from exeunt.language.expression import dates, jsonpath, lists
from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.frame import Frame
from exeunt.language.expression.json_text import from_json
from exeunt.language.expression.render import format_value, to_json
from exeunt.language.expression.signature import Registry
from exeunt.language.expression.sprig import SPRIG
from exeunt.language.expression.text import (
    BLANKS,
    byte_index,
    from_base64,
    lower,
    repeat_text,
    replace_text,
    split_text,
    upper,
)
from exeunt.language.expression.values import int64, is_number, to_int, type_name

BUILTINS: Final = Registry()
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_FLOAT: Final = re.compile(
    r"[+-]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?|[+-]?(?:inf|infinity)|nan", re.IGNORECASE
)
_builtin = BUILTINS.add


# texts


@_builtin("trim", "ss?")
def _trim(_: Frame, text: str, characters: str | None = None) -> str:
    return text.strip(BLANKS) if characters is None else text.strip(characters) if characters else text


@_builtin("trimPrefix", "ss?")
def _trim_prefix(_: Frame, text: str, prefix: str = " ") -> str:
    return text.removeprefix(prefix)


@_builtin("trimSuffix", "ss?")
def _trim_suffix(_: Frame, text: str, suffix: str = " ") -> str:
    return text.removesuffix(suffix)


@_builtin("upper", "s")
def _upper(frame: Frame, text: str) -> str:
    return upper(frame, text)


@_builtin("lower", "s")
def _lower(frame: Frame, text: str) -> str:
    return lower(frame, text)


@_builtin("split", "ssi?")
def _split(frame: Frame, text: str, separator: str, most: int = -1) -> list[str]:
    return split_text(frame, text, separator, most)


@_builtin("splitAfter", "ssi?")
def _split_after(frame: Frame, text: str, separator: str, most: int = -1) -> list[str]:
    parts = split_text(frame, text, separator, most)
    return [part + separator for part in parts[:-1]] + parts[-1:]


@_builtin("replace", "sssi?")
def _replace(frame: Frame, text: str, old: str, new: str, most: int = -1) -> str:
    return replace_text(frame, text, old, new, most)


@_builtin("repeat", "si")
def _repeat(frame: Frame, text: str, count: int) -> str:
    return repeat_text(frame, text, count)


@_builtin("indexOf", "ss")
def _index_of(_: Frame, text: str, part: str) -> int:
    return byte_index(text, text.find(part))


@_builtin("lastIndexOf", "ss")
def _last_index_of(_: Frame, text: str, part: str) -> int:
    return byte_index(text, text.rfind(part))


@_builtin("hasPrefix", "ss")
def _has_prefix(_: Frame, text: str, prefix: str) -> bool:
    return text.startswith(prefix)


@_builtin("hasSuffix", "ss")
def _has_suffix(_: Frame, text: str, suffix: str) -> bool:
    return text.endswith(suffix)


# numbers


@_builtin("abs", "n")
def _abs(_: Frame, value: Any) -> Any:
    return int64(abs(value)) if isinstance(value, int) else abs(value)


@_builtin("ceil", "n")
def _ceil(_: Frame, value: Any) -> float:
    return float(math.ceil(value)) if math.isfinite(value) else float(value)


@_builtin("floor", "n")
def _floor(_: Frame, value: Any) -> float:
    return float(math.floor(value)) if math.isfinite(value) else float(value)


def round_half_away(value: float) -> float:
    """Go's math.Round: halves go away from zero."""
    if not math.isfinite(value):
        return value
    whole = math.trunc(value)
    return float(whole + int(math.copysign(1, value))) if abs(value - whole) >= 0.5 else float(whole)


@_builtin("round", "n")
def _round(_: Frame, value: Any) -> float:
    return round_half_away(float(value))


@_builtin("bitand", "ii")
def _bitand(_: Frame, left: int, right: int) -> int:
    return left & right


@_builtin("bitor", "ii")
def _bitor(_: Frame, left: int, right: int) -> int:
    return left | right


@_builtin("bitxor", "ii")
def _bitxor(_: Frame, left: int, right: int) -> int:
    return left ^ right


@_builtin("bitnand", "ii")
def _bitnand(_: Frame, left: int, right: int) -> int:
    return left & ~right


@_builtin("bitnot", "i")
def _bitnot(_: Frame, value: int) -> int:
    return ~value


def _shift(count: int) -> int:
    if count < 0:
        raise ExpressionError(f"invalid operation: negative shift count {count} (type int)")
    return min(count, 64)


@_builtin("bitshl", "ii")
def _bitshl(_: Frame, left: int, right: int) -> int:
    return int64(left << _shift(right))


@_builtin("bitshr", "ii")
def _bitshr(_: Frame, left: int, right: int) -> int:
    return left >> _shift(right)


@_builtin("bitushr", "ii")
def _bitushr(_: Frame, left: int, right: int) -> int:
    return int64((left % (1 << 64)) >> _shift(right))


# types


@_builtin("len", "*")
def _len(_: Frame, value: Any) -> int:
    if isinstance(value, str | list | dict | bytes):
        return len(value)
    raise ExpressionError(f"invalid argument for len (type {type_name(value)})")


@_builtin("type", "*")
def _type(_: Frame, value: Any) -> str:
    return type_name(value)


@_builtin("int", "*")
def to_integer(_: Frame, value: Any) -> int:
    """`int(v)`: a number cut towards zero, or a text of digits."""
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value) or len(value) > 20 or int64(int(value)) != int(value):
            raise ExpressionError(f"invalid operation: int({value})")
        return int(value)
    return to_int(getattr(value, "nanoseconds", value))


@_builtin("float", "*")
def to_float(_: Frame, value: Any) -> float:
    """`float(v)`: a number, or a text of one."""
    if isinstance(value, str):
        if not _FLOAT.fullmatch(value) or "_" in value:
            raise ExpressionError(f"invalid operation: float({value})")
        return float(value)
    if not is_number(value):
        raise ExpressionError(f"invalid operation: float({type_name(value)})")
    return float(value)


@_builtin("string", "*")
def to_string(frame: Frame, value: Any) -> str:
    """`string(v)`: what Go's `%v` shows."""
    return format_value(frame, value)


@_builtin("toJSON", "*")
def _to_json_indented(frame: Frame, value: Any) -> str:
    return to_json(frame, value, indent="  ")


@_builtin("fromJSON", "s")
def _from_json(frame: Frame, text: str) -> Any:
    return from_json(frame, text)


@_builtin("toBase64", "s")
def _to_base64(frame: Frame, text: str) -> str:
    return frame.text(base64.b64encode(text.encode()).decode())


@_builtin("fromBase64", "s")
def _from_base64(_: Frame, text: str) -> str:
    return from_base64(text)


BUILTINS.update(lists.LISTS)
BUILTINS.update(dates.DATES)

# What Argo puts beside the variables (its docs/variables.md, "Expression"): older names of `int` and `float`, JSON and
# JSONPath, and Sprig.
GLOBALS: Final[dict[str, Any]] = {"asInt": BUILTINS["int"], "asFloat": BUILTINS["float"], "sprig": SPRIG}
_globals: Final = Registry()


@_globals.add("toJson", "*")
def _to_json(frame: Frame, value: Any) -> str:
    return to_json(frame, value)


@_globals.add("jsonpath", "ss")
def _jsonpath(frame: Frame, text: str, path: str) -> Any:
    return jsonpath.query(frame, path, from_json(frame, text))


GLOBALS.update(_globals)
