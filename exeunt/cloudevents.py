"""The public events, said once: their types, subjects, attributes and bodies (docs/events.md).

Services make events of it, `exeunt.client.events` reads them by it, and docs/asyncapi.yaml is generated from it.
Events are CloudEvents 1.0 in the binary mode of NATS: attributes are headers that begin with `ce-`, the body is JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType

from exeunt.utf8 import cut

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

Phase = Annotated[str, Meta(extra_json_schema={"enum": ["Succeeded", "Failed", "Error"]})]
Reason = Annotated[
    str, Meta(description="Why it ended: Completed, Failed, Error, Stopped, Terminated, Deadline, Deleted")
]
Time = Annotated[str, Meta(description="RFC 3339 in UTC with milliseconds; empty where there is none")]
ArgoTime = Annotated[
    str, Meta(description="RFC 3339 in UTC with whole seconds, as Argo has it; empty where there is none")
]
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


_VALUE_CHARACTERS, _VALUES_BYTES = 1000, 8192
_LEFT_OUT = (
    f"; without those of more than {_VALUE_CHARACTERS:,} characters, and what goes beyond {_VALUES_BYTES:,} bytes"
)


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


class Parent(_Body, kw_only=True):
    """The handler that started this workflow."""

    name: Annotated[str, Meta(description="Name of the handler's workflow")]
    namespace: str
    uid: str
    handler: Annotated[str, Meta(description="Id of the exit run in the ledger, as in `exeunt exits get ID`")]


class About(_Event, kw_only=True):
    """Which workflow it is: the same fields in every body."""

    workflow: Annotated[str, Meta(description="The workflow's name")]
    uid: Annotated[str, Meta(description="The workflow's uid, which no other workflow ever has")]
    namespace: Annotated[str, Meta(description="The workflow's namespace")]
    cluster: Annotated[str, Meta(description="The cluster's name, as the services' setting says it; often empty")] = ""
    attempt: Annotated[int, Meta(description="Which attempt of the workflow: 0, and one more with each retry")]
    parent: Annotated[Parent | None, Meta(description="Null unless a handler started the workflow")] = None
    labels: Annotated[dict[str, str], Meta(description="The workflow's labels" + _LEFT_OUT)] = {}
    annotations: Annotated[dict[str, str], Meta(description="The workflow's annotations" + _LEFT_OUT)] = {}


class Workflow(About, kw_only=True):
    """What the workflow has come to."""

    phase: Annotated[str, Meta(description="Pending, Running, Succeeded, Failed or Error")]
    creator: Annotated[str, Meta(description="Who submitted it, as he said; empty where he did not")] = ""


class AskedFor(Workflow, kw_only=True):
    """Somebody asked for something, or is to."""

    by: Annotated[str, Meta(description="Who asked, as he said; empty where nobody did, or he did not say")] = ""
    message: Annotated[str, Meta(description="Why, for people; of a node that waits its message")] = ""


class AskedOfNode(AskedFor, kw_only=True):
    """The workflow, or one node of it, waits for people or goes on."""

    node: Annotated[str, Meta(description="Full name of the suspend node; empty where it is the whole workflow")] = ""
    node_id: Annotated[str, Meta(description="Its id in status.nodes")] = ""


class Outputs(msgspec.Struct, kw_only=True, rename="camel", frozen=True):
    """What a step gave."""

    parameters: Annotated[
        dict[str, str | None],
        Meta(description="By name; null for one whose file was missing and that has no default"),
    ] = {}
    result: Annotated[str | None, Meta(description="Standard output, where somebody asks for it")] = None


class StepEnded(About, kw_only=True):
    """A step has reached its end, all attempts done."""

    node: Annotated[str, Meta(description="The node's full name, as in wf[0].build")]
    node_id: Annotated[str, Meta(description="Its id in status.nodes")]
    template: Annotated[str, Meta(description="The template's name; empty where it has none")]
    phase: Phase
    message: Annotated[str, Meta(description="Why it did not succeed, with what the last attempt said")]
    exit_code: Annotated[int | None, Meta(description="Null where nothing exited, as for actions")]
    tries: Annotated[int, Meta(description="How often it was tried")]
    outputs: Outputs = Outputs()
    started_at: Time
    finished_at: Time
    duration: Seconds
    log: Annotated[
        list[str],
        Meta(description=f"Of one that failed: the last lines of its output, {LOG_LINES} or {LOG_BYTES:,} bytes"),
    ] = []


class Shutdown(_Body, kw_only=True):
    """Who ended the workflow early, and why."""

    strategy: Annotated[str, Meta(description="Stop or Terminate")]
    by: Annotated[str, Meta(description="As he said; empty where he did not")]
    message: Annotated[str, Meta(description="In his words")]


class Failure(_Body, kw_only=True):
    """One node that failed, of the main run or of a handler of a node."""

    node: Annotated[str, Meta(description="The node's full name")]
    node_id: Annotated[str, Meta(description="Its id in status.nodes")]
    template: str
    phase: Phase
    message: Annotated[str, Meta(description=f"At most {FAILURE_BYTES:,} bytes of it")]
    exit_code: Annotated[int | None, Meta(description="Null where nothing exited")]
    finished_at: Time


class Exiting(Workflow, kw_only=True):
    """The main run is over; exit handlers, if there are any, follow. `phase` is that of the main run."""

    reason: Reason
    message: Annotated[str, Meta(description="Why it did not succeed: the node that failed, and its words")]
    shutdown: Annotated[Shutdown | None, Meta(description="Null unless somebody ended it")] = None
    outputs: Outputs = Outputs()
    failures: Annotated[
        list[Failure], Meta(description=f"The first {MOST_FAILURES} failures, in the order of the ends")
    ] = []
    started_at: Time
    finished_at: Time
    duration: Seconds


class ExitRun(About, kw_only=True):
    """Which run of an exit handler it is, as the ledger has it at this moment."""

    id: Annotated[str, Meta(description="Its id in the ledger, as in `exeunt exits get ID`")]
    node: Annotated[str, Meta(description="Full name of the node that ended or whose hook it is")]
    node_id: Annotated[str, Meta(description="Its id in status.nodes")]
    hook: Annotated[str, Meta(description="exit, or the hook's name")]
    template: Annotated[str, Meta(description="The handler's template; of a templateRef NAME/TEMPLATE")]
    reason: Annotated[str, Meta(description="Why its node ended, as in workflow.exiting; Running of one that runs")]
    replays: Annotated[int, Meta(description="How often it was replayed so far")] = 0


class ExitStarted(ExitRun, kw_only=True):
    """An exit run began."""

    state: Literal["running"] = "running"
    started_at: Time


class ExitAttempt(_Body, kw_only=True):
    """One try of one step or action of an exit run."""

    node: Annotated[str, Meta(description="The node's full name")]
    node_id: Annotated[str, Meta(description="Its id in status.nodes")]
    phase: Annotated[str, Meta(description="Pending, Running, Succeeded, Failed or Error")]
    started_at: Time
    finished_at: Time
    error: Annotated[str, Meta(description="Why it did not succeed; empty when it did")]


class Child(_Body, kw_only=True):
    """A workflow that a handler started."""

    name: str
    namespace: str
    uid: str


class ExitEnded(ExitRun, kw_only=True):
    """An exit run ended."""

    state: Annotated[str, Meta(extra_json_schema={"enum": ["succeeded", "failed", "cancelled", "parked"]})]
    error: Annotated[str, Meta(description="Why it did not succeed; empty when it did")]
    attempts: Annotated[
        list[ExitAttempt], Meta(description="All tries of its steps and actions, the oldest first")
    ] = []
    outputs: Annotated[Outputs, Meta(description="Of the handler's own node")] = Outputs()
    exit_code: Annotated[int | None, Meta(description="Of the handler's own node; null where nothing exited")] = None
    children: Annotated[list[Child], Meta(description="Workflows that it started, in their order")] = []
    started_at: Time
    finished_at: Time
    duration: Seconds


class ExitSkipped(ExitRun, kw_only=True):
    """A handler that will not run."""

    state: Literal["skipped"] = "skipped"
    error: Annotated[str, Meta(description="Why not")]


class ObjectMeta(_Body, kw_only=True, omit_defaults=True):
    """Argo's metadata of a workflow."""

    name: str
    namespace: str
    uid: str
    creation_timestamp: ArgoTime
    generate_name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Status(_Body, kw_only=True, omit_defaults=True):
    """Argo's status of a workflow, with what Exeunt adds: outcome, reason, finalization."""

    phase: Phase
    message: str
    started_at: ArgoTime
    finished_at: ArgoTime
    progress: Annotated[str, Meta(description="Done and all, as in 3/4")]
    outputs: Annotated[dict[str, Any], _argo("Global outputs", parameters=_PARAMETERS)] = {}
    conditions: list[dict[str, str]] = []
    outcome: Annotated[str, Meta(description="The phase of the main run, whatever became of its handlers")]
    reason: Reason
    finalization: Annotated[str, Meta(description="None, Succeeded, Failed or Skipped: what became of the handlers")]
    nodes: Annotated[dict[str, ArgoNode], Meta(description="Every node by its id, those of exit runs among them")] = {}
    suspended: bool = False
    run_attempt: Annotated[int, Meta(description="How often it was retried")] = 0
    shutdown: Annotated[dict[str, str], Meta(description="Who ended it early, and why: strategy, by, message")] = {}


