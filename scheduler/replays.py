"""What a replay changes of its workflow: how the finalization reads, in memory or in the archive; never a phase."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

import msgspec

from exeunt.cloudevents import BODY_BYTES, Ending
from exeunt.engine.commands import Rejected, ReplayEnded
from exeunt.engine.facts import BAD, note_replay, pack, unpack
from exeunt.engine.shown import NODE_BYTES, whole
from exeunt.journal.public import EventToPublish
from exeunt.journal.records import ArchiveSummary
from exeunt.journal.repeat import RepeatOnReconnect
from exeunt.journal.subjects import MailboxMessage
from exeunt.replayed import Replayed, decode_replayed, first_number
from exeunt.scheduler.announce import RunAnnouncer
from exeunt.scheduler.archive import Archiver
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.runs import Runs
from exeunt.scheduler.view import Tree

log = logging.getLogger(__name__)


class Replays:
    """Takes in messages of exit handlers."""

    def __init__(self, runs: Runs, archiver: Archiver, announcer: RunAnnouncer, repeat: RepeatOnReconnect) -> None:
        self._runs = runs
        self._archiver = archiver
        self._announcer = announcer
        self._repeat = repeat

    async def message(self, message: MailboxMessage) -> None:
        """A replay has ended. One that comes again changes nothing."""
        try:
            told = decode_replayed(message.data)
        except ValueError:
            log.exception("the message %s says nothing of a replay", message.id)
            return
        change = partial(revised, told=told)
        while True:
            entry = self._runs.by_uid.get(told.uid)
            if entry is None:
                body = await self._repeat(lambda: self._archiver.revise(told.uid, change))
                if told.uid not in self._runs.by_uid:  # of one that was deleted nothing is kept
                    if body is not None:
                        await self._tell(body, told)
                    return
            elif await self._open(entry, told):
                return
            else:
                await self._archived(entry)

    async def _tell(self, body: dict[str, Any], told: Replayed) -> None:
        """Subscribers hear of the workflow's new state; returns when that is durable, or not to be waited for."""
        event = finalized(body, told)
        out = await self._repeat(lambda: self._runs.callbacks.published([told.uid], 0.0)) if event is not None else ()
        if event is not None and f"{event.uid}.{event.number}" not in out:
            self._announcer.put([event])
            await self._announcer.out()

    async def _open(self, entry: OpenWorkflow, told: Replayed) -> bool:
        """Tells the run that is in memory; False when it has closed."""
        if entry.closed:
            return False
        await entry.ready_now()
        try:
            await entry.driver.ask(ReplayEnded(told.hook_id, told.phase, told.message))
        except Rejected:
            return False
        return True

    async def _archived(self, entry: OpenWorkflow) -> None:
        """Waits until the run that closed is in the archive. Raises LookupError when it is another owner's by now."""
        await asyncio.wait([asyncio.ensure_future(self._archiver.settled(entry))])
        if self._runs.by_uid.get(entry.run.uid) is entry:
            raise LookupError(f"{entry.run.name} is being archived elsewhere")  # the next load tries again


def revised(summary: ArchiveSummary, body: dict[str, Any], told: Replayed) -> tuple[ArchiveSummary, dict[str, Any]]:
    """An archive record as it is after the replay."""
    tree = revised_tree(body["workflow"], told)
    changed = {**body, "workflow": tree}
    if body.get("state") is not None:  # what a retry goes on from
        state = unpack(body["state"])
        note_replay(state, told.hook_id, told.phase, told.message)
        changed["state"] = pack(state)
    if body.get("ending") is not None:
        changed["ending"] = {**body["ending"], "finalization": tree["status"]["finalization"]}
    return msgspec.structs.replace(summary, finalization=tree["status"]["finalization"]), changed


def finalized(body: dict[str, Any], told: Replayed) -> EventToPublish | None:
    """The event about a revised record; None for a record that an older release has written."""
    if body.get("ending") is None:
        return None
    tree = body["workflow"]
    metadata = tree["metadata"]
    complete = len(tree["status"].get("nodes") or ()) * NODE_BYTES <= BODY_BYTES
    return EventToPublish(
        namespace=metadata["namespace"],
        uid=told.uid,
        workflow=metadata["name"],
        number=f"{told.hook_id}.{first_number(told.replay) + 2}",
        kind="workflow.finalized",
        subject=metadata["name"],
        at=told.at,
        data=whole(msgspec.convert(body["ending"], Ending), tree, complete=complete),
        trace=told.trace,
        run=told.hook_id,
    )


def revised_tree(tree: Tree, told: Replayed) -> Tree:
    """The workflow as people see it: one condition for each handler that failed last, and what they all come to."""
    status = tree["status"]
    kind = "HandlerFailed" if told.handler else "HookFailed"
    own = f"{told.node}: "
    kept = [one for one in status.get("conditions") or [] if not _is(one, kind, own)]
    if told.phase in BAD:
        kept.append({"type": kind, "status": "True", "message": f"{own}{told.message}"})
    finalization = status.get("finalization", "")
    if told.handler:
        finalization = "Failed" if any(one["type"] == kind for one in kept) else "Succeeded"
    return {**tree, "status": {**status, "conditions": kept, "finalization": finalization}}


def _is(condition: Tree, kind: str, own: str) -> bool:
    return condition["type"] == kind and str(condition.get("message", "")).startswith(own)
