"""What nats-py leaves to its users."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")

WRONG_LAST_SEQUENCE = 10071
"""JetStream's error code of a write whose condition on what stood there before does not hold."""


async def whole(call: Awaitable[T]) -> T:
    """Awaits a call into nats-py without losing a cancellation: every await into it goes through here.

    It swallows one that comes while it flushes; `asyncio.wait_for` of Python 3.11, which it waits with, one that comes
    in the moment of the answer; and what fails while it is cancelled hides it. One that has come is raised afterwards.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        result = await call
    except Exception as error:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return result
