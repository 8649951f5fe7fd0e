"""What the runs of a scheduler call: who hears of what they do, and whom they ask."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

from exeunt.driver.driver import Driver, Told
from exeunt.journal.public import EventToPublish
from exeunt.journal.subjects import MailboxMessage
from exeunt.scheduler.entry import OpenWorkflow


@dataclass(frozen=True, kw_only=True)
class RunCallbacks:
    """Given to `Runs` before it takes any partition, and not when it is made: these parts need the runs themselves."""

    told: Callable[[list[EventToPublish]], None]
    """Hears what subscribers shall hear of durable commits, those of one run in their order."""
    told_out: Told
    """Done when all that was told so far is stored, or is not to be waited for: snapshots wait for it."""
    published: Callable[[Collection[str], float], Coroutine[Any, Any, set[str]]]
    """Which events of these workflows are out, at least of those since a time."""
    closed: Callable[[OpenWorkflow], None]
    """Hears of each run that is over: it goes to the archive."""
    message: Callable[[MailboxMessage], Coroutine[Any, Any, None]]
    """Acts on a message of another partition's owner. What it raises has the message tried again at the next load."""
    loaded: Callable[[Collection[int]], None]
    """Hears that these partitions are loaded: attempts of theirs can be judged."""
    lost: Callable[[Collection[int]], None]
    """Hears that these partitions are somebody else's."""
    exit_closed: Callable[[str, str, int], None]
    """Hears that an exit run has closed: workflow's uid, hook id, and the greatest number of its attempts."""
    broken: Callable[[Driver], bool]
    """A run cannot go on. Answers whether it is seen to; otherwise it is dropped."""
