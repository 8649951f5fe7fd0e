"""Reads what a stream holds on a subject: once up to its end, or for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy

PATIENCE_SECONDS = 10.0
FOR_EVER_SECONDS = 3600.0


async def read(
    js: JetStreamContext,
    subject: str,
    *,
    follow: bool = False,
    headers_only: bool = False,
    start_time: str = "",
) -> AsyncIterator[Msg]:
    """The messages in their order, up to what is there at the end of reading; with `follow` also those yet to come.

    `start_time` (RFC 3339) leaves out older ones. Ends early when the server is silent for ten seconds.
    """
    config = ConsumerConfig(headers_only=headers_only or None, deliver_policy=DeliverPolicy.ALL)
    if start_time:
        config.deliver_policy = DeliverPolicy.BY_START_TIME
        config.opt_start_time = start_time  # type: ignore[assignment]  # sent as it is; nats-py's annotation is too narrow
    subscription = await js.subscribe(subject, ordered_consumer=True, config=config)
    try:
        _heed_cancellation()
        if not follow:
            info = await subscription.consumer_info()
            if not info.num_pending and not (info.delivered and info.delivered.consumer_seq):
                return
        while True:
            try:
                message = await subscription.next_msg(timeout=FOR_EVER_SECONDS if follow else PATIENCE_SECONDS)
            except (NatsTimeout, TimeoutError):
                if follow:
                    continue
                return
            _heed_cancellation()
            yield message
            if not follow and message.metadata.num_pending == 0:
                return
    finally:
        await subscription.unsubscribe()


def _heed_cancellation() -> None:
    """Raises CancelledError when the task was cancelled and nobody has heeded it.

    nats-py waits with `asyncio.wait_for`, which up to Python 3.11 forgets a cancellation that comes in the same moment
    as the answer (https://github.com/python/cpython/issues/86296): reading would go on for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
