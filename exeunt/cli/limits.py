"""The table of limits in docs/settings.md: what, how much, and what happens above it. Amounts are those of the code."""

from __future__ import annotations

from typing import NamedTuple

from exeunt import cloudevents, steps
from exeunt.engine.facts import MESSAGE_BYTES, turn
from exeunt.engine.values import loops
from exeunt.engine.walk import start
from exeunt.executor import attempts, logs, run_step, session
from exeunt.executor import limits as results
from exeunt.executor.runtime import group
from exeunt.executor.settings import Settings as Executor
from exeunt.exithandler import api as exits
from exeunt.exithandler.settings import Settings as ExitHandler
from exeunt.journal import entries, records, sizes
from exeunt.language import load, metadata
from exeunt.language.expression import limits as expressions
from exeunt.language.secret import SECRET_BYTES
from exeunt.scheduler import secrets, submit
from exeunt.scheduler.settings import Settings as Scheduler
from exeunt.service import bounds
from exeunt.service.settings import ServiceSettings, describe


class Limit(NamedTuple):
    """A row. `amount` is what holds unless a setting, named in it, says otherwise."""

    what: str
    amount: str
    above: str


def limits() -> list[Limit]:
    """All rows: of what is submitted, of requests, of a run, of steps, of what is written."""
    return [*_submitted(), *_asked(), *_of_runs(), *_of_results(), *_of_executors(), *_written()]


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
        Limit(
            "How many workflows may start each other in a chain",
            _count("chain_depth", Scheduler),
            "refused with `CHAIN_TOO_DEEP`; an action that starts one ends in Error",
        ),
        Limit(
            "How many descendants of one workflow a service starts within an hour",
            _count("chain_descendants", Scheduler),
            "refused with `CHAIN_TOO_WIDE`; an action that starts one ends in Error",
        ),
        Limit("A name, and a namespace", f"{metadata.MAX_NAME} characters", said),
        Limit("A `generateName`", f"{metadata.MAX_NAME - 1} characters", said),
        Limit("All values of a Secret together", _size(SECRET_BYTES), said),
        Limit("How deep stored templates refer to each other", f"{submit.REFERENCES_DEEP - 1}", said),
        Limit(
            "Reading and checking one submission",
            f"{submit.CHECK_SECONDS:g} s of processor time, {_size(submit.CHECK_MEMORY)} of memory",
            "refused with `TOO_LARGE_TO_CHECK`",
        ),
    ]


def _asked() -> list[Limit]:
    said = "refused; the message names the limit"
    return [
        Limit("A request's id", f"{bounds.REQUEST_ID_CHARACTERS} characters", said),
        Limit("The reason that an operator gives (`--message`)", _size(bounds.MESSAGE_BYTES), said),
        Limit("A parameter's value of `node set` and `retry`", _setting("parameter_bytes", Scheduler), said),
        Limit("The message of `exits cancel`", f"{exits.MESSAGE_CHARACTERS:,} characters", said),
        Limit("Who it is that asks (`--by`)", f"{bounds.BY_CHARACTERS} characters", said),
        Limit(
            "A selector of labels or nodes, and the name of a node", f"{bounds.SELECTOR_CHARACTERS:,} characters", said
        ),
        Limit(
            "Any other name, id, page token or position in a request", f"{bounds.WORD_CHARACTERS:,} characters", said
        ),
    ]


def _of_runs() -> list[Limit]:
    ended = "the main run ends in Error with the limit's name, and its handlers run; an exit run is parked"
    error = "the step ends in Error; the message names the limit"
    unread = f"{error}; lint says so before"
    return [
        Limit("Templates that call each other, and themselves", f"{start.MAX_DEPTH - 1} deep", error),
        Limit(
            "Nodes of one workflow, skipped ones too",
            f"{start.MAX_NODES:,}",
            "what would hold one more ends in Error; the message names the limit",
        ),
        Limit(
            "Items of one loop",
            f"{loops.MAX_ITEMS:,}",
            "the step's group, or the loop of the task, ends in Error and what holds it fails, as in Argo; the message"
            " names the limit",
        ),
        Limit("An expression", f"{expressions.MAX_SOURCE:,} characters", unread),
        Limit("Parts of an expression", f"{expressions.MAX_NODES:,}", unread),
        Limit("How deep an expression is nested", f"{expressions.MAX_DEPTH - 1} levels", unread),
        Limit("Steps that an expression takes", f"{expressions.MAX_STEPS:,}", error),
        Limit("Steps that all expressions of one template or step take together", f"{expressions.MAX_STEPS:,}", error),
        Limit(
            "Steps that all expressions of one loop take together; what they make counts as well",
            f"{turn.LOOP_STEPS:,}",
            error,
        ),
        Limit(
            "Steps that all expressions of a run take until everything is decided",
            f"{turn.DECISION_STEPS:,}",
            ended,
        ),
        Limit("A text or list that an expression makes", f"{expressions.MAX_TEXT:,} characters or items", error),
        Limit("All that an expression makes", f"{expressions.MAX_MEMORY:,} characters and items", error),
    ]


