"""Ending one node that is under way, with its timers; how long its own word is waited for then."""

from __future__ import annotations

from exeunt.engine.facts import phases, timers
from exeunt.engine.facts.events import NodeEnded, StepCancelled, TimerCleared, TimerSet
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run

PATIENCE_SECONDS = 60.0


def clear_timer(run: Run, timer: str) -> None:
    if timer in run.state.timers:
        run.emit(TimerCleared(timer))


def clear_waits(run: Run, node: Node) -> None:
    for timer in (timers.timeout(run.id(node)), timers.wait(run.id(node))):
        clear_timer(run, timer)


def kill_one(run: Run, node: Node, message: str, phase: str = phases.FAILED) -> None:
    clear_waits(run, node)
    if node.step is not None:
        run.emit(StepCancelled(run.id(node), node.attempt))
    run.emit(NodeEnded(node.key, phase, message, node.outputs, killed=True))
    if node.ending and timers.KILLED not in run.state.timers:
        run.emit(TimerSet(timers.KILLED, patience(node)))


def patience(node: Node) -> float:
    """Until when a killed step's own word is waited for: its grace is over, and a lost executor has been given up."""
    return node.finished + PATIENCE_SECONDS + (node.step.grace_seconds if node.step is not None else 0.0)
