"""A step's output: kept within bounds, cut into frames for the scheduler, with its last lines and its result."""

from __future__ import annotations

import time
from collections import deque

from google.protobuf.timestamp_pb2 import Timestamp

from exeunt.v1 import step_pb2 as pb

FRAME = 32 * 1024
"""Bytes after which a frame is full."""

TAIL_LINES = 20
TAIL_LINE = 2000
"""The result carries this many last lines, each cut to so many characters."""


class Output:
    """The output of one attempt.

    Frames stay until the attempt is acknowledged, since a stream that breaks may have lost what was written to it; of a
    long output the oldest ones that were sent go first, and what no room is left for is left out with a note.
    `limit` bounds all frames together, `result_limit` what is kept of standard output, in bytes.
    """

    __slots__ = (
        "_frames",
        "_id",
        "_last",
        "_left_out",
        "_limit",
        "_number",
        "_open",
        "_opened",
        "_result",
        "_result_limit",
        "_sent",
        "_size",
        "ended",
    )

    def __init__(self, id: str, limit: int, result_limit: int, wants_result: bool) -> None:
        self._id = id
        self._limit = limit
        self._result_limit = result_limit
        self._result: bytearray | None = bytearray() if wants_result else None
        self._frames: deque[pb.LogFrame] = deque()
        self._open = bytearray()  # what no frame holds yet
        self._opened = 0.0
        self._size = 0  # of frames and what is open
        self._number = 0
        self._sent = 0  # the number of the last frame that was sent
        self._left_out = 0
        self._last = b""  # the end of what was written, for the last lines
        self.ended = False

    def write(self, data: bytes, stdout: bool) -> bool:
        """Takes a piece of output. True when something can be sent now that could not before."""
        if stdout and self._result is not None:
            self._result += data
            if len(self._result) > 2 * self._result_limit:
                del self._result[: -self._result_limit - 1]
        if len(data) >= TAIL_LINES * TAIL_LINE:
            self._last = data[-TAIL_LINES * TAIL_LINE :]
        else:
            self._last = (self._last + data)[-TAIL_LINES * TAIL_LINE :]
        if self._size + len(data) > self._limit:
            self._make_room(len(data))
            if self._size + len(data) > self._limit:
                self._left_out += len(data)
                return False
        idle = not self._open
        if idle:
            self._opened = time.time()
        if self._left_out:
            self._note()
        self._open += data
        self._size += len(data)
        return idle

    def end(self) -> None:
        """Nothing follows."""
        self.ended = True
        if self._left_out:
            self._note()
        if self._open or self._number:
            self._close_frame(end=True)

    def frames(self) -> list[pb.LogFrame]:
        """What was not sent yet: whole lines while the step runs, all that there is when it has ended."""
        if self._open and not self.ended:
            self._close_frame(end=False)
        if self._sent == self._number:
            return []
        fresh = [frame for frame in self._frames if frame.number > self._sent]
        self._sent = self._number
        return fresh

    def again(self) -> None:
        """Everything that is kept shall be sent again: the stream is a new one."""
        self._sent = 0

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
        if len(data) > self._result_limit:
            data = data[-self._result_limit :]
            start = 0
            while start < 4 and start < len(data) and data[start] & 0xC0 == 0x80:
                start += 1  # the cut went through a character
            data = data[start:]
        return data.decode(errors="replace")

    def _close_frame(self, *, end: bool) -> None:
        data = self._open
        cut = len(data) if end else data.rfind(b"\n") + 1
        if not cut and len(data) >= FRAME:
            cut = len(data)  # a line that fills a frame is cut
        if not cut and not end:
            return
        stamp = Timestamp()
        stamp.FromNanoseconds(int((self._opened or time.time()) * 1e9))
        whole = bytes(data[:cut])
        for start in range(0, max(cut, 1), FRAME):
            self._number += 1
            last = end and start + FRAME >= cut
            self._frames.append(
                pb.LogFrame(id=self._id, number=self._number, data=whole[start : start + FRAME], time=stamp, end=last)
            )
        del data[:cut]
        self._opened = time.time() if data else 0.0

    def _make_room(self, need: int) -> None:
        while self._frames and self._frames[0].number <= self._sent and self._size + need > self._limit:
            self._size -= len(self._frames.popleft().data)

    def _note(self) -> None:
        if self._open and not self._open.endswith(b"\n"):
            self._open += b"\n"
        self._open += b"[exeunt: %d bytes of output are left out here]\n" % self._left_out
        self._left_out = 0
