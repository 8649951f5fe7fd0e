"""Archives there and back: what is kept, what Argo would make of it, and flat memory."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import resource
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exeunt.artifacts.archive import (
    ArchiveError,
    MissingFileError,
    Strategy,
    file_name,
    names_below,
    pack,
    unpack,
)


async def whole(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in stream])


async def pieces(content: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for i in range(0, len(content), size):
        yield content[i : i + size]


def a_tree(folder: Path) -> Path:
    """A directory with all that an archive keeps."""
    out = folder / "out"
    (out / "bin").mkdir(parents=True)
    (out / "empty").mkdir()
    (out / "bin" / "run").write_bytes(b"#!/bin/sh\n")
    (out / "bin" / "run").chmod(0o755)
    (out / "ünï").write_bytes(os.urandom(300_000))
    (out / ("long" * 50)).write_text("name")
    (out / "link").symlink_to("bin/run")
    (out / "closed").write_text("mine")
    (out / "closed").chmod(0o400)
    os.utime(out / "closed", (1_000_000_000, 1_000_000_000))
    return out


def seen(folder: Path) -> dict[str, tuple[str, int, bytes]]:
    """What stands below: kind, mode, content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", 0, os.fsencode(os.readlink(path)))
        elif path.is_dir():
            found[name] = ("dir", path.stat().st_mode & 0o777, b"")
        else:
            found[name] = ("file", path.stat().st_mode & 0o777, path.read_bytes())
    return found


@pytest.mark.parametrize("level", [-1, 0, 1, 9])
async def test_a_directory_as_tar_comes_back_as_it_was(tmp_path: Path, level: int) -> None:
    out = a_tree(tmp_path)
    packed = await whole(pack(out, Strategy("tar", level)))
    written = await unpack(pieces(packed), tmp_path / "in" / "data")
    assert seen(tmp_path / "in" / "data") == seen(out)
    assert (tmp_path / "in" / "data" / "closed").stat().st_mtime == 1_000_000_000
    assert written.entries == len(seen(out)) + 1
    assert os.listdir(tmp_path / "in") == ["data"]
    assert len(packed) > 300_000


async def test_a_tar_is_one_that_others_read(tmp_path: Path) -> None:
    out = a_tree(tmp_path)
    packed = await whole(pack(out, Strategy()))
    (tmp_path / "x").mkdir()
    (tmp_path / "x.tgz").write_bytes(packed)
    tar = await asyncio.create_subprocess_exec("tar", "-xzf", tmp_path / "x.tgz", "-C", tmp_path / "x")
    assert await tar.wait() == 0
    assert seen(tmp_path / "x" / "out") == seen(out)


async def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    out = a_tree(tmp_path)
    assert await whole(pack(out, Strategy())) == await whole(pack(out, Strategy()))


async def test_a_directory_as_zip(tmp_path: Path) -> None:
    out = a_tree(tmp_path)
    packed = await whole(pack(out, Strategy("zip")))
    assert zipfile.ZipFile(io.BytesIO(packed)).testzip() is None
    await unpack(pieces(packed), tmp_path / "data", "zip")
    expected = {name: one for name, one in seen(out).items() if name != "empty"}
    assert seen(tmp_path / "data") == expected


@pytest.mark.parametrize("kind", ["tar", "zip", "none"])
async def test_a_file_becomes_the_file_at_the_path(tmp_path: Path, kind: str) -> None:
    (tmp_path / "hello.txt").write_text("hello")
    packed = await whole(pack(tmp_path / "hello.txt", Strategy(kind)))  # type: ignore[arg-type]
    await unpack(pieces(packed), tmp_path / "in" / "message", kind)  # type: ignore[arg-type]
    assert (tmp_path / "in" / "message").read_text() == "hello"


async def test_without_a_strategy_a_tar_is_seen_and_a_zip_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    for kind, expected in (("tar", b"a"), ("zip", None)):
        packed = await whole(pack(tmp_path / "a", Strategy(kind)))  # type: ignore[arg-type]
        await unpack(pieces(packed, 1), tmp_path / kind)
        assert (tmp_path / kind).read_bytes() == (expected or packed)
    for name, content in (
        ("gz", gzip.compress(b"x" * 5000)),
        ("none", b""),
        ("one", b"\x1f"),
        ("half", b"\x1f\x8b\x08"),
    ):
        await unpack(pieces(content), tmp_path / name)
        assert (tmp_path / name).read_bytes() == content


