"""Plays the cases of `more` under a clock: it stands still while a pod runs, and goes by itself when nothing does.

The kubelet is played too: it ends a pod whose deadline is over, before the scheduler looks. What needs several
workflows, locks, caches or daemons is not played yet: `needs` in judge.py names it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from exeunt.engine.commands.inputs import AttemptEnded, Placed, ShutdownRun, TimerFired
from exeunt.engine.facts.events import Event, RunClosed, TimerCleared, TimerSet
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.work import HttpWork, PluginWork, StepOutcome, StepSpec
from tests.golden.play import MAX_ROUNDS, NOW, Case, Player, Pod, played

IDLE_SECONDS = 600
"""After so long without a change nothing will come any more."""
OVERDUE = "Pod was active on the node longer than the specified deadline"


class ClockPlayer(Player):
    def __init__(self, case: Case) -> None:
        self.timers: dict[tuple[str, str], float] = {}
        self.began: dict[str, float] = {}  # node id → when it ran
        self.clock: list[int] = []
        self.ended = -1
        super().__init__(case)

    @property
    def second(self) -> int:
        return int(self.now - NOW)

    def take(self, key: str, events: list[Event]) -> None:
        super().take(key, events)
        for event in events:
            if isinstance(event, TimerSet) and event.timer != "close":
                self.timers[key, event.timer] = event.due
            elif isinstance(event, TimerCleared):
                self.timers.pop((key, event.timer), None)
            elif isinstance(event, RunClosed):
                self.timers = {at: due for at, due in self.timers.items() if at[0] != key}

    def feed(self, key: str, given: Any) -> None:
        if isinstance(given, Placed):
            self.began[given.node] = self.now
        super().feed(key, given)

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self) -> bool:
        """A second goes by. Whether anything happened."""
        self.now += 1
        before = sum(len(told) for told in self.events.values())
        for (key, node), pod in list(self.pods.items()):
            limit = pod.due.step.timeout_seconds
            if limit and self.now >= self.began[node] + limit:
                del self.pods[key, node]
                overdue = StepOutcome(phase="Failed", message=OVERDUE, exit_code=143)
                self.feed(key, AttemptEnded(node, pod.due.attempt, overdue))
        self.settle()
        for (key, timer), due in sorted(self.timers.items(), key=lambda one: (one[1], one[0])):
            # a suspend goes on when its duration is over, a second later than all else
            if (key, timer) in self.timers and (due < self.now if timer.startswith("suspend:") else due <= self.now):
                del self.timers[key, timer]
                self.feed(key, TimerFired(timer))
                self.settle()
        return sum(len(told) for told in self.events.values()) > before

    def play(self) -> None:
        ops = deque(self.case["ops"])
        while True:
            while ops and self.reached(ops[0]["at_round"]):
                self.operate(ops.popleft())
            if self.main.closed or len(self.rounds) >= MAX_ROUNDS:
                self.ended = self.second
                return
            if self.ending():
                self.clock.append(self.second)
                self.complete()
            elif any(not self._timed(key, node) for _, key, node in self.waiting()):
                self.clock.append(self.second)
                self.resume()
            elif not any(self.tick() for _ in range(IDLE_SECONDS)):
                return

    def waiting(self) -> list[tuple[str, str, Node]]:
        return [one for one in super().waiting() if not self._timed(one[1], one[2])]

    def _timed(self, key: str, node: Node) -> bool:
        return (key, f"suspend:{self.runs[key].id(node)}") in self.timers

    def operate(self, op: Case) -> None:
        if self.main.closed:
            return
        match op["op"]:
            case "advance":
                for _ in range(op["seconds"]):
                    self.tick()
            case "end":
                self._end(op["node"], op["outcome"])
            case kind:
                self.feed("", ShutdownRun("Stop" if kind == "stop" else "Terminate"))
                self.settle()

    def _end(self, name: str, said: Case) -> None:
        """This pod ends now; it is no round."""
        for key, pod in list(self.pods.items()):
            if pod.name == name:
                del self.pods[key]
                self.feed(pod.run, AttemptEnded(pod.due.node, pod.due.attempt, self.ended_as(said, pod)))
                self.settle()

    def ended_as(self, said: Case, pod: Pod) -> StepOutcome:
        work = pod.due.step.work
        return _agents(said, pod.due.step) if isinstance(work, HttpWork | PluginWork) else played(said, pod.due.step)

    def killed_as(self, spec: StepSpec) -> StepOutcome:
        """An agent drops a task that is not wanted any more; it has no exit code to tell."""
        return StepOutcome(phase="Failed") if isinstance(spec.work, HttpWork | PluginWork) else super().killed_as(spec)

    def result(self) -> Case:
        ours = super().result()
        ours["clock"] = self.clock
        if self.ended >= 0:
            ours["ended"] = self.ended
        return ours


def _agents(said: Case, spec: StepSpec) -> StepOutcome:
    """What an agent says of its task: phase and message as they are, no exit code; http has always a result."""
    phase = said.get("phase", "Succeeded")
    wanted = spec.result or (isinstance(spec.work, HttpWork) and phase == "Succeeded")
    result = said.get("result", "") if wanted else None
    given = {name: value for name, value in said.get("parameters", {}).items() if value is not None}
    return StepOutcome(phase=phase, message=said.get("message", ""), result=result, parameters=given)
