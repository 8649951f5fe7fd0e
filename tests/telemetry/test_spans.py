"""The spans of a finished run: the same whoever makes them, with names that do not tell one workflow from another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exeunt import traces
from exeunt.engine import decide
from exeunt.engine.commands.inputs import AttemptEnded, Input, Placed, ShutdownRun
from exeunt.engine.decide import Run
from exeunt.engine.facts.commit import Commit
from exeunt.engine.facts.events import FORMAT, Event, RunStarted, StepDue
from exeunt.engine.facts.work import StepOutcome
from exeunt.language.decode import load_manifests
from exeunt.language.manifest import Bundle, Workflow
from exeunt.service.past import PastSpan

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
TEMPLATE = "{name: work, retryStrategy: {limit: 1}, container: {image: none, command: [run]}}"
LOOP = f"""
entrypoint: main
templates:
  - name: main
    dag: {{tasks: [{{name: each, template: work, withItems: [a, b]}}]}}
  - {TEMPLATE}
"""


class Played:
    """A workflow, played by hand; `replayed` is what its log gives."""

    def __init__(
        self, spec: str, metadata: str = "generateName: nightly-", trace: dict[str, str] | None = None
    ) -> None:
        indented = spec.strip().replace("\n", "\n  ")
        text = f"apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {{{metadata}}}\nspec:\n  {indented}\n"
        workflow = load_manifests(text)[0].model
        assert isinstance(workflow, Workflow)
        self.bundle = Bundle(workflow=workflow)
        started = RunStarted(uid="u1", name="nightly-x7", namespace="ns", bundle="b", trace=trace or SENT)
        self.now = 1000.0
        self.run, events = decide.begin(started, self.bundle, self.now)
        self.commits = [Commit(format=FORMAT, now=self.now, events=events)]

    def feed(self, given: Input) -> list[Event]:
        self.now += 1
        events = decide.decide(self.run, given, self.now)
        self.commits.append(Commit(format=FORMAT, now=self.now, events=events))
        return events

    def play(self, *phases: str) -> None:
        """Runs what is due until nothing is; attempts end with these phases, in the order in which they are due."""
        outcomes = iter(phases)
        due = [e for c in self.commits for e in c.events if isinstance(e, StepDue)]
        while due:
            step = due.pop(0)
            self.feed(Placed(step.node, step.attempt, "e1"))
            new = self.feed(AttemptEnded(step.node, step.attempt, StepOutcome(phase=next(outcomes), exit_code=0)))
            due += [e for e in new if isinstance(e, StepDue)]

    def replayed(self) -> Run:
        return decide.replay(lambda _: self.bundle, self.commits)


def spans(run: Run) -> list[PastSpan]:
    return list(traces.run_spans(run))


def results(run: Run) -> Iterator[tuple[str, str]]:
    for span in spans(run):
        found = {**span.attributes}
        yield span.name, str(found.get("cicd.pipeline.result") or found["cicd.pipeline.task.run.result"])


def test_who_reads_the_log_makes_the_same_spans() -> None:
    played = Played(LOOP)
    played.play("Failed", "Succeeded", "Succeeded")
    assert played.run.closed
    assert spans(played.run) == spans(played.replayed())
    assert len({span.span_id for span in spans(played.run)}) == 4


def test_items_and_attempts_have_the_name_of_their_task() -> None:
    played = Played(LOOP)
    played.play("Failed", "Succeeded", "Succeeded")
    assert sorted(results(played.run)) == [
        ("RUN nightly", "success"),
        ("each", "failure"),
        ("each", "success"),
        ("each", "success"),
    ]


def test_a_workflow_of_one_step_is_named_by_its_template() -> None:
    played = Played(f"entrypoint: work\ntemplates: [{TEMPLATE}]", "name: only-once")
    played.play("Error", "Failed")
    assert [name for name, _ in results(played.run)] == ["RUN work", "work"]


@pytest.mark.parametrize("trace", [{"traceparent": "nonsense"}, {"traceparent": SENT["traceparent"][:-1] + "0"}])
def test_a_run_that_nobody_traces_has_no_spans(trace: dict[str, str]) -> None:
    played = Played(LOOP, trace=trace)
    played.play("Succeeded", "Succeeded")
    assert not spans(played.run)


def test_what_was_ended_from_outside_is_cancelled() -> None:
    played = Played(LOOP)
    played.feed(ShutdownRun("Terminate"))
    assert played.run.closed
    assert dict(results(played.run)) == {"RUN nightly": "cancellation", "each": "cancellation"}
