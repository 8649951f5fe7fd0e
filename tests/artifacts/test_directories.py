"""Directories that are kept file by file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

from exeunt.artifacts.directories import FILES_AT_ONCE, FileBelow, load_below, save_below
from exeunt.artifacts.stores import MissingError, Store, StoreAccess, StoredObject, StoreError
from exeunt.language.places import RawPlace
from tests.actions import servers
from tests.artifacts.test_s3 import chunks, store


@pytest.fixture(scope="module")
def server() -> Iterator[servers.S3]:
    with servers.s3() as made:
        (made.folder / "bucket").mkdir()
        yield made


async def test_a_directory_goes_there_and_back(server: servers.S3) -> None:
    kept = store(server)
    files = [FileBelow(f"sub/{n % 3}/{n}", partial(chunks, n), n) for n in range(100)]
    assert await save_below(kept, "wf/dir", files) == (100, sum(range(100)))
    found: dict[str, int] = {}
    at_once = most = 0

    async def write(name: str, stream: AsyncIterator[bytes]) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        found[name] = sum([len(chunk) async for chunk in stream])
        at_once -= 1

    assert await load_below(kept, "wf/dir/", write) == (100, sum(range(100)))
    assert found == {file.name: file.size for file in files}
    assert most <= FILES_AT_ONCE
    with pytest.raises(MissingError, match="nothing lies there"):
        await load_below(kept, "wf/di", write)


@pytest.mark.parametrize("name", ["../out", "a/../b", "/abs", "a//b", "", "."])
async def test_no_name_leads_out(server: servers.S3, name: str) -> None:
    with pytest.raises(StoreError, match="is no name of a file in a directory"):
        await save_below(store(server), "wf", [FileBelow(name, partial(chunks, 1), 1)])


class Listing(Store):
    """What an odd store lists."""

    def __init__(self, found: list[StoredObject]) -> None:
        super().__init__(RawPlace(), StoreAccess(secret=lambda name, key: ""))
        self._found = found

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        for one in self._found:
            yield one

    async def open(self, key: str) -> AsyncIterator[bytes]:
        yield key.encode()


async def test_marks_of_directories_are_no_files_and_names_of_others_are_checked() -> None:
    names = []

    async def write(name: str, stream: AsyncIterator[bytes]) -> None:
        names.append(name)

    await load_below(Listing([StoredObject("d/a", 0), StoredObject("d/a/b", 1), StoredObject("d/e", 0)]), "d", write)
    assert sorted(names) == ["a/b", "e"]
    with pytest.raises(StoreError, match="is no name of a file"):
        await load_below(Listing([StoredObject("d/../../etc/x", 1)]), "d", write)