class Ending(Workflow, kw_only=True):
    """What came of a workflow, in short."""

    outcome: Annotated[str, Meta(description="The phase of the main run, whatever became of its handlers")]
    reason: Reason
    finalization: Annotated[str, Meta(description="None, Succeeded, Failed or Skipped: what became of the handlers")]
    message: Annotated[str, Meta(description="Why it did not succeed: the node that failed, and its words")]
    shutdown: Annotated[Shutdown | None, Meta(description="Null unless somebody ended it")] = None
    outputs: Outputs = Outputs()
    started_at: Time
    finished_at: Time
    duration: Seconds


class WorkflowEnded(Ending, kw_only=True):
    """The whole workflow in its final state: in short, and in Argo's shape."""

    api_version: str
    kind: Literal["Workflow"]
    metadata: ObjectMeta
    spec: Annotated[dict[str, Any], Meta(description="The spec as it was submitted")] = {}
    status: Status

    def tree(self) -> dict[str, Any] | None:
        """The object in Argo's shape, where all of it is here."""
        if self.truncated is not UNSET:
            return None
        return {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "metadata": self.metadata,
            "spec": self.spec,
            "status": self.status,
        }


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


def subject(namespace: str, uid: str, kind: str) -> str:
    """The NATS subject of an event. `*` stands for any namespace or uid, `workflow.*`, `*.failed` or `>` for types."""
    return f"exeunt.events.{namespace}.{uid}.{kind}"


