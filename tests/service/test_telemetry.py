"""Metrics and traces: off at no cost, on where the standard variables and settings say so."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from exeunt.service import metrics, telemetry


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    yield
    telemetry.current.close()


def read(address: str | None) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_what_is_counted_can_be_read_by_prometheus(monkeypatch: pytest.MonkeyPatch) -> None:
    for table in (metrics.counters, metrics.gauges, metrics.histograms):
        monkeypatch.setattr(metrics, next(n for n, t in vars(metrics).items() if t is table), {})
    counter = metrics.Counter("exeunt.test.ends", "Ends")
    histogram = metrics.Histogram("exeunt.test.waits", "Waits")
    metrics.Gauge("exeunt.test.open", "Open", lambda: 7)
    telemetry.start("test", "t-1", "127.0.0.1:0", {})
    telemetry.current.serve_metrics()
    assert telemetry.current._starting is not None
    telemetry.current._starting.join()
    metrics.Gauge("exeunt.test.late", "Made when metrics were on already", lambda: 3)
    counter.add(2, (("phase", "Failed"),))
    histogram.record(0.2)
    lines = read(telemetry.current.metrics_address).splitlines()
    for name, value in (("ends_total{", 2), ("open", 7), ("late", 3), ("waits_seconds_count", 1)):
        assert any(line.startswith(f"exeunt_test_{name}") and line.endswith(f" {value}.0") for line in lines), name


def test_nothing_is_imported_while_all_is_off() -> None:
    code = (
        "import sys, os; from exeunt.service import telemetry; telemetry.start('x', 'y', '', {});"
        "print([m for m in sys.modules if m.startswith('opentelemetry')], telemetry.current.headers())"
    )
    environ = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout == "[] {}\n"


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_standard_variables_decide_about_traces(environ: dict[str, str], on: bool) -> None:
    telemetry.start("test", "t-1", "", environ)
    assert (telemetry.current.tracer is not None) is on


def test_a_trace_goes_on_in_who_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    monkeypatch.setattr(telemetry.current, "tracer", TracerProvider().get_tracer("test"))
    with telemetry.current.span("submit") as first:
        carried = telemetry.current.headers()
    with telemetry.current.span("step", "server", {"Traceparent": carried["traceparent"]}) as second:
        assert first is not None
        assert second is not None
        assert second.get_span_context().trace_id == first.get_span_context().trace_id


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ({"Traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}),
        ({"traceparent": f"00-{'0' * 32}-{'b' * 16}-01"}, {}),
        ({"traceparent": "rm -rf", "tracestate": "a=1"}, {}),
        ({"tracestate": "a=1"}, {}),
        (
            {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "x" * 600},
            {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"},
        ),
    ],
)
def test_a_context_that_cannot_be_right_is_none(sent: dict[str, str], taken: dict[str, str]) -> None:
    assert telemetry.context_in(sent.items()) == taken


def test_a_number_that_is_made_anew_takes_the_place_of_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "gauges", {})
    metrics.Gauge("exeunt.test.owner", "Of the part that is gone", lambda: 1)
    telemetry.start("test", "t-1", "127.0.0.1:0", {})
    telemetry.current.serve_metrics()
    assert telemetry.current._starting is not None
    telemetry.current._starting.join()
    metrics.Gauge("exeunt.test.owner", "Of the part that is there", lambda: 2)
    found = [
        line for line in read(telemetry.current.metrics_address).splitlines() if line.startswith("exeunt_test_owner")
    ]
    assert [line.rpartition(" ")[2] for line in found] == ["2.0"]
