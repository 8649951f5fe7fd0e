"""The state of a run, and what is kept beside it while it is worked on."""

from __future__ import annotations

from typing import Any

import msgspec

from exeunt.engine.facts.claims import ClaimsHome, joined
from exeunt.engine.facts.events import (
    HookOutcome,
    Obligation,
    RunStarted,
)
from exeunt.engine.facts.memory import Memory
from exeunt.engine.facts.nodes import Names, Node
from exeunt.engine.facts.shared import shared_of
from exeunt.engine.facts.struct import Struct
from exeunt.language.handlers import EXIT_ON, entries
from exeunt.language.manifest import Bundle, Workflow, WorkflowSpec


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
    global_artifacts: dict[str, dict[str, Any]] = {}
    claims: ClaimsHome = msgspec.field(default_factory=ClaimsHome)
    daemons: dict[int, bool] = {}  # open daemons and what holds them, and whether they are ready


class Facts:
    """A run's state, and what follows from it and from the bundle: all that the fold needs."""

    def __init__(self, state: State, bundle: Bundle) -> None:
        self.bundle = bundle
        self.shared = shared_of(bundle)
        self.templates = self.shared.templates
        self.workflow: Workflow = bundle.workflow
        self.spec: WorkflowSpec = self.templates.spec
        self.memory = Memory()
        self.outputs_version = len(state.global_outputs)
        self.take(state)
        self.handlers = {} if self.exit else self.shared.handlers
        """The workflow's exit handlers besides `onExit`, by the names of their hooks."""
        self.order = {} if self.exit else self.shared.order
        """Of each of them the names of those that have to end before it."""
        self.lively = self.shared.lively
        """Some step, task or the workflow has a hook that may be due at any time."""
        self.watching = self.shared.watching

    def take(self, state: State) -> None:
        """Takes this state in place of the one before."""
        self.state = state
        self.nodes = state.nodes
        self.names = Names(state.started.name, state.nodes)
        self.by_id = {self.names.id(node): node.key for node in state.nodes}

    def begin_anew(self, state: State) -> None:
        """The run begins again, with this state: what was kept of the former one is forgotten."""
        self.take(state)
        self.outputs_version += 1
        self.memory.clear()

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
    def repository(self) -> dict[str, Any]:
        """Where artifacts go that name no place (Argo's ArtifactRepository); those of a handler as its workflow's."""
        owed = self.state.started.obligation
        return self.state.started.repository if owed is None else owed.repository

    @property
    def claims(self) -> ClaimsHome:
        """Where the workflow's own volumes are; a handler knows what its workflow knew."""
        owed = self.state.started.obligation
        return self.state.claims if owed is None else joined(self.state.claims, owed.claims)

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

    @property
    def root(self) -> Node:
        return self.nodes[0]

    def id(self, node: Node) -> str:
        return self.names.id(node)


def pack(state: State) -> Any:
    return msgspec.to_builtins(state)


def unpack(tree: Any) -> State:
    return msgspec.convert(tree, State)
