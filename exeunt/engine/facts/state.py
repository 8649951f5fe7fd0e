"""The state of a run, and what is kept beside it while it is worked on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from exeunt.engine.facts import phases
from exeunt.engine.facts.events import (
    Event,
    HookOutcome,
    NodeEnded,
    NodeStarted,
    Obligation,
    RunStarted,
    ShutdownSet,
    StepFinished,
)
from exeunt.engine.facts.memory import Memory
from exeunt.engine.facts.nodes import Names, Node, ended_early
from exeunt.engine.facts.pending_looks import PendingLooks
from exeunt.engine.facts.shared import shared_of
from exeunt.engine.facts.turn import Turn
from exeunt.engine.facts.work import Struct
from exeunt.language.handlers import EXIT_ON, entries
from exeunt.language.manifest import Bundle, Template, Workflow, WorkflowSpec


class Hook(Struct):
    """A hook that became due. In a main run an obligation, in an exit run a node inside the run (`inner`)."""

    parent: int
    name: str
    hook_id: str = ""
    inner: int = -1
    phase: str = ""  # empty while open
    obligation: Obligation | None = None  # while it is open
    outcome: HookOutcome | None = None
    cancelled: bool = False
    links: list[int] = []  # nodes that were linked below the hook's outbound nodes
    why: str = ""  # skipped, and why
    own_links: list[int] = []  # nodes that were linked below the hook's own node
    replayed: str = ""  # how its last replay ended; empty when there was none
    replay_message: str = ""
    strategy: str = ""  # how it was cancelled: Stop or Terminate

    @property
    def open(self) -> bool:
        return not self.phase

    @property
    def last(self) -> str:
        """How it ended last: its replay counts, where there was one."""
        return self.replayed or self.phase


class State(Struct):
    """All that is true of a run. What is left out here is derived and may be forgotten at any time."""

    started: RunStarted
    phase: str = ""
    outcome: str = ""
    reason: str = ""
    finalization: str = "None"
    message: str = ""
    main_message: str = ""
    closed: bool = False
    deleted: bool = False
    suspended: bool = False
    shutdown: str = ""
    shutdown_message: str = ""
    shutdown_reason: str = ""
    commits: int = 0
    now: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    replay: int = 0
    first_attempt: int = 0  # attempts of a replay have numbers of their own
    again: bool = False
    nodes: list[Node] = []
    hooks: list[Hook] = []
    hook_numbers: dict[str, int] = {}
    global_outputs: dict[str, str | None] = {}
    bad: list[int] = []  # nodes that failed, in the order of their end; -1-n: those of hook n
    timers: dict[str, float] = {}
    placed: dict[int, str] = {}
    due: dict[int, bool] = {}
    cancelled: list[tuple[int, int]] = []  # cancelled attempts whose result has not come
    active_pods: int = 0
    open_hooks: int = 0
    requests: list[str] = []
    outgoing: int = 0  # public events told so far
    unfinished: bool = False  # the last decision that is written had done its share
    created_at: float = 0.0  # of a workflow that was retried: when it was submitted
    suspends: int = 0  # suspend nodes that wait
    deadline: float = 0.0  # of the workflow, also when it is over
    shutdown_by: str = ""


class Run:
    """A run: its state, and what is derived from it and from the bundle."""

    fold: Callable[[Run, Event], None]
    """Makes an event true (facts/fold.py)."""
    inline_of: Callable[[Run, Node], Template]
    """The inline template of a node's step; set where the walks into steps and dag meet (decide)."""
    place_of: Callable[[Run, Node], int]
    """Where a task's node comes in a walk of its DAG; set there as well."""

    def __init__(self, state: State, bundle: Bundle) -> None:
        self.state = state
        self.bundle = bundle
        self.shared = shared_of(bundle)
        self.templates = self.shared.templates
        self.workflow: Workflow = bundle.workflow
        self.spec: WorkflowSpec = self.templates.spec
        self.nodes = state.nodes
        self.names = Names(state.started.name, state.nodes)
        self.by_id = {self.names.id(node): node.key for node in state.nodes}
        self.events: list[Event] = []
        self.memory = Memory()
        self.dirty = PendingLooks()
        self.held: dict[int, None] = {}
        self.blocked: dict[int, None] = {}  # met a limit: looked at again when something ended
        self.changed: dict[int, list[int]] = {}
        self.put_off: dict[int, int] = {}  # what was put off behind another look, and after how many events
        self.fresh = True  # nothing is known of what waits: the next decision looks everywhere
        self.turn = Turn()
        self.left = False  # the last decision has done its share
        self.early = False  # some composite has ended before its members (walk/left_inside.py)
        self.graphs_ended: dict[int, None] = {}  # in this decision
        self.pods_started: dict[int, int] = {}  # in this decision, by boundary
        self.hooks_before = 0  # so many hooks there were when this decision began
        self.stopping = False  # the run is being stopped: what is open is looked at once, as if nothing had ended early
        self.late: dict[int, None] = {}  # what had ended early then, and is looked at afterwards
        self.first = False  # in the first decision of a run `workflow.status` is still empty, as in Argo
        self.outputs_version = len(state.global_outputs)
        self.handlers = {} if self.exit else self.shared.handlers
        """The workflow's exit handlers besides `onExit`, by the names of their hooks."""
        self.order = {} if self.exit else self.shared.order
        """Of each of them the names of those that have to end before it."""
        self.lively = self.shared.lively
        """Some step, task or the workflow has a hook that may be due at any time."""
        self.watching = self.shared.watching

    # --- what others read ---------------------------------------------------------------------------------------------

    @property
    def uid(self) -> str:
        return self.state.started.uid

    @property
    def name(self) -> str:
        return self.state.started.name

    @property
    def namespace(self) -> str:
        return self.state.started.namespace

    @property
    def kind(self) -> str:
        return "main" if self.state.started.obligation is None else "exit"

    @property
    def exit(self) -> bool:
        return self.state.started.obligation is not None

    @property
    def obligation(self) -> Obligation | None:
        return self.state.started.obligation

    @property
    def display(self) -> str:
        """The display name of its first node."""
        owed = self.state.started.obligation
        return self.name if owed is None else owed.display

    @property
    def hook_id(self) -> str:
        owed = self.state.started.obligation
        return "" if owed is None else owed.hook_id

    @property
    def phase(self) -> str:
        return self.state.phase

    @property
    def outcome(self) -> str:
        return self.state.outcome

    @property
    def reason(self) -> str:
        return self.state.reason

    @property
    def finalization(self) -> str:
        return self.state.finalization

    @property
    def message(self) -> str:
        return self.state.message

    @property
    def closed(self) -> bool:
        return self.state.closed

    @property
    def deleted(self) -> bool:
        return self.state.deleted

    @property
    def suspended(self) -> bool:
        return self.state.suspended

    @property
    def commits(self) -> int:
        """Commits folded so far: the number of the last one."""
        return self.state.commits

    @commits.setter
    def commits(self, number: int) -> None:
        self.state.commits = number

    @property
    def now(self) -> float:
        return self.state.now

    @property
    def ending(self) -> bool:
        """Whether a killed step has not said yet that it is over."""
        return any(self.nodes[key].ending for key, _ in self.state.cancelled)

    @property
    def unfinished(self) -> bool:
        """Whether there is more to decide than one decision may: GoOn decides it."""
        return self.left or self.state.unfinished

    @property
    def under_way(self) -> bool:
        """Whether any work, wait or handler of a node runs, also in what has ended before it."""
        state = self.state
        return bool(state.due or state.placed or state.suspends or self.ending)

    @property
    def created_at(self) -> float:
        """When it was submitted, in seconds since the epoch."""
        return self.state.created_at or self.state.started_at

    @property
    def runs_anyway(self) -> bool:
        """Whether handlers run even when the workflow is terminated, or deleted: as its annotation asks."""
        asked = entries(self.annotations.get(EXIT_ON, ""))
        return ("delete" if self.state.deleted else "terminate") in asked

    @property
    def annotations(self) -> dict[str, str]:
        return {**self.workflow.metadata.annotations, **self.state.started.annotations}

    # --- for the engine's modules -------------------------------------------------------------------------------------

    @property
    def root(self) -> Node:
        return self.nodes[0]

    def id(self, node: Node) -> str:
        return self.names.id(node)

    def emit(self, event: Event) -> None:
        """It becomes true: folded at once, and part of what this decision writes."""
        self.events.append(event)
        self.fold(self, event)
        if isinstance(event, NodeEnded):
            if self.nodes[event.node].type in phases.COMPOSITES:
                self.graphs_ended[event.node] = None
            if ended_early(self.nodes[event.node]):
                self.early = True
                self._wake_below(event.node)
            self.ended(self.nodes[event.node])
            self._forget(event.node)
        elif isinstance(event, ShutdownSet):
            self.stopping = True
        elif isinstance(event, NodeStarted):
            node = self.nodes[-1]
            if node.type == phases.POD and node.boundary >= 0 and not node.fulfilled:
                self.pods_started[node.boundary] = self.pods_started.get(node.boundary, 0) + 1
            if event.raised:
                self.ended(node)
        elif isinstance(event, StepFinished):
            self.ended(self.nodes[self.by_id[event.node]])

    def _wake_below(self, key: int) -> None:
        """Everything that is open in what has ended early is looked at once: nothing else is to begin in there."""
        stack = [key]
        while stack:
            for member in self.nodes[stack.pop()].members:
                node = self.nodes[member]
                if node.members or node.type in phases.COMPOSITES:
                    stack.append(member)
                    if not node.fulfilled:
                        self.pend(member)

    def _forget(self, key: int) -> None:
        """What was kept for an open composite is not needed any more."""
        if self.nodes[key].type in phases.COMPOSITES:
            self.memory.forget(key)

    def pend(self, key: int) -> None:
        """This node is to be looked at, what is inside of it first."""
        if key in self.dirty:
            return
        path, at = [float("inf")], key
        while at >= 0:
            node = self.nodes[at]
            at = node.owner
            path.append(self.place_of(self, node) if at >= 0 and self.nodes[at].type == phases.DAG else node.key)
        self.dirty.add(key, tuple(reversed(path)))

    def wake(self, node: Node) -> None:
        """Something below this node changed: look at it."""
        self.pend(node.key)

    def ended(self, node: Node) -> None:
        """Tells the owner that one of its nodes ended, or that a hook of one did."""
        if node.hook and node.owner >= 0:
            node = self.nodes[node.owner]
            self.release()
        if node.owner >= 0:
            self.changed.setdefault(node.owner, []).append(node.key)
            self.pend(node.owner)
            owner = self.nodes[node.owner]
            if self.lively and owner.type == phases.RETRY:  # a hook may look at the attempts
                self.ended(owner)

    def release(self) -> None:
        """A hook ended: what it held up is looked at again."""
        for key in self.held:
            self.pend(key)
        self.held.clear()

    def changes(self, owner: int) -> list[int] | None:
        """The nodes of this owner that changed since this was asked last; None: nothing is known, look at all."""
        keys = self.changed.pop(owner, [])
        return None if self.fresh else sorted(set(keys))


def pack(state: State) -> Any:
    return msgspec.to_builtins(state)


def unpack(tree: Any) -> State:
    return msgspec.convert(tree, State)
