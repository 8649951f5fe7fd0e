"""Artifacts as trees: what kind of place one has, whether it is whole, and where one lies that has only a key.

A tree has the shape that an artifact has in `status.nodes`: its name, its path, and its place under the name of the
kind of store (`s3: {key: …}`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from exeunt.language.place_parts import PlaceError

Tree = dict[str, Any]
KEYS = {
    "artifactory": "url",
    "azure": "blob",
    "gcs": "key",
    "git": "",
    "hdfs": "path",
    "http": "url",
    "nats": "key",
    "oss": "key",
    "raw": "",
    "s3": "key",
    "plugin": "key",
}
"""The kinds of places, and which field of each is its key; empty where a part of it cannot be named by a key."""

WHOLE = {
    "artifactory": ("url",),
    "azure": ("endpoint", "container", "blob"),
    "gcs": ("bucket", "key"),
    "git": ("repo",),
    "hdfs": ("path",),
    "http": ("url",),
    "nats": ("key",),
    "oss": ("endpoint", "bucket", "key"),
    "raw": ("data",),
    "s3": ("endpoint", "bucket", "key"),
    "plugin": ("key",),
}
"""What each kind of place has to say to need no repository (Argo: HasLocation)."""


def store_of(tree: Mapping[str, Any]) -> str:
    """The kind of place that an artifact has; empty where it has none."""
    return next((kind for kind in KEYS if tree.get(kind) is not None), "")


def has_place(tree: Mapping[str, Any]) -> bool:
    """Whether it can be fetched: it has a place, or a key in the workflow's own repository (Argo: HasLocationOrKey)."""
    kind = store_of(tree)
    if kind in ("raw", ""):
        return bool(kind)
    return bool(tree[kind].get(KEYS[kind] or "repo"))


def is_whole(tree: Mapping[str, Any]) -> bool:
    """Whether a place says all that it takes to reach it."""
    kind = store_of(tree)
    return kind == "raw" or (bool(kind) and all(tree[kind].get(field) for field in WHOLE[kind]))


def located(tree: Mapping[str, Any], archive: Mapping[str, Any], file_name: str = "", *, whole: bool = False) -> Tree:
    """The artifact with a whole place: its own, or its key in the repository, or `file_name` in the step's folder.

    `archive` is that folder, a place whose key is the folder (Argo: Relocate). `whole`: without a key all of it.
    Raises PlaceError where it takes a repository, and there is none.
    """
    if is_whole(tree):
        return dict(tree)
    own, store = store_of(tree), store_of(archive)
    key = str(tree[own].get(KEYS[own], "")) if own else ""
    if not store:
        raise PlaceError(f"{own or 'artifact'}: it has no whole place, and the workflow has no artifact repository")
    if not key and not file_name and not whole:
        raise PlaceError(f"{own or 'artifact'}: it has no key")
    field = KEYS[store]
    bare = {name: value for name, value in tree.items() if name not in KEYS}
    place = archive[store]
    return {**bare, store: {**place, field: key or posixpath.join(str(place.get(field, "")), file_name)}}
