"""Timers that fire: deadlines, timeouts, pauses between attempts, the end of a wait."""

from __future__ import annotations

from exeunt.engine.commands.gates import go_on, outputs_at_resume
from exeunt.engine.commands.inputs import (
    TimerFired,
)
from exeunt.engine.commands.killing import KILLED, give_up_unheard, kill, kill_one, stop_hooks
from exeunt.engine.facts import phases
from exeunt.engine.facts.events import (
    ShutdownSet,
    TimerCleared,
)
from exeunt.engine.facts.run import Run


def timer_fired(run: Run, given: TimerFired) -> None:
    if given.timer not in run.state.timers or run.closed:
        return
    run.emit(TimerCleared(given.timer))
    kind, _, node_id = given.timer.partition(":")
    if kind == "close":
        return
    if kind == KILLED:
        give_up_unheard(run)
        return
    if kind == "deadline":
        run.emit(ShutdownSet("", "the workflow exceeded its deadline", reason="Deadline"))
        kill(run, phases.EXCEEDED, phases.EXCEEDED)
        stop_hooks(run, "Stop", phases.EXCEEDED)
        return
    node = run.nodes[run.by_id[node_id]]
    if node.fulfilled:
        return
    if kind == "suspend":
        go_on(run, node, outputs_at_resume(run, node))
    elif kind == "timeout":
        kill_one(run, node, phases.EXCEEDED)
    elif kind == "retry":
        run.wake(node)
