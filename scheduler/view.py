"""A workflow as people see it: the message of the public API, from a run in memory or from the archive."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from exeunt.engine import decide
from exeunt.engine.decide import Run
from exeunt.journal.records import ArchiveSummary
from exeunt.v1 import workflow_service_pb2 as pb

Tree = dict[str, Any]
RESTING = "Resting"
"""The condition of a run that does not go on by itself."""


def render(run: Run) -> Tree:
    """The whole object in Argo's shape."""
    tree: Tree = decide.status(run)
    return tree


def resting(tree: Tree, why: str) -> Tree:
    """The object of a run that does not go on: it says so."""
    status = tree["status"]
    told = {"type": RESTING, "status": "True", "message": why}
    changed = {"message": f"it rests: {why}", "conditions": [*status["conditions"], told]}
    return {**tree, "status": {**status, **changed}}


def message(tree: Tree, version: int, *, nodes: bool = True) -> pb.Workflow:
    """The object as a message, with its JSON; without `nodes` as lists have it."""
    metadata, status = tree.get("metadata", {}), tree.get("status", {})
    shown = tree
    if not nodes:
        shown = {**tree, "status": {key: value for key, value in status.items() if key != "nodes"}}
    return pb.Workflow(
        name=metadata.get("name", ""),
        namespace=metadata.get("namespace", ""),
        uid=metadata.get("uid", ""),
        phase=status.get("phase", ""),
        outcome=status.get("outcome", ""),
        reason=status.get("reason", ""),
        finalization=status.get("finalization", ""),
        message=status.get("message", ""),
        create_time=_stamp(seconds_of(metadata.get("creationTimestamp"))),
        start_time=_stamp(seconds_of(status.get("startedAt"))),
        finish_time=_stamp(seconds_of(status.get("finishedAt"))),
        version=version,
        json=msgspec.json.encode(shown).decode(),
        progress=status.get("progress", ""),
        labels={str(k): str(v) for k, v in (metadata.get("labels") or {}).items()},
    )


def summary(tree: Tree, version: int) -> ArchiveSummary:
    """What the archive's lists show."""
    metadata, status = tree.get("metadata", {}), tree.get("status", {})
    return ArchiveSummary(
        uid=metadata.get("uid", ""),
        name=metadata.get("name", ""),
        namespace=metadata.get("namespace", ""),
        phase=status.get("phase", ""),
        outcome=status.get("outcome", ""),
        reason=status.get("reason", ""),
        finalization=status.get("finalization", ""),
        message=status.get("message", ""),
        created_at=seconds_of(metadata.get("creationTimestamp")),
        started_at=seconds_of(status.get("startedAt")),
        finished_at=seconds_of(status.get("finishedAt")),
        progress=status.get("progress", ""),
        version=version,
        labels={str(k): str(v) for k, v in (metadata.get("labels") or {}).items()},
    )


def of_summary(s: ArchiveSummary) -> pb.Workflow:
    """A finished workflow as lists show it. Its JSON has what the summary knows."""
    tree = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": s.name,
            "namespace": s.namespace,
            "uid": s.uid,
            "labels": s.labels,
            "creationTimestamp": _text(s.created_at),
        },
        "status": {
            "phase": s.phase,
            "outcome": s.outcome,
            "reason": s.reason,
            "finalization": s.finalization,
            "message": s.message,
            "startedAt": _text(s.started_at),
            "finishedAt": _text(s.finished_at),
            "progress": s.progress,
        },
    }
    return message(tree, s.version, nodes=False)


def seconds_of(text: object) -> float:
    """Seconds since the epoch of a time as Argo writes it (RFC 3339, UTC); 0 for anything else."""
    if not isinstance(text, str) or not text:
        return 0.0
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def _text(seconds: float) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else None


def _stamp(seconds: float) -> Timestamp | None:
    if not seconds:
        return None
    whole = int(seconds)
    return Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e9))
