"""Retry: a workflow that ended goes on as its own next attempt.

It comes back into the log as a snapshot, numbered behind all that the log may still hold of it; the
commit behind that opens it, and then its archive record goes. A crash in between leaves it closed, and it is archived
again; or open, and the record is replaced when it closes.
"""

from __future__ import annotations

import msgspec

from exeunt.engine.commands import RetryRun
from exeunt.engine.facts import State
from exeunt.journal.projections import Projections
from exeunt.journal.repeat import RepeatOnReconnect
from exeunt.scheduler.archive import Archived
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.runs import Runs
from exeunt.service.errors import wrong_state


class Retries:
    """Opens workflows of the archive again."""

    def __init__(self, runs: Runs, projections: Projections, repeat: RepeatOnReconnect) -> None:
        self._runs = runs
        self._projections = projections
        self._repeat = repeat

    async def retry(self, found: Archived, command: RetryRun) -> OpenWorkflow:
        """The workflow, open again, when that is durable. Raises FAILED_PRECONDITION where it cannot be."""
        metadata, phase = found.head["metadata"], found.head["status"].get("phase", "")
        resource = ("workflow", f"{metadata['namespace']}/{metadata['name']}")
        if phase not in ("Failed", "Error"):
            text = (
                f"the workflow {metadata['name']!r} is {phase}: there is nothing to retry; resubmit runs all of it anew"
            )
            raise wrong_state("WORKFLOW_SUCCEEDED", text, resource)
        if found.state is None:
            text = f"the archive has only the status of {metadata['name']!r}, not what is needed to go on; resubmit it"
            raise wrong_state("NO_STATE", text, resource)
        state = msgspec.msgpack.decode(found.state, type=State)
        entry = await self._runs.reopen(state, found.version, command)
        uid = state.started.uid
        await self._repeat(lambda: self._projections.archive.remove(uid, state.started.namespace, again=True))
        return entry
