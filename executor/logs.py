"""A step's output: kept within bounds, cut into frames for the scheduler, with its last lines and its result."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp

from exeunt import interleaved
from exeunt.internal.v1 import step_pb2 as pb

FRAME = 32 * 1024
"""Bytes after which a frame is full."""

TAIL_LINES = 20
TAIL_LINE = 2000
"""The result carries this many last lines, each cut to so many characters."""
_TAIL = TAIL_LINES * (TAIL_LINE + 1)  # with their ends


class Output:
    """The output of one attempt, in frames.

    Frames are kept until the attempt is acknowledged, since a stream that breaks may have lost what was written to it.
    All frames together have at most `limit` bytes; of standard output `result_limit` bytes are kept for the result.
    When there is more, frames that were sent are dropped first, the oldest before the others. When only unsent ones are
    left it depends on whether a scheduler takes them (`is_heard`): if so the step has to wait before it writes on
    (`full`); if not the oldest lines are dropped and a note stands in their place. The last lines are never dropped.
    """

    __slots__ = (
        "_frames",
        "_heard",
        "_id",
        "_last",
        "_last_stdout",
        "_limit",
        "_note",
        "_number",
        "_open",
        "_opened",
        "_partial",
        "_result",
        "_result_limit",
        "_runs",
        "_sent",
        "_size",
        "_unsent",
        "ended",
        "on_room",
    )

    def __init__(
        self, id: str, limit: int, result_limit: int, wants_result: bool, is_heard: Callable[[], bool] = lambda: False
    ) -> None:
        self.on_room: Callable[[], None] | None = None
        """Called when the step need not wait any more."""
        self._id = id
        self._limit = limit
        self._result_limit = result_limit
        self._heard = is_heard
        self._result: bytearray | None = bytearray() if wants_result else None
        self._frames: deque[pb.LogFrame] = deque()
        self._partial = {True: bytearray(), False: bytearray()}  # lines of standard output and error that go on
        self._open = bytearray()  # whole lines that no frame holds yet
        self._runs: list[int] = []  # of these: bytes of standard output, of standard error, and so on in turn
        self._opened = 0.0
        self._size = 0  # of frames and what is open
        self._unsent = 0  # the part of it that was not sent on this stream
        self._number = 0
        self._sent = 0  # the number of the last frame that was sent
        self._note = (0, 0)  # the number of the frame that stands for what is left out, and how many bytes that is
        self._last = b""  # the end of the lines of both streams, for the last lines
        self._last_stdout = True
        self.ended = False

    @property
    def full(self) -> bool:
        """Whether the step has to wait before it writes more."""
        return self._unsent >= self._limit and self._heard()

    def write(self, data: bytes, stdout: bool, *, result: bool = True) -> bool:
        """Takes a piece of output, which can be the step's `result`. True when something can be sent now."""
        if stdout and result and self._result is not None:
            self._result += data
            if len(self._result) > 2 * self._result_limit:
                del self._result[: -self._result_limit - 1]
        if not self._opened:
            self._opened = time.time()
        line = self._partial[stdout]
        line += data
        cut = line.rfind(b"\n") + 1
        if not cut and len(line) >= FRAME:
            cut = len(line)  # a line that fills a frame is cut
        if cut:
            self._take(line[:cut], stdout)
            del line[:cut]
        self._size += len(data)
        self._unsent += len(data)
        if len(self._open) >= FRAME:
            self._close_frame(end=False)
        self._make_room()
        return self.more or bool(self._open)

    def end(self) -> None:
        """Nothing follows."""
        if not self.ended:
            self.ended = True
            for stdout, line in self._partial.items():
                self._take(line, stdout)
                self._partial[stdout] = bytearray()
            if self._open or self._number:
                self._close_frame(end=True)

    def frames(self, room: int = 2**62) -> list[pb.LogFrame]:
        """What was not sent yet: whole lines while the step runs, all that there is when it has ended.

        No more than so many bytes, or one frame; what is left then comes with the next call.
        """
        if self._open and not self.ended:
            self._close_frame(end=False)
        fresh = []
        for frame in self._frames:
            if frame.number > self._sent and room > 0:
                fresh.append(frame)
                room -= len(frame.data)
        if fresh:
            self._sent = fresh[-1].number
            self._unsent -= sum(len(frame.data) for frame in fresh)
            self._make_room()
            if self.on_room is not None and not self.full:
                self.on_room()
        return fresh

    @property
    def more(self) -> bool:
        """Whether `frames` has something."""
        return self._sent < self._number

    def again(self) -> None:
        """Has everything that is kept sent again, on a new stream."""
        self._sent = 0
        self._unsent = self._size

    def tail(self) -> list[str]:
        """The last lines."""
        if not self._last:
            return []
        lines = self._last.decode(errors="replace").split("\n")
        if lines and not lines[-1]:
            lines.pop()
        return [line[-TAIL_LINE:].rstrip("\r") for line in lines[-TAIL_LINES:]]

    def result(self) -> str | None:
        """Standard output without its last line end; of more than the limit only the last part, as in Argo."""
        if self._result is None:
            return None
        data = bytes(self._result.removesuffix(b"\n"))
        return _end_of(_end_of(data, self._result_limit), self._result_limit).decode()

    def _take(self, data: bytearray, stdout: bool) -> None:
        if data:
            if stdout != self._last_stdout and self._last and not self._last.endswith(b"\n"):
                self._last += b"\n"  # of the other stream, and never ended
            self._last = bytes(data[-_TAIL:]) if len(data) >= _TAIL else (self._last + data)[-_TAIL:]
            self._last_stdout = stdout
            interleaved.add(self._runs, len(data), stdout=stdout)
            self._open += data

    def _close_frame(self, *, end: bool) -> None:
        stamp = Timestamp()
        stamp.FromNanoseconds(int((self._opened or time.time()) * 1e9))
        data, runs = bytes(self._open), self._runs
        start = 0
        while start < len(data) or (end and not self._ends()):
            stop = min(start + FRAME, len(data))
            if stop < len(data):
                stop = data.rfind(b"\n", start, stop) + 1 or stop
            self._number += 1
            some, runs = interleaved.split(runs, stop - start)
            last = end and stop == len(data)
            frame = pb.LogFrame(
                id=self._id, number=self._number, data=data[start:stop], time=stamp, end=last, runs=some
            )
            self._frames.append(frame)
            start = stop
        self._open.clear()
        self._runs = []
        self._opened = time.time() if any(self._partial.values()) else 0.0

    def _ends(self) -> bool:
        return bool(self._frames) and self._frames[-1].end

    def _make_room(self) -> None:
        """Drops the oldest frames: those that were sent, and others when nobody is there to take them."""
        while self._size > self._limit:
            noted = bool(self._frames) and self._frames[0].number == self._note[0]
            if len(self._frames) < 2 + noted:
                return  # the last ones never go
            if self._frames[0].number <= self._sent:
                self._size -= len(self._frames.popleft().data)
            elif self._heard():
                return
            else:
                self._leave_out(noted)

    def _leave_out(self, noted: bool) -> None:
        """Puts a note in the place of the oldest frame, and of the note before it.

        It has the number of the last one that it stands for: who got that one on an earlier stream passes it over.
        """
        count = 0
        if noted:
            self._shrink(self._frames.popleft())
            count = self._note[1]
        gone = self._frames.popleft()
        self._shrink(gone)
        count += len(gone.data)
        text = b"[exeunt: %d bytes of output are left out here]\n" % count
        self._frames.appendleft(pb.LogFrame(id=self._id, number=gone.number, data=text, time=gone.time))
        self._note = gone.number, count
        self._size += len(text)
        self._unsent += len(text)

    def _shrink(self, gone: pb.LogFrame) -> None:
        self._size -= len(gone.data)
        self._unsent -= len(gone.data)


def _end_of(data: bytes, limit: int) -> bytes:
    """The last so many bytes, as valid UTF-8: what is none takes three bytes instead of one."""
    cut = data[-limit:]
    if len(data) > limit:
        start = 0
        while start < min(4, len(cut)) and cut[start] & 0xC0 == 0x80:
            start += 1  # the cut went through a character
        cut = cut[start:]
    return cut.decode(errors="replace").encode()
