"""Log lines carry what a reader needs to find the rest."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from exeunt.service import logs, telemetry


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_name_service_replica_and_extra_fields() -> None:
    stream = io.StringIO()
    logs.configure("scheduler", "s-1", stream=stream)
    logging.getLogger("exeunt.x").warning("lost %s", "an executor", extra={"executor": "e-1"})
    line = json.loads(stream.getvalue())
    assert (
        line.items()
        >= {
            "level": "warning",
            "message": "lost an executor",
            "service": "scheduler",
            "replica": "s-1",
            "executor": "e-1",
            "logger": "exeunt.x",
        }.items()
    )


def test_an_exception_stands_in_the_line_that_tells_it() -> None:
    stream = io.StringIO()
    logs.configure("scheduler", "s-1", stream=stream)
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("exeunt.x").exception("failed")
    assert "ValueError: odd" in json.loads(stream.getvalue())["exception"]


def test_text_lines_are_for_people() -> None:
    stream = io.StringIO()
    logs.configure("scheduler", "s-1", form="text", stream=stream)
    logging.getLogger("exeunt.x").info("ready", extra={"address": "127.0.0.1:1"})
    assert stream.getvalue()[9:] == "info    scheduler: ready address=127.0.0.1:1\n"


def test_a_level_below_the_chosen_one_is_not_written() -> None:
    stream = io.StringIO()
    logs.configure("scheduler", "s-1", level="warning", stream=stream)
    logging.getLogger("exeunt.x").info("chatter")
    assert stream.getvalue() == ""


def test_a_line_written_in_a_span_names_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    monkeypatch.setattr(telemetry.current, "tracer", TracerProvider().get_tracer("test"))
    stream = io.StringIO()
    logs.configure("scheduler", "s-1", stream=stream)
    with telemetry.current.span("call") as span:
        logging.getLogger("exeunt.x").info("inside")
    logging.getLogger("exeunt.x").info("outside")
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert span is not None
    assert inside["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert inside["span_id"] == f"{span.get_span_context().span_id:016x}"
    assert "trace_id" not in outside


def test_a_line_is_written_while_another_thread_imports_what_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", ModuleType("opentelemetry.trace"))
    stream = io.StringIO()
    logs.configure("scheduler", "s-1", stream=stream)
    logging.getLogger("exeunt.x").info("ready")
    assert json.loads(stream.getvalue())["message"] == "ready"
