"""snake_case, kebab-case and PascalCase, with the words found as Sprig finds them."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Over the kinds of the characters: U capital, l small, d digit, y symbol, s separator, o other. Digits belong to the
# word before them unless small letters follow; a run of capitals ends before one that starts a word.
_WORDS: Final = re.compile(r"d+l[ld]*|y+d*|U+d+(?![ld])|U?l+d+(?![ld])|U+(?!l)|U?l+|d+|s|o+")
_SEPARATED: Final = re.compile(r"[\s_-]+")


def snake_case(text: str) -> str:
    """`HTTPServer2` as `http_server2`."""
    return _joined(text, "_")


def kebab_case(text: str) -> str:
    """`HTTPServer` as `http-server`."""
    return _joined(text, "-")


def _kind(character: str) -> str:
    if character.isspace() or character in "_-":
        return "s"
    if character.isdecimal():
        return "d"
    if not character.isalpha():
        return "y" if unicodedata.category(character).startswith("S") else "o"
    return "U" if character.isupper() else "l"


def _joined(text: str, separator: str) -> str:
    kinds = "".join(map(_kind, text))
    parts: list[str] = []
    after_word = False
    for match in _WORDS.finditer(kinds):
        kind = match.group()[0]
        if kind == "s":
            parts.append(separator)
        else:
            parts += (separator if after_word and kind != "o" else "", text[match.start() : match.end()].lower())
        after_word = kind not in "so"
    return "".join(parts)


def pascal_case(text: str) -> str:
    """`http_server` as `HttpServer`. Separators at the ends stay, and of several between words all but one."""
    words = _SEPARATED.split(text)
    gaps = _SEPARATED.findall(text)
    made = [_capitalized(words[0])]
    for place, word in enumerate(words[1:]):
        at_end = (place == 0 and words[0] == "") or (word == "" and place == len(gaps) - 1)
        made += (gaps[place] if at_end else gaps[place][:-1], _capitalized(word))
    return "".join(made)


def _capitalized(word: str) -> str:
    """`GOLANG` as `Golang`, `fooBar` as `FooBar`."""
    end = 1
    if word[:1].isupper():
        while end < len(word) and word[end].isupper():
            end += 1
    return word[:1].upper() + word[1:end].lower() + word[end:]
