"""One artifact on its way: tried again when its store is away for a moment, checked, there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exeunt.artifacts import transfer
from exeunt.artifacts.archive import ArchiveError, HeldFile, MissingFileError, Strategy
from exeunt.artifacts.stores import MissingError, Store, StoreAccess, StoredObject, StoreError, from_mapping
from exeunt.artifacts.transfer import Content, fetch, keep, strategy_of
from exeunt.language.places import S3Place


class Shelf(Store):
    """Objects in memory; away for the first `away` calls, and gone in the midst of a read for the first `broken`."""

    def __init__(self, key: str = "key") -> None:
        super().__init__(S3Place(object=key), StoreAccess(secret=from_mapping({}), artifact="a"))
        self.objects: dict[str, bytes] = {}
        self.away = 0
        self.broken = 0

    def _here(self) -> None:
        if self.away:
            self.away -= 1
            raise self.failed("away", temporary=True)

    async def open(self, key: str) -> AsyncIterator[bytes]:
        self._here()
        if key not in self.objects:
            raise self.failed("nothing there", missing=True)
        data = self.objects[key]
        for at in range(0, len(data), 3):
            if self.broken and at:
                self.broken -= 1
                raise self.failed("broken", temporary=True)
            yield data[at : at + 3]

    async def save(self, key: str, stream: AsyncIterable[bytes], size: int | None = None) -> int:
        self._here()
        data = b"".join([piece async for piece in stream])
        self.objects[key] = data
        return len(data)

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        for key, data in self.objects.items():
            if key.startswith(f"{prefix}/"):
                yield StoredObject(key, len(data))

    async def is_directory(self, key: str) -> bool:
        return any([True async for _ in self.list(key)])


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "out"
    (made / "sub").mkdir(parents=True)
    (made / "one").write_text("one")
    (made / "sub" / "two").write_text("two")
    (made / "link").symlink_to("one")
    return made


async def kept(shelf: Shelf, path: Path, archive: dict[str, Any]) -> dict[str, Any]:
    """Keeps a path; the artifact as status has it."""
    tree = {"archive": archive} if archive else {}
    fd = os.open(path, os.O_PATH)
    try:
        content = await keep(shelf, HeldFile(fd, path), strategy_of(tree))
    finally:
        os.close(fd)
    return {**tree, "content": msgspec.to_builtins(content)}


def below(path: Path) -> dict[str, str]:
    return {str(one.relative_to(path)): one.read_text() for one in sorted(path.rglob("*")) if one.is_file()}


@pytest.mark.parametrize("archive", [{}, {"zip": {}}, {"tar": {"compressionLevel": 0}}, {"none": {}}])
async def test_a_directory_comes_back_as_it_was(folder: Path, tmp_path: Path, archive: dict[str, Any]) -> None:
    shelf = Shelf()
    tree = await kept(shelf, folder, archive)
    await fetch(shelf, tree, tmp_path / "in")
    expected = below(folder)
    if "none" in archive:
        del expected["link"]  # as in Argo
        assert tree["content"] == {"size": 6, "files": 2}
    assert below(tmp_path / "in") == expected


async def test_an_empty_directory_without_an_archive_comes_back(tmp_path: Path) -> None:
    shelf = Shelf()
    (tmp_path / "out").mkdir()
    tree = await kept(shelf, tmp_path / "out", {"none": {}})
    assert shelf.objects == {}
    await fetch(shelf, tree, tmp_path / "in")
    assert list((tmp_path / "in").iterdir()) == []


async def test_what_breaks_for_a_moment_is_begun_again(folder: Path, tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.away = transfer.TRIES - 1
    tree = await kept(shelf, folder / "one", {})
    shelf.away, shelf.broken = 2, 2
    await fetch(shelf, tree, tmp_path / "in")
    assert (tmp_path / "in").read_text() == "one"
    shelf.away = transfer.TRIES
    with pytest.raises(StoreError, match="away"):
        await fetch(shelf, tree, tmp_path / "again")
    assert not (tmp_path / "again").exists()


async def test_other_bytes_than_were_kept_are_an_error_and_leave_nothing(folder: Path, tmp_path: Path) -> None:
    shelf = Shelf()
    tree = await kept(shelf, folder / "one", {"none": {}})
    shelf.objects["key"] = b"changed"
    with pytest.raises(StoreError, match="its content has changed since it was kept"):
        await fetch(shelf, tree, tmp_path / "in")
    assert os.listdir(tmp_path) == ["out"]


async def test_what_is_not_there_is_told_apart_from_what_is_broken(folder: Path, tmp_path: Path) -> None:
    shelf = Shelf()
    with pytest.raises(MissingError):
        await fetch(shelf, {}, tmp_path / "in")
    fd = os.open(folder, os.O_PATH)
    try:
        with pytest.raises(MissingFileError, match="never: no such file"):
            await keep(shelf, HeldFile(fd, folder, "never"), Strategy())
        with pytest.raises(ArchiveError, match="leads out of its directory"):
            await keep(shelf, HeldFile(fd, folder, "../one"), Strategy())
    finally:
        os.close(fd)


async def test_a_mode_is_given_to_all_below(folder: Path, tmp_path: Path) -> None:
    shelf = Shelf()
    tree = await kept(shelf, folder, {"none": {}})
    await fetch(shelf, {**tree, "mode": 0o755, "recurseMode": True}, tmp_path / "in")
    assert {one.stat().st_mode & 0o777 for one in (tmp_path / "in").rglob("*")} == {0o755}


def test_a_directory_has_a_count_and_a_file_a_sum() -> None:
    assert msgspec.to_builtins(Content(3, "ab")) == {"size": 3, "sha256": "ab"}
    assert msgspec.to_builtins(Content(0, files=0)) == {"size": 0, "files": 0}
