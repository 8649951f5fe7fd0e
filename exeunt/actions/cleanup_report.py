"""What became of the things that a clean-up had to remove."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LISTED = 200  # names that the ledger keeps of each list


class NotRemoved(Exception):  # noqa: N818 - it is an answer
    """A thing that was not removed, and why. The text is for people."""


@dataclass
class CleanupReport:
    """The names of what was removed and of what was gone already, and the errors of the others."""

    removed: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unsent: bool = False  # something must not be asked for at all: another try would end the same way

    def note(self, name: str, removed: bool) -> None:
        """A thing is gone: `removed` now, or absent already."""
        (self.removed if removed else self.absent).append(name)

    def wrong(self, name: str, why: str) -> None:
        """A thing is still there."""
        self.errors.append(f"{name}: {why}")

    def add(self, other: CleanupReport) -> None:
        """Takes another report in."""
        self.removed += other.removed
        self.absent += other.absent
        self.errors += other.errors
        self.unsent |= other.unsent

    @property
    def message(self) -> str:
        """All of it in one line."""
        said = f"removed {len(self.removed)}, absent already {len(self.absent)}"
        if not self.errors:
            return said
        told = "; ".join(self.errors[:20]) + (f"; and {len(self.errors) - 20} more" if len(self.errors) > 20 else "")
        return f"{said}, not removed {len(self.errors)}: {told}"

    @property
    def answer(self) -> dict[str, Any]:
        """All of it as the ledger keeps it, long lists cut."""
        lists = {"removed": self.removed, "absent": self.absent, "errors": self.errors}
        more = {f"{name}LeftOut": len(value) - LISTED for name, value in lists.items() if len(value) > LISTED}
        return {**{name: value[:LISTED] for name, value in lists.items()}, **more}
