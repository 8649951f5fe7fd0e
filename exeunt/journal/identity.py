"""Whether the streams in NATS are those of before: all carry one id, given when they are made (decision 0016).

Work that is due lies in the streams alone. So a service makes them only where nothing says that there were others, and
ends when those that it works with are gone or are replaced: going on with empty ones would forget everything without a
word. `judge` decides and does nothing; the rest looks and does what it says.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from exeunt.journal.errors import JetStreamError
from exeunt.journal.streams import DELETED, NOT_FOUND, READ_SECONDS, ensure_stream
from exeunt.journal.subjects import STREAM as LOG
from exeunt.journal.wire import Wire
from exeunt.natspy import whole
from exeunt.service import telemetry
from exeunt.service.metrics import Gauge
from exeunt.service.program import ProgramError
from exeunt.service.settings import SettingsError

log = logging.getLogger(__name__)

ID = "exeunt.log"
LISTED = "exeunt.streams"
"""In the log's metadata: the streams that were made with it. It is made last, so what it lists has been there."""
MARK = "log-id"
"""File in a service's data directory: the id of the log that it last worked with."""
LOOKS = 3
LOOK_SECONDS = 1.0  # between two looks: nobody says that a cluster of NATS servers knows all of its streams now
ALL = "all"

HELP = (
    "Streams that may be made anew, or taken as they are, though they are not the ones that were there before: "
    "their names, or all. What the old ones held is given up, work that was due included; take it away after one start"
)

TOLD_SECONDS = 60.0


class _Lost:
    """The number for the alert, and whether somebody has read it."""

    def __init__(self) -> None:
        self._is = False
        self._heeded = False  # somebody reads numbers here
        self._read = threading.Event()

    def set(self) -> None:
        self._is = True
        self._read.clear()

    def read(self) -> float:
        self._heeded = True
        if self._is:
            self._read.set()
        return float(self._is)

    async def told(self) -> None:
        """Waits until it has been read, where somebody reads: what has ended for good tells nobody any more."""
        if self._is and self._heeded and telemetry.current.metrics_address:
            await asyncio.to_thread(self._read.wait, TOLD_SECONDS)


lost = _Lost()
_gauge = Gauge("exeunt.log.lost", "1 when streams are gone or not those of before: this service ends", lost.read)


class LogLostError(ProgramError):
    """Streams are missing, or are not those of before. The text is for people: what it is, and how to go on."""

    hopeless = True


class KnownStream(NamedTuple):
    """What is known of a stream that is there."""

    id: str = ""
    listed: tuple[str, ...] = ()
    last: int = 0


class Verdict(NamedTuple):
    """What is to be done before work begins: streams to make, and some that get the id."""

    id: str
    make: list[str]
    mark: list[str]


def judge(found: Mapping[str, KnownStream | None], known: str, anew: Collection[str], fresh: str) -> Verdict:
    """Whether the streams found, by name, can be worked with. The log is among them.

    `known`: the id of the log that this service worked with before; `anew`: as `HELP` says; `fresh`: an id for a new
    log. Raises LogLostError.
    """
    everything = ALL in anew
    journal = found[LOG]
    others = {name: stream for name, stream in found.items() if name != LOG}
    missing = [name for name, stream in found.items() if stream is None]

    def may(name: str) -> bool:
        return everything or name in anew

    if journal is None:
        used = [name for name, stream in others.items() if stream is not None and stream.last]
        if (known or used) and not may(LOG):
            raise LogLostError(_missing(missing, known or _one_id(others), len(missing) == len(found)))
        id = fresh if everything else known or _one_id(others) or fresh
        return Verdict(id, missing, [n for n, stream in others.items() if stream is not None and stream.id != id])
    if known and journal.id != known and not may(LOG):
        raise LogLostError(_foreign([LOG], known, journal.id))
    if not journal.id:
        strange = [name for name, stream in others.items() if stream is not None and stream.id]
        if strange and not may(LOG):
            raise LogLostError(_foreign([LOG], _one_id(others), ""))
    id = journal.id or ("" if everything else _one_id(others)) or fresh
    gone = [name for name in missing if name in journal.listed and not may(name)]
    if gone:
        raise LogLostError(_missing(gone, id, False))
    strange = [n for n, s in others.items() if s is not None and s.id != id and (s.id or n in journal.listed)]
    strange = [name for name in strange if not may(name)]
    if strange:
        found_ids = sorted({stream.id for name in strange if (stream := others[name]) is not None})
        raise LogLostError(_foreign(strange, id, ", ".join(found_ids)))
    marked = [name for name, stream in others.items() if stream is not None and stream.id != id]
    if not journal.id or set(journal.listed) != set(others):
        marked.append(LOG)
    return Verdict(id, missing, marked)


