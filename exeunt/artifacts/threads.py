"""Streams between the loop and threads: blocking work reads and makes them piece by piece, and memory stays flat."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

T = TypeVar("T")
PIECE_BYTES = 256 * 1024
"""About so much is handed over at once."""


class AbandonedError(OSError):
    """Nobody waits any more for what a thread does with a stream."""


class Pulled(io.RawIOBase):
    """What a stream of the loop is to a thread: a file to read from, once and forwards."""

    def __init__(self, stream: AsyncIterable[bytes], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._stream = aiter(stream)
        self._loop = loop
        self._rest = memoryview(b"")
        self._abandoned = threading.Event()
        self._pending: Future[bytes | None] | None = None
        self.failure: Exception | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer, but for the end of the stream. Raises AbandonedError, also where the stream fails."""
        filled = 0
        while filled < len(buffer):
            if not self._rest:
                piece = self._piece()
                if piece is None:
                    break
                self._rest = memoryview(piece)
            count = min(len(buffer) - filled, len(self._rest))
            buffer[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count
        return filled

    def _piece(self) -> bytes | None:
        if self._abandoned.is_set():
            raise AbandonedError("given up")
        try:
            self._pending = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
            if self._abandoned.is_set():
                self._pending.cancel()
            return self._pending.result()
        except CancelledError:
            raise AbandonedError("given up") from None
        except Exception as error:
            self.failure = error
            raise AbandonedError("the stream failed") from error

    async def _next(self) -> bytes | None:
        return await anext(self._stream, None)

    def abandon(self) -> None:
        """The thread gets no more than what it has been given."""
        self._abandoned.set()
        if self._pending is not None:
            self._pending.cancel()


async def consumed(stream: AsyncIterable[bytes], work: Callable[[io.BufferedReader], T]) -> T:
    """Has a thread read a stream. Raises what the stream raises, and what the work raises.

    When this is cancelled the thread is waited for: it works with local files only.
    """
    pulled = Pulled(stream, asyncio.get_running_loop())
    thread = asyncio.ensure_future(asyncio.to_thread(work, io.BufferedReader(pulled, PIECE_BYTES)))
    try:
        return await _to_its_end(thread, pulled.abandon)
    except Exception as error:
        if pulled.failure is not None and pulled.failure is not error:
            raise pulled.failure from None
        raise


async def produced(make: Callable[[], Iterator[bytes]]) -> AsyncIterator[bytes]:
    """What an iterator makes, of which each step is done in a thread. It is closed when nobody wants more."""
    pieces = make()
    try:
        while True:
            piece = await _to_its_end(asyncio.ensure_future(asyncio.to_thread(next, pieces, None)))
            if piece is None:
                return
            yield piece
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


async def _to_its_end(thread: asyncio.Future[T], stop: Callable[[], None] = lambda: None) -> T:
    """Waits for a thread, also when this is cancelled in between: it is told to stop then, and its result is lost."""
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        stop()
        while not thread.done():
            await asyncio.wait([thread])
        if not thread.cancelled():
            thread.exception()
        raise


def gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of about PIECE_BYTES."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if size:
        yield b"".join(waiting)
