"""A node of the tree, its id and its name.

Nodes are known by small numbers inside a run, in the order of their start. A full name is put together from the chain
of owners when somebody asks: in a deep nest the names alone would be larger than everything else. The id holds a 64-bit
FNV-1a hash of the full name (Argo's has 32 bits, which collide in a run of 100,000 nodes), computed from the owner's.
"""

from __future__ import annotations

import re
from typing import Any

from exeunt.engine.facts import phases
from exeunt.engine.facts.struct import Struct
from exeunt.engine.facts.work import OutputParameter, StepOutcome, StepSpec

_OFFSET = 0xCBF29CE484222325
_PRIME = 0x100000001B3
_MASK = 0xFFFFFFFFFFFFFFFF
_SEPARATOR = re.compile(r"^(\[\d+\])?\.")
_LOG_LINES = 20
_LINE_CHARACTERS = 500
_POD_NAME_PREFIX = 253 - 20 - 1
OWN = 1 << 30
"""See shown/outbound.py."""


def hook_of(end: int) -> tuple[int, bool]:
    """The number of a hook that an end names, and whether its own node is meant."""
    return (-1 - end - OWN, True) if end <= -1 - OWN else (-1 - end, False)


def fnv(text: str, state: int = _OFFSET) -> int:
    """FNV-1a, 64 bits; `state` continues the hash of what stands before."""
    for byte in text.encode():
        state = ((state ^ byte) * _PRIME) & _MASK
    return state


def tail_of(lines: list[str]) -> list[str]:
    """What is kept of the log of a step that failed."""
    return [line[-_LINE_CHARACTERS:] for line in lines[-_LOG_LINES:]]


class NodeOutputs(Struct):
    """What a node gave. A parameter without a value is None."""

    parameters: list[tuple[str, str | None]] = []
    result: str | None = None
    exit_code: int | None = None
    artifacts: list[dict[str, Any]] = []  # as in status.nodes, each with the place where it is kept

    def parameter(self, name: str) -> str | None:
        return next((value for known, value in self.parameters if known == name), None)


def outputs_of(outcome: StepOutcome, declared: list[OutputParameter]) -> NodeOutputs | None:
    """What a step gave. Argo knows an output parameter without a value; a declared one that is missing becomes that."""
    parameters: list[tuple[str, str | None]] = []
    if outcome.parameters or outcome.phase in phases.BAD or any(one.value is not None for one in declared):
        parameters = [(one.name, outcome.parameters.get(one.name, one.value)) for one in declared]
    if not (parameters or outcome.artifacts) and outcome.result is None and outcome.exit_code is None:
        return None
    return NodeOutputs(
        parameters=parameters, result=outcome.result, exit_code=outcome.exit_code, artifacts=outcome.artifacts
    )


