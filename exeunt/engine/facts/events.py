"""What becomes true of a run: the events of the log. State is the fold of them; there is no other copy.

A commit is `Commit(format, now, events)` in msgpack. Fields are positional: add at the end, with a default, and
never take one away.
"""

from __future__ import annotations

from typing import Any

import msgspec

from exeunt.engine.facts.claims import ClaimsHome
from exeunt.engine.facts.nodes import NodeOutputs
from exeunt.engine.facts.struct import Struct
from exeunt.engine.facts.work import StepOutcome, StepSpec

FORMAT = 1


class Obligation(Struct):
    """A handler that is owed: all that its exit run needs, as it was when the handler became due.

    `hook_id` is the ledger id, a hash of (uid, run attempt, node id, hook name). `scope` holds the resolved variables
    that templates of the handler may use besides their own inputs: the workflow's globals (`workflow.name`,
    `workflow.status`, `workflow.failures`, `workflow.outputs.parameters.x`, `workflow.parameters.x`, …), flat.
    `arguments` are resolved. `caller` is the LifecycleHook as JSON (template or templateRef) and `caller_scope` the
    template scope it is looked up in.
    """

    hook_id: str
    hook: str  # "exit" or the hook's name
    node: str  # id of the node that ended or whose hook it is; the root for the workflow's
    node_name: str
    hook_node: str  # id and full name of the handler's own node: NODE.onExit, NODE.hooks.NAME
    hook_node_name: str
    boundary: str | None
    uid: str
    name: str
    namespace: str
    bundle: str  # content hash of the manifest bundle
    caller: dict[str, Any]
    caller_scope: str
    arguments: dict[str, Any]
    scope: dict[str, Any]
    reason: str = ""  # why it ended: Completed, Failed, Error, Stopped, Terminated, Deadline, Deleted
    phase: str = ""  # of what ended
    run_attempt: int = 0
    labels: dict[str, str] = {}
    due_at: float = 0.0
    trace: dict[str, str] = {}
    display: str = ""  # display name of the handler's own node
    further: bool = False  # an exit handler of the workflow besides the one called "exit"
    problem: str = ""  # why it cannot be run: its expression or an argument cannot be worked out
    started_by: dict[str, str] = {}  # as of the workflow's RunStarted
    artifacts: list[dict[str, Any]] = []  # of the arguments, resolved
    global_artifacts: dict[str, dict[str, Any]] = {}  # the workflow's, by globalName
    repository: dict[str, Any] = {}  # as of the workflow's RunStarted
    claims: ClaimsHome = msgspec.field(default_factory=ClaimsHome)  # as far as it was known


class HookOutcome(Struct):
    """What an exit run's closing commit carries for the main run: state is succeeded, failed, cancelled or parked."""

    hook_id: str
    phase: str
    message: str = ""
    state: str = "succeeded"
    nodes: list[dict[str, Any]] = []  # in the shape of status.nodes, each with its id
    outputs: dict[str, Any] = {}  # of the handler's own node
    global_outputs: dict[str, Any] = {}  # parameters exported by globalName
    finished_at: float = 0.0
    attempt: int = -1  # the greatest number of an attempt in the run; those of a replay are greater
    replay: int = 0  # which one this is the outcome of; 0 for the run itself
    global_artifacts: dict[str, dict[str, Any]] = {}  # exported by globalName
    claims: ClaimsHome = msgspec.field(default_factory=ClaimsHome)  # where the run has used them


class Event(Struct, tag=True):
    """Base of all events."""


class RunStarted(Event, tag="run"):
    """First event of every run. A main run has `parameters` and `labels` as submitted, an exit run its `obligation`."""

    uid: str
    name: str
    namespace: str
    bundle: str
    parameters: dict[str, str] = {}
    entrypoint: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    request_id: str = ""
    obligation: Obligation | None = None
    run_attempt: int = 0
    trace: dict[str, str] = {}
    parent: str = ""  # exit run or run that triggered it, for people and for depth limits
    depth: int = 0
    started_by: dict[str, str] = {}  # of a child: name, namespace, uid and handler (a ledger id) of what started it
    repository: dict[str, Any] = {}  # where artifacts go, as Argo's ArtifactLocation with `keyFormat`


class StepDue(Event, tag="due"):
    """A node's attempt shall be run. Effect: find it a place (`Placed`)."""

    node: str
    attempt: int
    step: StepSpec
    exit: bool = False


class StepPlaced(Event, tag="placed"):
    """The attempt has its executor. Effect: dispatch it there."""

    node: str
    attempt: int
    executor: str


class StepReady(Event, tag="ready"):
    """The attempt of a daemon is ready, at this address: others need not wait for its node any more."""

    node: str
    attempt: int
    address: str = ""


class StepProgressed(Event, tag="progressed"):
    """The attempt says that it has come so far: N/M."""

    node: str
    attempt: int
    progress: str


class StepFinished(Event, tag="finished"):
    """The attempt ended."""

    node: str
    attempt: int
    outcome: StepOutcome


class ChildKnown(Event, tag="child"):
    """The attempt starts this workflow: written before it does, so that the ledger leads there whatever comes."""

    node: str
    attempt: int
    child: dict[str, str]


class StepCancelled(Event, tag="cancel"):
    """The attempt is not wanted any more. Effect: end it (its result, if any, is still folded)."""

    node: str
    attempt: int


