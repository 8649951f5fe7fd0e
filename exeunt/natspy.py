"""What nats-py leaves to its users."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def whole(call: Awaitable[T]) -> T:
    """Awaits a call into nats-py, which swallows a cancellation that comes while it flushes: raises it afterwards."""
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    result = await call
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return result
