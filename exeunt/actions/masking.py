"""Keeps secrets out of whatever people and files get to see."""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

MASK = "***"
SHORTEST = 6  # shorter texts stand in too many places to be masked
_SENSITIVE = re.compile(
    r"authori[sz]ation|cookie|token|secret|passw|credential|signature|api[-_]?key|private[-_]?key", re.IGNORECASE
)
_TOKEN_LIKE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9_.~+-]{20,}")


def sensitive_name(name: str) -> bool:
    """True for names of headers and fields whose values are secrets as a rule."""
    return _SENSITIVE.search(name) is not None


class Masker:
    """Knows the secrets of one attempt and takes them out of texts and trees."""

    def __init__(self) -> None:
        self.forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        """A text that must not be seen, with the forms in which it may turn up; texts under 6 characters are let be.

        The forms: as it stands in URLs, in JSON and in base64, without blanks around it, the credentials behind a
        scheme (`Bearer …`), and each line of a text of many (a key, say).
        """
        plain = secret.strip()
        scheme, _, rest = plain.partition(" ")
        forms = {secret, plain, *(line.strip() for line in plain.splitlines())}
        if scheme.lower() in {"bearer", "basic", "token"}:
            forms.add(rest.strip())
        for form in {secret, plain}:
            coded = base64.b64encode(form.encode()).decode()
            forms |= {quote(form, safe=""), quote_plus(form), coded, coded.rstrip("=")}
            forms |= {json.dumps(form)[1:-1], json.dumps(form, ensure_ascii=False)[1:-1]}
        self.forms.update(form for form in forms if len(form) >= SHORTEST)
        self._pattern = None

    def text(self, text: str) -> str:
        """The text with every known secret masked."""
        if not self.forms:
            return text
        if self._pattern is None:
            longest_first = sorted(self.forms, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))
        return self._pattern.sub(MASK, text)

    def tree(self, value: Any) -> Any:
        """A JSON-like value with every known secret masked, in keys too, and the texts of fields named like secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {
                self.text(str(k)): MASK if isinstance(v, str) and v and sensitive_name(str(k)) else self.tree(v)
                for k, v in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.tree(v) for v in value]
        return value


def shown_url(url: str) -> str:
    """A URL as it may be shown: without user, query and fragment, and without what looks like a token in its path."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        host = parts.hostname or ""
    except ValueError:
        return "(an address that cannot be read)"
    path = "/".join(MASK if _TOKEN_LIKE.fullmatch(p) else p for p in parts.path.split("/"))
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{path}"
