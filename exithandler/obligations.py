"""Obligations become exit runs: what commits of main runs ask for is begun, cancelled or noted, as it comes in the log.

An obligation is an open HookDue in the log. The mark of the log passes a commit when all that it asks for is durable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

from exeunt.bundles import Bundles, BundleUnusable
from exeunt.engine import decide
from exeunt.engine.commands import Cancel
from exeunt.engine.facts import HookCancelled, HookDue, HookSkipped, Obligation, commit
from exeunt.exithandler.exit_runs import ExitRuns
from exeunt.exithandler.open_run import started_by
from exeunt.exithandler.record import SKIPPED, new_record, unreadable
from exeunt.exithandler.tasks import failed
from exeunt.journal.log import Log
from exeunt.journal.subjects import Family, Record, family_of
from exeunt.language.manifest import Bundle

log = logging.getLogger(__name__)

Withdrawn = Mapping[str, Cancel]
"""Hook ids of obligations that were taken back, and how."""


class HookCommit:
    """A commit of kind `h` that is being acted on; when all that it asks for is durable, the mark may pass it."""

    def __init__(self, journal: Log, record: Record) -> None:
        self._journal = journal
        self._record = record
        self._open = 1

    def hold(self) -> None:
        """One more thing of it is being taken up."""
        self._open += 1

    def let_go(self) -> None:
        """One of them is durable; once more when the whole commit has been looked through."""
        self._open -= 1
        if self._open == 0:
            self._journal.finish(self._record)


class Obligations:
    """Takes up all of them. While `stopping` they are left to the next owner."""

    def __init__(self, journal: Log, runs: ExitRuns, bundles: Bundles) -> None:
        self.stopping = False
        self._journal = journal
        self._runs = runs
        self._bundles = bundles
        self._beginning: dict[Family, list[tuple[Cancel, HookCommit]]] = {}  # cancelled before they began
        runs.on_lose.append(self._lose)

    def __len__(self) -> int:
        """How many are due and wait for their manifests."""
        return len(self._beginning)

    def _lose(self, gone: Collection[int]) -> None:
        self._beginning = {f: cancelled for f, cancelled in self._beginning.items() if f.partition not in gone}

    def take(self, record: Record, known: Collection[str] = (), withdrawn: Withdrawn | None = None) -> None:
        """Takes up what a commit of kind `h` asks for.

        `known` are hook ids whose exit run is in the log already; `withdrawn` those that a later commit takes back:
        their runs begin and end at once, and nothing is done.
        """
        if self.stopping:
            return
        taken = HookCommit(self._journal, record)
        try:
            decoded = commit.decode(record.data)
        except Exception as error:
            log.exception("a commit of %s cannot be read", record.family.uid)
            self._runs.tasks.add(record.family.partition, self._park_unread(record, error))
            return
        for event in decoded.events:
            match event:
                case HookDue():
                    id = event.obligation.hook_id
                    family = family_of(event.obligation.uid, id)
                    if id not in known and id not in self._runs.runs and family not in self._beginning:
                        taken.hold()
                        self._begin(family, event.obligation, taken, (withdrawn or {}).get(id))
                case HookCancelled():
                    taken.hold()
                    self._cancel(record.family.uid, event.hook_id, _cancel_of(event), taken)
                case HookSkipped():
                    taken.hold()
                    self._runs.tasks.add(record.family.partition, self._skip(event, decoded.now, taken))
        taken.let_go()

    def _begin(self, family: Family, obligation: Obligation, taken: HookCommit, withdrawn: Cancel | None) -> None:
        bundle = self._bundles.known(obligation.bundle)
        if bundle is not None and not self._runs.turns.over:
            self._begin_with(obligation, bundle, taken, withdrawn)
            return
        self._beginning[family] = []
        self._runs.tasks.add(family.partition, self._begin_later(family, obligation, taken, withdrawn))

    async def _begin_later(self, family: Family, owed: Obligation, taken: HookCommit, withdrawn: Cancel | None) -> None:
        try:
            bundle: Bundle | BundleUnusable = await self._bundles.get(owed.bundle)
        except BundleUnusable as error:
            bundle = error
        await self._runs.turns.do(lambda: None)
        cancelled = self._beginning.pop(family, [])
        if isinstance(bundle, BundleUnusable):
            self._runs.park(owed, str(bundle), taken.let_go)
        else:
            self._begin_with(owed, bundle, taken, cancelled[0][0] if cancelled else withdrawn)
        for cancel, waiting in cancelled:
            self._cancel(owed.uid, owed.hook_id, cancel, waiting)

    def _begin_with(self, obligation: Obligation, bundle: Bundle, taken: HookCommit, withdrawn: Cancel | None) -> None:
        now = max(self._runs.clock.now(), obligation.due_at)
        try:
            run, events = decide.begin(started_by(obligation), bundle, now)
            if withdrawn is not None:
                events += decide.decide(run, withdrawn, now)
        except Exception as error:
            log.exception("the exit run %s of %s cannot begin", obligation.hook_id, obligation.name)
            self._runs.park(obligation, f"the handler cannot be started: {error}", taken.let_go)
            return
        opened = self._runs.open(obligation, new_record(obligation))
        opened.taken_up = taken.let_go
        self._runs.drive(opened, run).start(events)

    def _cancel(self, uid: str, hook_id: str, cancel: Cancel, taken: HookCommit) -> None:
        beginning = self._beginning.get(family_of(uid, hook_id))
        if beginning is not None:
            beginning.append((cancel, taken))
            return
        run = self._runs.runs.get(hook_id)
        if run is None or run.driver is None:
            taken.let_go()
            return
        run.driver.ask(cancel).add_done_callback(lambda done: _whatever_came(done, taken.let_go))

    async def _skip(self, event: HookSkipped, now: float, taken: HookCommit) -> None:
        record = new_record(event.obligation)
        record.state, record.error = SKIPPED, event.why
        record.due_at = record.due_at or now
        record.finished_at = now
        await self._runs.until_written(record)
        taken.let_go()

    async def _park_unread(self, record: Record, error: Exception) -> None:
        uid = record.family.uid
        why = f"commit {record.number} of workflow {uid} cannot be read: {error}"
        await self._runs.until_written(unreadable(f"unread-{uid}-{record.sequence}", uid, why, self._runs.clock.now()))


def withdrawn_in(told: Iterable[Record]) -> dict[str, Cancel]:
    """Obligations that are taken back somewhere in these commits, and how. Those that cannot be read say nothing."""
    found: dict[str, Cancel] = {}
    for record in told:
        with suppress(Exception):
            events = commit.decode(record.data).events
            found |= {e.hook_id: _cancel_of(e) for e in events if isinstance(e, HookCancelled)}
    return found


def _cancel_of(event: HookCancelled) -> Cancel:
    """What the exit run is told of an obligation that is taken back."""
    return Cancel(event.reason, event.strategy, event.below)


def _whatever_came(done: asyncio.Future[Any], call: Callable[[], None]) -> None:
    """A run that is over, or somebody else's, has nothing to be cancelled here."""
    failed(done)
    call()
