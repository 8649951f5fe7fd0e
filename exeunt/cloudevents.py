"""The public events, said once: their types, subjects, attributes and bodies (docs/events.md).

Services make events of it, `exeunt.client.events` reads them by it, and docs/asyncapi.yaml is generated from it.
Events are CloudEvents 1.0 in the binary mode of NATS: attributes are headers that begin with `ce-`, the body is JSON.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType

from exeunt.utf8 import cut

STREAM = "EXEUNT_EVENTS"
SUBJECTS = "exeunt.events.>"
SOURCE = "//exeunt/apis/argoproj.io/v1alpha1/namespaces/{}/workflows/{}"
DAYS_KEPT = 7
BODY_BYTES = 256 * 1024
SUBJECT_CHARACTERS = 512

Kind = Literal[
    "workflow.submitted",
    "workflow.running",
    "step.succeeded",
    "step.failed",
    "step.error",
    "workflow.exiting",
    "exit.started",
    "exit.succeeded",
    "exit.failed",
    "workflow.succeeded",
    "workflow.failed",
    "workflow.error",
]
"""A type of event, without the prefix and the version that `ce-type` has."""

STEP_ENDED: dict[str, Kind] = {"Succeeded": "step.succeeded", "Failed": "step.failed", "Error": "step.error"}
WORKFLOW_ENDED: dict[str, Kind] = {
    "Succeeded": "workflow.succeeded",
    "Failed": "workflow.failed",
    "Error": "workflow.error",
}

Phase = Annotated[str, Meta(extra_json_schema={"enum": ["Succeeded", "Failed", "Error"]})]
Reason = Annotated[
    str, Meta(description="Why it ended: Completed, Failed, Error, Stopped, Terminated, Deadline, Deleted")
]
Time = Annotated[str, Meta(description="RFC 3339, UTC; empty where there is none")]
Seconds = Annotated[float, Meta(description="In seconds")]


def _argo(description: str, **properties: Any) -> Meta:
    """An object in a shape that is Argo's to say."""
    return Meta(description=f"{description}, in Argo's shape", extra_json_schema={"properties": properties})


_TEXT = {"type": "string"}
_PARAMETERS = {
    "description": "One whose file was missing and that has no default is without a value",
    "type": "array",
    "items": {"type": "object", "properties": {"name": _TEXT, "value": {}}, "required": ["name"]},
}
ArgoOutputs = Annotated[dict[str, Any], _argo("What a step gave", parameters=_PARAMETERS, result=_TEXT, exitCode=_TEXT)]
ArgoFailure = Annotated[
    dict[str, Any],
    _argo(
        "One node that failed",
        displayName=_TEXT,
        message=_TEXT,
        templateName=_TEXT,
        phase=_TEXT,
        podName=_TEXT,
        finishedAt=_TEXT,
    ),
]
ArgoNode = Annotated[
    dict[str, Any],
    _argo(
        "One node",
        id=_TEXT,
        name=_TEXT,
        displayName=_TEXT,
        type=_TEXT,
        phase=_TEXT,
        templateName=_TEXT,
        message=_TEXT,
        startedAt=_TEXT,
        finishedAt=_TEXT,
    ),
]


class _Body(msgspec.Struct, kw_only=True, rename="camel"):
    """JSON names are written like thisOne. What may be left out for its size has a default: that is how it is read."""


class _Event(_Body, kw_only=True):
    """The body of an event."""

    truncated: Annotated[
        list[str] | UnsetType,
        Meta(
            description=f"What was left out, or cut where it is a text, since the body had more than {BODY_BYTES:,}"
            " bytes: paths as status.nodes. ReadWorkflow has the whole"
        ),
    ] = UNSET


class Workflow(_Event, kw_only=True):
    """Which workflow it is."""

    name: Annotated[str, Meta(description="The workflow's name")]
    uid: Annotated[str, Meta(description="The workflow's uid, which no other workflow ever has")]
    namespace: Annotated[str, Meta(description="The workflow's namespace")]
    labels: Annotated[dict[str, str], Meta(description="The workflow's labels")] = {}


