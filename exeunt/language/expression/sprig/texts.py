"""Sprig's functions over texts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import string
import zlib
from typing import Any, Final

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.frame import Frame
from exeunt.language.expression.render import format_value
from exeunt.language.expression.signature import Registry
from exeunt.language.expression.sprig.cases import kebab_case, pascal_case, snake_case
from exeunt.language.expression.text import BLANKS, from_base64, lower, repeat_text, replace_text, split_text, upper

TEXTS: Final = Registry()
_sprig = TEXTS.add
_QUOTED: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    '"': '\\"', "\\": "\\\\",
}  # fmt: skip
_DELETE: Final = 0x7F
_ALPHA: Final = string.ascii_uppercase + string.ascii_lowercase
_ASCII: Final = "".join(map(chr, range(32, 127)))


def strval(frame: Frame, value: Any) -> str:
    """A value as a text, as Sprig takes it."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else format_value(frame, value)


def strings(frame: Frame, value: Any) -> list[str]:
    """A list as texts, without its nils; one value as a list of it."""
    if value is None:
        return []
    items = value if isinstance(value, list | bytes) else [value]
    frame.allocate(len(items))
    return [strval(frame, item) for item in items if item is not None]


def quoted(text: str) -> str:
    """A text in quotes as Go's `%q` writes it."""
    found: list[str] = []
    for character in text:
        code = ord(character)
        if character in _QUOTED:
            found.append(_QUOTED[character])
        elif character.isprintable():
            found.append(character)
        elif code < 0x20 or code == _DELETE:
            found.append(f"\\x{code:02x}")
        else:
            found.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f'"{"".join(found)}"'


@_sprig("hello")
def _hello(_: Frame) -> str:
    return "Hello!"


@_sprig("trim", "s")
def _trim(_: Frame, text: str) -> str:
    return text.strip(BLANKS)


@_sprig("trimall", "ss")
@_sprig("trimAll", "ss")
def _trim_all(_: Frame, characters: str, text: str) -> str:
    return text.strip(characters) if characters else text


@_sprig("trimSuffix", "ss")
def _trim_suffix(_: Frame, suffix: str, text: str) -> str:
    return text.removesuffix(suffix)


@_sprig("trimPrefix", "ss")
def _trim_prefix(_: Frame, prefix: str, text: str) -> str:
    return text.removeprefix(prefix)


@_sprig("upper", "s")
def _upper(frame: Frame, text: str) -> str:
    return upper(frame, text)


@_sprig("lower", "s")
def _lower(frame: Frame, text: str) -> str:
    return lower(frame, text)


@_sprig("title", "s")
def _title(frame: Frame, text: str) -> str:
    return frame.text(
        re.sub(r"(?<![\w'])\w", lambda match: upper(frame, match.group()), text.replace("'", "\0")).replace("\0", "'")
    )


@_sprig("untitle", "s")
def _untitle(frame: Frame, text: str) -> str:
    return frame.text(re.sub(r"(?<!\S)\S", lambda match: lower(frame, match.group()), text))


@_sprig("substr", "iis")
def _substr(_: Frame, start: int, end: int, text: str) -> str:
    data = text.encode()
    first, last = (0, end) if start < 0 else (start, len(data) if end < 0 or end > len(data) else end)
    if not 0 <= first <= last <= len(data):
        raise ExpressionError(f"slice bounds out of range [{first}:{last}] with length {len(data)}")
    return data[first:last].decode("utf-8", "replace")


@_sprig("repeat", "is")
def _repeat(frame: Frame, count: int, text: str) -> str:
    return repeat_text(frame, text, count)


@_sprig("nospace", "s")
def _nospace(_: Frame, text: str) -> str:
    return "".join(text.split())


@_sprig("trunc", "is")
def _trunc(_: Frame, length: int, text: str) -> str:
    data = text.encode()
    if length < 0 and len(data) + length > 0:
        return data[length:].decode("utf-8", "replace")
    return data[:length].decode("utf-8", "replace") if 0 <= length < len(data) else text


