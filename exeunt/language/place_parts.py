"""What all kinds of places of artifacts are made of, and how one says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import urlsplit

import msgspec

from exeunt.language.containers import KeySelector

LONGEST_KEY = 1024
"""Bytes of a key in UTF-8: what S3, GCS and OSS take at most, and Azure about so."""


TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""What a namespace and a uid can be in the embedded store."""


KEYED = ("s3", "gcs", "azure", "oss")
"""Kinds whose places have a key, which may stand alone."""


class PlaceError(ValueError):
    """A place that cannot be used. The text begins with the path of the field."""


def _argo(name: str) -> str:
    """Argo's name of a field: camelCase, with some words in capitals."""
    first, *rest = name.split("_")
    return first + "".join(word.upper() if word in ("arn", "sdk", "tls", "url") else word.capitalize() for word in rest)


class PlacePart(msgspec.Struct, rename=_argo, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A piece of a place. Treated as immutable after loading."""


class ArtifactPlace(PlacePart):
    """A place of some kind; what all have."""

    kind: ClassVar[str] = ""

    @property
    def key(self) -> str:
        """What names the artifact in its store; empty where the place is the whole (git, raw)."""
        return ""

    @property
    def only_key(self) -> bool:
        """Whether nothing but a key is said: the rest is the workflow's repository's (Argo: key-only artifacts)."""
        return self.kind in KEYED and len(msgspec.to_builtins(self)) == 1 and bool(self.key)

    @property
    def shown(self) -> str:
        """The place in a message for people, without what is secret."""
        return self.kind

    def problem(self) -> str:
        """`FIELD: what is wrong`; empty where nothing is."""
        return ""


def selectors(place: msgspec.Struct) -> Iterator[tuple[str, KeySelector]]:
    """Every secret that a place names, with the path of its field: what has to be looked up before it is used."""
    for field in msgspec.structs.fields(type(place)):
        value = getattr(place, field.name)
        if isinstance(value, KeySelector):
            yield field.encode_name, value
        elif isinstance(value, msgspec.Struct):
            for path, selector in selectors(value):
                yield f"{field.encode_name}.{path}", selector


def needed(place: ArtifactPlace, *names: str) -> str:
    """What is wrong when one of these fields is empty; empty for nothing."""
    return next((f"{name}: it is missing" for name in names if not getattr(place, name)), "")


def pair(place: ArtifactPlace, one: str, other: str) -> str:
    """What is wrong when one secret is named without the other; empty for nothing."""
    there = {path for path, _ in selectors(place)}
    return f"{one} and {other}: they go together" if (one in there) != (other in there) else ""


def web(url: str, field: str) -> str:
    """What is wrong with an address of HTTP; empty for nothing."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    return "" if good else f"{field}: an address with http:// or https:// is expected"


def bare(url: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url.partition("?")[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0].partition('#')[0]}"
