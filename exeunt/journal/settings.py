"""How the log is kept."""

from __future__ import annotations

from dataclasses import dataclass

from exeunt.journal.entries import COMMIT_BYTES


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How the log is kept. Sizes in bytes or messages, times in seconds."""

    replicas: int = 1
    """Copies of the stream: 1 on a single node, 3 on a cluster."""
    max_bytes: int = 8 * 1024**3
    """Room for the stream when it is made."""
    plain_limit: int = 12
    """One node: more waiting messages than these go as one batch. With several replicas: one request at a time."""
    deadline: float = 5.0
    """A write without an answer for so long is looked for. A new leader of three takes 4 to 7 s."""
    window: int = 100_000
    """Open runs whose oldest needed message lies further back are asked for a snapshot."""
    renew_distance: int = 5_000
    """Own fences are renewed, and the log is cut, by so many messages at least; never more than `window`."""
    commit_bytes: int = COMMIT_BYTES
    """The largest decision, or snapshot, of one run."""
    tick: float = 1.0
    """How often marks are announced, fences renewed and the log is cut."""
