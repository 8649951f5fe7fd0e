"""Output on its way to NATS: bounded, and the last lines are never the ones that go."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from exeunt.internal.v1 import step_pb2
from exeunt.scheduler import logs
from exeunt.scheduler.logs import LogWriter


class Slow:
    """A store that takes a frame whenever it is told to."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.go = asyncio.Semaphore(0)

    async def put(self, namespace: str, uid: str, frame: Any) -> None:
        await self.go.acquire()
        self.written.append(frame.data)


def frame(number: int) -> step_pb2.LogFrame:
    return step_pb2.LogFrame(id="u/n/0", number=number, data=b"%09d\n" % number)


async def test_of_too_much_the_oldest_goes_and_streams_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "WAITING_BYTES", 100)
    monkeypatch.setattr(logs, "ROOM_SECONDS", 1000)
    store: Any = Slow()
    writer = LogWriter(store, SimpleNamespace(by_uid={}))  # type: ignore[arg-type]  # knows no run
    writer.know("u", "default")
    await writer.room()
    writer.take([frame(n) for n in range(25)])
    assert writer.lost == 15
    waits = asyncio.create_task(writer.room())
    writing = asyncio.create_task(writer.run())
    for _ in range(4):
        store.go.release()
    while len(store.written) < 4:
        assert not waits.done()
        await asyncio.sleep(0)
    store.go.release()
    await waits
    for _ in range(5):
        store.go.release()
    while len(store.written) < 10:  # noqa: ASYNC110 - turns of the loop
        await asyncio.sleep(0)
    writing.cancel()
    assert store.written == [b"%09d\n" % n for n in range(15, 25)]