def _abbreviated(text: str, offset: int, width: int) -> str:
    if len(text) <= width:
        return text
    offset = max(min(offset, len(text)), 0)
    offset = min(offset, len(text) - (width - 3))
    if offset <= 4:
        return text[: width - 3] + "..."
    if offset + width - 3 < len(text):
        return "..." + _abbreviated(text[offset:], 0, width - 3)
    return "..." + text[len(text) - (width - 3) :]


@_sprig("abbrev", "is")
def _abbrev(_: Frame, width: int, text: str) -> str:
    return text if width < 4 else _abbreviated(text, 0, width)


@_sprig("abbrevboth", "iis")
def _abbrevboth(_: Frame, left: int, right: int, text: str) -> str:
    return text if right < 4 or (left > 0 and right < 7) else _abbreviated(text, left, right)


@_sprig("initials", "s")
def _initials(_: Frame, text: str) -> str:
    return "".join(word[0] for word in text.split())


@_sprig("swapcase", "s")
def _swapcase(frame: Frame, text: str) -> str:
    return "".join(lower(frame, one) if one.isupper() else upper(frame, one) for one in text)


@_sprig("snakecase", "s")
def _snakecase(frame: Frame, text: str) -> str:
    return frame.text(snake_case(text))


@_sprig("kebabcase", "s")
def _kebabcase(frame: Frame, text: str) -> str:
    return frame.text(kebab_case(text))


@_sprig("camelcase", "s")
def _camelcase(frame: Frame, text: str) -> str:
    return frame.text(pascal_case(text))


def _wrapped(frame: Frame, text: str, width: int, newline: str, *, cut: bool) -> str:
    """Lines of at most `width`, broken at blanks; a longer word is broken only where `cut`."""
    frame.spend(len(text))
    width = max(width, 1)
    lines: list[str] = []
    place = 0
    while len(text) - place > width:
        if text[place] == " ":
            place += 1
            continue
        end = text.rfind(" ", place, place + width + 1)
        if end >= place:
            lines.append(text[place:end])
            place = end + 1
        elif cut:
            lines.append(text[place : place + width])
            place += width
        else:
            end = text.find(" ", place + width)
            if end < 0:
                break
            lines.append(text[place:end])
            place = end + 1
    return frame.text(newline.join([*lines, text[place:]]))


@_sprig("wrap", "is")
def _wrap(frame: Frame, width: int, text: str) -> str:
    return _wrapped(frame, text, width, "\n", cut=False)


@_sprig("wrapWith", "iss")
def _wrap_with(frame: Frame, width: int, newline: str, text: str) -> str:
    return _wrapped(frame, text, width, newline or "\n", cut=True)


@_sprig("contains", "ss")
def _contains(_: Frame, part: str, text: str) -> bool:
    return part in text


@_sprig("hasPrefix", "ss")
def _has_prefix(_: Frame, prefix: str, text: str) -> bool:
    return text.startswith(prefix)


@_sprig("hasSuffix", "ss")
def _has_suffix(_: Frame, suffix: str, text: str) -> bool:
    return text.endswith(suffix)


@_sprig("quote", "*…")
def _quote(frame: Frame, *given: Any) -> str:
    return frame.text(" ".join(quoted(strval(frame, value)) for value in given if value is not None))


@_sprig("squote", "*…")
def _squote(frame: Frame, *given: Any) -> str:
    return frame.text(" ".join(f"'{format_value(frame, value)}'" for value in given if value is not None))


@_sprig("cat", "*…")
def _cat(frame: Frame, *given: Any) -> str:
    return frame.text(" ".join(format_value(frame, value) for value in given if value is not None))


@_sprig("indent", "is")
def _indent(frame: Frame, spaces: int, text: str) -> str:
    pad = repeat_text(frame, " ", spaces)
    return pad + replace_text(frame, text, "\n", f"\n{pad}")


@_sprig("nindent", "is")
def _nindent(frame: Frame, spaces: int, text: str) -> str:
    return f"\n{_indent(frame, spaces, text)}"


@_sprig("replace", "sss")
def _replace(frame: Frame, old: str, new: str, text: str) -> str:
    return replace_text(frame, text, old, new)