class TimerSet(Event, tag="timer"):
    """A timer. `due` is absolute, in seconds since the epoch."""

    timer: str
    due: float


class TimerCleared(Event, tag="untimer"):
    """The timer fired or is not needed any more."""

    timer: str


class HookDue(Event, tag="hook"):
    """A handler is owed. Makes the commit one of kind `h`, which the exit handler reads from the log."""

    obligation: Obligation


class HookCancelled(Event, tag="unhook"):
    """An obligation is withdrawn, as its workflow is shut down. Kind `h`. Its exit run still closes, as cancelled."""

    hook_id: str
    reason: str = ""
    strategy: str = "Terminate"
    below: bool = False  # its node is work that was ended: what hangs below it has failed with its word


class HookSkipped(Event, tag="nohook"):
    """A handler will not run, and why. It is recorded in the ledger as skipped. Kind `h`."""

    obligation: Obligation
    why: str = ""


class HookFinished(Event, tag="hooked"):
    """An exit run's result is folded."""

    outcome: HookOutcome


class MainEnded(Event, tag="ended"):
    """The main run is over (exit handlers may follow): `outcome` is its phase, `reason` why it ended."""

    outcome: str
    reason: str
    message: str = ""


class RunClosed(Event, tag="closed"):
    """All done. Kind `z` for a main run, `r` for an exit run, which carries its `hook` outcome."""

    phase: str
    message: str = ""
    finalization: str = ""
    hook: HookOutcome | None = None


class HookOmitted(Event, tag="nohook2"):
    """In an exit run: a handler of one of its own nodes (`name`) will not run, and why."""

    node: int
    hook: str
    name: str
    why: str


class Reopened(Event, tag="replay"):
    """A closed exit run runs again from its inputs; `replay` counts from 1, `again` makes new effect keys."""

    replay: int
    again: bool = False
    request_id: str = ""


class Retried(Event, tag="again"):
    """A closed main run goes on as its next attempt: what failed is taken out of its nodes (reopen.py)."""

    request_id: str = ""
    parameters: dict[str, str] = {}  # in place of those it was submitted with
    message: str = ""  # why, and who asked for it: for people, as in all events of what operators do
    by: str = ""


class Snapshot(Event, tag="snapshot"):
    """A run's whole state as one event: what the engine's `snapshot` made and `replay` reads."""

    state: Any


# The engine's own events: nobody above the engine looks into them. Nodes are known by their number in the run.


class NodeStarted(Event, tag="n"):
    """A node appears. Its boundary, its links and its counters follow from its owner."""

    owner: int
    suffix: str
    kind: str
    phase: str
    template: str = ""
    index: int = -1
    item: int = -1
    message: str = ""
    inputs: list[tuple[str, str]] | None = None
    hook: str = ""
    hooked: bool = False
    retried: bool = False
    scope: str = ""
    ref: tuple[str, str, bool] | None = None
    outputs: NodeOutputs | None = None
    links: list[int] | None = None  # parents in the tree as it is shown; None: the owner
    raised: bool = False
    display: str = ""  # asked for by the template's annotation
    artifacts: list[dict[str, Any]] | None = None  # the input artifacts, as in status.nodes


class NodeEnded(Event, tag="e"):
    """A node ended that the engine itself ends: composites, waits, kills. Results of steps are `StepFinished`."""

    node: int
    phase: str
    message: str = ""
    outputs: NodeOutputs | None = None
    killed: bool = False
    raised: bool = False  # it could not be worked out: what holds it ends with it


class NodeDaemoned(Event, tag="daemon"):
    """Others need not wait for a node that holds daemons: it ends with the scope that they were begun in."""

    node: int


class InputsSet(Event, tag="inputs"):
    """A composite's inputs changed after it began: they hold `workflow.status`. It is shown with the first ones."""

    node: int
    inputs: list[tuple[str, str]]


class NodeNoted(Event, tag="m"):
    """A message, or supplied outputs, of a node that goes on."""

    node: int
    message: str = ""
    outputs: NodeOutputs | None = None


class HookReplayed(Event, tag="rehooked"):
    """A handler that had ended was replayed and ended so: the finalization follows, and no phase."""

    hook_id: str
    phase: str
    message: str = ""


class GlobalsSet(Event, tag="g"):
    """Outputs exported by globalName: values of parameters, and artifacts as in status.outputs."""

    values: dict[str, str | None]
    artifacts: dict[str, dict[str, Any]] = {}


class HookStarted(Event, tag="k"):
    """In an exit run: a hook of one of its own nodes starts inside the run. `node` is the node it belongs to."""

    node: int
    hook: str


class ShutdownSet(Event, tag="stop"):
    """Stop or Terminate, once and for all (Stop may become Terminate)."""

    strategy: str
    message: str = ""
    request_id: str = ""
    deleted: bool = False
    reason: str = ""
    by: str = ""


class Asked(Event, tag="asked"):
    """Somebody asked for what other events of this commit say: who, and why."""

    request_id: str = ""
    message: str = ""
    by: str = ""


class MoreToDecide(Event, tag="more"):
    """A decision has done its share and there is more to decide; or (`more` false) all is decided now."""

    more: bool


class SuspensionSet(Event, tag="pause"):
    """The run starts nothing while it is suspended."""

    suspended: bool
    request_id: str = ""
    message: str = ""
    by: str = ""
