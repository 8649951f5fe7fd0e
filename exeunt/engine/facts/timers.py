"""The timers of a run: what each is for, and of which node. The log and the driver know each by its text."""

from __future__ import annotations

from typing import NamedTuple

DEADLINE = "deadline"
"""Of the workflow: `activeDeadlineSeconds`."""
CLOSE = "close"
"""Due at once: the run closes in a commit of its own."""
KILLED = "killed"
"""Of killed steps that have not said yet that they are over."""

TIMEOUT, WAIT, PAUSE = "timeout", "suspend", "retry"
"""Of a node: its time is over; a suspend node has waited for long enough; its next attempt may begin."""


class Timer(NamedTuple):
    """A timer, read from its text. `node` is the id of its node; the run's own have none."""

    kind: str
    node: str = ""


def read(text: str) -> Timer:
    """The timer of this text."""
    kind, _, node = text.partition(":")
    return Timer(kind, node)


def timeout(node: str) -> str:
    """Of the time that a node has."""
    return f"{TIMEOUT}:{node}"


def wait(node: str) -> str:
    """Of the time that a suspend node waits."""
    return f"{WAIT}:{node}"


def pause(node: str) -> str:
    """Of the pause before the next attempt of a retried node."""
    return f"{PAUSE}:{node}"
