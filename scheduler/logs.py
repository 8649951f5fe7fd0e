"""The output of steps: written as executors send it, read back by workflow, kept first and then live."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from exeunt import interleaved
from exeunt.engine.decide import Run
from exeunt.internal.v1 import step_pb2
from exeunt.journal.steplogs import OutputFrame, StepLogs
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.runs import Runs
from exeunt.scheduler.view import WorkflowView
from exeunt.service.bounds import moment
from exeunt.service.errors import invalid, not_found, unavailable
from exeunt.steps import attempt_key
from exeunt.v1 import workflow_service_pb2 as pb

log = logging.getLogger(__name__)

WAITING_BYTES = 64 * 1024 * 1024
"""Of output that is not written yet; beyond it the oldest goes."""

ROOM_SECONDS = 1.0
"""How long a stream is not read while half of that waits; results and heartbeats come by the same stream."""

RECENT = 20_000
TOGETHER = 1000
"""Lines in one answer."""
BREATH = 1000
"""Nodes that are looked through before others get a turn."""


class LogWriter:
    """Writes frames in their order; `run` does the work.

    When NATS is slower than the output, streams wait for `room`; where that is not enough the oldest frames are lost,
    never the last ones of a step.
    """

    def __init__(self, logs: StepLogs, runs: Runs) -> None:
        self._logs = logs
        self._runs = runs
        self._waiting: deque[tuple[str, str, OutputFrame]] = deque()
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
                attempt = attempt_key(frame.id)
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
            runs = tuple(frame.runs)
            kept = OutputFrame(
                node, attempt.attempt, frame.number, at, frame.data, frame.end, attempt.hook_id, runs=runs
            )
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

    def _take(self) -> tuple[str, str, OutputFrame]:
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


_TRIED = re.compile(r"\(\d+\)")
"""What the name of an attempt has behind that of its step."""
_ATTEMPT = re.compile(r"\((\d+)\)$")


class LineFilter(NamedTuple):
    """Which lines are asked for."""

    node: str = ""
    tail: int = 0  # all when 0
    after: int = 0  # the position in the stream of the frame that was taken in last
    since: float = 0.0
    attempt: int | None = None
    stream: int = pb.LOG_STREAM_UNSPECIFIED


def wanted(request: pb.GetLogsRequest) -> LineFilter:
    """What a request asks for. Raises INVALID_ARGUMENT."""
    if request.tail < 0:
        raise invalid("tail is negative", [("tail", "0 means all lines")])
    if request.attempt < 0:
        raise invalid("attempt is negative", [("attempt", "attempts are counted from 0")])
    if request.position and not _POSITION.fullmatch(request.position):
        raise invalid("position cannot be read", [("position", "give the last position as it came, or none")])
    if request.position and request.tail:
        text = "what follows a position comes whole: leave out tail"
        raise invalid(text, [("tail", text)])
    if request.stream not in pb.LogStream.values():
        raise invalid("stream is none", [("stream", "LOG_STREAM_STDOUT and LOG_STREAM_STDERR are")])
    return LineFilter(
        node=request.node,
        tail=request.tail,
        after=int(request.position or 0),
        since=moment(request.since, "since"),
        attempt=request.attempt if request.HasField("attempt") else None,
        stream=request.stream,
    )


_POSITION = re.compile(r"\d{1,18}")


class _Names(msgspec.Struct, rename="camel"):
    name: str = ""
    display_name: str = ""


class ChosenNodes:
    """Names of nodes for people, and which of them are asked for. Nodes that begin later are known to their run.

    A step that is tried again has a node of its own, without output: who asks for that gets all of its attempts.
    """

    def __init__(self, found: WorkflowView, wanted: LineFilter, run: Run | None = None) -> None:
        self._nodes = found.nodes
        self._run = run
        self._wanted = wanted.node
        self._full: set[str] = set()  # the names of nodes that are asked for, as far as they have begun
        self.known = not wanted.node

    async def look(self) -> None:
        """Finds the nodes that are asked for."""
        if not self._wanted:
            return
        for count, id in enumerate(self._nodes):
            names = self._names(id)
            if self._wanted in (id, names.name, names.display_name):
                self._full.add(names.name)
                self.known = True
            if count % BREATH == BREATH - 1:
                await asyncio.sleep(0)

    def require(self) -> None:
        """Raises NOT_FOUND unless some node was the one that is asked for."""
        if not self.known:
            raise not_found("node", self._wanted)

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

    def attempt(self, id: str, placed: int) -> int:
        """Which attempt of its step the node is; of a step that is not tried again, how often it was placed before."""
        tried = _ATTEMPT.search(self._names(id).name)
        return int(tried[1]) if tried else placed

    def wants(self, id: str) -> bool:
        """Whether the node's output is asked for: all, or by id, name or display name."""
        if not self._wanted:
            return True
        names = self._names(id)
        fits = (
            self._wanted in (id, names.name, names.display_name, _ATTEMPT.sub("", names.display_name))
            or names.name in self._full
            or any(names.name[: tried.start()] in {*self._full, self._wanted} for tried in _TRIED.finditer(names.name))
        )
        self.known = self.known or fits
        return fits


