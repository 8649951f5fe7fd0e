"""The world around a workflow for the engine's tests: it places, ends steps and carries results between runs.

Runs live on what the log holds: `restart` forgets them and makes them again from their encoded commits.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from exeunt.engine import decide
from exeunt.engine.commands.inputs import (
    AttemptEnded,
    AttemptReady,
    Cancel,
    GoOn,
    HookEnded,
    Input,
    Placed,
    ResumeRun,
    SetNodes,
    TimerFired,
)
from exeunt.engine.decide import Run
from exeunt.engine.facts import commit
from exeunt.engine.facts.events import (
    Event,
    HookCancelled,
    HookDue,
    Obligation,
    RunClosed,
    RunStarted,
    StepCancelled,
    StepDue,
    TimerCleared,
    TimerSet,
)
from exeunt.engine.facts.work import ContainerWork, StepOutcome, StepSpec
from exeunt.engine.shown.public_events import PublicEvent
from exeunt.language.decode import load_manifests
from exeunt.language.manifest import Bundle, Workflow, WorkflowTemplate
from exeunt.language.validate import resolve, validate

START = 1_767_323_045.0
Manifest = dict[str, Any]
Outcomes = Callable[[str, int], StepOutcome]


def succeed(name: str, attempt: int) -> StepOutcome:
    return StepOutcome(phase="Succeeded", exit_code=0)


def failing(*names: str) -> Outcomes:
    """The named steps fail, all others go well."""

    def outcome(name: str, attempt: int) -> StepOutcome:
        if name in names:
            return StepOutcome(phase="Failed", message="main: Error (exit code 1)", exit_code=1)
        return succeed(name, attempt)

    return outcome


def drawn(seed: int) -> Outcomes:
    """Outcomes that follow from the step's name alone: the same in every order."""

    def outcome(name: str, attempt: int) -> StepOutcome:
        number = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:2], "big") % 10
        if number < 2:
            return StepOutcome(phase="Failed", message="main: Error (exit code 1)", exit_code=1)
        if number == 2:
            return StepOutcome(phase="Error", message="the executor was lost")
        return StepOutcome(phase="Succeeded", exit_code=0, result=str(number))

    return outcome


def bundle_of(manifest: Manifest) -> Bundle:
    return Bundle(workflow=msgspec.convert({"metadata": {"name": "w"}, "spec": manifest}, Workflow, strict=False))


