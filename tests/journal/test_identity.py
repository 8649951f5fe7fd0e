"""Whether streams are those of before: decided from what is found, and on a real server that loses them."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from exeunt.journal.identity import LISTED, MARK, Identity, KnownStream, LogLostError, judge, look, open_streams
from exeunt.journal.projections import all_streams
from exeunt.journal.wire import Wire, connect, wire_of
from exeunt.service.settings import SettingsError
from tests.nats_server import NatsServer, nats_server

__all__ = ["nats_server"]

LOG = "EXEUNT_LOG"
MADE = KnownStream("id", ("A", "B"), 9)
Found = Mapping[str, KnownStream | None]


def found(log: KnownStream | None, a: KnownStream | None, b: KnownStream | None) -> Found:
    return {"A": a, "B": b, LOG: log}


OURS = KnownStream("id", (), 9)
EMPTY = KnownStream("id", (), 0)
OTHER = KnownStream("other", (), 9)
PLAIN = KnownStream("", (), 9)
FRESH, NEW = KnownStream("new", ("A", "B"), 0), KnownStream("new")


@pytest.mark.parametrize(
    ("streams", "known", "make", "mark"),
    [
        pytest.param(found(None, None, None), "", ["A", "B", LOG], [], id="nothing is there"),
        pytest.param(found(None, EMPTY, None), "", ["B", LOG], [], id="making them was interrupted"),
        pytest.param(found(MADE, OURS, OURS), "", [], [], id="all is there"),
        pytest.param(found(MADE, OURS, OURS), "id", [], [], id="all is there, and known"),
        pytest.param(
            found(KnownStream("id", ("A",), 9), OURS, None), "id", ["B"], [LOG], id="a newer version has one more"
        ),
        pytest.param(found(PLAIN, PLAIN, PLAIN), "", [], ["A", "B", LOG], id="made before there were ids"),
    ],
)
def test_work_may_begin(streams: Found, known: str, make: list[str], mark: list[str]) -> None:
    verdict = judge(streams, known, (), "fresh")
    assert (verdict.make, verdict.mark) == (make, mark)
    has_id = any(stream and stream.id for stream in streams.values())
    assert verdict.id == ("id" if has_id else "fresh")


@pytest.mark.parametrize(
    ("streams", "known", "said", "anew"),
    [
        pytest.param(found(None, None, None), "id", "A, B, EXEUNT_LOG: NATS does not have", ["all"], id="emptied"),
        pytest.param(found(None, OURS, OURS), "", "EXEUNT_LOG: NATS does not have a stream", [LOG], id="log gone"),
        pytest.param(found(None, EMPTY, EMPTY), "id", "EXEUNT_LOG: NATS does not have", [LOG], id="log gone, empty"),
        pytest.param(found(MADE, OURS, None), "", "B: NATS does not have a stream", ["B"], id="another one is gone"),
        pytest.param(found(FRESH, NEW, NEW), "id", "of the log new", [LOG], id="replaced by a fresh one"),
        pytest.param(found(MADE, OTHER, OURS), "id", "A: what NATS has .* of the log other", ["A"], id="foreign"),
        pytest.param(found(MADE, PLAIN, OURS), "id", "A: what NATS has .* no known log", ["A"], id="one made by hand"),
        pytest.param(found(PLAIN, OURS, OURS), "", "EXEUNT_LOG: what NATS has", [LOG], id="a log made by hand"),
    ],
)  # fmt: skip
def test_work_may_not_begin_unless_somebody_says_so(streams: Found, known: str, said: str, anew: list[str]) -> None:
    with pytest.raises(LogLostError, match=said) as refused:
        judge(streams, known, (), "fresh")
    assert str(refused.value).endswith(f"EXEUNT_ANEW={','.join(anew)}")
    judge(streams, known, anew, "fresh")
    judge(streams, known, ["all"], "fresh")
    if anew != ["all"]:
        with pytest.raises(LogLostError):
            judge(streams, known, ["C"], "fresh")


CONFIGS = all_streams(1, 64 * 1024**2, 30, 64 * 1024**2)
NAMES = [str(config["name"]) for config in CONFIGS]


@pytest.fixture
async def wire(nats_server: NatsServer) -> Any:
    nc = await connect(nats_server.url, "test")
    yield await wire_of(nc)
    await nc.close()


async def watched(identity: Identity, head: int = 0) -> asyncio.Task[None]:
    watching = asyncio.create_task(identity.keep(lambda: head))
    await asyncio.sleep(0)
    return watching


@pytest.mark.services
async def test_services_that_begin_together_agree(wire: Wire, tmp_path: Path) -> None:
    begun = await asyncio.gather(*(open_streams(wire, CONFIGS, tmp_path / str(n)) for n in range(5)))
    [id] = {identity.id for identity in begun}
    there = await look(wire, NAMES)
    assert {stream.id for stream in there.values() if stream} == {id}
    assert {(tmp_path / str(n) / MARK).read_text() for n in range(5)} == {f"{id}\n"}
    assert set((await wire.api(f"STREAM.INFO.{LOG}"))["config"]["metadata"][LISTED].split(",")) == {*NAMES} - {LOG}


@pytest.mark.services
@pytest.mark.parametrize("name", NAMES)
async def test_a_stream_that_is_deleted_ends_who_works_with_it(wire: Wire, tmp_path: Path, name: str) -> None:
    identity = await open_streams(wire, CONFIGS, tmp_path)
    watching = await watched(identity)
    await wire.nc.flush()
    await wire.api(f"STREAM.DELETE.{name}")
    with pytest.raises(LogLostError, match=f"{name}: NATS does not have a stream any more"):
        await asyncio.wait_for(watching, 30)
    with pytest.raises(LogLostError, match=name):
        await open_streams(wire, CONFIGS, tmp_path)
    if name != LOG:  # without its file, too: the others know
        with pytest.raises(LogLostError, match=name):
            await open_streams(wire, CONFIGS, tmp_path / "new")
    assert (await open_streams(wire, CONFIGS, tmp_path, [name])).id == identity.id


@pytest.mark.services
async def test_a_nats_that_comes_back_empty_is_noticed(nats_server: NatsServer, wire: Wire, tmp_path: Path) -> None:
    watching = await watched(await open_streams(wire, CONFIGS, tmp_path))
    await nats_server.kill()
    shutil.rmtree(nats_server.folder / "store")
    await nats_server.begin()
    with pytest.raises(LogLostError, match=re.escape("EXEUNT_ANEW=all")):
        await asyncio.wait_for(watching, 30)
    with pytest.raises(LogLostError, match="EXEUNT_ANEW=all"):
        await open_streams(wire, CONFIGS, tmp_path)


@pytest.mark.services
async def test_a_restored_backup_is_the_log_of_before(nats_server: NatsServer, wire: Wire, tmp_path: Path) -> None:
    identity = await open_streams(wire, CONFIGS, tmp_path)
    await nats_server.stop()
    shutil.copytree(nats_server.folder / "store", tmp_path / "backup")
    await nats_server.begin()
    await wire.connected.wait()
    answer = await wire.ask("xj.00.u.m.c", b"", b"written after the backup", 5)
    assert answer is not None
    running = await watched(identity, answer.sequence)
    await nats_server.stop()
    shutil.rmtree(nats_server.folder / "store")
    shutil.copytree(tmp_path / "backup", nats_server.folder / "store")
    await nats_server.begin()
    with pytest.raises(LogLostError, match="ends at 0, and 1 was there before: it was restored from a backup"):
        await asyncio.wait_for(running, 30)
    assert (await open_streams(wire, CONFIGS, tmp_path)).id == identity.id


@pytest.mark.services
async def test_a_restart_of_nats_is_nothing(nats_server: NatsServer, wire: Wire, tmp_path: Path) -> None:
    watching = await watched(await open_streams(wire, CONFIGS, tmp_path))
    await nats_server.restart()
    await wire.connected.wait()
    await asyncio.wait([watching], timeout=2)
    assert not watching.done()
    watching.cancel()


@pytest.mark.services
async def test_a_name_that_is_no_stream_is_said(wire: Wire, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="anew: there is no stream EXEUNT_LOGG"):
        await open_streams(wire, CONFIGS, tmp_path, ["EXEUNT_LOGG"])
