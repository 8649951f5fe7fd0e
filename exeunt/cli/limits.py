"""The table of limits in docs/settings.md: what, how much, and what happens above it. Amounts are those of the code."""

from __future__ import annotations

from typing import NamedTuple

from exeunt.executor import limits as results
from exeunt.executor import logs, session, work
from exeunt.executor.runtime import group
from exeunt.executor.settings import Settings as Executor
from exeunt.service.settings import describe


class Limit(NamedTuple):
    """A row. `amount` is what holds unless a setting, named in it, says otherwise."""

    what: str
    amount: str
    above: str


def limits() -> list[Limit]:
    """All rows."""
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
            _setting("log_bytes"),
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


def _setting(name: str) -> str:
    setting = next(each for each in describe(Executor) if each.name == name)
    return f"{_size(int(setting.default))} (`{setting.variable}`)"


def _size(count: int) -> str:
    for unit, size in (("MB", 1024 * 1024), ("KB", 1024)):
        if count >= size:
            return f"{count / size:g} {unit}"
    return f"{count} bytes"
