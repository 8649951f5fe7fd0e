"""Reading on when something is lost between the server and here."""

from __future__ import annotations

import asyncio
from typing import Any

from exeunt.journal.reader import Reader
from exeunt.journal.subjects import STREAM, family_of
from tests.journal.conftest import OpenLog


async def test_a_last_message_that_is_lost_on_its_way_is_sent_again(open_log: OpenLog) -> None:
    log = await open_log("m")
    await log.take([family_of("u").partition])
    await log.load([family_of("u").partition])
    position = await log.append(family_of("u"), 1, "c", b"commit")
    lost = []
    subscribe = log.wire.nc.subscribe

    async def lossy(subject: str, cb: Any) -> Any:
        async def passed_on(message: Any) -> None:
            if message.reply and not lost:  # nothing comes behind it that would show the gap
                lost.append(message.subject)
            else:
                await cb(message)

        return await subscribe(subject, cb=passed_on)

    log.wire.nc.subscribe = lossy  # type: ignore[assignment]  # a connection that loses something
    async with asyncio.timeout(20):
        async for item in Reader(log.wire, STREAM, ["xj.*.*.m.c"], position):
            assert (item.sequence, item.data) == (position, b"commit")
            break
    assert lost
