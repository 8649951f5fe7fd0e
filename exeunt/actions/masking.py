"""Masks secrets in everything that people get to see or that is stored."""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import quote, urlsplit

from exeunt.actions.search import Needles

MASK = "***"
SHORTEST = 6  # shorter texts stand in too many places to be masked
LONGEST_IN_URL = 2048  # characters; longer texts are not looked for in the form that they would have in a URL
_SENSITIVE = re.compile(
    r"authori[sz]ation|cookie|token|secret|passw|credential|signature|api[-_]?key|private[-_]?key", re.IGNORECASE
)
_TOKEN_LIKE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9_.~+-]{20,}")


def sensitive_name(name: str) -> bool:
    """True for names of headers and fields whose values are secrets as a rule."""
    return _SENSITIVE.search(name) is not None


class Masker:
    """Knows the secrets of one attempt, and masks them in texts and trees."""

    def __init__(self) -> None:
        self.forms: set[str] = set()
        self._needles: Needles | None = None

    def add(self, secret: str) -> None:
        """Adds a text that must not be seen, in every form in which it may turn up; under 6 characters it is ignored.

        The forms: as it stands in URLs (up to 2,048 characters), in JSON and in base64; without blanks around it;
        without a scheme before it (`Bearer …`); and each line of a text of several lines (a key, say).
        """
        plain = secret.strip()
        scheme, _, rest = plain.partition(" ")
        forms = {secret, plain, *(line.strip() for line in plain.splitlines())}
        if scheme.lower() in {"bearer", "basic", "token"}:
            forms.add(rest.strip())
        for form in {secret, plain}:
            coded = base64.b64encode(form.encode()).decode()
            forms |= {coded, coded.rstrip("="), json.dumps(form)[1:-1], json.dumps(form, ensure_ascii=False)[1:-1]}
            if len(form) <= LONGEST_IN_URL:
                in_url = quote(form, safe="")
                forms |= {in_url, in_url.replace("%20", "+")}
        forms = {form for form in forms if len(form) >= SHORTEST} - self.forms
        if forms:
            self.forms |= forms
            self._needles = None

    @property
    def needles(self) -> Needles:
        """All forms, prepared for the search. Preparing thousands takes some milliseconds."""
        if self._needles is None:
            self._needles = Needles(form.encode(errors="surrogatepass") for form in self.forms)
        return self._needles

    def text(self, text: str) -> str:
        """The text with every known secret masked."""
        if not self.forms:
            return text
        data = text.encode(errors="surrogatepass")
        return self.needles.replaced(data, MASK.encode()).decode(errors="surrogatepass")

    def tree(self, value: Any) -> Any:
        """A JSON-like value with every known secret masked, in keys too, and all texts in fields named like secrets.

        A pair of `name` and `value`, as parameters and headers are written, counts as a field.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            pair = str(value["name"]) if "name" in value and "value" in value else ""
            return {self.text(str(k)): self._field(pair if k == "value" else str(k), v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(v) for v in value]
        return value

    def _field(self, name: str, value: Any) -> Any:
        return MASK if isinstance(value, str) and value and sensitive_name(name) else self.tree(value)


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
