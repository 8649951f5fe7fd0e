"""Plays a generated workflow through the engine and says what did not hold.

Three deliveries of the same: results in the order of names, in the opposite order with every input said twice, and in a
drawn order with each run made anew from its commits after every commit. In all of them the state that the commits tell
of is compared with the one that made them, at every commit.
"""

from __future__ import annotations

import hashlib
from random import Random

from exeunt.engine import decide
from exeunt.engine.commands.inputs import (
    AttemptEnded,
    AttemptLost,
    Input,
    ResumeRun,
    SetNodes,
    ShutdownRun,
    SuspendRun,
    TimerFired,
)
from exeunt.engine.decide import Rejected, Run
from exeunt.engine.facts import commit, phases
from exeunt.engine.facts.events import Event, HookDue, RunStarted, StepDue
from exeunt.engine.facts.state import State, pack
from exeunt.engine.facts.work import StepOutcome
from exeunt.language.manifest import Bundle
from exeunt.language.validate import validate
from tests.engine.world import Outcomes, World, bundle_of
from tests.generated.manifests import Generated, generate
from tests.invariants import broken

ORDERS = ("first", "last", "drawn")
MAX_TURNS = 1500


class RefusedError(Exception):
    """The manifest that was drawn is none that a scheduler would take."""


def outcome(seed: int, bad: float, name: str) -> StepOutcome:
    """What a step comes to follows from its name alone: the same in every order."""
    number = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big") / 2**32
    if number < bad * 0.7:
        return StepOutcome(phase="Failed", message="main: Error (exit code 1)", exit_code=1)
    if number < bad:
        return StepOutcome(phase="Error", message="wait: Error (exit code 1)", exit_code=0)
    return StepOutcome(phase="Succeeded", exit_code=0, result=str(int(number * 10)), parameters={"o": "v"})


