"""The file in which a program says how far it has come (`ARGO_PROGRESS_FILE`), and who looks at it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os

from exeunt.executor.attempt import LocalAttempt
from exeunt.executor.runtime.base import RunningProgram, Unreadable
from exeunt.language.progress import as_text, progress_of

VARIABLE = "ARGO_PROGRESS_FILE"
FIRST_SECONDS = 3.0
"""The pause before the first look at the file; each is longer by a quarter than the one before, up to the last."""
LAST_SECONDS = 60.0
_BYTES = 256


def file_of(id: str) -> str:
    """The file of an attempt. It is nobody else's also where all see one /tmp."""
    return f"/tmp/argo-progress-{hashlib.sha256(id.encode()).hexdigest()[:16]}"  # noqa: S108 - a name that nobody guesses


async def look(attempt: LocalAttempt, running: RunningProgram, *, tell: bool) -> None:
    """Looks at the file now; what is new in it is told to the scheduler, unless a result is about to tell it."""
    try:
        data = await running.read(file_of(attempt.id), _BYTES)
    except Unreadable:
        return
    told = as_text(progress_of((data or b"").decode(errors="replace")))
    if told and told != attempt.progress:
        attempt.progress = told
        if tell and attempt.link is not None:
            attempt.link.has_news(attempt)


async def keep_looking(attempt: LocalAttempt, running: RunningProgram) -> None:
    """Looks now and then, until it is cancelled."""
    pause = FIRST_SECONDS
    while True:
        await asyncio.sleep(pause)
        await look(attempt, running, tell=True)
        pause = min(LAST_SECONDS, pause * 1.25)


def remove(id: str) -> None:
    """Removes the file, where it lies on the machine."""
    with contextlib.suppress(OSError):
        os.unlink(file_of(id))