class World:
    def __init__(
        self,
        manifest: Manifest,
        outcomes: Outcomes = succeed,
        *,
        restarts: bool = False,
        snapshots: bool = False,
        doubled: bool = False,
        started: RunStarted | None = None,
        bundle: Bundle | None = None,
    ) -> None:
        self.bundle = bundle or bundle_of(manifest)
        self.outcomes = outcomes
        self.restarts = restarts
        self.snapshots = snapshots
        self.doubled = doubled
        self.now = START
        self.runs: dict[str, Run] = {}
        self.logs: dict[str, list[bytes]] = {}
        self.inbox: deque[tuple[str, Input]] = deque()
        self.steps: dict[tuple[str, str], StepDue] = {}
        self.timers: dict[tuple[str, str], float] = {}
        self.cancelled: list[StepCancelled] = []
        self.heard: list[PublicEvent] = []
        self.given: dict[str, StepSpec] = {}  # what was to be run for each node, by name
        self.turns = 0  # decisions that went on where one had done its share
        self.begin("", started or RunStarted("uid", "w", "default", "bundle"))

    @property
    def main(self) -> Run:
        return self.runs[""]

    @property
    def told(self) -> list[str]:
        """The types of all events for subscribers."""
        return [event.type for event in self.heard]

    # --- commits ------------------------------------------------------------------------------------------------------

    def begin(self, key: str, started: RunStarted) -> None:
        run, events = decide.begin(started, self.bundle, self.now)
        self.runs[key] = run
        self.logs[key] = []
        self.write(key, events)
        self.go_on(key)

    def feed(self, key: str, given: Input) -> list[Event]:
        events = decide.decide(self.runs[key], given, self.now)
        if events:
            self.write(key, events)
        if self.doubled and not isinstance(given, ResumeRun | SetNodes):  # what waits no more is refused
            again = decide.decide(self.runs[key], given, self.now)
            assert again == [], f"{given} said twice changed something: {again}"
        self.go_on(key)
        return events

    def go_on(self, key: str) -> None:
        """Decides what one decision has left to the next ones."""
        while self.runs[key].unfinished:
            self.turns += 1
            events = decide.decide(self.runs[key], GoOn(), self.now)
            if events:
                self.write(key, events)

    def write(self, key: str, events: list[Event]) -> None:
        run = self.runs[key]
        run.commits += 1
        self.logs[key].append(commit.encode(run.now, events))
        self.heard += decide.public_events(run, events)
        self.act(key, events)
        if self.snapshots and not run.closed:
            taken = decide.snapshot(run)
            run.commits += 1
            self.logs[key] = [commit.encode(run.now, [taken])]
        if self.snapshots or self.restarts:
            self.restart()

    def act(self, key: str, events: list[Event]) -> None:
        for event in events:
            match event:
                case StepDue():
                    self.inbox.append((key, Placed(event.node, event.attempt, "e1")))
                    if event.step.daemon:  # it does not end by itself
                        self.inbox.append((key, AttemptReady(event.node, event.attempt, "10.0.0.1")))
                    else:
                        self.steps[key, event.node] = event
                    self.given[self.name(key, event.node)] = event.step
                case StepCancelled():
                    self.steps.pop((key, event.node), None)
                    self.cancelled.append(event)
                case TimerSet():
                    self.timers[key, event.timer] = event.due
                case TimerCleared():
                    self.timers.pop((key, event.timer), None)
                case HookDue():
                    self.owe(event.obligation)
                case HookCancelled():
                    self.inbox.append((event.hook_id, Cancel(event.reason, event.strategy, event.below)))
                case RunClosed():
                    self.timers = {at: due for at, due in self.timers.items() if at[0] != key}
                    if event.hook is not None:
                        self.inbox.append(("", HookEnded(event.hook)))

    def owe(self, owed: Obligation) -> None:
        if owed.hook_id not in self.runs:
            self.begin(owed.hook_id, RunStarted(owed.uid, owed.name, owed.namespace, "bundle", obligation=owed))

    def restart(self) -> None:
        """Forgets everything but the log, and takes up what is pending."""
        self.runs = {
            key: decide.replay(lambda _: self.bundle, [commit.decode(data) for data in log])
            for key, log in self.logs.items()
        }
        self.inbox.clear()
        self.steps.clear()
        self.timers.clear()
        for key, run in list(self.runs.items()):
            pending = decide.pending(run)
            for due in pending.due:
                self.inbox.append((key, Placed(due.node, due.attempt, "e1")))
            for due, _ in [*((due, "") for due in pending.due), *pending.placed]:
                if due.step.daemon:
                    self.inbox.append((key, AttemptReady(due.node, due.attempt, "10.0.0.1")))
                else:
                    self.steps[key, due.node] = due
            for timer, at in pending.timers.items():
                self.timers[key, timer] = at
        for owed in decide.pending(self.main).hooks:
            self.owe(owed)
        for key, run in self.runs.items():
            if key and run.closed:
                closing = commit.decode(self.logs[key][-1]).events[-1]
                assert isinstance(closing, RunClosed)
                assert closing.hook is not None
                self.inbox.append(("", HookEnded(closing.hook)))
            elif key and self.main.state.hooks[self.main.state.hook_numbers[key]].cancelled:
                self.inbox.append((key, Cancel(strategy=self.main.state.shutdown)))

    # --- time goes by -------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        while self.inbox:
            key, given = self.inbox.popleft()
            self.feed(key, given)

    def step(self) -> bool:
        """One thing happens: the first running step ends, or else the next timer fires. False when nothing can."""
        self.settle()
        if self.steps:
            key, node = min(self.steps, key=lambda at: self.name(*at))
            due = self.steps.pop((key, node))
            self.feed(key, AttemptEnded(node, due.attempt, self.outcomes(self.name(key, node), due.attempt)))
        elif self.timers:
            (key, timer), due_at = min(self.timers.items(), key=lambda one: (one[1], one[0]))
            self.now = max(self.now, due_at)
            self.timers.pop((key, timer))
            self.feed(key, TimerFired(timer))
        else:
            return False
        self.settle()
        return True

    def name(self, key: str, node: str) -> str:
        run = self.runs[key]
        return run.names.full(run.nodes[run.by_id[node]])

    def run(self, limit: int = 2000) -> World:
        self.settle()
        while limit and self.step():
            limit -= 1
        return self

    # --- what people see ----------------------------------------------------------------------------------------------

    def phases(self) -> dict[str, str]:
        return {node["name"]: node["phase"] for node in decide.status(self.main)["status"]["nodes"].values()}

    def ran(self, name: str) -> str:
        """The source of a script, or the command of a container, as the node was given it."""
        work = self.given[name].work
        assert isinstance(work, ContainerWork)
        return work.source or " ".join([*work.command, *work.args])

    def outputs(self) -> dict[str, str]:
        """The workflow's output parameters."""
        given = decide.status(self.main)["status"]["outputs"].get("parameters", [])
        return {parameter["name"]: parameter.get("value") for parameter in given}

    def seen(self) -> Manifest:
        """The status, without what a repeated start of the same world may change: commit numbers are not in it."""
        return decide.status(self.main)


def step(name: str, template: str = "t", **more: Any) -> Manifest:
    return {"name": name, "template": template, **more}


LEAF: Manifest = {"name": "t", "container": {"image": "x", "command": ["true"]}}
HANDLER: Manifest = {"name": "h", "container": {"image": "x", "command": ["true"]}}


def read(source: str) -> tuple[Bundle, list[str]]:
    """The bundle of a workflow's YAML, from its `spec:` or `metadata:` on, and of manifests behind it.

    With it what validation says.
    """
    source = textwrap.dedent(source).lstrip()
    head = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n"
    head += "" if source.startswith("metadata:") else "metadata: {generateName: w-}\n"
    workflow, *others = [loaded.model for loaded in load_manifests(head + source)]
    assert isinstance(workflow, Workflow)
    stored = {(one.kind, one.metadata.name): one for one in others if isinstance(one, WorkflowTemplate)}
    bundle = resolve(workflow, lambda kind, _, name: stored.get((kind, name)))
    return bundle, [problem.message for problem in validate(bundle)]


def written(source: str, outcomes: Outcomes = succeed, *, restarts: bool = False) -> World:
    """A workflow in YAML, which validation accepts without a word, at its end."""
    bundle, problems = read(source)
    assert problems == []
    return World({}, outcomes, bundle=bundle, restarts=restarts).run()