class Delivery(World):
    """One delivery. `wrong` is what did not hold on the way."""

    def __init__(
        self, seed: int, made: Generated, bundle: Bundle, order: str, outcomes: Outcomes | None = None
    ) -> None:
        self.wrong: list[str] = []
        self.shadows: dict[str, Run] = {}
        self.told_of: dict[str, list[Event]] = {}
        self.order = order
        self.draw = Random(seed)
        self.ends = 0
        self.made = made
        self.operations = list(made.operations)
        super().__init__(
            {},
            outcomes or (lambda name, attempt: outcome(seed, made.bad, name)),
            bundle=bundle,
            doubled=order == "last",
            restarts=order == "drawn",
        )

    # --- at every commit ----------------------------------------------------------------------------------------------

    def act(self, key: str, events: list[Event]) -> None:
        self.told_of.setdefault(key, []).extend(events)
        self._compare(key)
        super().act(key, events)
        for event in events:
            if isinstance(event, StepDue) and event.step.daemon and (key, event.node) not in self.steps:
                ends = self.outcomes(self.name(key, event.node), event.attempt)
                if ends.phase != "Succeeded":  # it dies by itself
                    self.steps[key, event.node] = event

    def _compare(self, key: str) -> None:
        """The state that the commits tell of is the one that made them."""
        run, last = self.runs[key], commit.decode(self.logs[key][-1])
        shadow = self.shadows.get(key)
        if shadow is None:
            first = last.events[0]
            assert isinstance(first, RunStarted)
            shadow = self.shadows[key] = decide.take_up(State(started=first, now=last.now), self.bundle)
        for event in last.events:
            decide.apply(shadow, event, last.now)
        shadow.commits += 1
        if pack(shadow.state) != pack(run.state):
            self.wrong.append(f"replay: commit {run.commits} of {run.name} {key} tells another state")

    # --- time goes by -------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        self.settle()
        while self.operations and self.operations[0][0] <= self.ends and not self.main.closed:
            self.operate(self.operations.pop(0)[1])
        if not self.steps:
            return super().step() or self.resume()
        ready = sorted(self.steps, key=lambda at: self.name(*at))
        key, node = {"first": ready[0], "last": ready[-1]}.get(self.order) or self.draw.choice(ready)
        due = self.steps.pop((key, node))
        self.ends += 1
        self.feed(key, AttemptEnded(node, due.attempt, self.outcomes(self.name(key, node), due.attempt)))
        self.settle()
        return True

    def act_cancelled(self) -> None:
        """Killed steps report: they ended by the signal."""
        killed = StepOutcome(phase="Failed", message="main: Error (exit code 143)", exit_code=143)
        while self.cancelled:
            event = self.cancelled.pop(0)
            for key, run in self.runs.items():
                if event.node in run.by_id:
                    self.feed(key, AttemptEnded(event.node, event.attempt, killed))
                    break

    def settle(self) -> None:
        while self.inbox or self.cancelled:
            super().settle()
            self.act_cancelled()

    def operate(self, what: str) -> None:
        self.settle()
        match what:
            case "Lose":
                self._lose()
            case "Time":
                self._time_goes_by()
            case "Suspend":
                self._try("", SuspendRun())
                self.settle()
                self._try("", ResumeRun())
            case "Delete":
                self._try("", ShutdownRun("Terminate", deleted=True))
            case _:
                self._try("", ShutdownRun(what))
        self.settle()

    def _lose(self) -> None:
        """The executor of a step is lost."""
        if self.steps:
            key, node = min(self.steps, key=lambda at: self.name(*at))
            due = self.steps.pop((key, node))
            self.feed(key, AttemptLost(node, due.attempt, "the executor was lost"))

    def _time_goes_by(self) -> None:
        """The next timer fires, whatever runs."""
        if self.timers:
            (key, timer), due = min(self.timers.items(), key=lambda one: (one[1], one[0]))
            self.now = max(self.now, due)
            del self.timers[key, timer]
            self.feed(key, TimerFired(timer))

    def _try(self, key: str, given: Input) -> bool:
        try:
            self.feed(key, given)
        except Rejected:
            return False
        return True

    def resume(self) -> bool:
        """Gates are opened, or told that they failed, when nothing else happens any more."""
        for key, run in list(self.runs.items()):
            for node in run.nodes if not run.closed else ():
                if node.type == phases.SUSPEND and node.phase == phases.RUNNING:
                    selector = f"id={run.id(node)}"
                    failed = self.outcomes(run.names.full(node), 0).phase != "Succeeded"
                    done = self._try(
                        key, SetNodes(selector, phase="Failed") if failed else ResumeRun(selector=selector)
                    )
                    self.settle()
                    return done
        return False


def wrongs(seed: int) -> list[str]:
    """What does not hold of the workflow of this seed, in any delivery. Raises RefusedError."""
    return wrongs_of(seed, generate(seed))


def wrongs_of(seed: int, made: Generated) -> list[str]:
    """The same of this workflow; the seed gives its steps their outcomes."""
    bundle = bundle_of(made.spec)
    problems = [problem for problem in validate(bundle, support=False) if not problem.warning]
    if problems:
        raise RefusedError(str(problems[0]))
    found = []
    for order in ORDERS:
        try:
            played = Delivery(seed, made, bundle, order)
            played.run(MAX_TURNS)
            lines = [*played.wrong, *broken(played.runs, played.told_of), *_unowed(played)]
            if not played.main.closed:
                lines.append("stuck: the workflow has not ended, though nothing is held back any more")
        except AssertionError as error:
            lines = [f"twice: {error}"[:300]]
        except Exception as error:  # noqa: BLE001 - a crash is a finding
            lines = [f"crash: {type(error).__name__}: {error}"[:300]]
        found += [f"{order}: {line}" for line in lines]
    return found


def _unowed(played: Delivery) -> list[str]:
    """Every handler that became due has an exit run, and that one has ended when the workflow has."""
    owed = [event.obligation.hook_id for event in played.told_of[""] if isinstance(event, HookDue)]
    lines = [f"promise: hook {one} became due {owed.count(one)} times" for one in set(owed) if owed.count(one) > 1]
    return lines + [f"promise: hook {one} has no run" for one in owed if one not in played.runs]
