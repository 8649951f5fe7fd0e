"""The types of events and their attributes: when each is published, its body, its headers."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from exeunt.cloudevents.bodies import (
    AskedFor,
    AskedOfNode,
    ExitEnded,
    Exiting,
    ExitSkipped,
    ExitStarted,
    StepEnded,
    Workflow,
    WorkflowEnded,
)
from exeunt.cloudevents.names import DOCUMENT, SOURCE, SUBJECT_CHARACTERS, Kind


class EventType(NamedTuple):
    """One type of event: when it is published, and its body."""

    when: str
    body: type[msgspec.Struct]


EVENTS: dict[Kind, EventType] = {
    "workflow.submitted": EventType("A workflow was accepted", Workflow),
    "workflow.running": EventType("Its first node started, or it was retried", Workflow),
    "workflow.suspended": EventType("It waits for people: somebody suspended it, or a suspend node waits", AskedOfNode),
    "workflow.resumed": EventType("Somebody resumed it, or ended a suspend node that waited", AskedOfNode),
    "workflow.retried": EventType("Somebody retried it: its next attempt begins", AskedFor),
    "step.succeeded": EventType("A step succeeded", StepEnded),
    "step.failed": EventType("A step failed, all attempts done", StepEnded),
    "step.error": EventType("A step could not be run or was lost, all attempts done", StepEnded),
    "workflow.exiting": EventType("The main run is over; exit handlers, if there are any, follow", Exiting),
    "exit.started": EventType("An exit run began", ExitStarted),
    "exit.succeeded": EventType("An exit run succeeded", ExitEnded),
    "exit.failed": EventType("An exit run failed, was cancelled, or was parked for a replay", ExitEnded),
    "exit.skipped": EventType("A handler will not run", ExitSkipped),
    "workflow.succeeded": EventType("All is done, exit handlers included; the workflow Succeeded", WorkflowEnded),
    "workflow.failed": EventType("All is done, exit handlers included; the workflow Failed", WorkflowEnded),
    "workflow.error": EventType("All is done, exit handlers included; the workflow has the phase Error", WorkflowEnded),
    "workflow.finalized": EventType("A handler of a workflow that is over was replayed: its new state", WorkflowEnded),
    "workflow.deleted": EventType("It was deleted, and all that is kept of it goes", AskedFor),
}


class Attribute(NamedTuple):
    """One header of an event."""

    meaning: str
    pattern: str = ""
    always: bool = True


ATTRIBUTES: dict[str, Attribute] = {
    "ce-specversion": Attribute("Version of CloudEvents", r"^1\.0$"),
    "ce-id": Attribute(
        "`<uid>.<n>`, or `<uid>.<exit run>.<n>` of an exit run; the same whenever the event is seen again. n counts"
        " from 1 without a gap",
        r"^[^.]+(\.[^.]+)?\.\d+$",
    ),
    "ce-source": Attribute("The workflow", "^" + SOURCE.replace(".", r"\.").format("[^/]+", "[^/]+") + "$"),
    "ce-type": Attribute("The type with its prefix and version", r"^dev\.exeunt\.[a-z]+\.[a-z]+\.v1$"),
    "ce-subject": Attribute(
        "Name of the workflow or full name of the node, percent-encoded where it has to be; of a longer one the first"
        f" {SUBJECT_CHARACTERS} characters"
    ),
    "ce-time": Attribute("When it happened: RFC 3339 with milliseconds", r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"),
    "ce-datacontenttype": Attribute("Form of the body", "^application/json$"),
    "ce-dataschema": Attribute(
        "The body's schema: the id of this document, and where in it", rf"^{DOCUMENT}#/components/schemas/[A-Za-z]+$"
    ),
    "Nats-Msg-Id": Attribute("`ce-id` once more, or what begins with it: NATS drops a repeat within ten minutes by it"),
    "traceparent": Attribute("W3C trace context, where the workflow has one", always=False),
    "tracestate": Attribute("W3C trace context, where the workflow has one", always=False),
}


def schema(kind: Kind) -> str:
    """The attribute `ce-dataschema`."""
    return _SCHEMAS[kind]


_SCHEMAS = {kind: f"{DOCUMENT}#/components/schemas/{event.body.__name__}" for kind, event in EVENTS.items()}
