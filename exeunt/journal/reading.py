"""Reads what a stream holds on a subject: once up to its end, or for ever."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from nats.js import JetStreamContext

from exeunt.journal.reader import Reader, StoredMessage
from exeunt.journal.wire import wire_of


async def read(
    js: JetStreamContext,
    stream: str,
    subject: str,
    *,
    follow: bool = False,
    headers_only: bool = False,
    start: int = 1,
    start_time: str = "",
) -> AsyncGenerator[StoredMessage, None]:
    """The messages in their order, up to what is there at the end of reading; with `follow` also those yet to come.

    `start` (a position) and `start_time` (RFC 3339) leave out older ones. Goes on where it was when NATS was away.
    To be closed where it is not read to its end.
    """
    reader = Reader(
        await wire_of(js._nc),
        stream,
        [subject],
        start,
        headers_only=headers_only,
        start_time=start_time,
        to_end=not follow,
    )
    async with aclosing(aiter(reader)) as items:  # whoever closes this leaves no consumer behind
        async for item in items:
            yield item
