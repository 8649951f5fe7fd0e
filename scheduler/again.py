"""A workflow that ended, once more: as its own next attempt (retry), or as a new workflow of its manifest (resubmit).

A retried workflow comes back into the log as a snapshot, numbered behind all that the log may still hold of it; the
commit behind that opens it, and then its archive record goes. A crash in between leaves it closed, and it is archived
again; or open, and the record is replaced when it closes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from exeunt.engine.inputs import RetryRun
from exeunt.engine.state import unpack
from exeunt.journal.projections import Projections
from exeunt.journal.steady import Steady
from exeunt.scheduler.archive import Archived
from exeunt.scheduler.runs import Entry, Runs
from exeunt.scheduler.view import Tree
from exeunt.service.errors import wrong_state

RESUBMITTED_FROM = "workflows.argoproj.io/resubmitted-from-workflow"
"""Argo's label of a resubmitted workflow: the name of the one that it was made of."""
OF_THE_RUN = ("workflows.argoproj.io/completed", "workflows.argoproj.io/phase", "exeunt.dev/depth", RESUBMITTED_FROM)
"""Labels that say something of one run: a resubmission does not take them over."""
STARTED_BY = "exeunt.dev/started-by"


class Retries:
    """Opens workflows of the archive again."""

    def __init__(self, runs: Runs, projections: Projections, steady: Steady) -> None:
        self._runs = runs
        self._projections = projections
        self._steady = steady

    async def retry(self, found: Archived, command: RetryRun) -> Entry:
        """The workflow, open again, when that is durable. Raises FAILED_PRECONDITION where it cannot be."""
        metadata, phase = found.tree["metadata"], found.tree.get("status", {}).get("phase", "")
        resource = ("workflow", f"{metadata['namespace']}/{metadata['name']}")
        if phase not in ("Failed", "Error"):
            text = (
                f"the workflow {metadata['name']!r} is {phase}: there is nothing to retry; resubmit runs all of it anew"
            )
            raise wrong_state("WORKFLOW_SUCCEEDED", text, resource)
        if found.state is None:
            text = f"the archive has only the status of {metadata['name']!r}, not what is needed to go on; resubmit it"
            raise wrong_state("NO_STATE", text, resource)
        state = unpack(found.state)
        entry = await self._runs.reopen(state, found.version, command)
        uid = state.started.uid
        await self._steady(lambda: self._projections.archive.remove(uid, state.started.namespace))
        return entry


def resubmission(tree: Tree) -> str:
    """The manifest of a workflow like this one (Argo: FormulateResubmitWorkflow)."""
    metadata = tree["metadata"]
    name = metadata["name"]
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k not in OF_THE_RUN}
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != STARTED_BY}
    return msgspec.json.encode(
        {
            "apiVersion": tree["apiVersion"],
            "kind": "Workflow",
            "metadata": {
                "generateName": _prefix(metadata),
                "namespace": metadata["namespace"],
                "labels": {**labels, RESUBMITTED_FROM: name},
                "annotations": annotations,
            },
            "spec": tree["spec"],
        }
    ).decode()


def _prefix(metadata: Mapping[str, Any]) -> str:
    """As the workflow was named: by its generateName, or its name."""
    given = metadata.get("generateName")
    return str(given) if given else str(metadata["name"])[:50] + "-"