def _written() -> list[Limit]:
    marked = "cut, with a mark that says how much is left out"
    return [
        Limit("The message of a node that could not be worked out", _size(MESSAGE_BYTES), marked),
        Limit(
            "One commit of a run, or its snapshot",
            _setting("commit_bytes", Scheduler),
            "the main run ends in Error with the limit's name, and its handlers run; an exit run is parked",
        ),
        Limit(
            "The manifest of a workflow that another one starts",
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
        *_answered(),
        Limit(
            "A message to NATS, headers included",
            "the server's `max_payload`, and 64 KB of headers",
            f"never sent; a server with less than {_size(sizes.PAYLOAD_BYTES)} is refused at start",
        ),
    ]


def _answered() -> list[Limit]:
    left_out = "what is largest is left out, or cut where it is a text; `truncated` in the JSON names it"
    return [
        Limit(
            "A workflow, or a record of the ledger, in one message",
            _size(bounds.ANSWER_BYTES),
            "refused with what to call instead: it comes in parts; answers of calls that change something leave out"
            " what is largest, and `truncated` in the JSON names it",
        ),
        Limit("A part of a workflow or record", f"{_size(bounds.PART_BYTES)} of text", "there are more parts"),
        Limit("A workflow, or a record of the ledger, in a list", _size(bounds.LISTED_BYTES), left_out),
        Limit("A page of a list", _size(bounds.PAGE_BYTES), "the page is shorter"),
    ]


def _of_results() -> list[Limit]:
    return [
        Limit(
            "A step with its arguments and secrets",
            _size(steps.STEP_BYTES),
            "the step ends in Error; the message names the limit",
        ),
        Limit(
            "All secrets of one step together",
            _size(secrets.STEP_BYTES),
            "the step ends in Error; the message names the limit",
        ),
        Limit(
            "One output parameter of a step",
            _setting("output_bytes"),
            "the step ends in Error (one that failed keeps its failure); the message names the parameter and the limit",
        ),
        Limit("The `result` of a step with a program", _setting("output_bytes"), "the last part is kept"),
        Limit("The `result` of any other step", _setting("output_bytes"), "the step ends in Error"),
        Limit(
            "The answer of an `http` step as its `result`",
            _setting("result_bytes", ExitHandler),
            "left out; the message of the step says so",
        ),
        Limit(
            "An output of a plugin",
            _setting("result_bytes", ExitHandler),
            "the step is Failed, as with any answer that cannot be used; the message names the limit",
        ),
        Limit(
            "An answer that an action reads",
            _setting("answer_bytes", ExitHandler),
            "the step is Failed, as with any answer that cannot be used; the message names the limit",
        ),
        Limit(
            "All outputs of a step together, with their names",
            _setting("step_output_bytes"),
            "the step ends in Error without outputs; the message names the limit",
        ),
        Limit("The message of a step", _size(results.MESSAGE_BYTES), "cut, with a mark that says how much is left out"),
    ]


def _of_executors() -> list[Limit]:
    return [
        Limit(
            "Last lines that come with a step's result",
            f"{logs.TAIL_LINES} lines of {logs.TAIL_LINE:,} characters, and as many bytes together",
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
            f"{attempts.MOST_KNOWN:,}",
            "it takes no further steps until results are acknowledged",
        ),
        Limit(
            "Steps of an executor that wait for a workflow and have no slot",
            f"{attempts.MOST_WAITING:,}",
            "a further one has its slot while it waits",
        ),
        Limit("Reading the output files of a step", f"{run_step.READ_SECONDS:g} s", "the step ends in Error"),
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
    for unit, size in (("GB", 1024**3), ("MB", 1024**2), ("KB", 1024)):
        if count >= size:
            return f"{count / size:g} {unit}"
    return f"{count} bytes"
