"""The fold for the containers of a containerSet: all that becomes of them follows from the events of their pod."""

from __future__ import annotations

from collections.abc import Iterator

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.state import Facts
from exeunt.engine.facts.work import StepOutcome

NOT_TOLD = "Pod Failed whilst container running"


def of_pod(run: Facts, pod: Node) -> Iterator[Node]:
    """The nodes of the containers in a pod."""
    if pod.type == phases.POD:
        yield from (run.nodes[key] for key in pod.members)


def is_set(run: Facts, node: Node) -> bool:
    """Whether a node is the pod of a containerSet."""
    return bool(node.members) and node.type == phases.POD


def placed(run: Facts, pod: Node) -> None:
    """The pod has its place."""
    for node in of_pod(run, pod):
        if node.phase == phases.PENDING:
            node.phase = phases.RUNNING


def told(run: Facts, pod: Node, outcome: StepOutcome) -> None:
    """What the pod says of them. Those of a killed one keep their phases."""
    said = {end.name: end for end in outcome.containers}
    for node in of_pod(run, pod):
        end = said.get(node.suffix[1:])
        if end is None:
            continue
        if node.fulfilled:
            node.message = end.message or node.message
        else:
            _end(run, pod, node, end.phase, end.message)


def ended(run: Facts, pod: Node) -> None:
    """The pod is over: those of which nothing is known have ended as it did, a killed one's with its message."""
    for node in of_pod(run, pod):
        if not node.fulfilled:
            good = pod.phase == phases.SUCCEEDED
            _end(run, pod, node, pod.phase, pod.message if pod.killed else "" if good else NOT_TOLD)


def _end(run: Facts, pod: Node, node: Node, phase: str, message: str) -> None:
    node.phase = phase
    node.message = message
    node.finished = run.state.now
    pod.open_members -= 1
    if phase in phases.BAD:
        run.state.bad.append(node.key)
