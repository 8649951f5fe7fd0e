"""The bodies of events, as msgspec structs: what docs/asyncapi.yaml says of them is made of these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from exeunt.cloudevents.names import (
    BODY_BYTES,
    FAILURE_BYTES,
    LOG_BYTES,
    LOG_LINES,
    MOST_FAILURES,
    VALUE_CHARACTERS,
    VALUES_BYTES,
)

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


_LEFT_OUT = f"; without those of more than {VALUE_CHARACTERS:,} characters, and what goes beyond {VALUES_BYTES:,} bytes"


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
    """How far the workflow has come."""

    phase: Annotated[str, Meta(description="Pending, Running, Succeeded, Failed or Error")]
    creator: Annotated[str, Meta(description="Who submitted it, as he said; empty where he did not")] = ""


class AskedFor(Workflow, kw_only=True):
    """Somebody asked for something, or is asked for it."""

    by: Annotated[str, Meta(description="Who asked, as he said; empty where nobody did, or he did not say")] = ""
    message: Annotated[str, Meta(description="Why, for people; of a node that waits its message")] = ""


class AskedOfNode(AskedFor, kw_only=True):
    """The workflow, or one node of it, waits for people or goes on."""

    node: Annotated[str, Meta(description="Full name of the suspend node; empty where it is the whole workflow")] = ""
    node_id: Annotated[str, Meta(description="Its id in status.nodes")] = ""


class Outputs(msgspec.Struct, kw_only=True, rename="camel", frozen=True):
    """The outputs of a step."""

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
    by: Annotated[str, Meta(description="Who it was, as they said; may be empty")]
    message: Annotated[str, Meta(description="The reason that they gave; may be empty")]


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
    progress: Annotated[str, Meta(description="Steps done and steps in all, as in 3/4")]
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
