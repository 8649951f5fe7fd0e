"""A backup of everything that Exeunt keeps in NATS, and the way back, on as many nodes as there are then.

Each stream is a file, as nats-server's own snapshots are: a restored stream has the same messages at the same positions
and the same metadata, so the services know it for the one of before (decision 0016). `index.json` is written last:
without it a backup is none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
from nats.aio.subscription import Subscription
from nats.errors import NoRespondersError, TimeoutError

from exeunt.journal import public
from exeunt.journal.errors import JetStreamError
from exeunt.journal.identity import KnownStream, look
from exeunt.journal.ownership import presence
from exeunt.journal.projections import all_streams
from exeunt.journal.streams import MEMBERS, NOT_FOUND
from exeunt.journal.subjects import STREAM as LOG
from exeunt.journal.wire import Wire
from exeunt.natspy import whole
from exeunt.service.program import ProgramError

INDEX = "index.json"
FORMAT = 1
CHUNK_BYTES = 512 * 1024
BY_REPLICAS = ("num_replicas", "persist_mode")
COPY_SECONDS = 0.2
SECONDS = 60.0
"""How long nats-server may be silent in the middle of a snapshot."""

Tell = Callable[[str], None]


class Kept(msgspec.Struct):
    """One stream of a backup: settings and state as nats-server told them, and how many bytes the file has."""

    name: str
    config: dict[str, Any]
    state: dict[str, Any]
    size: int = 0


class BackupContents(msgspec.Struct):
    """What a backup holds. `running`: services were at work while it was made."""

    format: int
    taken: float
    running: bool
    streams: list[Kept]


def configs(replicas: int) -> list[dict[str, Any]]:
    """The settings of the streams that are saved: those whose content has to last, and the events."""
    return [*all_streams(replicas, 1, 1, 1), public.config(replicas).as_dict()]


def names() -> list[str]:
    """The streams that are saved, the log first: what it refers to was there before, and is there later."""
    found = [str(config["name"]) for config in configs(1)]
    return sorted(found, key=lambda name: name != LOG)


async def running(wire: Wire) -> list[str]:
    """The schedulers and exit handlers that are at work."""
    prefix = f"$KV.{MEMBERS}.member."
    try:
        info = await wire.api(f"STREAM.INFO.KV_{MEMBERS}", {"subjects_filter": f"{prefix}>"})
    except JetStreamError as error:
        if error.code == NOT_FOUND:
            return []
        raise
    found = []
    for subject in info["state"].get("subjects") or {}:
        role, replica = subject.removeprefix(prefix).split(".", 1)
        try:
            await whole(wire.nc.request(presence(role, replica), b"", timeout=1))
        except NoRespondersError:
            continue
        except TimeoutError:
            pass  # it is connected
        found.append(replica)
    return sorted(found)


async def backup(wire: Wire, folder: Path, tell: Tell) -> BackupContents:
    """Writes all streams into a folder that is not there yet, or empty. Raises ProgramError."""
    _empty(folder)
    there = await look(wire, names())
    if there[LOG] is None:
        raise ProgramError(f"there is no stream {LOG}: nothing was kept in this NATS, or this is another account")
    index = BackupContents(FORMAT, time.time(), bool(await running(wire)), [])
    for name in names():
        if there[name] is not None:
            kept = await _save(wire, name, folder / f"{name}.snapshot")
            index.streams.append(kept)
            tell(f"{name}: {kept.state['messages']} messages, {kept.size} bytes")
    (folder / INDEX).write_bytes(msgspec.json.format(msgspec.json.encode(index)))
    return index


async def restore(wire: Wire, folder: Path, tell: Tell, *, replicas: int = 0, replace: bool = False) -> BackupContents:
    """Makes all streams of a backup, with so many copies of each (0: as many as they had). Raises ProgramError.

    Nothing may be at work meanwhile. Streams that are there are refused, or with `replace` removed first.
    """
    index = read_index(folder)
    at_work = await running(wire)
    if at_work:
        raise ProgramError(
            f"services are at work here ({', '.join(at_work)}): stop all schedulers and exit handlers first"
        )
    there = await look(wire, names())
    _may_replace(there, replace)
    for name in [name for name, stream in there.items() if stream is not None]:
        await wire.api(f"STREAM.DELETE.{name}")
    for kept in sorted(index.streams, key=lambda one: one.name == LOG):  # last: what it lists is there then
        config = _config(kept.config, replicas or int(kept.config.get("num_replicas", 1)))
        found = await _load(wire, kept, config, folder / f"{kept.name}.snapshot")
        if found != kept.state["messages"]:
            raise ProgramError(f"{kept.name} has {found} messages, and {kept.state['messages']} in the backup")
        await _copied(wire, kept.name)
        tell(f"{kept.name}: {found} messages, {config['num_replicas']} copies")
    return index


def read_index(folder: Path) -> BackupContents:
    """What a backup says of itself. Raises ProgramError when it is none, or not whole."""
    try:
        index = msgspec.json.decode((folder / INDEX).read_bytes(), type=BackupContents)
    except (OSError, msgspec.MsgspecError) as error:
        raise ProgramError(f"{folder} holds no whole backup: {INDEX}: {error}") from error
    if index.format != FORMAT:
        raise ProgramError(f"{folder} was made by a newer exeunt (format {index.format})")
    for kept in index.streams:
        file = folder / f"{kept.name}.snapshot"
        if not file.is_file() or file.stat().st_size != kept.size:
            raise ProgramError(f"{folder} holds no whole backup: {file.name} has not {kept.size} bytes")
    return index


def _config(kept: dict[str, Any], replicas: int) -> dict[str, Any]:
    """The settings as they were, but for those that hang on the number of copies."""
    wanted = next((config for config in configs(replicas) if config["name"] == kept["name"]), {})
    config = {key: value for key, value in kept.items() if key not in BY_REPLICAS}
    return {
        **config,
        **{key: wanted[key] for key in BY_REPLICAS if wanted.get(key) is not None},
        "num_replicas": replicas,
    }


def _may_replace(there: dict[str, KnownStream | None], replace: bool) -> None:
    used = [name for name, stream in there.items() if stream is not None and stream.last]
    if used and not replace:
        raise ProgramError(
            f"this NATS has streams of its own already ({', '.join(used)}): what they hold would be gone."
            " Say --replace if that is meant"
        )


def _empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(folder.iterdir()):
        raise ProgramError(f"{folder} is not empty: a backup goes into a folder of its own")


async def _save(wire: Wire, name: str, file: Path) -> Kept:
    inbox = wire.nc.new_inbox()
    subscription = await whole(wire.nc.subscribe(inbox))
    try:
        asked = {"deliver_subject": inbox, "no_consumers": True, "chunk_size": CHUNK_BYTES, "jsck": True}
        told = await wire.api(f"STREAM.SNAPSHOT.{name}", asked, SECONDS)
        kept = Kept(name, told["config"], told["state"])
        with file.open("wb") as out:
            async for piece in _snapshot(subscription, name):
                kept.size += await asyncio.to_thread(out.write, piece)
    finally:
        await whole(subscription.unsubscribe())
    return kept


async def _snapshot(subscription: Subscription, name: str) -> AsyncIterator[bytes]:
    """The pieces that nats-server sends; it waits for an answer to some of them, and says at last that it was all."""
    while True:
        try:
            piece = await whole(subscription.next_msg(timeout=SECONDS))
        except TimeoutError:
            raise ProgramError(f"{name}: nats-server said nothing for {SECONDS:g} s within the snapshot") from None
        if not piece.data:
            status = (piece.headers or {}).get("Status", "204")
            if status != "204":
                raise ProgramError(f"{name}: nats-server broke the snapshot off ({status})")
            return
        yield piece.data
        if piece.reply:
            await whole(piece.respond(b""))


async def _load(wire: Wire, kept: Kept, config: dict[str, Any], file: Path) -> int:
    """Restores one stream; how many messages it has then."""
    body = {"config": config, "state": kept.state}
    to = (await wire.api(f"STREAM.RESTORE.{kept.name}", body, SECONDS))["deliver_subject"]
    answer = b""
    async for piece in _pieces(file):
        answer = (await whole(wire.nc.request(to, piece, timeout=SECONDS))).data
        if answer and piece:
            break
    told = msgspec.json.decode(answer or b"{}")
    if error := told.get("error"):
        raise ProgramError(f"{kept.name} cannot be restored: {error.get('description')} ({error.get('err_code')})")
    return int(told["state"]["messages"])


async def _copied(wire: Wire, name: str) -> None:
    """Waits until every copy has all of it: until then the loss of one node could be the loss of the stream."""
    while True:
        cluster = (await wire.api(f"STREAM.INFO.{name}", seconds=SECONDS)).get("cluster") or {}
        if all(copy.get("current") for copy in cluster.get("replicas") or []):
            return
        await asyncio.sleep(COPY_SECONDS)  # nats-server tells of nothing here


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    """The file in pieces, and an empty one, which says that it was all."""
    with file.open("rb") as source:
        while piece := await asyncio.to_thread(source.read, CHUNK_BYTES):
            yield piece
    yield b""