class StepEnded(Workflow, kw_only=True):
    """A step has reached its end, all attempts done."""

    node: Annotated[str, Meta(description="The node's id in status.nodes")]
    node_name: Annotated[str, Meta(description="The node's full name, as in wf[0].build")]
    template: Annotated[str, Meta(description="The template's name; empty where it has none")]
    phase: Phase
    message: Annotated[str, Meta(description="Why it did not succeed; empty when it did")]
    cause: Annotated[
        str, Meta(description="What the last attempt said, where the message is the retryStrategy's; else empty")
    ] = ""
    exit_code: Annotated[int | None, Meta(description="Null where nothing exited, as for actions")]
    outputs: ArgoOutputs = {}
    started_at: Time
    finished_at: Time


class Exiting(Workflow, kw_only=True):
    """The main run is over; exit handlers, if there are any, follow."""

    phase: Phase
    reason: Reason
    outputs: Annotated[dict[str, str | None], Meta(description="Global outputs, by name")] = {}
    failures: Annotated[list[ArgoFailure], Meta(description="The first 50 failures, in the order of the ends")] = []
    duration: Seconds


class ExitAttempt(_Body, kw_only=True):
    """One try of one step or action of an exit run."""

    node: Annotated[str, Meta(description="The node's display name")]
    phase: Annotated[str, Meta(description="Pending, Running, Succeeded, Failed or Error")]
    started_at: Time
    finished_at: Time
    error: Annotated[str, Meta(description="Why it did not succeed; empty when it did")]


class ExitRun(_Event, kw_only=True):
    """An exit run as the ledger has it at this moment."""

    id: Annotated[str, Meta(description="Its id in the ledger, as in `exeunt exits get ID`")]
    workflow: Annotated[str, Meta(description="The workflow's name")]
    uid: Annotated[str, Meta(description="The workflow's uid")]
    namespace: Annotated[str, Meta(description="The workflow's namespace")]
    node: Annotated[str, Meta(description="Full name of the node that ended or whose hook it is")]
    hook: Annotated[str, Meta(description="exit, or the hook's name")]
    state: Annotated[str, Meta(description="running, succeeded, failed, skipped, cancelled or parked")]
    reason: Reason
    replays: Annotated[int, Meta(description="How often it was replayed so far")]
    attempts: Annotated[
        list[ExitAttempt], Meta(description="All tries of its steps and actions, the oldest first")
    ] = []
    error: Annotated[str, Meta(description="Why it did not succeed; empty when it did")]


class ObjectMeta(_Body, kw_only=True, omit_defaults=True):
    """Argo's metadata of a workflow."""

    name: str
    namespace: str
    uid: str
    creation_timestamp: Time
    generate_name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Status(_Body, kw_only=True, omit_defaults=True):
    """Argo's status of a workflow, with what Exeunt adds: outcome, reason, finalization."""

    phase: Phase
    message: str
    started_at: Time
    finished_at: Time
    progress: Annotated[str, Meta(description="Done and all, as in 3/4")]
    outputs: Annotated[dict[str, Any], _argo("Global outputs", parameters=_PARAMETERS)] = {}
    conditions: list[dict[str, str]] = []
    outcome: Annotated[str, Meta(description="The phase of the main run, whatever became of its handlers")]
    reason: Reason
    finalization: Annotated[str, Meta(description="None, Succeeded, Failed or Skipped: what became of the handlers")]
    nodes: Annotated[dict[str, ArgoNode], Meta(description="Every node by its id, those of exit runs among them")] = {}
    suspended: bool = False


class WorkflowEnded(_Event, kw_only=True):
    """The whole workflow in its final state, in Argo's shape."""

    api_version: str
    kind: Literal["Workflow"]
    metadata: ObjectMeta
    spec: Annotated[dict[str, Any], Meta(description="The spec as it was submitted")] = {}
    status: Status


class EventType(NamedTuple):
    """One type of event: when it is published, and its body."""

    when: str
    body: type[msgspec.Struct]


