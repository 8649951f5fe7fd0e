"""OpenTelemetry: traces and metrics leave the process where the standard OTEL_* variables say so.

The plain SDK chooses no exporters by itself, so the choice is made here: traces go out when OTEL_TRACES_EXPORTER is
"otlp" or an OTLP endpoint is set, metrics likewise, and besides to a Prometheus port when the setting `metrics` names
one. What is off is not even imported. Contexts travel as W3C trace context, in gRPC metadata and in NATS headers; one
that comes in while traces are off is passed on as it is.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from exeunt.service import metrics as numbers
from exeunt.service.past import LAST_SECONDS, Make, PastSpans
from exeunt.service.settings import join_address, split_address

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

log = logging.getLogger(__name__)

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what people write for all addresses of both kinds, as gRPC and NATS take it

TRACE_HEADERS = ("traceparent", "tracestate")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
TRACESTATE_BYTES = 512

received: contextvars.ContextVar[Mapping[str, str] | None] = contextvars.ContextVar("received", default=None)
"""The trace context of the call that is being answered, for as long as traces are off here."""


class Telemetry:
    """What is on in this process. `tracer` is None while traces are off: ask it before building attributes."""

    def __init__(self) -> None:
        self.tracer: Tracer | None = None
        self.metrics_address: str | None = None
        self._past: PastSpans | None = None
        self._close: list[Callable[[], object]] = []
        self._wanted: Callable[[], None] | None = None
        self._starting: threading.Thread | None = None

    @contextlib.contextmanager
    def span(
        self, name: str, kind: str = "internal", parent: Mapping[str, str] | None = None, **attributes: Any
    ) -> Iterator[Span | None]:
        """A span around a piece of work; None, at no cost, while traces are off.

        `kind` is internal, server, client, producer or consumer; `parent` holds W3C headers of whoever asked for it.
        Attribute names have their dots as double underscores: rpc__method.
        """
        if self.tracer is None:
            yield None
            return
        from opentelemetry.trace import SpanKind

        named = {key.replace("__", "."): value for key, value in attributes.items()}
        with self.tracer.start_as_current_span(
            name, context=_context(parent), kind=SpanKind[kind.upper()], attributes=named
        ) as span:
            yield span

    def inject(self, headers: MutableMapping[str, str]) -> None:
        """Adds the current trace context to headers; while traces are off, the one that came in, if any."""
        if self.tracer is None:
            headers.update(received.get() or {})
        else:
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            TraceContextTextMapPropagator().inject(headers)

    def headers(self) -> dict[str, str]:
        """The current trace context as headers; while traces are off, the one that came in, if any."""
        carried: dict[str, str] = {}
        self.inject(carried)
        return carried

    def export(self, make: Make, count: int) -> None:
        """Hands out about `count` spans of what is over, which `make` makes in another thread (`service.past`)."""
        if self._past is not None:
            self._past.put(make, count)

    def serve_metrics(self) -> None:
        """Starts what `start` was asked for about metrics, in a thread: a fifth of a second of imports delays nobody.

        Called when the service is at work.
        """
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            self._starting = threading.Thread(target=wanted, name="metrics", daemon=True)
            self._starting.start()

    def close(self) -> None:
        """Sends what has not been sent, and stops. A collector that does not answer is not waited for very long."""
        self._wanted = None
        if self._starting is not None:
            self._starting.join()
            self._starting = None
        closers, self._close = self._close[::-1], []
        ending = threading.Thread(target=_all, args=(closers,), name="telemetry ends", daemon=True)
        ending.start()
        ending.join(LAST_SECONDS)
        numbers.exporters.clear()
        self.tracer = None
        self._past = None
        self.metrics_address = None


def _all(closers: list[Callable[[], object]]) -> None:
    for close in closers:
        try:
            close()
        except Exception:
            log.exception("telemetry could not be closed")


current = Telemetry()
"""The telemetry of this process; everything is off until `start`."""


def start(service: str, replica: str, metrics: str, environ: Mapping[str, str]) -> Telemetry:
    """Turns on what the settings and OTEL_* variables ask for. `metrics` is HOST:PORT for Prometheus, or empty."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return current
    traces_out = _wants(environ, "TRACES")
    metrics_out = _wants(environ, "METRICS")
    if not (traces_out or metrics_out or metrics):
        return current
    attributes = {"service.instance.id": replica}
    if not environ.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = f"exeunt-{service}"
    if traces_out:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        trace_to(OTLPSpanExporter(), attributes)
    if metrics_out or metrics:
        if metrics and split_address(metrics)[1]:
            current.metrics_address = metrics
        current._wanted = lambda: _start_metrics(attributes, metrics, metrics_out)
    return current


