"""Workflows that start each other: how deep their chain is, and how many descend from one; both are bounded."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping

DEPTH_LABEL = "exeunt.dev/depth"
"""On a child: how many workflows stand above it in the chain of triggers."""
ROOT_LABEL = "exeunt.dev/root"
"""On a child: the uid of the workflow with which the chain of triggers began."""

HOUR = 3600.0
_DEPTH = re.compile(r"[0-9]{1,5}")
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def depth_of(labels: Mapping[str, str]) -> int:
    """How many workflows stand above one with these labels in the chain of those that start each other."""
    text = labels.get(DEPTH_LABEL, "0")
    return int(text) if _DEPTH.fullmatch(text) else 0


def root_of(labels: Mapping[str, str], uid: str) -> str:
    """The uid of the workflow that one with these labels descends from: its own where nothing started it."""
    return labels.get(ROOT_LABEL) or uid


def wrong_labels(labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Labels that say nothing of a chain, which would begin anew with them; each with what is wrong."""
    depth, root = labels.get(DEPTH_LABEL), labels.get(ROOT_LABEL)
    if depth is not None and not _DEPTH.fullmatch(depth):
        yield DEPTH_LABEL, "it says how many workflows stand above in a chain: a number from 0 to 99999 is expected"
    if root is not None and not _UID.fullmatch(root):
        yield ROOT_LABEL, "it says with which workflow a chain began: the uid of a workflow is expected"


class ChainRefused(Exception):  # noqa: N818 - as StartRefused
    """One more workflow is not started; the text says which bound that met."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Chains:
    """Whether a workflow may start another one: how deep chains are, and how many descend from one root in an hour.

    Each service counts what it starts itself, and forgets it when it ends.
    """

    def __init__(self, depth: int, descendants: int) -> None:
        self._depth = depth
        self._most = descendants
        self._started: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()  # by root: uids, and when

    def check(self, labels: Mapping[str, str], uid: str, now: float) -> None:
        """Raises ChainRefused where a workflow with these labels is not to be started."""
        depth, root = depth_of(labels), labels.get(ROOT_LABEL, "")
        if depth > self._depth:
            text = f"{depth - 1} workflows have started each other in a chain already; the bound is {self._depth}"
            raise ChainRefused("CHAIN_TOO_DEEP", text)
        self._forget(root, now)
        started = self._started.get(root) or OrderedDict[str, float]()
        if uid not in started and len(started) >= self._most:
            text = (
                f"{len(started):,} workflows that descend from {root} have been started within an hour; "
                f"the bound is {self._most:,}"
            )
            raise ChainRefused("CHAIN_TOO_WIDE", text)

    def note(self, labels: Mapping[str, str], uid: str, now: float) -> None:
        """It is started."""
        root = labels.get(ROOT_LABEL)
        if root:
            self._started.setdefault(root, OrderedDict()).setdefault(uid, now)

    def _forget(self, root: str, now: float) -> None:
        """What was started longer ago: of this root, and of the one that was looked at longest ago."""
        for one in {root, next(iter(self._started), "")} & self._started.keys():
            started = self._started[one]
            while started and next(iter(started.values())) <= now - HOUR:
                started.popitem(last=False)
            self._started.move_to_end(one)
            if not started:
                del self._started[one]
