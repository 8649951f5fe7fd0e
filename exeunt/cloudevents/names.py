"""The names of events: their types, the streams and subjects that they are in, and the most that is in one."""

from __future__ import annotations

from typing import Literal

STREAM = "EXEUNT_EVENTS"
SUBJECTS = "exeunt.events.>"
STATES = "EXEUNT_STATES"
"""The stream with the last `workflow.*` event of each workflow."""
VERSION = 1
DOCUMENT = f"urn:exeunt:events:{VERSION}"
"""The id of docs/asyncapi.yaml: which version of the bodies it tells of."""
SOURCE = "//exeunt/apis/argoproj.io/v1alpha1/namespaces/{}/workflows/{}"
DAYS_KEPT = 7
BODY_BYTES = 256 * 1024
LOG_LINES, LOG_BYTES = 20, 4096
MOST_FAILURES, FAILURE_BYTES = 50, 1000
SUBJECT_CHARACTERS = 512
VALUE_CHARACTERS, VALUES_BYTES = 1000, 8192
"""Of one label or annotation, and of all in a body."""

Kind = Literal[
    "workflow.submitted",
    "workflow.running",
    "workflow.suspended",
    "workflow.resumed",
    "workflow.retried",
    "step.succeeded",
    "step.failed",
    "step.error",
    "workflow.exiting",
    "exit.started",
    "exit.succeeded",
    "exit.failed",
    "exit.skipped",
    "workflow.succeeded",
    "workflow.failed",
    "workflow.error",
    "workflow.finalized",
    "workflow.deleted",
]
"""A type of event, without the prefix and the version that `ce-type` has."""

STEP_ENDED: dict[str, Kind] = {"Succeeded": "step.succeeded", "Failed": "step.failed", "Error": "step.error"}
WORKFLOW_ENDED: dict[str, Kind] = {
    "Succeeded": "workflow.succeeded",
    "Failed": "workflow.failed",
    "Error": "workflow.error",
}


def subject(namespace: str, uid: str, kind: str) -> str:
    """The NATS subject of an event. `*` stands for any namespace or uid, `workflow.*`, `*.failed` or `>` for types."""
    return f"exeunt.events.{namespace}.{uid}.{kind}"


def event_type(kind: str) -> str:
    """The attribute `ce-type`."""
    return f"dev.exeunt.{kind}.v{VERSION}"


def state_subject(namespace: str, uid: str) -> str:
    """The NATS subject, in the stream EXEUNT_STATES, of the last event of a workflow."""
    return f"exeunt.state.{namespace}.{uid}"
