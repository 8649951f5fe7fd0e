"""A run that is worked on: its facts, what this decision made true, and what is to be looked at (exeunt.engine)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from exeunt.engine.facts import phases
from exeunt.engine.facts.events import Event, NodeEnded, NodeStarted, ShutdownSet, StepFinished
from exeunt.engine.facts.fold import fold
from exeunt.engine.facts.nodes import Node, ended_early
from exeunt.engine.facts.pending_looks import PendingLooks
from exeunt.engine.facts.state import Facts, State
from exeunt.engine.facts.turn import Turn
from exeunt.language.manifest import Bundle, Template


class Plans(NamedTuple):
    """What a run asks of the rooms above it, which alone can lay out steps and tasks."""

    inline_of: Callable[[Run, Node], Template]
    """The inline template of a node's step or task, with its references put in. Raises NodeError."""
    place_of: Callable[[Run, Node], int]
    """Where a task's node stands in the order of its graph."""


class Run(Facts):
    """A run."""

    def __init__(self, state: State, bundle: Bundle, plans: Plans) -> None:
        super().__init__(state, bundle)
        self._plans = plans
        self.events: list[Event] = []
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

    @property
    def unfinished(self) -> bool:
        """Whether there is more to decide than one decision may: GoOn decides it."""
        return self.left or self.state.unfinished

    def inline_of(self, node: Node) -> Template:
        """What stands in the node's step or task itself, with its references put in. Raises NodeError."""
        return self._plans.inline_of(self, node)

    def begin_anew(self, state: State) -> None:
        super().begin_anew(state)
        self.fresh = True
        self.dirty.clear()
        self.held.clear()
        self.blocked.clear()
        self.changed.clear()

    def emit(self, event: Event) -> None:
        """It becomes true: folded at once, and part of what this decision writes."""
        self.events.append(event)
        fold(self, event)
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
            path.append(self._plans.place_of(self, node) if at >= 0 and self.nodes[at].type == phases.DAG else node.key)
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
