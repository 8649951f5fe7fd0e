"""What is still needed of the log: pins for each partition, the mark that follows, and who should snapshot. Pure.

docs/log.md §4: a partition's mark is the oldest position that its owner still needs. It never passes the owner's fence,
what has been read, what an open run needs, a finished run whose projections are not out, or what was read and not yet
acted on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from exeunt.journal.subjects import Family

PER_RUN = 20


@dataclass(slots=True)
class Needs:
    """What one owner needs of one partition."""

    fence: int
    read: int  # everything up to here has been read
    runs: dict[Family, int] = field(default_factory=dict)  # first commit or latest snapshot
    closed: dict[Family, int] = field(default_factory=dict)  # closing commits whose projections are not out
    handed: dict[int, int] = field(
        default_factory=dict
    )  # position → first position of what was given out and not finished

    def mark(self) -> int:
        """The oldest position that is still needed; what lies before it may be cut."""
        return min(
            self.fence,
            self.read + 1,
            min(self.runs.values(), default=self.fence),
            min(self.handed.values(), default=self.fence),
        )

    def projected(self, head: int) -> int:
        """Runs that closed before this position are out: a load need not project them again.

        `head`: every write up to there has been answered.
        """
        return min(self.closed.values(), default=head + 1)


class Marks:
    """The needs of all partitions that a process owns in one role."""

    def __init__(self) -> None:
        self._of: dict[int, Needs] = {}

    def begin(self, partition: int, fence: int) -> None:
        """The partition has been loaded up to the fence."""
        self._of[partition] = Needs(fence, fence)

    def end(self, partition: int) -> None:
        """The partition is not ours any more: it has no mark."""
        self._of.pop(partition, None)

    def renewed(self, partition: int, fence: int) -> None:
        """A new fence holds from here on."""
        if needs := self._of.get(partition):
            needs.fence = fence

    def need(self, family: Family, sequence: int, *, anew: bool = False) -> None:
        """An open run needs the log from this position on: its first commit, or (`anew`) its latest snapshot."""
        if needs := self._of.get(family.partition):
            if anew:
                needs.runs[family] = sequence
                needs.closed.pop(family, None)
            else:
                needs.runs.setdefault(family, sequence)

    def closed(self, family: Family, sequence: int) -> None:
        """The run's closing commit is stored; it is needed until `done`."""
        if needs := self._of.get(family.partition):
            needs.runs.setdefault(family, sequence)
            needs.closed[family] = sequence

    def done(self, family: Family) -> None:
        """Nothing of the run is needed any more: it has closed and its projections are out."""
        if needs := self._of.get(family.partition):
            needs.runs.pop(family, None)
            needs.closed.pop(family, None)

    def handed(self, partition: int, sequence: int, first: int) -> None:
        """Something was given out that must be acted on before the mark may pass it."""
        if needs := self._of.get(partition):
            needs.handed[sequence] = first

    def finished(self, partition: int, sequence: int) -> None:
        """It has been acted on, durably."""
        if needs := self._of.get(partition):
            needs.handed.pop(sequence, None)

    def read(self, sequence: int) -> None:
        """Everything up to this position has been read, in all partitions."""
        for needs in self._of.values():
            needs.read = max(needs.read, sequence)

    def __iter__(self) -> Iterator[tuple[int, Needs]]:
        return iter(self._of.items())

    def __contains__(self, partition: int) -> bool:
        return partition in self._of

    def needs(self, partition: int) -> Needs | None:
        """What is known of a partition, if it is ours."""
        return self._of.get(partition)

    def distance(self, head: int) -> int:
        """Messages from the oldest one that is needed in any partition to the newest."""
        return max((head + 1 - needs.mark() for needs in self._of.values()), default=0)

    @property
    def open_runs(self) -> int:
        """How many runs hold something."""
        return sum(len(n.runs) for n in self._of.values())

    def oldest(self, below: int) -> list[tuple[int, Family]]:
        """Open runs whose oldest needed message lies before the position, oldest first."""
        found = [(s, f) for n in self._of.values() for f, s in n.runs.items() if s < below and f not in n.closed]
        return sorted(found)


def window(messages: int, open_runs: int, max_bytes: int, used: int, stored: int) -> int:
    """How many messages the log should span: the setting, at least twenty for each open run, at most half of the room.

    `used` bytes are taken by `stored` messages now.
    """
    wanted = max(messages, PER_RUN * open_runs)
    if max_bytes > 0 and stored > 0 and used > 0:
        wanted = min(wanted, max(1, max_bytes * stored // (2 * used)))
    return wanted


def affordable(open_runs: int, used: int, free: int) -> int:
    """How many snapshots may be written at once: as many as take a quarter of the `free` bytes.

    Each is taken to be as large as an open run is in the `used` bytes on average. What they replace goes before the
    next ones are written; what runs has the rest of the room meanwhile.
    """
    return max(1, max(free, 0) // 4 * max(open_runs, 1) // max(used, 1))


def due_snapshots(marks: Marks, head: int, span: int, share: float = 0.1) -> list[Family]:
    """Who should write a snapshot now: spread over the last fifth of the window, so that they do not come at once.

    What has left the window comes at once; of what is in its last fifth, a share for each time this is asked.
    """
    late = marks.oldest(head - span)
    soon = marks.oldest(head - span * 4 // 5)
    count = max(len(late), int(len(soon) * share) + (1 if soon else 0))
    return [family for _, family in soon[:count]]
