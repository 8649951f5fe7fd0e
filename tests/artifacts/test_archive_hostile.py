"""Archives that mean harm: each is an error that says why, and nothing outside of the target is touched."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from exeunt.artifacts.archive import ArchiveError, Strategy, UnpackLimits, pack, unpack
from exeunt.artifacts.limits import DIRECTORY_BYTES

Entry = tuple[str, bytes, str]
FILE, DIR, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for i in range(0, len(content), 100_000):
        yield content[i : i + 100_000]


def tar_of(*entries: Entry) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", errors="surrogateescape") as tar:
        for name, kind, text in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind in (LINK, HARD):
                info.linkname = text
            else:
                info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return made.getvalue()


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Path]:
    """A target within a directory whose surroundings are looked at afterwards."""
    (tmp_path / "secret").write_text("untouched")
    (tmp_path / "box").mkdir()
    yield tmp_path / "box" / "in"
    assert os.listdir(tmp_path / "box") == []
    assert (tmp_path / "secret").read_text() == "untouched"
    assert sorted(os.listdir(tmp_path)) == ["box", "secret"]


TARS: dict[str, tuple[list[Entry], str]] = {
    "dots": ([("a/../../secret", FILE, "x")], "'a/../../secret' in the archive leads out of it"),
    "dots alone": ([("..", DIR, "")], "leads out"),
    "absolute": ([("/etc/evil", FILE, "x")], "'/etc/evil' in the archive is absolute"),
    "link up": ([("a", FILE, ""), ("l", LINK, "../secret")], "the link 'l' in the archive leads out of it"),
    "link absolute": ([("a", FILE, ""), ("l", LINK, "/etc/passwd")], "/etc/passwd"),
    "link up from below": ([("d/l", LINK, "../../secret"), ("b", FILE, "")], "leads out"),
    "link by another": ([("d", LINK, "."), ("l", LINK, "d/../../secret")], "'..'"),
    "link empty": ([("a", FILE, ""), ("l", LINK, "")], "leads out"),
    "link alone": ([("l", LINK, "secret")], "leads out"),
    "link that unwrapping lets out": ([("d/l", LINK, "../x")], "leads out of it: d/l -> ../x"),
    "file through a link": ([("l", LINK, "d"), ("d", DIR, ""), ("l/x", FILE, "x")], "stands below 'l', no directory"),
    "hard link up": ([("a", FILE, ""), ("l", HARD, "../../secret")], "leads out"),
    "hard link absolute": ([("a", FILE, ""), ("l", HARD, "/etc/passwd")], "absolute"),
    "hard link to nothing": ([("l", HARD, "a")], "which is not there"),
    "hard link to a link": ([("a", LINK, "b"), ("b", FILE, ""), ("l", HARD, "a")], "no file of it"),
    "fifo": ([("f", tarfile.FIFOTYPE, "")], "'f' in the archive is a fifo"),
    "device": ([("f", tarfile.CHRTYPE, "")], "is a character device"),
    "disk": ([("f", tarfile.BLKTYPE, "")], "is a block device"),
    "name no UTF-8": ([("a\udcff", FILE, "")], r"b'a\\xff' in the archive is not UTF-8"),
    "long name": ([("x" * 5000, FILE, "")], "too long"),
    "longer name": ([("x/" * 2_000_000, FILE, "")], "headers of more than"),
    "deep": ([("x/" * 300 + "y", FILE, "")], "too deep"),
    "file and directory": ([("a/b", FILE, ""), ("a", FILE, "")], "a directory and a file"),
    "no name": ([(".", FILE, "")], "no name of a file"),
}


@pytest.mark.parametrize("case", TARS)
async def test_tars(inside: Path, case: str) -> None:
    entries, said = TARS[case]
    with pytest.raises(ArchiveError, match=said):
        await unpack(pieces(tar_of(*entries)), inside, "tar")


async def test_links_within_are_kept(tmp_path: Path) -> None:
    packed = tar_of(("d/e/l", LINK, "../../d/f"), ("d/f", FILE, "x"), ("top", FILE, ""))
    await unpack(pieces(packed), tmp_path / "in")
    assert (tmp_path / "in" / "d" / "e" / "l").read_text() == "x"


async def test_a_later_file_replaces_a_link_and_does_not_go_through_it(tmp_path: Path) -> None:
    packed = tar_of(("b", FILE, "b"), ("a", LINK, "b"), ("a", FILE, "a"))
    await unpack(pieces(packed), tmp_path / "in")
    assert [(tmp_path / "in" / name).read_text() for name in "ab"] == ["a", "b"]


async def test_nobody_gets_to_run_as_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("x")
    (tmp_path / "tool").chmod(0o6755)
    await unpack(pack(tmp_path / "tool", Strategy()), tmp_path / "in")
    assert stat.S_IMODE((tmp_path / "in").stat().st_mode) == 0o755


def damaged(change: Callable[[bytes], bytes]) -> bytes:
    return gzip.compress(change(gzip.decompress(tar_of(*[(f"f{i}", FILE, "x" * 1000) for i in range(20)]))))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tar_of(("a", FILE, "x" * 9999))[:-30], "ends in the midst|not stored whole"),
        (tar_of(("a", FILE, "x" * 9999))[:-8] + b"12345678", "damaged"),
        (damaged(lambda plain: plain[:4700]), "damaged"),
        (damaged(lambda plain: plain[:1536] + b"junk" * 300 + plain[1536:]), "damaged"),
        (b"no archive", "no gzip"),
        (gzip.compress(b"no tar" * 300), "no tar"),
    ],
    ids=["cut", "wrong sum", "cut inside", "junk inside", "no archive", "no tar"],
)
async def test_broken_ones(inside: Path, content: bytes, said: str) -> None:
    with pytest.raises(ArchiveError, match=said):
        await unpack(pieces(content), inside, "tar")


async def test_bombs(inside: Path) -> None:
    bomb = tar_of(("zeros", FILE, "0" * 5_000_000))
    with pytest.raises(ArchiveError, match="zip bombs"):
        await unpack(pieces(bomb), inside, limits=UnpackLimits(unsuspected_bytes=1_000_000))
    with pytest.raises(ArchiveError, match="more than the 4,000,000 bytes"):
        await unpack(pieces(bomb), inside, limits=UnpackLimits(unpacked_bytes=4_000_000))
    for kind in ("tar", "zip", "none"):
        with pytest.raises(ArchiveError, match="larger than the 1,000 bytes"):
            await unpack(pieces(bomb), inside, kind, limits=UnpackLimits(packed_bytes=1_000))  # type: ignore[arg-type]
    sparse = tarfile.TarInfo("sparse")
    sparse.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(10**15),
        "GNU.sparse.map": "0,0",
    }
    packed = gzip.compress(sparse.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict") + b"\0" * 1024)
    with pytest.raises(ArchiveError, match=r"zip bombs|bytes allowed"):
        await unpack(pieces(packed), inside, limits=UnpackLimits(unpacked_bytes=10_000_000))


async def test_ten_million_entries(inside: Path) -> None:
    header = tarfile.TarInfo("d/x").tobuf()

    async def many() -> AsyncIterator[bytes]:
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        for _ in range(10_000):
            yield packer.compress(header * 1000)
        yield packer.flush()

    with pytest.raises(ArchiveError, match="more than the 5,000 entries"):
        await unpack(many(), inside, limits=UnpackLimits(entries=5_000))


def zip_of(*entries: tuple[str, int, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, mode, text in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, text)
    return made.getvalue()


ZIPS: dict[str, tuple[bytes, str]] = {
    "dots": (zip_of(("../secret", 0, b"x")), "leads out"),
    "absolute": (zip_of(("/etc/evil", 0, b"x")), "absolute"),
    "link": (zip_of(("a", 0, b""), ("l", stat.S_IFLNK, b"../secret")), "leads out"),
    "through a link": (zip_of(("l", stat.S_IFLNK, b"d"), ("l/x", 0, b"x")), "no directory"),
    "fifo": (zip_of(("f", stat.S_IFIFO, b"")), "is a fifo"),
    "no zip": (b"no zip at all", "no zip that can be read"),
    "cut": (zip_of(("a", 0, b"x" * 1000))[:-30], "no zip that can be read"),
    "damaged": (zip_of(("a", 0, os.urandom(1000))).replace(b"PK\x01\x02", b"PK\x01\x03"), "no zip that can be read"),
    "names no UTF-8": (zip_of(("ä", 0, b"")).replace("ä".encode(), b"\xff\xff"), "no zip that can be read"),
}


@pytest.mark.parametrize("case", ZIPS)
async def test_zips(inside: Path, case: str) -> None:
    content, said = ZIPS[case]
    with pytest.raises(ArchiveError, match=said):
        await unpack(pieces(content), inside, "zip")


async def test_a_zip_with_a_list_of_contents_that_is_too_long(inside: Path) -> None:
    end = b"PK\x05\x06" + b"\0" * 4 + b"\xff\xff" * 2 + (DIRECTORY_BYTES + 1).to_bytes(4, "little") + b"\0" * 6
    with pytest.raises(ArchiveError, match="list of contents"):
        await unpack(pieces(b"\0" * (DIRECTORY_BYTES + 1) + end), inside, "zip")


async def test_a_zip_bomb(inside: Path) -> None:
    limits = UnpackLimits(unsuspected_bytes=1_000_000)
    with pytest.raises(ArchiveError, match="zip bombs"):
        await unpack(pieces(zip_of(("zeros", 0, b"0" * 5_000_000))), inside, "zip", limits=limits)


async def taken(source: Path, root: Path | None = None) -> bytes:
    return b"".join([piece async for piece in pack(source, Strategy(), root=root)])


async def test_what_a_step_may_not_leave(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    os.mkfifo(out / "pipe")
    with pytest.raises(ArchiveError, match="out/pipe is a fifo: remove it"):
        await taken(out)
    with pytest.raises(ArchiveError, match="pipe is a fifo"):
        await taken(out / "pipe")
    (out / "pipe").unlink()
    (out / os.fsdecode(b"\xff")).write_text("")
    with pytest.raises(ArchiveError, match="not UTF-8"):
        await taken(out)


async def test_links_on_the_way_to_the_source(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    own = tmp_path / "own"
    (own / "real").mkdir(parents=True)
    (own / "real" / "file").write_text("x")
    for name, target in (("in", "real"), ("up", ".."), ("abs", str(own / "real")), ("out", "/etc"), ("self", "self")):
        (own / name).symlink_to(target)
    for good in ("in/file", "abs/file", "in", "abs", "real/../in/file"):
        assert await taken(own / good, own)
    for bad in ("up/secret", "out/passwd", "../secret", "self"):
        with pytest.raises(ArchiveError, match="own"):
            await taken(own / bad, own)


async def test_a_directory_that_is_exchanged_for_a_link_while_it_is_read(tmp_path: Path) -> None:
    outside, out = tmp_path / "outside", tmp_path / "own" / "out"
    outside.mkdir()
    (outside / "f").write_text("secret")
    for i in range(3):
        (out / f"{i}").mkdir(parents=True)
        (out / f"{i}" / "f").write_bytes(os.urandom(400_000))
    stream = pack(out, Strategy("tar", 0), root=tmp_path / "own")
    got = [await anext(stream)]
    (out / "2").rename(tmp_path / "away")
    (out / "2").symlink_to(outside)
    out.rename(tmp_path / "gone")
    out.symlink_to(outside)
    got += [piece async for piece in stream]
    with tarfile.open(fileobj=io.BytesIO(b"".join(got))) as tar:
        assert tar.getmember("out/2").linkname == str(outside)
        assert "out/2/f" not in tar.getnames()