def lines(frame: OutputFrame, display: ChosenNodes, wanted: LineFilter) -> list[pb.LogLine]:
    """The lines of a frame that are asked for."""
    node = unquote(frame.node)
    if frame.at < wanted.since or not display.wants(node):
        return []
    attempt = display.attempt(node, frame.attempt)
    if wanted.attempt not in (None, attempt):
        return []
    name = display.name(node)
    at = Timestamp(seconds=int(frame.at), nanos=int((frame.at % 1) * 1e9))
    found: list[pb.LogLine] = []
    for stream, data in _streams(frame):
        if wanted.stream not in (pb.LOG_STREAM_UNSPECIFIED, stream):
            continue
        texts = data.split(b"\n")
        whole = not texts[-1]
        if whole:
            texts.pop()
        for raw in texts:
            line = pb.LogLine(node=node, display_name=name, attempt=attempt, stream=stream, time=at)
            try:
                line.text = raw.removesuffix(b"\r").decode()
            except UnicodeDecodeError:
                line.text, line.data = raw.removesuffix(b"\r").decode(errors="replace"), raw
            found.append(line)
        found[-1].unfinished = not whole and not frame.end  # only a line that fills a frame is cut
    return found


def _streams(frame: OutputFrame) -> Iterator[tuple[pb.LogStream.ValueType, bytes]]:
    try:
        for stdout, data in interleaved.pieces(frame.data, frame.runs):
            yield pb.LOG_STREAM_STDOUT if stdout else pb.LOG_STREAM_STDERR, data
    except ValueError:
        if frame.data:
            yield pb.LOG_STREAM_UNSPECIFIED, frame.data


class _Tail:
    """The last lines of each step."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[str, deque[pb.LogLine]] = {}

    def take(self, lines: Iterable[pb.LogLine]) -> None:
        for line in lines:
            self._held.setdefault(line.node, deque(maxlen=self._most)).append(line)

    def __iter__(self) -> Iterator[pb.GetLogsResponse]:
        for held in self._held.values():
            lines = list(held)
            for start in range(0, len(lines), TOGETHER):
                yield pb.GetLogsResponse(lines=lines[start : start + TOGETHER])


def _answer(found: list[pb.LogLine], frame: OutputFrame) -> pb.GetLogsResponse:
    return pb.GetLogsResponse(lines=found, position=str(frame.sequence))


async def kept(
    logs: StepLogs, display: ChosenNodes, namespace: str, uid: str, wanted: LineFilter
) -> AsyncGenerator[pb.GetLogsResponse, None]:
    """The lines that are kept now; with `tail` the last of each step. Raises NOT_FOUND where there is no such node."""
    await display.look()
    last = _Tail(wanted.tail)
    async with aclosing(logs.read(namespace, uid)) as frames:
        async for frame in frames:
            if frame.sequence > wanted.after and (found := lines(frame, display, wanted)):
                if wanted.tail:
                    last.take(found)
                else:
                    yield _answer(found, frame)
    display.require()
    for answer in last:
        yield answer


async def followed(
    logs: StepLogs, entry: OpenWorkflow, display: ChosenNodes, wanted: LineFilter
) -> AsyncGenerator[pb.GetLogsResponse, None]:
    """The lines that are kept (with `tail` the last of each step), then those that come, until all has ended.

    The node that is asked for may begin later, so NOT_FOUND is raised at the end.
    """
    await display.look()
    namespace, uid = entry.run.namespace, entry.run.uid
    seen = wanted.after
    if wanted.tail:
        last = _Tail(wanted.tail)
        async with aclosing(logs.read(namespace, uid)) as frames:
            async for frame in frames:
                seen = frame.sequence
                last.take(lines(frame, display, wanted))
        for answer in last:
            yield answer
    ended = asyncio.Event()

    def look() -> None:
        if entry.closed or entry.driver.dropped:
            ended.set()

    entry.changed.add(look)
    look()
    over = asyncio.create_task(ended.wait())
    try:
        async with aclosing(_until(logs.read(namespace, uid, follow=True), over)) as coming:
            async for frame in coming:
                if frame.sequence > seen:
                    seen = frame.sequence
                    if found := lines(frame, display, wanted):
                        yield _answer(found, frame)
    finally:
        over.cancel()
        entry.changed.discard(look)
    if not entry.closed:
        raise unavailable("MOVED", "the workflow has moved to another scheduler; go on from the last position")
    async with aclosing(logs.read(namespace, uid)) as frames:  # what came between the last look and the end
        async for frame in frames:
            if frame.sequence > seen and (found := lines(frame, display, wanted)):
                yield _answer(found, frame)
    display.require()


async def _until(
    frames: AsyncGenerator[OutputFrame, None], over: asyncio.Task[Any]
) -> AsyncGenerator[OutputFrame, None]:
    """What comes, until `over` is done. When this is closed nothing reads any more: a consumer would be left behind."""
    coming: asyncio.Task[OutputFrame] | None = None
    try:
        while not over.done():
            coming = asyncio.ensure_future(anext(frames))
            await asyncio.wait([coming, over], return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                return
            yield coming.result()
    finally:
        while coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait([coming])
        await frames.aclose()