async def test_several_entries_become_a_directory(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in ("a", "./b"):
            tar.addfile(tarfile.TarInfo(name))
    await unpack(pieces(packed.getvalue()), tmp_path / "both")
    assert sorted(os.listdir(tmp_path / "both")) == ["a", "b"]
    empty = gzip.compress(b"\0" * 1024)
    await unpack(pieces(empty), tmp_path / "nothing", "tar")
    assert os.listdir(tmp_path / "nothing") == []


async def test_members_of_a_gzip_and_hard_links(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        info = tarfile.TarInfo("d/a")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("d/b")
        link.type, link.linkname = tarfile.LNKTYPE, "d/a"
        tar.addfile(link)
    plain = made.getvalue()
    await unpack(pieces(gzip.compress(plain[:700]) + gzip.compress(plain[700:])), tmp_path / "d2")
    assert (tmp_path / "d2" / "b").read_bytes() == b"abc"


async def test_modes_of_an_input(tmp_path: Path) -> None:
    out = a_tree(tmp_path)
    packed = await whole(pack(out, Strategy()))
    await unpack(pieces(packed), tmp_path / "one", mode=0o700)
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "one" / "bin" / "run").stat().st_mode & 0o777 == 0o755
    await unpack(pieces(packed), tmp_path / "all", mode=0o750, recurse=True)
    assert {mode for kind, mode, _ in seen(tmp_path / "all").values() if kind != "link"} == {0o750}


async def test_what_is_there_is_replaced_unless_it_holds_something(tmp_path: Path) -> None:
    (tmp_path / "to").write_text("old")
    await unpack(pieces(b"new"), tmp_path / "to")
    assert (tmp_path / "to").read_text() == "new"
    (tmp_path / "full" / "of").mkdir(parents=True)
    with pytest.raises(ArchiveError, match="full cannot be written"):
        await unpack(pieces(b"new"), tmp_path / "full")
    assert sorted(os.listdir(tmp_path)) == ["full", "to"]


async def test_names_of_files_and_keys(tmp_path: Path) -> None:
    out = a_tree(tmp_path)
    assert names_below(out) == sorted(name for name, (kind, _, _) in seen(out).items() if kind == "file")
    assert names_below(out / "closed") is None
    assert await whole(pack(out / "link", Strategy("none"), root=out)) == b"#!/bin/sh\n"
    assert file_name("art", "/tmp/x.txt", Strategy()) == "art.tgz"
    assert file_name("art", "/tmp/x.txt", Strategy("zip")) == "art.zip"
    assert file_name("art", "/tmp/x.txt", Strategy("none")) == "x.txt"


async def test_what_cannot_be_packed(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere: no such file"):
        await whole(pack(tmp_path / "nowhere", Strategy()))
    (tmp_path / "a").write_text("a")
    with pytest.raises(ArchiveError, match="compressionLevel 10"):
        await whole(pack(tmp_path / "a", Strategy("tar", 10)))
    with pytest.raises(ArchiveError, match="one by one"):
        await whole(pack(tmp_path, Strategy("none")))


async def test_a_stream_that_fails_or_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError, match="gone"):
        await unpack(broken(), tmp_path / "in")

    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 1_000_000
        begun.set()
        await asyncio.Event().wait()
        yield b""

    task = asyncio.create_task(unpack(endless(), tmp_path / "in"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert os.listdir(tmp_path) == []


MEASURED = """
import asyncio, resource, sys
from pathlib import Path
from exeunt.artifacts.archive import Strategy, pack, unpack
async def main(source, into, kind):
    await unpack(pack(Path(source), Strategy(kind, 1)), Path(into), kind)
asyncio.run(main(*sys.argv[1:]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(source: Path, into: Path, kind: str) -> int:
    """Kilobytes of a process that packs and unpacks."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(source), str(into), kind], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


@pytest.mark.parametrize("kind", ["tar", "zip", "none"])
def test_memory_is_flat(tmp_path: Path, kind: str) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(os.urandom(1_000_000))
    with large.open("wb") as file:
        for _ in range(100):
            file.write(os.urandom(1_000_000))
    least, most = peak(small, tmp_path / "1", kind), peak(large, tmp_path / "2", kind)
    assert (tmp_path / "2").stat().st_size == 100_000_000
    assert most < least + 12_000, (least, most)


def test_memory_is_flat_with_many_files(tmp_path: Path) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    for folder, count in ((few, 10), (many, 10_000)):
        folder.mkdir()
        for i in range(count):
            (folder / f"file-{i:06}").write_bytes(b"x")
    least, most = peak(few, tmp_path / "1", "tar"), peak(many, tmp_path / "2", "tar")
    assert len(os.listdir(tmp_path / "2")) == 10_000
    assert most < least + 6_000, (least, most)


def test_the_measure_is_in_kilobytes() -> None:
    assert 5_000 < resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 5_000_000