EVENTS: dict[Kind, EventType] = {
    "workflow.submitted": EventType("A workflow was accepted", Workflow),
    "workflow.running": EventType("It began to run, or was retried", Workflow),
    "step.succeeded": EventType("A step succeeded", StepEnded),
    "step.failed": EventType("A step failed, all attempts done", StepEnded),
    "step.error": EventType("A step could not be run or was lost, all attempts done", StepEnded),
    "workflow.exiting": EventType("The main run is over; exit handlers, if there are any, follow", Exiting),
    "exit.started": EventType("An exit run began", ExitRun),
    "exit.succeeded": EventType("An exit run succeeded", ExitRun),
    "exit.failed": EventType("An exit run ended in any other way; its state says how", ExitRun),
    "workflow.succeeded": EventType("All is done, exit handlers included; the workflow Succeeded", WorkflowEnded),
    "workflow.failed": EventType("All is done, exit handlers included; the workflow Failed", WorkflowEnded),
    "workflow.error": EventType("All is done, exit handlers included; the workflow has the phase Error", WorkflowEnded),
}


class Attribute(NamedTuple):
    """One header of an event."""

    meaning: str
    pattern: str = ""
    always: bool = True


ATTRIBUTES: dict[str, Attribute] = {
    "ce-specversion": Attribute("Version of CloudEvents", r"^1\.0$"),
    "ce-id": Attribute(
        "`<uid>.<n>`, or `<uid>.<exit run>.<n>` of an exit run; the same whenever the event is seen again",
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
    "Nats-Msg-Id": Attribute("`ce-id` once more, or what begins with it: NATS drops a repeat within ten minutes by it"),
    "traceparent": Attribute("W3C trace context, where the workflow has one", always=False),
    "tracestate": Attribute("W3C trace context, where the workflow has one", always=False),
}


def subject(namespace: str, uid: str, kind: str) -> str:
    """The NATS subject of an event. `*` stands for any namespace or uid, `workflow.*`, `*.failed` or `>` for types."""
    return f"exeunt.events.{namespace}.{uid}.{kind}"


def kind_of(subject: str) -> str:
    """The type of an event, by its subject."""
    return subject.split(".", 4)[4]


def event_type(kind: str) -> str:
    """The attribute `ce-type`."""
    return f"dev.exeunt.{kind}.v1"


def headers(
    *, uid: str, number: str, kind: Kind, namespace: str, workflow: str, subject: str, at: float, trace: dict[str, str]
) -> dict[str, str]:
    """The headers of one event. `number` counts within its run: `7`, or `<hook id>.3` of an exit run."""
    identity = f"{uid}.{number}"
    found = {
        "ce-specversion": "1.0",
        "ce-id": identity,
        "ce-source": SOURCE.format(namespace, workflow),
        "ce-type": event_type(kind),
        "ce-subject": quote(subject[:SUBJECT_CHARACTERS], safe="!#$&'()*+,/:;=?@[]~"),
        "ce-time": f"{_second(int(at))}.{int(at * 1000) % 1000:03d}Z",
        "ce-datacontenttype": "application/json",
    }
    for key in ("traceparent", "tracestate"):
        if trace.get(key):
            found[key] = trace[key]
    return found


def body(data: Any, most: int = BODY_BYTES) -> bytes:
    """The body as JSON, in at most so many bytes: what is largest in it is left out, or cut where it is a text.

    `data` may have `truncated` already, for what whoever made it has left out.
    """
    encoded = msgspec.json.encode(data)
    if len(encoded) <= most:
        return encoded
    tree: dict[str, Any] = dict(msgspec.to_builtins(data))
    places: list[tuple[int, str, dict[str, Any], str]] = []  # size, path, where it stands, name
    for name, value in list(tree.items()):
        if name in _LOOKED_INTO and isinstance(value, dict):
            tree[name] = inner = dict(value)
            places += [(len(msgspec.json.encode(v)), f"{name}.{k}", inner, k) for k, v in inner.items()]
        else:
            places.append((len(msgspec.json.encode(value)), name, tree, name))
    room = most - _TRUNCATED_BYTES
    total = len(encoded)
    truncated: list[str] = [*tree.get("truncated", ())]
    for size, path, holder, name in sorted(places, key=lambda place: place[0], reverse=True):
        if total <= room:
            break
        value = holder[name]
        if isinstance(value, str):
            holder[name] = cut(value, _TEXT_BYTES)
            total -= size - len(msgspec.json.encode(holder[name]))
        else:
            del holder[name]
            total -= size
        truncated.append(path)
    tree["truncated"] = truncated
    return msgspec.json.encode(tree)


_LOOKED_INTO = ("status", "metadata")
_TRUNCATED_BYTES = 4096  # for the names of what was left out
_TEXT_BYTES = 4000


@lru_cache(maxsize=64)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
