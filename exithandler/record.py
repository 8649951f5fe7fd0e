"""What the exit ledger tells of one exit run: the fold of its events into attempts, state and error. Pure.

Nothing in a record that is shown holds a secret: what actions answered was masked before it came into the log, and what
they were given is masked by the names of its fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from exeunt.actions.masking import Masker
from exeunt.engine.facts import (
    ChildKnown,
    Event,
    HookOmitted,
    HookOutcome,
    Obligation,
    Reopened,
    RunClosed,
    RunStarted,
    ShutdownSet,
    StepCancelled,
    StepDue,
    StepFinished,
    StepPlaced,
)
from exeunt.exithandler.described import describe
from exeunt.journal.records import LedgerSummary

DUE, RUNNING, SUCCEEDED, FAILED, SKIPPED, CANCELLED, PARKED = (
    "due",
    "running",
    "succeeded",
    "failed",
    "skipped",
    "cancelled",
    "parked",
)
ENDED = frozenset({SUCCEEDED, FAILED, SKIPPED, CANCELLED, PARKED})
LOST = "lost with who did it; it was done again, or begun again"
_HOOK = re.compile(r"(.*)\.(?:onExit|hooks\.([^.()]+))")
MOST_ATTEMPTS = 1000  # kept of one exit run; the first and the latest


class AttemptRecord(msgspec.Struct, omit_defaults=True):
    """One try of one step or action. Times in seconds since the epoch, 0 where there is none yet."""

    id: str  # the node's id
    attempt: int
    node: str = ""  # its display name
    replay: int = 0
    executor: str = ""
    due_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    phase: str = "Pending"
    error: str = ""
    answer: Any = None
    work: Any = None  # what was to be done, masked


class InnerHook(msgspec.Struct):
    """A hook of one of the handler's own steps: it ran inside the same exit run, or was not to run."""

    node: str
    hook: str
    state: str
    error: str = ""


class ExitRecord(msgspec.Struct, omit_defaults=True):
    """A record of the ledger. `obligation` is what the run was made from, as MessagePack: what a replay starts from."""

    id: str
    uid: str = ""
    workflow: str = ""
    namespace: str = ""
    node: str = ""
    hook: str = ""
    state: str = DUE
    error: str = ""
    due_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    attempts: list[AttemptRecord] = []
    dropped_attempts: int = 0
    replays: int = 0
    requests: list[str] = []  # request ids of what people did with it, the latest last
    commits: int = 0  # number of the last commit when this was written
    obligation: bytes = b""
    nodes: list[dict[str, Any]] = []
    outputs: dict[str, Any] = {}
    children: list[dict[str, str]] = []  # workflows that it started
    ended_by: str = ""  # who ended it early, and why
    handlers: list[InnerHook] = []  # of its own steps

    def summary(self) -> LedgerSummary:
        """What a list shows."""
        return LedgerSummary(
            id=self.id,
            uid=self.uid,
            workflow=self.workflow,
            namespace=self.namespace,
            node=self.node,
            hook=self.hook,
            state=self.state,
            error=self.error,
            due_at=self.due_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            attempts=len(self.attempts) + self.dropped_attempts,
            replays=self.replays,
            revision=self.commits,
        )


def new_record(obligation: Obligation) -> ExitRecord:
    """The record of a handler that is owed."""
    return ExitRecord(
        id=obligation.hook_id,
        uid=obligation.uid,
        workflow=obligation.name,
        namespace=obligation.namespace,
        node=obligation.node_name,
        hook=obligation.hook,
        due_at=obligation.due_at,
        obligation=msgspec.msgpack.encode(obligation),
    )


def obligation_of(record: ExitRecord) -> Obligation:
    """What the run was made from. Raises ValueError when the record does not hold it."""
    try:
        return msgspec.msgpack.decode(record.obligation, type=Obligation)
    except msgspec.DecodeError as error:
        raise ValueError(f"the record {record.id} does not hold its inputs: {error}") from error


def read_record(body: Any) -> ExitRecord:
    """A record as it is stored. Raises msgspec.ValidationError for anything else."""
    return msgspec.convert(body, ExitRecord)


def fold(record: ExitRecord, events: Iterable[Event], now: float) -> None:
    """Takes one commit of the exit run into its record. The same commit twice changes nothing."""
    for event in events:
        match event:
            case RunStarted():
                _begun(record, now)
            case StepDue():
                _due(record, event, now)
            case StepPlaced():
                _placed(record, event, now)
            case StepFinished():
                _finished(record, event, now)
            case StepCancelled():
                attempt = _find(record, event.node, event.attempt)
                if attempt is not None and not attempt.finished_at:
                    attempt.finished_at, attempt.phase, attempt.error = now, "Error", "cancelled"
            case Reopened():
                record.replays = event.replay
                record.state, record.error, record.started_at, record.finished_at = RUNNING, "", now, 0.0
                record.ended_by, record.handlers = "", []
                _asked(record, event.request_id)
            case ChildKnown():
                if event.child not in record.children:
                    record.children.append(event.child)
            case HookOmitted():
                omitted = InnerHook(event.name, event.hook, SKIPPED, event.why)
                record.handlers += [omitted] if omitted not in record.handlers else []
            case ShutdownSet():
                record.ended_by = event.message
                _asked(record, event.request_id)
            case RunClosed():
                close(record, event.hook, event.message, now)
    _begun(record, now)


