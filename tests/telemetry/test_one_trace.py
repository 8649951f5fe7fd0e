"""One trace for a workflow: from its submission through its steps and exit handlers to what subscribers hear."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from exeunt import traces
from exeunt.journal.reading import read
from exeunt.scheduler.parts import Scheduler
from exeunt.service import telemetry
from tests.nats_server import NatsServer, nats_server
from tests.telemetry.cluster import cluster, run

__all__ = ["nats_server"]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "vendor=1"}


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Traces are on and go here."""
    exporter = InMemorySpanExporter()
    telemetry.trace_to(exporter, {"service.name": "test"})
    yield exporter
    telemetry.current.close()


async def event_headers(parts: Scheduler, uid: str) -> list[dict[str, str]]:
    """What subscribers got, headers only, by type."""
    found = []
    async for message in read(parts.projections.events._js, "EXEUNT_EVENTS", f"exeunt.events.*.{uid}.>"):
        found.append(dict(message.headers or {}))
    return found


def told(tree: dict[str, Any]) -> dict[str, str]:
    """The trace context that each step found in its environment."""
    nodes = tree["status"]["nodes"].values()
    said = {n["displayName"]: n.get("outputs", {}).get("parameters", []) for n in nodes}
    return {name: found[0]["value"].strip() for name, found in said.items() if found}


def ids(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """Exported spans by id."""
    return {f"{s.context.span_id:016x}": s for s in exporter.get_finished_spans() if s.context is not None}


async def test_one_trace_id_runs_from_the_client_to_steps_handlers_and_subscribers(
    nats_server: NatsServer, tmp_path: Path, exporter: InMemorySpanExporter
) -> None:
    async with cluster(nats_server.url, tmp_path) as parts:
        tree = await run(parts, SENT)
        uid = tree["metadata"]["uid"]
        headers = await event_headers(parts, uid)
    telemetry.current.close()
    found = told(tree)
    assert {"build(0:a)", "build(1:b)", "test.onExit"} <= found.keys()
    assert len([name for name in found if name.endswith(".onExit")]) == 2
    spans = ids(exporter)
    for name, text in found.items():
        traceparent, _, state = text.partition(" ")
        version, trace, parent, flags = traceparent.split("-")
        assert (version, trace, flags) == ("00", TRACE, "01"), name
        assert spans[parent].attributes is not None
        assert name.startswith("build") is (spans[parent].name == "build")
        assert state == "vendor=1"
    types = {h["ce-type"].removeprefix("dev.exeunt.").removesuffix(".v1") for h in headers}
    assert {"workflow.submitted", "step.succeeded", "step.failed", "exit.started", "exit.succeeded"} <= types
    assert {h["traceparent"].split("-")[1] for h in headers} == {TRACE}
    run_span = traces.span_id(uid)
    assert {h["traceparent"].split("-")[2] for h in headers if ".workflow." in h["ce-type"]} == {run_span}
    assert {s.context.trace_id for s in spans.values() if s.context and s.name.startswith(("RUN", "EXIT"))} == {
        int(TRACE, 16)
    }


async def test_the_spans_of_a_workflow_are_exported_once_at_its_end(
    nats_server: NatsServer, tmp_path: Path, exporter: InMemorySpanExporter
) -> None:
    async with cluster(nats_server.url, tmp_path) as parts:
        tree = await run(parts)
    telemetry.current.close()
    name, uid = tree["metadata"]["name"], tree["metadata"]["uid"]
    spans = [s for s in exporter.get_finished_spans() if not s.name.startswith("exeunt.v1.")]
    by_id = {s.context.span_id: s for s in exporter.get_finished_spans() if s.context is not None}
    shown = sorted(
        (
            s.name,
            s.kind.name,
            by_id[s.parent.span_id].name if s.parent else "",
            s.status.status_code is StatusCode.ERROR,
            str((s.attributes or {}).get("cicd.pipeline.result") or s.attributes["cicd.pipeline.task.run.result"]),  # type: ignore[index]
        )
        for s in spans
    )
    assert shown == [
        ("EXIT bye", "INTERNAL", "RUN nightly", False, "success"),
        ("EXIT bye", "INTERNAL", "RUN nightly", False, "success"),
        ("RUN nightly", "SERVER", "exeunt.v1.WorkflowService/SubmitWorkflow", True, "failure"),
        ("build", "INTERNAL", "RUN nightly", False, "success"),
        ("build", "INTERNAL", "RUN nightly", False, "success"),
        ("bye", "INTERNAL", "EXIT bye", False, "success"),
        ("bye", "INTERNAL", "EXIT bye", False, "success"),
        ("test", "INTERNAL", "RUN nightly", True, "failure"),
    ]
    [whole] = [s for s in spans if s.name == "RUN nightly"]
    assert dict(whole.attributes or {}) == {
        "cicd.pipeline.name": "nightly",
        "cicd.pipeline.run.id": uid,
        "cicd.pipeline.result": "failure",
        "cicd.pipeline.run.url.full": f"exeunt://default/{name}",
        "exeunt.namespace": "default",
        "exeunt.workflow": name,
        "exeunt.phase": "Failed",
        "exeunt.finalization": "Succeeded",
    }
    for span in spans:
        assert span.start_time is not None
        assert span.end_time is not None
        assert whole.start_time is not None
        assert whole.end_time is not None
        assert whole.start_time <= span.start_time <= span.end_time <= whole.end_time
        assert name not in span.name
        assert uid not in span.name


async def test_a_trace_that_comes_in_is_passed_on_while_traces_are_off(nats_server: NatsServer, tmp_path: Path) -> None:
    async with cluster(nats_server.url, tmp_path) as parts:
        tree = await run(parts, SENT)
        headers = await event_headers(parts, tree["metadata"]["uid"])
    assert {text.partition(" ")[0] for text in told(tree).values()} == {SENT["traceparent"]}
    assert {h["traceparent"] for h in headers} == {SENT["traceparent"]}


async def test_without_a_trace_nothing_speaks_of_one(nats_server: NatsServer, tmp_path: Path) -> None:
    async with cluster(nats_server.url, tmp_path) as parts:
        tree = await run(parts)
        headers = await event_headers(parts, tree["metadata"]["uid"])
    assert {text.strip() for text in told(tree).values()} == {""}
    assert not [h for h in headers if "traceparent" in h]


async def test_a_trace_that_nobody_samples_is_not_exported(
    nats_server: NatsServer, tmp_path: Path, exporter: InMemorySpanExporter
) -> None:
    async with cluster(nats_server.url, tmp_path) as parts:
        tree = await run(parts, {"traceparent": SENT["traceparent"][:-1] + "0"})
    telemetry.current.close()
    assert not exporter.get_finished_spans()
    assert {text.split("-")[1] for text in told(tree).values()} == {TRACE}
