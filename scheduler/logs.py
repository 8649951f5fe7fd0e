"""The output of steps: written as executors send it, read back by workflow, kept first and then live."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable
from urllib.parse import quote, unquote

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from exeunt.engine.decide import Run
from exeunt.journal.steplogs import Frame, StepLogs
from exeunt.scheduler.entry import Entry
from exeunt.scheduler.runs import Runs
from exeunt.scheduler.view import Seen
from exeunt.service.errors import unavailable
from exeunt.steps import attempt_of
from exeunt.v1 import step_pb2
from exeunt.v1 import workflow_service_pb2 as pb

log = logging.getLogger(__name__)

WAITING_BYTES = 64 * 1024 * 1024
"""Of output that is not written yet; beyond it the oldest goes."""

ROOM_SECONDS = 1.0
"""How long a stream is not read while half of that waits; results and heartbeats come by the same stream."""

RECENT = 20_000


class LogWriter:
    """Writes frames in their order; `run` does the work.

    When NATS is slower than the output, streams wait for `room`; where that is not enough the oldest frames are lost,
    never the last ones of a step.
    """

    def __init__(self, logs: StepLogs, runs: Runs) -> None:
        self._logs = logs
        self._runs = runs
        self._waiting: deque[tuple[str, str, Frame]] = deque()
        self._bytes = 0  # of these
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._recent: OrderedDict[str, str] = OrderedDict()  # uid → namespace
        self.lost = 0

    def know(self, uid: str, namespace: str) -> None:
        """Frames of this workflow may come, also after it is over."""
        if uid not in self._recent:
            self._recent[uid] = namespace
            if len(self._recent) > RECENT:
                self._recent.popitem(last=False)

    def take(self, frames: Iterable[step_pb2.LogFrame]) -> None:
        """Takes what an executor sent."""
        for frame in frames:
            if not frame.data:
                continue  # only says that nothing follows
            try:
                attempt = attempt_of(frame.id)
            except ValueError:
                continue
            entry = self._runs.by_uid.get(attempt.uid)
            if entry is not None:
                self.know(attempt.uid, entry.run.namespace)
            namespace = self._recent.get(attempt.uid)
            if namespace is None:
                continue  # of a workflow that nobody here knows
            at = frame.time.seconds + frame.time.nanos / 1e9
            node = quote_node(attempt.node)
            kept = Frame(node, attempt.attempt, frame.number, at, frame.data, frame.end, attempt.hook_id)
            self._waiting.append((namespace, attempt.uid, kept))
            self._bytes += len(frame.data)
            self._some.set()
        while self._bytes > WAITING_BYTES:
            if self.lost == 0:
                log.warning("output of steps comes faster than it can be written; some of it is lost")
            self.lost += 1
            self._take()

    async def room(self) -> None:
        """Waits a moment when much is to be written."""
        if self._bytes > WAITING_BYTES // 2:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROOM_SECONDS):
                    await self._room.wait()

    def _take(self) -> tuple[str, str, Frame]:
        taken = self._waiting.popleft()
        self._bytes -= len(taken[2].data)
        if self._bytes <= WAITING_BYTES // 2:
            self._room.set()
        return taken

    async def run(self) -> None:
        """Writes until it is cancelled."""
        while True:
            self._some.clear()
            if not self._waiting:
                await self._some.wait()
            namespace, uid, frame = self._take()
            try:
                await self._logs.put(namespace, uid, frame)
            except Exception as error:  # noqa: BLE001 - output is not worth a step
                log.warning("output of %s could not be written: %s", uid, error)


def quote_node(node: str) -> str:
    """A node's id as a token of a subject: names of workflows may hold dots."""
    return quote(node, safe="").replace(".", "%2E")


class _Names(msgspec.Struct, rename="camel"):
    name: str = ""
    display_name: str = ""


class Display:
    """Names of nodes for people, and which of them are asked for. Nodes that begin later are known to their run."""

    def __init__(self, found: Seen, wanted: str, run: Run | None = None) -> None:
        self._nodes = found.nodes
        self._run = run
        self._wanted = wanted

    def _names(self, id: str) -> _Names:
        node = self._nodes.get(id)
        if node is not None:
            return msgspec.json.decode(node, type=_Names)
        key = None if self._run is None else self._run.by_id.get(id)
        if self._run is None or key is None:
            return _Names()
        begun = self._run.nodes[key]
        return _Names(self._run.names.full(begun), self._run.names.display(begun, self._run.display))

    def name(self, id: str) -> str:
        """The display name of a node."""
        return self._names(id).display_name or id

    def wants(self, id: str) -> bool:
        """Whether the node's output is asked for: all, or by id, name or display name."""
        if not self._wanted or self._wanted == id:
            return True
        names = self._names(id)
        return self._wanted in (names.name, names.display_name)


def lines(frame: Frame, display: Display) -> list[pb.LogLine]:
    """The lines of a frame."""
    node = unquote(frame.node)
    at = Timestamp(seconds=int(frame.at), nanos=int((frame.at % 1) * 1e9))
    texts = frame.data.decode(errors="replace").split("\n")
    if texts and not texts[-1]:
        texts.pop()
    name = display.name(node)
    return [pb.LogLine(node=node, display_name=name, text=text.removesuffix("\r"), time=at) for text in texts]


async def kept(logs: StepLogs, display: Display, namespace: str, uid: str, tail: int) -> AsyncIterator[pb.LogLine]:
    """What is kept now; with `tail` only the last lines of each step."""
    last: dict[str, deque[pb.LogLine]] = {}
    async for frame in logs.read(namespace, uid):
        if not display.wants(unquote(frame.node)):
            continue
        for line in lines(frame, display):
            if not tail:
                yield line
                continue
            last.setdefault(frame.node, deque(maxlen=tail)).append(line)
    for held in last.values():
        for line in held:
            yield line


async def followed(
    logs: StepLogs, entry: Entry, display: Display, namespace: str, uid: str
) -> AsyncIterator[pb.LogLine]:
    """What is kept, then what comes, until the workflow has ended and all its output was read."""
    seen: dict[tuple[str, int, str], tuple[int, int]] = {}
    ended = asyncio.Event()

    def look() -> None:
        if entry.closed or entry.driver.dropped:
            ended.set()

    entry.changed.add(look)
    look()
    reading = aiter(logs.read(namespace, uid, follow=True))
    over = asyncio.create_task(ended.wait())
    try:
        while not ended.is_set():
            coming = asyncio.ensure_future(anext(reading))
            await asyncio.wait([coming, over], return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                await asyncio.wait([coming])
                break
            frame = coming.result()
            seen[frame.key] = frame.place
            if display.wants(unquote(frame.node)):
                for line in lines(frame, display):
                    yield line
    finally:
        over.cancel()
        entry.changed.discard(look)
        await reading.aclose()  # type: ignore[attr-defined]  # an async generator, by its annotation only an iterator
    if not entry.closed:
        raise unavailable("MOVED", "the workflow has moved to another scheduler; ask again")
    async for frame in logs.read(namespace, uid):  # what came between the last look and the end
        if frame.place > seen.get(frame.key, (0, 0)) and display.wants(unquote(frame.node)):
            for line in lines(frame, display):
                yield line
