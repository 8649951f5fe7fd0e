"""Reads the whole log and holds every commit against the fences before it and the commits of its run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import msgspec
import nats
from nats.aio.msg import Msg

FENCE = "Nats-Expected-Last-Subject-Sequence"


@dataclass
class Audit:
    """Every message of the log in its order, held against the fences before it."""

    commits: int = 0
    wrong: list[str] = field(default_factory=list)
    owners: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # fence's subject → who took it
    _last: dict[str, tuple[int, str]] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def take(self, message: Msg) -> None:
        """Judges one message."""
        subject, sequence = message.subject, message.metadata.sequence.stream
        headers = message.headers or {}
        if ".own." in subject:
            replica = msgspec.json.decode(message.data)["replica"]
            self._last[subject] = (sequence, replica)
            if self.owners[subject][-1:] != [replica]:
                self.owners[subject].append(replica)
            return
        self.commits += 1
        fence = headers.get(f"{FENCE}-Subject", "none")
        last, owner = self._last.get(fence, (0, "nobody"))
        if headers.get(FENCE) != str(last):
            self.wrong.append(f"{sequence} {subject} is under fence {headers.get(FENCE)}, but {owner} has {last}")
        if ".q." in subject:
            return
        tokens = subject.split(".")
        role = "m" if tokens[3] == "m" else "x"
        if fence != f"xj.{tokens[1]}.own.{role}":
            self.wrong.append(f"{sequence} {subject} is under another partition's fence, {fence}")
        number, before = int(headers["Exeunt-Commit"]), self._numbers.get(subject.rpartition(".")[0], 0)
        if number != before + 1:
            self.wrong.append(f"{sequence} {subject} is commit {number} behind {before}")
        self._numbers[subject.rpartition(".")[0]] = number

    @property
    def moved(self) -> int:
        """Partitions that have changed hands, counted for each role."""
        return sum(len(owners) > 1 for owners in self.owners.values())


async def audit(url: str) -> Audit:
    """Reads the whole log, which must not have been cut."""
    found = Audit()
    nc = await nats.connect(url)
    try:
        js = nc.jetstream()
        last = (await js.stream_info("EXEUNT_LOG")).state.last_seq
        messages = await js.subscribe("xj.>", stream="EXEUNT_LOG", ordered_consumer=True)
        while True:
            message = await messages.next_msg(timeout=10)
            found.take(message)
            if message.metadata.sequence.stream >= last:
                return found
    finally:
        await nc.close()
