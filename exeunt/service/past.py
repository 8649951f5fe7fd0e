"""Spans of what is over, exported once: their times and ids come from the log, not from a process that held them open.

A workflow may live for weeks and move between processes; a span that waits for its end in memory would be lost with the
first restart. So nothing is kept open. When a run has closed, its spans are made from it and handed to the exporter; a
run that is read again after a crash gives the same spans with the same ids.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from exeunt.service.metrics import Counter

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger(__name__)

BATCH = 512
MOST_WAITING = 100_000
"""Spans that may wait for a collector; what comes beyond is dropped and counted."""
LAST_SECONDS = 3.0
"""How long the end of the process waits for what has not been sent."""

dropped = Counter("exeunt.spans.dropped", "Spans that were not exported: the collector was away or too slow", "{span}")


class PastSpan(NamedTuple):
    """A span whose work is over. Ids are hexadecimal, times in seconds since the epoch."""

    name: str
    kind: str  # server or internal
    trace_id: str
    span_id: str
    parent_id: str  # empty for none
    started: float
    ended: float
    attributes: Mapping[str, str | int | float | bool]
    failed: bool = False
    message: str = ""


Make = Callable[[], Iterable[PastSpan]]


class PastSpans:
    """Exports in a thread of its own: making and sending spans holds up no workflow."""

    def __init__(self, exporter: SpanExporter, resource: Resource) -> None:
        self._exporter = exporter
        self._resource = resource
        self._queue: queue.SimpleQueue[tuple[Make, int] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def put(self, make: Make, count: int) -> None:
        """Takes what will make about `count` spans; it is called in the thread, so what it reads must not change."""
        with self._lock:
            if self._waiting + count > MOST_WAITING and self._waiting:
                dropped.add(count)
                return
            self._waiting += count
        self._queue.put((make, count))

    def close(self) -> None:
        """Sends what waits, for a while."""
        self._queue.put(None)
        self._thread.join(LAST_SECONDS)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            make, count = item
            try:
                self._export(make())
            except Exception:
                log.exception("spans of a run could not be made")
            with self._lock:
                self._waiting -= count

    def _export(self, spans: Iterable[PastSpan]) -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult

        for batch in _batches(spans):
            if self._exporter.export([_readable(span, self._resource) for span in batch]) != SpanExportResult.SUCCESS:
                dropped.add(len(batch))


def _batches(spans: Iterable[PastSpan]) -> Iterator[list[PastSpan]]:
    remaining = iter(spans)
    while batch := list(itertools.islice(remaining, BATCH)):
        yield batch


def _readable(span: PastSpan, resource: Resource) -> ReadableSpan:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(span_id: str, *, remote: bool) -> SpanContext:
        return SpanContext(int(span.trace_id, 16), int(span_id, 16), remote, TraceFlags(TraceFlags.SAMPLED))

    return ReadableSpan(
        name=span.name,
        context=context(span.span_id, remote=False),
        parent=context(span.parent_id, remote=True) if span.parent_id else None,
        resource=resource,
        attributes=span.attributes,
        kind=SpanKind[span.kind.upper()],
        status=Status(StatusCode.ERROR, span.message) if span.failed else Status(StatusCode.UNSET),
        start_time=int(span.started * 1e9),
        end_time=int(max(span.started, span.ended) * 1e9),
        instrumentation_scope=InstrumentationScope("exeunt"),
    )
