"""The embedded store behind the port of stores: one's own artifacts are written, those of others only read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from exeunt.artifacts.directories import FileBelow, load_below, save_below
from exeunt.artifacts.embedded import EmbeddedStore
from exeunt.artifacts.registry import store_for
from exeunt.artifacts.stores import MissingError, Store, StoreAccess, StoredObject, StoreError, from_mapping
from exeunt.language.place_parts import PlaceError
from exeunt.language.places import place_of


def seen_by(who: str, embedded: EmbeddedStore | None, **place: str) -> Store:
    access = StoreAccess(
        secret=from_mapping({}), artifact="out", embedded=embedded, namespace="default", uid=who, environment=False
    )
    return store_for(place_of({"name": "out", "nats": place}), access)


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


async def read(store: Store, key: str) -> bytes:
    return b"".join([piece async for piece in store.open(key)])


async def test_a_workflow_keeps_and_others_of_its_namespace_read(store: EmbeddedStore) -> None:
    own = seen_by("one", store, key="a/b")
    assert await own.save("a/b", pieces(b"he", b"llo"), 5) == 5
    assert await read(own, "a/b") == b"hello"
    handed_on = seen_by("two", store, key="a/b", uid="one")
    assert await read(handed_on, "a/b") == b"hello"
    with pytest.raises(MissingError, match=r"^artifact out, nats a/b: there is none of this key in workflow two$"):
        await read(seen_by("two", store, key="a/b"), "a/b")
    for change in (handed_on.delete("a/b"), handed_on.save("a/b", pieces(b"x"))):
        with pytest.raises(StoreError, match="a/b of workflow one: it belongs to another workflow"):
            await change
    await own.delete("a/b")
    await own.delete("a/b")
    with pytest.raises(MissingError):
        await read(own, "a/b")


@pytest.mark.parametrize("said", [4, 6])
async def test_a_wrong_size_keeps_nothing(store: EmbeddedStore, said: int) -> None:
    own = seen_by("one", store, key="a")
    with pytest.raises(StoreError, match=f"bytes came to be kept, {said} were said"):
        await own.save("a", pieces(b"he", b"llo"), said)
    assert [one async for one in own.list("")] == []


async def test_a_directory(store: EmbeddedStore) -> None:
    own = seen_by("one", store, key="d")
    files = {"f": b"1", "e/g": b"22", "e/h": b""}
    below = [FileBelow(name, lambda content=content: pieces(content), len(content)) for name, content in files.items()]  # type: ignore[misc]
    assert await save_below(own, "d", below) == (3, 3)
    await own.save("dd", pieces(b"no"))
    assert [one async for one in own.list("d/e")] == [StoredObject("d/e/g", 2), StoredObject("d/e/h", 0)]
    assert [await own.is_directory(key) for key in ("d", "d/e", "d/f", "dd", "x")] == [True, True, False, False, False]
    found: dict[str, bytes] = {}

    async def write(name: str, stream: AsyncIterator[bytes]) -> None:
        found[name] = b"".join([piece async for piece in stream])

    assert await load_below(own, "d", write) == (3, 3)
    assert found == files


async def test_without_a_way_to_the_store() -> None:
    lost = seen_by("one", None, key="a")
    calls: list[Any] = [lost.save("a", pieces()), lost.delete("a"), lost.is_directory("a"), read(lost, "a")]
    for call in calls:
        with pytest.raises(StoreError, match="there is no way to the embedded store from here"):
            await call


def test_places() -> None:
    assert place_of({"nats": {"key": "a", "uid": "u-1"}}).shown == "nats a of workflow u-1"
    with pytest.raises(PlaceError, match=r"^nats.uid: no workflow can have 'a.b'"):
        place_of({"nats": {"key": "a", "uid": "a.b"}})
    with pytest.raises(PlaceError, match="unknown field `namespace`"):
        place_of({"nats": {"key": "a", "namespace": "other"}})
