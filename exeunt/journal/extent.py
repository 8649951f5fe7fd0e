"""How far the log goes and how full it is, as far as this process knows. Pure."""

from __future__ import annotations

from typing import Any


class LogExtent:
    """Positions and bytes: as the stream said last, and what has been written since."""

    def __init__(self) -> None:
        self.head = 0
        """The highest position that is known of."""
        self.stored = 0
        """The highest position of a write of ours that was acknowledged."""
        self.messages = 0
        self.first = 0
        self.room = -1
        """The most bytes that the stream takes; negative without a limit."""
        self.bytes = 0

    def made(self, config: dict[str, Any]) -> None:
        """The stream has this configuration."""
        self.room = int(config.get("max_bytes", -1))

    def told(self, info: dict[str, Any]) -> None:
        """What the stream says of itself (STREAM.INFO)."""
        state = info["state"]
        self.made(info["config"])
        self.bytes, self.messages = int(state["bytes"]), int(state["messages"])
        self.first = int(state["first_seq"])
        self.reached(int(state["last_seq"]))

    def reached(self, position: int) -> None:
        """The log goes so far, at least."""
        self.head = max(self.head, position)

    def wrote(self, position: int, size: int) -> None:
        """A write of ours, of so many bytes, ends there."""
        self.stored = max(self.stored, position)
        self.reached(position)
        self.bytes += size

    @property
    def left(self) -> int:
        """Bytes that still fit; negative without a limit."""
        return self.room - self.bytes if self.room > 0 else -1

    @property
    def fullness(self) -> float:
        """How much of the room is taken, 0 to 1."""
        return self.bytes / self.room if self.room > 0 else 0.0
