"""Exit runs as the log has them: taken up with the partitions that this process gets, or read to be told of again."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from exeunt.bundles import Bundles
from exeunt.engine.decide import Run
from exeunt.engine.facts import Commit, Obligation, RunClosed, commit
from exeunt.exithandler.announce import ExitAnnouncer, told
from exeunt.exithandler.exit_runs import ExitRuns
from exeunt.exithandler.ledger import Ledger
from exeunt.exithandler.obligations import Obligations, withdrawn_in
from exeunt.exithandler.open_run import OpenExitRun
from exeunt.exithandler.record import ExitRecord, fold, new_record, unreadable
from exeunt.journal.log import Log
from exeunt.journal.public import EventToPublish
from exeunt.journal.repeat import until_answered
from exeunt.journal.replay import LoadedLog, OpenRun
from exeunt.journal.subjects import Family

log = logging.getLogger(__name__)


class FoldedRun(NamedTuple):
    """What the commits of an exit run make: the run, what it was made from, and its record."""

    run: Run
    obligation: Obligation
    record: ExitRecord


class Restorer:
    """Takes up what was open when the partitions came here."""

    def __init__(
        self,
        journal: Log,
        runs: ExitRuns,
        obligations: Obligations,
        *,
        bundles: Bundles,
        ledger: Ledger,
        announcer: ExitAnnouncer,
    ) -> None:
        self._journal = journal
        self._runs = runs
        self._obligations = obligations
        self._bundles = bundles
        self._ledger = ledger
        self._announcer = announcer

    async def restore(self, loaded: LoadedLog) -> None:
        """Goes on with the runs, and takes up the obligations, that a load has found."""
        for closed in loaded.closed:  # everything of them was out before they closed
            self._journal.done(closed.family)
        restored = [run for found in loaded.runs if (run := await self._read(found)) is not None]
        oldest = min((r.obligation.due_at for r in restored), default=0.0)
        await until_answered(lambda: self._announcer.look([r.obligation.uid for r in restored], oldest))
        self._runs.lose([r.family.partition for r in restored if not self._journal.owns(r.family.partition)])
        for opened in restored:
            if self._runs.runs.get(opened.id) is opened:
                self._resume(opened)
        withdrawn = withdrawn_in(loaded.told)
        for record in sorted(loaded.told, key=lambda r: r.sequence):
            if self._journal.owns(record.family.partition):
                self._obligations.take(record, loaded.hooks, withdrawn)
        for message in loaded.messages:
            self._journal.finish(message)

    async def _read(self, found: OpenRun) -> OpenExitRun | None:
        """A run as its commits say; None when they cannot be read: then it is parked, and what it needs is kept."""
        try:
            commits = [commit.decode(r.data) for r in found.records]
            run, obligation, record = await self._folded(found, commits, len(commits))
        except Exception as error:
            log.exception("the exit run %s of %s cannot be read", found.family.hook_id, found.family.uid)
            await self._park_unreadable(found.family, error)
            return None
        opened = self._runs.open(obligation, record, durable=found.records[-1].number)
        record.commits = opened.commits.durable
        self._runs.drive(opened, run)
        opened.ending = next((e for e in commits[-1].events if isinstance(e, RunClosed)), None)
        if run.closed and opened.ending is None:  # a replay that was never begun; the next one comes behind it
            await self._runs.until_written(record)
            self._runs.closed(opened)
            return None
        return opened

    async def _folded(self, found: OpenRun, commits: Sequence[Commit], most: int) -> FoldedRun:
        """The record of all commits, and the run that the first `most` of them make. Raises what the fold raises."""
        stored = None
        if found.records[0].snapshot:
            stored = await until_answered(lambda: self._ledger.get(found.family.hook_id))
        run = await self._bundles.replayed(commits[:most])
        if run.obligation is None:
            raise ValueError("it does not begin with an obligation")
        record = stored or new_record(run.obligation)
        for one in commits:
            fold(record, one.events, one.now)
        return FoldedRun(run, run.obligation, record)

    def _resume(self, opened: OpenExitRun) -> None:
        driver = opened.driver
        assert driver is not None
        self._runs.started(opened)
        if opened.ending is None:
            driver.resume()
        else:
            self._runs.closed_with(opened, opened.commits.hand_over(driver.run.now, opened.ending))

    async def _park_unreadable(self, family: Family, error: Exception) -> None:
        stored = await until_answered(lambda: self._ledger.get(family.hook_id))
        why, now = f"its commits cannot be read: {error}", self._runs.clock.now()
        await self._runs.until_written(unreadable(family.hook_id, family.uid, why, now, stored))

    async def told_again(self, closed: bool) -> AsyncIterator[list[EventToPublish]]:
        """What the log tells of exit runs of ours, one after the other: of closed ones, or of those that are open."""
        async for found in self._journal.history(closed=closed):
            try:
                commits = [commit.decode(r.data) for r in found.records]
                _, obligation, record = await self._folded(found, commits, 1)
            except Exception as error:  # noqa: BLE001 - one that cannot be read is met by whoever takes it up
                log.warning("what the exit run %s told is not told again: %s", found.family.hook_id, error)
                continue
            yield told(obligation, record)
