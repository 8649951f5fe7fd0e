"""Runs that cannot be read from the log: what can be shown of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from exeunt.engine.facts import MESSAGE_BYTES, RunStarted, commit
from exeunt.engine.values import rfc3339
from exeunt.journal.replay import OpenRun
from exeunt.journal.subjects import Family
from exeunt.scheduler.view import RESTING, Tree
from exeunt.utf8 import cut


@dataclass
class Unread:
    """A run that cannot be read from the log. It keeps its place there."""

    family: Family
    number: int  # of its last commit
    why: str
    created: float
    labels: dict[str, str]
    closed: bool = False
    namespace: str = ""
    name: str = ""

    @property
    def uid(self) -> str:
        """The workflow's uid."""
        return self.family.uid

    def named(self, namespace: str, name: str) -> None:
        """Somebody found it under this name: it may not be able to tell its own."""
        if not self.name and name:
            self.namespace, self.name = namespace, name

    def tree(self) -> Tree:
        """What can be shown of it, in Argo's shape."""
        phase = "Error" if self.closed else "Running"
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "uid": self.family.uid,
                "creationTimestamp": rfc3339(self.created),
                "labels": self.labels,
            },
            "spec": {},
            "status": {
                "phase": phase,
                "message": self.why,
                "startedAt": rfc3339(self.created),
                "finishedAt": None,
                "progress": "0/0",
                "conditions": [{"type": RESTING, "status": "True", "message": self.why}],
                "outcome": "Error" if self.closed else "",
                "reason": "Terminated" if self.closed else "",
                "finalization": "None",
                "nodes": {},
            },
        }


def unread(found: OpenRun, error: Exception) -> Unread:
    """What is known of a run that this error keeps from being read."""
    begun, created = RunStarted(uid=found.family.uid, name="", namespace="", bundle=""), 0.0
    with suppress(Exception):
        first = commit.decode(found.records[0].data)
        created = first.now
        begun = next(e for e in first.events if isinstance(e, RunStarted))
    why = cut(f"it rests, since it cannot be read from the log: {type(error).__name__}: {error}", MESSAGE_BYTES)
    made = Unread(found.family, found.records[-1].number, why, created, begun.labels)
    made.named(begun.namespace, begun.name)
    return made
