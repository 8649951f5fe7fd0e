"""The table of limits in docs/settings.md: what, how much, and what happens above it. Amounts are those of the code."""

from __future__ import annotations

from typing import NamedTuple

from exeunt import cloudevents
from exeunt.engine import loops
from exeunt.engine.problem import MESSAGE_BYTES
from exeunt.executor import limits as results
from exeunt.executor import logs, session, work
from exeunt.executor.runtime import group
from exeunt.executor.settings import Settings as Executor
from exeunt.journal import entries, records, sizes
from exeunt.language import load, metadata
from exeunt.scheduler.settings import Settings as Scheduler
from exeunt.service.settings import ServiceSettings, describe


class Limit(NamedTuple):
    """A row. `amount` is what holds unless a setting, named in it, says otherwise."""

    what: str
    amount: str
    above: str


def limits() -> list[Limit]:
    """All rows: of what is submitted, of steps, of what is written."""
    return [*_submitted(), *_of_steps(), *_written()]


def _submitted() -> list[Limit]:
    said = "refused; the message names the limit"
    return [
        Limit("A manifest", _size(load.MAX_BYTES), said),
        Limit("How deep a manifest is nested", f"{load.MAX_DEPTH} levels", said),
        Limit("Aliases in a manifest", f"{load.MAX_ALIASES:,}", said),
        Limit("A value of a workflow's parameter", _setting("parameter_bytes", Scheduler), said),
        Limit("All labels of a workflow together", _size(metadata.MAX_LABELS), said),
        Limit("All annotations of a workflow together", _size(metadata.MAX_ANNOTATIONS), said),
        Limit("Documents in one submission", _count("documents", Scheduler), said),
        Limit("Workflows that are not finished", _count("open_workflows", Scheduler), said),
        Limit("Items of one loop", f"{loops.MAX_ITEMS:,}", "the step ends in Error; the message names the limit"),
    ]


def _written() -> list[Limit]:
    marked = "cut, with a mark that says how much is left out"
    return [
        Limit("Why a node could not be worked out", _size(MESSAGE_BYTES), marked),
        Limit(
            "What one decision of a run writes, and its snapshot",
            _setting("commit_bytes", Scheduler),
            "the main run ends in Error with the limit's name, and its handlers run; an exit run is parked",
        ),
        Limit(
            "What is handed on to a workflow that another one starts",
            _size(entries.MESSAGE_BYTES),
            "the action that starts it ends in Error; the message names the limit",
        ),
        Limit(
            "The body of an event",
            _size(cloudevents.BODY_BYTES),
            "what is largest is left out, or cut where it is a text; `truncated` in the body names it",
        ),
        Limit("`ce-subject` of an event", f"{cloudevents.SUBJECT_CHARACTERS} characters", "the first ones are kept"),
        Limit("A text in a line of a list", f"{records.TEXT_BYTES:,} bytes", marked),
        Limit(
            "A message to NATS, headers included",
            "the server's `max_payload`, and 64 KB of headers",
            f"never sent; a server with less than {_size(sizes.PAYLOAD)} is refused at start",
        ),
    ]


def _of_steps() -> list[Limit]:
    return [
        Limit(
            "One output parameter of a step",
            _setting("output_bytes"),
            "the step ends in Error (one that failed keeps its failure); the message names the parameter and the limit",
        ),
        Limit("The `result` of a step with a program", _setting("output_bytes"), "the last part is kept"),
        Limit("The `result` of any other step", _setting("output_bytes"), "the step ends in Error"),
        Limit(
            "All outputs of a step together, with their names",
            _setting("step_output_bytes"),
            "the step ends in Error without outputs; the message names the limit",
        ),
        Limit("The message of a step", _size(results.MESSAGE_BYTES), "cut, with a mark that says how much is left out"),
        Limit(
            "Last lines that come with a step's result",
            f"{logs.TAIL_LINES} lines of {logs.TAIL_LINE:,} characters",
            "the last ones are kept",
        ),
        Limit(
            "Output of a step on its way to a scheduler",
            _setting("step_log_bytes"),
            "the step waits when it writes; while no scheduler is there the oldest lines go, and a line says how much",
        ),
        Limit(
            "A frame from an executor", f"{_size(session.FRAME_BYTES)}, or one result", "the rest goes into the next"
        ),
        Limit(
            "Attempts that an executor knows besides those in its slots",
            f"{session.MOST_KNOWN:,}",
            "it takes no further steps until results are acknowledged",
        ),
        Limit("Reading the output files of a step", f"{work.READ_SECONDS:g} s", "the step ends in Error"),
        Limit(
            "The time from SIGKILL until a step is gone",
            f"{group.UNKILLABLE_SECONDS:g} s",
            "the step ends in Error that says that it is there",
        ),
    ]


def _setting(name: str, of: type[ServiceSettings] = Executor) -> str:
    setting = next(each for each in describe(of) if each.name == name)
    return f"{_size(int(setting.default))} (`{setting.variable}`)"


def _count(name: str, of: type[ServiceSettings]) -> str:
    setting = next(each for each in describe(of) if each.name == name)
    return f"{int(setting.default):,} (`{setting.variable}`)"


def _size(count: int) -> str:
    for unit, size in (("MB", 1024 * 1024), ("KB", 1024)):
        if count >= size:
            return f"{count / size:g} {unit}"
    return f"{count} bytes"
