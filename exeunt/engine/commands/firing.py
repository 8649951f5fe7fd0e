"""Timers that fire: deadlines, timeouts, pauses between attempts, the end of a wait."""

from __future__ import annotations

from exeunt.engine.commands.gates import go_on, outputs_at_resume
from exeunt.engine.commands.inputs import (
    TimerFired,
)
from exeunt.engine.commands.killing import give_up_unheard, kill, stop_hooks
from exeunt.engine.facts import phases, timers
from exeunt.engine.facts.events import (
    ShutdownSet,
    TimerCleared,
)
from exeunt.engine.facts.run import Run
from exeunt.engine.walk.ending import kill_one


def timer_fired(run: Run, given: TimerFired) -> None:
    if given.timer not in run.state.timers or run.closed:
        return
    run.emit(TimerCleared(given.timer))
    fired = timers.read(given.timer)
    if fired.kind == timers.CLOSE:
        return
    if fired.kind == timers.KILLED:
        give_up_unheard(run)
        return
    if fired.kind == timers.DEADLINE:
        run.emit(ShutdownSet("", "the workflow exceeded its deadline", reason="Deadline"))
        kill(run, phases.EXCEEDED, phases.EXCEEDED)
        stop_hooks(run, "Stop", phases.EXCEEDED)
        return
    node = run.nodes[run.by_id[fired.node]]
    if node.fulfilled:
        return
    if fired.kind == timers.WAIT:
        go_on(run, node, outputs_at_resume(run, node))
    elif fired.kind == timers.TIMEOUT:
        kill_one(run, node, phases.EXCEEDED)
    elif fired.kind == timers.PAUSE:
        run.wake(node)
