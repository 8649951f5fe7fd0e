"""Spans of what is over: exported by another thread, bounded, whatever the collector does."""

import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from exeunt.service import past
from exeunt.service.past import PastSpan, PastSpans

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(SpanExporter):
    """Takes spans, in batches, when it is let."""

    def __init__(self, answer: SpanExportResult = SpanExportResult.SUCCESS) -> None:
        self.answer = answer
        self.batches: list[list[ReadableSpan]] = []
        self.open = threading.Event()
        self.open.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.open.wait(30)
        self.batches.append(list(spans))
        return self.answer


@pytest.fixture(autouse=True)
def _nothing_dropped() -> Iterator[None]:
    past.dropped.values.clear()
    yield
    past.dropped.values.clear()


def span(number: int = 1, *, failed: bool = False) -> PastSpan:
    return PastSpan(
        "build", "internal", TRACE, f"{number:016x}", "00f067aa0ba902b7", 10.0, 12.5, {"a": 1}, failed, "why"
    )


def test_times_ids_and_parents_are_those_that_were_given() -> None:
    collector = Collector()
    spans = PastSpans(collector, Resource.create({"service.name": "test"}))
    spans.put(lambda: [span(7, failed=True)], 1)
    spans.close()
    [[made]] = collector.batches
    assert made.context is not None
    assert made.parent is not None
    assert (made.context.trace_id, made.context.span_id) == (int(TRACE, 16), 7)
    assert (made.parent.trace_id, made.parent.span_id) == (int(TRACE, 16), 0x00F067AA0BA902B7)
    assert (made.start_time, made.end_time) == (10_000_000_000, 12_500_000_000)
    assert (made.status.is_ok, made.status.description) == (False, "why")
    assert made.resource.attributes["service.name"] == "test"


def test_a_large_workflow_goes_out_in_batches() -> None:
    collector = Collector()
    spans = PastSpans(collector, Resource.get_empty())
    spans.put(lambda: map(span, range(1, 2001)), 2000)
    spans.close()
    assert sum(map(len, collector.batches)) == 2000
    assert max(map(len, collector.batches)) <= past.BATCH


def test_what_a_collector_does_not_take_is_counted() -> None:
    spans = PastSpans(Collector(SpanExportResult.FAILURE), Resource.get_empty())
    spans.put(lambda: [span(1), span(2)], 2)
    spans.close()
    assert past.dropped.current() == {(): 2}


def test_a_collector_that_hangs_costs_spans_and_no_memory() -> None:
    collector = Collector()
    collector.open.clear()
    spans = PastSpans(collector, Resource.get_empty())
    spans.put(lambda: [span(1)], past.MOST_WAITING)
    spans.put(lambda: [span(2)], 1)
    collector.open.set()
    spans.close()
    assert past.dropped.current() == {(): 1}
    assert [made.context.span_id for batch in collector.batches for made in batch if made.context] == [1]


def test_spans_that_cannot_be_made_do_not_keep_others_back(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> list[PastSpan]:
        raise ValueError("odd")

    collector = Collector()
    spans = PastSpans(collector, Resource.get_empty())
    spans.put(broken, 1)
    spans.put(lambda: [span(3)], 1)
    spans.close()
    assert len(collector.batches) == 1
    assert "odd" in caplog.text
