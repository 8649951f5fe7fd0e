"""Reading a stream ends when its reader is cancelled, also in the very moment in which a message comes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from exeunt.journal.reading import read


class Stream:
    """What nats-py is to a reader, with a wait that forgets a cancellation as `asyncio.wait_for` of 3.11 may."""

    def __init__(self, *, forgets: str) -> None:
        self.forgets = forgets
        self.waits = asyncio.Event()
        self.left = False

    async def subscribe(self, *_: Any, **__: Any) -> Stream:
        await self._wait("subscribe")
        return self

    async def next_msg(self, timeout: float) -> Any:
        await self._wait("next_msg")
        return SimpleNamespace(data=b"it came")

    async def unsubscribe(self) -> None:
        self.left = True

    async def _wait(self, what: str) -> None:
        if self.forgets != what and not (self.forgets == "done" and what == "next_msg"):
            return
        self.waits.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.forgets == "done":
                raise
            self.forgets = "done"


@pytest.mark.parametrize("moment", ["subscribe", "next_msg"])
async def test_a_cancellation_that_nats_py_forgot_ends_the_reading(moment: str) -> None:
    stream = Stream(forgets=moment)

    async def follow() -> list[Any]:
        return [message async for message in read(stream, "x.>", follow=True)]  # type: ignore[arg-type]

    reading = asyncio.create_task(follow())
    await stream.waits.wait()
    reading.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([reading])
    assert reading.cancelled()
    assert stream.left