@_sprig("plural", "ssi")
def _plural(_: Frame, one: str, many: str, count: int) -> str:
    return one if count == 1 else many


@_sprig("toString", "*")
def _to_string(frame: Frame, value: Any) -> str:
    return strval(frame, value)


@_sprig("toStrings", "*")
def _to_strings(frame: Frame, value: Any) -> list[str]:
    return strings(frame, value)


@_sprig("join", "s*")
def _join(frame: Frame, glue: str, value: Any) -> str:
    parts = strings(frame, value)
    frame.allocate(sum(map(len, parts)) + len(glue) * len(parts))
    return glue.join(parts)


@_sprig("splitList", "ss")
def _split_list(frame: Frame, separator: str, text: str) -> list[str]:
    return split_text(frame, text, separator)


@_sprig("split", "ss")
def _split(frame: Frame, separator: str, text: str) -> dict[str, str]:
    return {f"_{place}": part for place, part in enumerate(split_text(frame, text, separator))}


@_sprig("splitn", "sis")
def _splitn(frame: Frame, separator: str, most: int, text: str) -> dict[str, str]:
    return {f"_{place}": part for place, part in enumerate(split_text(frame, text, separator, most))}


@_sprig("sortAlpha", "*")
def _sort_alpha(frame: Frame, value: Any) -> list[str]:
    parts = strings(frame, value)
    frame.spend(len(parts) * max(len(parts).bit_length(), 1))
    return sorted(parts, key=str.encode)


@_sprig("sha1sum", "s")
def _sha1sum(_: Frame, text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@_sprig("sha256sum", "s")
def _sha256sum(_: Frame, text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@_sprig("sha512sum", "s")
def _sha512sum(_: Frame, text: str) -> str:
    return hashlib.sha512(text.encode()).hexdigest()


@_sprig("adler32sum", "s")
def _adler32sum(_: Frame, text: str) -> str:
    return str(zlib.adler32(text.encode()))


@_sprig("b64enc", "s")
def _b64enc(frame: Frame, text: str) -> str:
    return frame.text(base64.b64encode(text.encode()).decode())


@_sprig("b64dec", "s")
def _b64dec(_: Frame, text: str) -> str:
    try:
        return from_base64(text)
    except ExpressionError as error:
        return error.message  # so it is in Sprig: the text of the error is the result


@_sprig("b32enc", "s")
def _b32enc(frame: Frame, text: str) -> str:
    return frame.text(base64.b32encode(text.encode()).decode())


@_sprig("b32dec", "s")
def _b32dec(_: Frame, text: str) -> str:
    try:
        return base64.b32decode(text).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return "illegal base32 data"


def _drawn(frame: Frame, letters: str, count: int) -> str:
    if count < 0:
        raise ExpressionError(f"a random text cannot have {count} characters")
    data = frame.random(4 * count)
    return "".join(letters[int.from_bytes(data[place : place + 4]) % len(letters)] for place in range(0, 4 * count, 4))


def _random(name: str, letters: str) -> None:
    _sprig(name, "i")(lambda frame, count: _drawn(frame, letters, count))


_random("randAlphaNum", _ALPHA + string.digits)
_random("randAlpha", _ALPHA)
_random("randNumeric", string.digits)
_random("randAscii", _ASCII)


@_sprig("randBytes", "i")
def _rand_bytes(frame: Frame, count: int) -> str:
    return base64.b64encode(frame.random(max(count, 0))).decode()


@_sprig("shuffle", "s")
def _shuffle(frame: Frame, text: str) -> str:
    letters = list(text)
    data = frame.random(4 * len(letters))
    for place in range(len(letters) - 1, 0, -1):
        other = int.from_bytes(data[4 * place : 4 * place + 4]) % (place + 1)
        letters[place], letters[other] = letters[other], letters[place]
    return "".join(letters)


@_sprig("uuidv4")
def _uuidv4(frame: Frame) -> str:
    data = bytearray(frame.random(16))
    data[6] = data[6] & 0x0F | 0x40  # version 4 and the variant of RFC 9562
    data[8] = data[8] & 0x3F | 0x80
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
