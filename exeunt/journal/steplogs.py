"""The output of steps, kept and live: `xo.<namespace>.<uid>.<node>.<attempt>` in stream `EXEUNT_LOGS`.

Written without waiting for the disk (`persist_mode: async`): a crash of the machine may take the last lines with it,
never a result.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import NamedTuple

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    DiscardPolicy,
    PersistMode,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from exeunt import interleaved
from exeunt.journal.reader import StoredMessage
from exeunt.journal.reading import read
from exeunt.journal.subjects import PART_BYTES
from exeunt.natspy import whole

STREAM = "EXEUNT_LOGS"
NUMBER = "Exeunt-Frame"
PIECE = "Exeunt-Piece"
TIME = "Exeunt-Time"
END = "Exeunt-End"
EXIT = "Exeunt-Exit"
RUNS = "Exeunt-Runs"


class OutputFrame(NamedTuple):
    """Some lines of one attempt."""

    node: str
    attempt: int
    number: int
    at: float
    data: bytes
    end: bool
    exit: str = ""  # the exit run that the attempt belongs to: runs of one handler number their attempts alike
    piece: int = 0  # of a frame that no message would hold
    runs: tuple[int, ...] = ()  # which of it was written where (`exeunt.interleaved`); empty where that is not known
    sequence: int = 0  # where it stands in the stream; 0 before it is there

    @property
    def key(self) -> tuple[str, int, str]:
        """What names the attempt for ever, within its workflow."""
        return self.node, self.attempt, self.exit

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in the attempt's output."""
        return self.number, self.piece


def config(replicas: int, max_age_seconds: float = 7 * 86400, max_bytes: int = 2 * 1024**3) -> StreamConfig:
    """How the stream is made."""
    return StreamConfig(
        name=STREAM,
        subjects=["xo.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=replicas,
        max_age=max_age_seconds,
        max_bytes=max_bytes,
        discard=DiscardPolicy.OLD,
        persist_mode=PersistMode.ASYNC if replicas == 1 else None,
    )


class StepLogs:
    """Writes frames and reads them back."""

    def __init__(self, nc: Client, js: JetStreamContext) -> None:
        self._nc = nc
        self._js = js

    async def put(self, namespace: str, uid: str, frame: OutputFrame) -> None:
        """Hands a frame to the server, in pieces where it is large; output is not acknowledged."""
        subject = f"xo.{namespace}.{uid}.{frame.node}.{frame.attempt}"
        for piece in _pieces(frame):
            headers = {NUMBER: str(piece.number), TIME: f"{piece.at:.3f}"}
            if piece.piece:
                headers[PIECE] = str(piece.piece)
            if piece.end:
                headers[END] = "1"
            if piece.exit:
                headers[EXIT] = piece.exit
            if piece.runs:
                headers[RUNS] = ",".join(map(str, piece.runs))
            await whole(self._nc.publish(subject, piece.data, headers=headers))

    async def read(
        self, namespace: str, uid: str, node: str = "*", *, follow: bool = False
    ) -> AsyncGenerator[OutputFrame, None]:
        """The frames of a workflow (or of one node) as they came; with `follow` also those yet to come, for ever."""
        seen: dict[tuple[str, int, str], tuple[int, int]] = {}
        async with aclosing(read(self._js, STREAM, f"xo.{namespace}.{uid}.{node}.*", follow=follow)) as messages:
            async for message in messages:
                frame = _frame(message)
                if frame.place > seen.get(frame.key, (0, 0)):  # a frame may have been sent twice
                    seen[frame.key] = frame.place
                    yield frame

    async def remove(self, namespace: str, uid: str) -> None:
        """Removes the output of a deleted workflow."""
        await whole(self._js.purge_stream(STREAM, subject=f"xo.{namespace}.{uid}.>"))


def _pieces(frame: OutputFrame) -> Iterator[OutputFrame]:
    """The frame as messages hold it: cut at the ends of lines where there are any."""
    data, runs, piece = frame.data, list(frame.runs), 0
    while len(data) > PART_BYTES:
        size = data.rfind(b"\n", 0, PART_BYTES) + 1 or PART_BYTES
        first, runs = interleaved.split(runs, size)
        yield frame._replace(data=data[:size], end=False, piece=piece, runs=tuple(first))
        data, piece = data[size:], piece + 1
    yield frame._replace(data=data, piece=piece, runs=tuple(runs))


def _frame(message: StoredMessage) -> OutputFrame:
    _, _, _, node, attempt = message.subject.split(".")
    headers = message.headers or {}
    return OutputFrame(
        node=node,
        attempt=int(attempt),
        number=int(headers.get(NUMBER, "0")),
        at=float(headers.get(TIME, "0")),
        data=message.data,
        end=END in headers,
        exit=headers.get(EXIT, ""),
        piece=int(headers.get(PIECE, "0")),
        runs=tuple(map(int, filter(None, headers.get(RUNS, "").split(",")))),
        sequence=message.sequence,
    )
