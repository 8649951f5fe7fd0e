"""The one trace of a workflow: what stands for what in it, known from names alone, and the spans of what is over.

A workflow keeps the W3C trace context of its submission in its first event. Every span of it (the run, each attempt of
a step, each exit run) has an id that is a hash of names, so that whoever works on a part of it can name the right
parent without asking: executors, exit handlers, subscribers and the next owner after a crash. Names and attributes
follow OpenTelemetry's semantic conventions for CI/CD. While traces are off, the context that came in is passed on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

from exeunt.engine.facts import Node, Run, phases
from exeunt.service import telemetry
from exeunt.service.past import PastSpan
from exeunt.steps import AttemptKey

Trace = Mapping[str, str]
"""W3C trace context: `traceparent`, and `tracestate` where there is one. Empty without a trace."""

RESULTS = {
    phases.SUCCEEDED: "success",
    phases.FAILED: "failure",
    phases.ERROR: "error",
    phases.SKIPPED: "skip",
    phases.OMITTED: "skip",
}
REASONS = {
    "Stopped": "cancellation",
    "Terminated": "cancellation",
    "Deleted": "cancellation",
    "Deadline": "timeout",
}
"""Why a workflow ended, where that says more than its phase."""

_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_ITEM = re.compile(r"\(.*$", re.DOTALL)


# --- contexts ---------------------------------------------------------------------------------------------------------


def of_run(trace: Trace, uid: str) -> dict[str, str]:
    """The context of the run itself: what its events carry."""
    return _below(trace, uid)


def of_attempt(trace: Trace, id: str, replay: int = 0) -> dict[str, str]:
    """The context of one attempt (`exeunt.steps.AttemptKey.id`): what a step finds in TRACEPARENT."""
    return _below(trace, id, replay)


def of_exit(trace: Trace, hook_id: str, replay: int = 0) -> dict[str, str]:
    """The context of an exit run."""
    return _below(trace, hook_id, replay)


def span_id(name: str, replay: int = 0) -> str:
    """The id of the span that stands for a uid, an attempt's id or a hook id."""
    known = f"{name}#{replay}" if replay else name
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def _below(trace: Trace, name: str, replay: int = 0) -> dict[str, str]:
    if telemetry.current.tracer is None:
        return dict(trace)  # the span would never be seen: what comes hangs below the submission
    parsed = _PARENT.fullmatch(trace.get("traceparent", ""))
    if parsed is None:
        return {}
    return {**trace, "traceparent": f"00-{parsed[1]}-{span_id(name, replay)}-{parsed[3]}"}


def sampled(trace: Trace) -> tuple[str, str] | None:
    """The trace id and the span of the submission; None when nobody wants to see this trace."""
    parsed = _PARENT.fullmatch(trace.get("traceparent", ""))
    if parsed is None or not int(parsed[3], 16) & 1:
        return None
    return parsed[1], parsed[2]


# --- spans of a workflow that is over ---------------------------------------------------------------------------------


def export_run(run: Run) -> None:
    """Hands out the spans of a main run that has closed; nothing of it may change any more."""
    telemetry.current.export(lambda: run_spans(run), 1 + len(run.nodes))


def run_spans(run: Run) -> Iterator[PastSpan]:
    """The run's own span, then one for each attempt of its steps. Those of its exit runs come from exit handlers."""
    origin = sampled(run.state.started.trace)
    if origin is None:
        return
    trace_id, submission = origin
    name = pipeline(run)
    yield PastSpan(
        name=f"RUN {name}",
        kind="server",
        trace_id=trace_id,
        span_id=span_id(run.uid),
        parent_id=submission,
        started=run.state.started_at,
        ended=run.state.finished_at or run.now,
        attributes={
            "cicd.pipeline.name": name,
            "cicd.pipeline.run.id": run.uid,
            "cicd.pipeline.result": result(run),
            "cicd.pipeline.run.url.full": url(run.namespace, run.name),
            "exeunt.namespace": run.namespace,
            "exeunt.workflow": run.name,
            "exeunt.phase": run.phase,
            "exeunt.finalization": run.finalization,
        },
        failed=run.phase in phases.BAD,
        message=run.message,
    )
    for node in run.nodes:
        if node.type in phases.WORK and node.finished:
            yield _step_span(run, node, trace_id)


def result(run: Run) -> str:
    """How it ended, in the conventions' words."""
    return REASONS.get(run.reason) or RESULTS.get(run.outcome or run.phase, "error")


def pipeline(run: Run) -> str:
    """What runs again and again under different names: the template's name, the prefix of names, or the entrypoint."""
    spec, metadata = run.workflow.spec, run.workflow.metadata
    if spec.workflow_template_ref is not None and spec.workflow_template_ref.name:
        return spec.workflow_template_ref.name
    return metadata.generate_name.rstrip("-.") or run.state.started.entrypoint or run.spec.entrypoint


def _step_span(run: Run, node: Node, trace_id: str) -> PastSpan:
    attempt = AttemptKey(run.uid, run.id(node), node.attempt)
    attributes: dict[str, str | int | float | bool] = {
        **task_attributes(_task(run, node), attempt.id, "cancellation" if node.killed else RESULTS[node.phase]),
        "cicd.pipeline.task.run.url.full": url(run.namespace, run.name, run.id(node)),
        "exeunt.node": run.names.full(node),
        "exeunt.template": node.template if node.ref is None else f"{node.ref[0]}/{node.ref[1]}",
    }
    if node.executor:
        attributes["exeunt.executor"] = node.executor
    if node.outputs is not None and node.outputs.exit_code is not None:
        attributes["exeunt.exit_code"] = node.outputs.exit_code
    return PastSpan(
        name=str(attributes["cicd.pipeline.task.name"]),
        kind="internal",
        trace_id=trace_id,
        span_id=span_id(attempt.id),
        parent_id=span_id(run.uid),
        started=node.started,
        ended=node.finished,
        attributes=attributes,
        failed=node.phase in phases.BAD,
        message=node.message,
    )


def _task(run: Run, node: Node) -> str:
    """The step's or task's name in its template; for the entrypoint itself, which has none, that of the template."""
    owner = node
    while owner.retried and owner.owner >= 0:
        owner = run.nodes[owner.owner]
    if owner.owner < 0:
        return node.template
    return task_name(run.names.display(node, ""))


def task_name(display: str) -> str:
    """A display name without its item or attempt: what many nodes have in common."""
    return _ITEM.sub("", display)


def task_attributes(name: str, id: str, result: str) -> dict[str, str]:
    """What the conventions want of a task."""
    return {"cicd.pipeline.task.name": name, "cicd.pipeline.task.run.id": id, "cicd.pipeline.task.run.result": result}


def url(namespace: str, workflow: str, node: str = "") -> str:
    """Names one workflow, or one node of it; nothing listens there."""
    return "/".join(filter(None, ("exeunt:/", namespace, workflow, node)))