def kind_of(subject: str) -> str:
    """The type of an event, by its subject."""
    return subject.split(".", 4)[4]


def event_type(kind: str) -> str:
    """The attribute `ce-type`."""
    return f"dev.exeunt.{kind}.v{VERSION}"


def state_subject(namespace: str, uid: str) -> str:
    """The NATS subject, in the stream EXEUNT_STATES, of the last event of a workflow."""
    return f"exeunt.state.{namespace}.{uid}"


def schema(kind: Kind) -> str:
    """The attribute `ce-dataschema`."""
    return _SCHEMAS[kind]


_SCHEMAS = {kind: f"{DOCUMENT}#/components/schemas/{event.body.__name__}" for kind, event in EVENTS.items()}


def moment(at: float) -> str:
    """A time as bodies have it; empty for 0."""
    return f"{_second(int(at))}.{int(at * 1000) % 1000:03d}Z" if at else ""


def few(values: dict[str, str]) -> dict[str, str]:
    """Labels or annotations as every body has them: without what is large."""
    if sum(map(len, values.values())) + sum(map(len, values)) <= _VALUE_CHARACTERS:
        return values
    found: dict[str, str] = {}
    room = _VALUES_BYTES
    for name, value in values.items():
        if len(value) <= _VALUE_CHARACTERS and room >= (size := len(name.encode()) + len(value.encode())):
            found[name] = value
            room -= size
    return found


def last_lines(lines: Sequence[str]) -> list[str]:
    """Of the output of a step that failed: its end, as far as bodies have it."""
    found: list[str] = []
    room = LOG_BYTES
    for line in reversed(lines[-LOG_LINES:]):
        room -= len(line.encode()) + 1
        if room < 0:
            break
        found.append(line)
    return found[::-1]


def outputs(parameters: Iterable[tuple[str, str | None]], result: str | None = None) -> Outputs:
    """What was given, as bodies have it."""
    return Outputs(parameters=dict(parameters), result=result)


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
        "ce-time": moment(at),
        "ce-datacontenttype": "application/json",
        "ce-dataschema": schema(kind),
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


_LOOKED_INTO = ("status", "metadata", "outputs")
_TRUNCATED_BYTES = 4096  # for the names of what was left out
_TEXT_BYTES = 4000


@lru_cache(maxsize=64)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