class Node(Struct):
    """One node. `owner` is the node whose walk it belongs to: a group for a step, a Retry for an attempt."""

    key: int
    owner: int
    boundary: int
    suffix: str
    hash: int
    type: str
    phase: str
    template: str = ""
    ref: tuple[str, str, bool] | None = None  # templateRef: name, template, clusterScope
    scope: str = ""
    index: int = -1  # of the step in its group, of the task in its DAG, of the group, of the attempt
    item: int = -1
    hook: str = ""  # the hook's name, for the node of a hook
    hooked: bool = False
    retried: bool = False
    shown: str = ""  # the display name that the template's annotation asks for
    inputs: list[tuple[str, str]] | None = None
    outputs: NodeOutputs | None = None
    message: str = ""
    started: float = 0.0
    finished: float = 0.0
    children: list[int] = []  # links as Argo shows them; -1-n is the root of hook n
    depth: int = 0  # how many steps and dag templates it stands in
    attempt: int = 0
    executor: str = ""
    step: StepSpec | None = None
    killed: bool = False
    raised: bool = False
    cancelled: bool = False
    # counters
    members: list[int] = []  # nodes that it owns, in the order of their start
    hooks: list[int] = []  # hooks of this node
    open_members: int = 0
    open_hooks: int = 0
    hooks_below: int = 0  # open hooks of the members
    active: int = 0  # of a boundary: Pods, Steps and DAGs inside that are Pending or Running
    active_pods: int = 0
    bad: int = 0
    tail: list[str] = []  # the last lines of the log of a step that failed
    anew: list[tuple[str, str]] | None = None  # the inputs that count, where they are not those it began with
    ending: bool = False  # killed, and what runs it has not said yet that it is over (Argo: taskResultSynced)
    effect: int = 0  # the hash without the numbers of attempts in the name; 0 where there are none
    artifacts: list[dict[str, Any]] | None = None  # the input artifacts, as in status.nodes
    daemoned: bool = False  # a daemon that was ready once, or what holds one: nobody waits for its end
    address: str = ""  # where a daemon is reached
    progress: str = ""  # how far it says that it has come

    @property
    def given(self) -> list[tuple[str, str]]:
        """The inputs that count."""
        return (self.anew if self.anew is not None else self.inputs) or []

    @property
    def over(self) -> bool:
        """Whether it has ended. Of a daemon others need not wait for that: see `fulfilled`."""
        return self.phase in phases.FULFILLED and not self.ending

    @property
    def fulfilled(self) -> bool:
        return (self.phase in phases.FULFILLED and not self.ending) or self.daemoned

    @property
    def serving(self) -> bool:
        """A daemon that is ready, or what holds one."""
        return self.daemoned and self.phase == phases.RUNNING

    @property
    def completed(self) -> bool:
        return self.phase in phases.COMPLETED and not self.ending

    @property
    def failed(self) -> bool:
        return self.phase in phases.BAD


def ended_early(node: Node) -> bool:
    """Whether a composite has ended before what it holds, or before the handlers of that."""
    return node.type in phases.COMPOSITES and node.fulfilled and (node.open_members > 0 or node.hooks_below > 0)


def counts_as_bad(node: Node) -> bool:
    """Whether failFast looks at a node that failed: a Retry in place of its attempts, and no hook."""
    return node.type in phases.COUNTED | {phases.RETRY} and not (node.retried or node.hooked)


class Names:
    """Full names and ids of a run's nodes."""

    def __init__(self, workflow: str, nodes: list[Node]) -> None:
        self._workflow = workflow
        self._nodes = nodes

    def id(self, node: Node) -> str:
        return self._workflow if node.suffix == self._workflow and node.owner < 0 else f"{self._workflow}-{node.hash}"

    def hooked_id(self, node: Node, suffix: str) -> str:
        """The id of the node of a hook, which may live in another run."""
        return f"{self._workflow}-{fnv(suffix, node.hash)}"

    def full(self, node: Node) -> str:
        parts = []
        current = node
        while True:
            parts.append(current.suffix)
            if current.owner < 0:
                break
            current = self._nodes[current.owner]
        return "".join(reversed(parts))

    def display(self, node: Node, root: str) -> str:
        """What remains of the name below the boundary; `root` is the display name of the run's own root."""
        if node.shown:
            return node.shown
        parts = []
        current = node
        while current.key != node.boundary and current.owner >= 0:
            parts.append(current.suffix)
            current = self._nodes[current.owner]
        text = "".join(reversed(parts))
        return _SEPARATOR.sub("", text) if current.key == node.boundary else root + text

    def pod(self, node: Node) -> str:
        """Argo's second form: WORKFLOW-TEMPLATE-HASH."""
        if node.owner < 0 and node.suffix == self._workflow:
            return self._workflow
        return self.pod_name(node.template if node.ref is None else node.ref[1], node.hash)

    def pod_of(self, owner: Node | None, suffix: str, template: str) -> str:
        """The same of a node that is not there yet."""
        if owner is None and suffix == self._workflow:
            return self._workflow
        return self.pod_name(template, fnv(suffix) if owner is None else fnv(suffix, owner.hash))

    def pod_name(self, template: str, number: int) -> str:
        prefix = f"{self._workflow}-{template}" if template else self._workflow
        return f"{prefix[:_POD_NAME_PREFIX]}-{number}"