def _asked(record: ExitRecord, request_id: str) -> None:
    if request_id and request_id not in record.requests:
        record.requests.append(request_id)


def _begun(record: ExitRecord, now: float) -> None:
    if record.state == DUE:
        record.state, record.started_at = RUNNING, now


def close(record: ExitRecord, outcome: HookOutcome | None, message: str, now: float) -> None:
    """Takes the end of the run into its record."""
    record.finished_at = now
    if outcome is None:
        record.state, record.error = PARKED, message
        return
    record.state = outcome.state if outcome.state in ENDED else FAILED
    record.error = "" if record.state == SUCCEEDED else _why(outcome.message or message, _last_error(record))
    if record.state == CANCELLED and record.ended_by:
        record.error = record.ended_by
    record.nodes = outcome.nodes
    record.handlers = [one for one in record.handlers if one.state == SKIPPED] + _handlers_in(outcome.nodes)
    record.outputs = outcome.outputs
    names = {str(n.get("id")): str(n.get("displayName") or n.get("name") or "") for n in outcome.nodes}
    for attempt in record.attempts:
        attempt.node = names.get(attempt.id) or attempt.node


def _handlers_in(nodes: list[dict[str, Any]]) -> list[InnerHook]:
    """The hooks of a handler's own steps that ran; its own node comes first."""
    found = []
    for node in nodes[1:]:
        named = _HOOK.fullmatch(str(node.get("name", "")))
        if named is not None and (node.get("nodeFlag") or {}).get("hooked"):
            state = SUCCEEDED if node.get("phase") == "Succeeded" else FAILED
            found.append(InnerHook(named[1], named[2] or "exit", state, str(node.get("message", ""))))
    return found


def unreadable(id: str, uid: str, error: str, now: float, stored: ExitRecord | None = None) -> ExitRecord:
    """The record of a run that cannot be carried out, since what the log has of it cannot be read."""
    record = stored or ExitRecord(id, uid=uid, namespace="unknown", due_at=now)
    record.state, record.error, record.finished_at = PARKED, error, now
    return record


def shown(record: ExitRecord) -> dict[str, Any]:
    """The record as people see it, in JSON's terms."""
    facts: dict[str, Any] = msgspec.to_builtins(record)
    facts.pop("obligation", None)
    mask = Masker().tree
    for name in ("outputs", "nodes"):
        if name in facts:
            facts[name] = mask(facts[name])
    try:
        obligation = obligation_of(record)
    except ValueError:
        return facts
    facts["inputs"] = {"arguments": mask(obligation.arguments), "scope": mask(obligation.scope)}
    facts["handler"] = {
        "caller": mask(obligation.caller),
        "scope": obligation.caller_scope,
        "bundle": obligation.bundle,
    }
    facts["reason"], facts["phase"] = obligation.reason, obligation.phase
    facts["runAttempt"] = obligation.run_attempt
    return facts


def _due(record: ExitRecord, event: StepDue, now: float) -> None:
    if _find(record, event.node, event.attempt, record.replays) is None:
        for before in record.attempts:
            if before.id == event.node and before.replay == record.replays and not before.finished_at:
                before.finished_at, before.phase, before.error = now, "Error", LOST
        work = describe(event.step.work)
        record.attempts.append(
            AttemptRecord(
                event.node, event.attempt, node=event.step.template, replay=record.replays, due_at=now, work=work
            )
        )
        if len(record.attempts) > MOST_ATTEMPTS:
            del record.attempts[MOST_ATTEMPTS // 2]
            record.dropped_attempts += 1


def _placed(record: ExitRecord, event: StepPlaced, now: float) -> None:
    attempt = _find(record, event.node, event.attempt)
    if attempt is not None and not attempt.started_at:
        attempt.executor, attempt.started_at, attempt.phase = event.executor, now, "Running"


def _finished(record: ExitRecord, event: StepFinished, now: float) -> None:
    attempt = _find(record, event.node, event.attempt)
    if attempt is None:
        return
    outcome = event.outcome
    attempt.phase = outcome.phase
    attempt.error = "" if outcome.phase == "Succeeded" else outcome.message
    attempt.started_at = outcome.started_at or attempt.started_at
    attempt.finished_at = outcome.finished_at or now
    attempt.answer = outcome.answer
    if attempt.error:
        record.error = attempt.error
    child = outcome.answer.get("workflow") if isinstance(outcome.answer, dict) else None
    if isinstance(child, dict) and child not in record.children:
        record.children.append(child)


def _find(record: ExitRecord, node: str, number: int, replay: int | None = None) -> AttemptRecord | None:
    for attempt in reversed(record.attempts):
        if attempt.id == node and attempt.attempt == number and replay in (None, attempt.replay):
            return attempt
    return None


def _why(message: str, cause: str) -> str:
    """The handler's message, and the last attempt's where that says more."""
    if not message or message in cause:
        return cause or message
    return message if not cause or cause in message else f"{message}: {cause}"


def _last_error(record: ExitRecord) -> str:
    return next((a.error for a in reversed(record.attempts) if a.error), "")