def _one_id(streams: Mapping[str, KnownStream | None]) -> str:
    return next((stream.id for stream in streams.values() if stream is not None and stream.id), "")


HOW = (
    "Bring back the storage of NATS, or restore its streams from a backup (docs/operations.md), and services go on "
    "where they were. To give up what they held, start the services once with EXEUNT_ANEW={names}"
)


def _missing(names: Sequence[str], id: str, everything: bool) -> str:
    which = f" in the log {id}" if id else ""
    them = "a stream" if len(names) == 1 else "streams"
    said = f"{', '.join(names)}: NATS does not have {them} any more that it had before{which}"
    how = HOW.format(names=ALL if everything else ",".join(names))
    return f"{said}, and what was due may lie in there. {how}"


def _foreign(names: Sequence[str], wanted: str, found: str) -> str:
    theirs = f"of the log {found}" if found else "of no known log"
    said = f"{', '.join(names)}: what NATS has under that name is {theirs}, not of the log {wanted} as before"
    return f"{said}; it was replaced, or this is another NATS. {HOW.format(names=','.join(names))}"


class Identity:
    """The streams of one process: looked at when it starts, and kept an eye on while it works."""

    def __init__(self, wire: Wire, names: Sequence[str], id: str) -> None:
        self.id = id
        self._wire = wire
        self._names = names
        self._look = asyncio.Event()

    def look(self) -> None:
        """Something says that a stream may be gone."""
        self._look.set()

    async def keep(self, head: Callable[[], int]) -> None:
        """Looks whenever the server is back, tells of a deletion, or `look` is called. Raises LogLostError.

        `head`: the highest position that is known of in the log: one that ends before it is not the one of before.
        """

        async def deleted(message: Msg) -> None:
            if message.subject.rpartition(".")[2] in self._names:
                self._look.set()

        subscription = await whole(self._wire.nc.subscribe(f"{DELETED}.*", cb=deleted))
        self._wire.on_back.append(self._look.set)
        try:
            while True:
                await self._look.wait()
                self._look.clear()
                await self._judge(head)
        finally:
            self._wire.on_back.remove(self._look.set)
            if self._wire.nc.is_connected:
                await whole(subscription.unsubscribe())

    async def _judge(self, head: Callable[[], int]) -> None:
        looks = 0
        while True:
            await self._wire.connected.wait()
            try:
                known = head()  # before the look: it grows meanwhile
                found = await look(self._wire, self._names)
                said = _changed(found, self.id, known)
            except (JetStreamError, NatsError, TimeoutError, OSError) as error:
                log.warning("NATS does not tell of its streams: %s; asking again", str(error) or type(error).__name__)
                said, looks = "", -1
            looks += 1
            if looks and not said:
                return
            if looks >= LOOKS:
                lost.set()
                log.critical("this service ends: %s", said)
                raise LogLostError(said)
            await asyncio.sleep(LOOK_SECONDS)


def _changed(found: Mapping[str, KnownStream | None], id: str, head: int) -> str:
    """What is wrong with the streams of a running service; empty when nothing is."""
    try:
        judge(found, id, (), id)
    except LogLostError as error:
        return str(error)
    missing = [name for name, stream in found.items() if stream is None]
    if missing:
        return _missing(missing, id, len(missing) == len(found))
    journal = found[LOG]
    if journal is not None and journal.last < head:
        return (
            f"the log {id} ends at {journal.last}, and {head} was there before: it was restored from a backup, or NATS "
            "has lost acknowledged work (is its sync_interval always?). Started again, this service goes on with "
            "it"
        )
    return ""