def _wants(environ: Mapping[str, str], signal: str) -> bool:
    chosen = environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
    if chosen:
        if chosen not in ("otlp", "none"):
            log.warning("OTEL_%s_EXPORTER=%s is not known here (otlp or none); it stays off", signal, chosen)
        return chosen == "otlp"
    return bool(
        environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    )


def trace_to(exporter: SpanExporter, attributes: Mapping[str, str]) -> None:
    """Turns traces on: spans of calls, and of what is over, go to the exporter; OTEL_TRACES_SAMPLER chooses."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create(dict(attributes))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    current.tracer = provider.get_tracer("exeunt")
    current._past = PastSpans(exporter, resource)
    current._close += [provider.shutdown, current._past.close]  # the last one first


def _start_metrics(attributes: Mapping[str, str], address: str, otlp: bool) -> None:
    try:
        readers = [*([_otlp_reader()] if otlp else []), *([_prometheus_reader(address)] if address else [])]
    except OSError as error:
        log.warning("metrics cannot be served at %s: %s", address, error)
        current.metrics_address = None
        return
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource

    provider = MeterProvider(metric_readers=readers, resource=Resource.create(attributes), shutdown_on_exit=False)
    current._close.append(provider.shutdown)
    meter = provider.get_meter("exeunt")
    made: dict[str, Histogram | None] = {}
    numbers.exporters.append(lambda number: _export(number, meter, made))
    for number in numbers.all_numbers():
        _export(number, meter, made)


def _otlp_reader() -> MetricReader:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return PeriodicExportingMetricReader(OTLPMetricExporter())


def _prometheus_reader(address: str) -> MetricReader:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import start_http_server

    host, port = split_address(address)
    try:
        server, thread = start_http_server(port, addr="::" if host == EVERYWHERE else host)
    except OSError:
        if host != EVERYWHERE:
            raise
        server, thread = start_http_server(port, addr=host)  # no IPv6 on this machine
    current.metrics_address = join_address(host, server.server_port)
    current._close += [thread.join, server.server_close, server.shutdown]
    return PrometheusMetricReader()


def _export(number: numbers.Number, meter: Meter, made: dict[str, Histogram | None]) -> None:
    """Makes an instrument for each name once; a number that is made anew under its name takes the place of the old."""
    if isinstance(number, numbers.Histogram):
        if number.name not in made:
            made[number.name] = meter.create_histogram(
                number.name, number.unit, number.help, explicit_bucket_boundaries_advisory=number.bounds
            )
        instrument = made[number.name]
        assert instrument is not None
        number.sink = instrument.record
    elif number.name not in made:
        made[number.name] = None
        counts = isinstance(number, numbers.Counter)
        create = meter.create_observable_counter if counts else meter.create_observable_gauge
        create(number.name, [_observe(number.name)], number.unit, number.help)


def _observe(name: str) -> Callable[[CallbackOptions], Iterator[Observation]]:
    def callback(_options: CallbackOptions) -> Iterator[Observation]:
        from opentelemetry.metrics import Observation

        number = numbers.counters.get(name) or numbers.gauges.get(name)
        values: dict[numbers.Labels, float] = {}
        with contextlib.suppress(RuntimeError):  # a table grew while this thread read it; the next reading has it
            values = dict(number.current()) if number is not None else {}
        for labels, value in values.items():
            yield Observation(value, dict(labels))

    return callback


def context_in(headers: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """The trace context among headers; empty when there is none, or none that can be right."""
    found = {key.lower(): value for key, value in headers if key.lower() in TRACE_HEADERS and isinstance(value, str)}
    if not TRACEPARENT.fullmatch(found.get("traceparent", "")):
        return {}
    if not 0 < len(found.get("tracestate", "")) <= TRACESTATE_BYTES:
        found.pop("tracestate", None)
    return found


def _context(parent: Mapping[str, str] | None) -> Context | None:
    if not parent:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({key.lower(): value for key, value in parent.items()})