async def look(wire: Wire, names: Collection[str]) -> dict[str, KnownStream | None]:
    """What is there of these streams. Raises JetStreamError or TimeoutError when that cannot be told now."""

    async def one(name: str) -> KnownStream | None:
        try:
            info = await wire.api(f"STREAM.INFO.{name}", seconds=READ_SECONDS)
        except JetStreamError as error:
            if error.code == NOT_FOUND:
                return None
            raise
        metadata = info["config"].get("metadata") or {}
        listed = tuple(filter(None, metadata.get(LISTED, "").split(",")))
        return KnownStream(metadata.get(ID, ""), listed, int(info["state"]["last_seq"]))

    return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))


async def open_streams(
    wire: Wire, configs: Sequence[dict[str, Any]], data_dir: Path, anew: Collection[str] = ()
) -> Identity:
    """Makes the streams of these settings where there are none, the log last, or sees that they are those of before.

    The id is kept in the data directory, too. Waits for a server that cannot answer. Raises LogLostError.
    """
    by_name = {str(config["name"]): config for config in configs}
    unknown = sorted(set(anew) - {*by_name, ALL})
    if unknown:
        raise SettingsError([f"anew: there is no stream {unknown[0]}; there are {', '.join(by_name)}, and {ALL}"])
    known = read_mark(data_dir)
    looks = 0
    while True:
        await wire.connected.wait()
        try:
            found = await look(wire, by_name)
            verdict = judge(found, known, anew, uuid.uuid4().hex)
            if await _carry_out(wire, by_name, verdict) == verdict.id:
                break
        except LogLostError:
            looks += 1
            if looks >= LOOKS:
                raise
        except (JetStreamError, NatsError, TimeoutError, OSError) as error:
            log.warning("NATS does not tell of its streams: %s; asking again", str(error) or type(error).__name__)
        await asyncio.sleep(LOOK_SECONDS)
    write_mark(data_dir, verdict.id)
    return Identity(wire, list(by_name), verdict.id)


async def _carry_out(wire: Wire, by_name: Mapping[str, dict[str, Any]], verdict: Verdict) -> str:
    """Makes and marks. The id that the log has then: of two services that begin at one moment one decides."""
    for name in sorted(verdict.make, key=lambda one: one == LOG):
        log.info("making the stream %s of the log %s", name, verdict.id)
        made = await ensure_stream(wire, {**by_name[name], "metadata": _metadata(name, by_name, verdict.id)})
        if (made.get("metadata") or {}).get(ID) != verdict.id:
            return ""
    for name in sorted(verdict.mark, key=lambda one: one == LOG):
        config: dict[str, Any] = (await wire.api(f"STREAM.INFO.{name}", seconds=READ_SECONDS))["config"]
        metadata = {**(config.get("metadata") or {}), **_metadata(name, by_name, verdict.id)}
        await wire.api(f"STREAM.UPDATE.{name}", {**config, "metadata": metadata})
    return verdict.id


def _metadata(name: str, by_name: Collection[str], id: str) -> dict[str, str]:
    listed = {LISTED: ",".join(one for one in by_name if one != LOG)} if name == LOG else {}
    return {ID: id, **listed}


def read_mark(data_dir: Path) -> str:
    """The id of the log that a service of this data directory last worked with; empty for none."""
    try:
        return (data_dir / MARK).read_text().strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"data-dir: {data_dir / MARK} cannot be read: {error}"]) from error


def write_mark(data_dir: Path, id: str) -> None:
    """Remembers it, as far as the directory can be written."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        scratch = data_dir / f"{MARK}.new"
        scratch.write_text(f"{id}\n")
        scratch.replace(data_dir / MARK)
    except OSError as error:
        log.warning("which log this is cannot be written down in %s: %s", data_dir, error.strerror)
