"""What may follow what in the life of a node, an attempt, a hook and a run. The fold looks up each step here.

The diagrams in docs/lives.md are made of these tables.
"""

from __future__ import annotations

from collections.abc import Mapping

from exeunt.engine.facts import phases
from exeunt.engine.facts.events import (
    Event,
    HookCancelled,
    HookDue,
    HookFinished,
    HookOmitted,
    HookReplayed,
    HookSkipped,
    HookStarted,
    InputsSet,
    MainEnded,
    NodeDaemoned,
    NodeEnded,
    NodeNoted,
    NodeStarted,
    Reopened,
    Retried,
    RunClosed,
    RunStarted,
    Snapshot,
    StepCancelled,
    StepDue,
    StepFinished,
    StepPlaced,
    StepProgressed,
    StepReady,
)
from exeunt.engine.facts.phases import COMPLETED, ERROR, FAILED, FULFILLED, OMITTED, PENDING, RUNNING, SKIPPED

Table = Mapping[tuple[str, type[Event]], frozenset[str]]
"""State and event → the states that may follow. A pair that is not there cannot be."""

NOTHING = ""
"""Before its life."""


class IllegalStep(Exception):  # noqa: N818 - it is what happened
    """An event that cannot follow what is true. Nothing has changed."""


def _to(*states: str) -> frozenset[str]:
    return frozenset(states)


def _stays(states: frozenset[str], *events: type[Event]) -> dict[tuple[str, type[Event]], frozenset[str]]:
    return {(state, event): frozenset({state}) for state in sorted(states) for event in events}


NODE: Table = {
    (NOTHING, NodeStarted): _to(PENDING, RUNNING, SKIPPED, OMITTED, ERROR),
    (PENDING, StepPlaced): _to(RUNNING),
    (PENDING, StepFinished): COMPLETED,
    (PENDING, NodeEnded): _to(FAILED, ERROR),
    (RUNNING, StepFinished): COMPLETED,
    (RUNNING, NodeEnded): COMPLETED,
    **_stays(_to(RUNNING), StepReady, StepProgressed, NodeDaemoned),
    **_stays(_to(RUNNING), StepPlaced),  # lost, due again, and placed again
    **_stays(phases.ACTIVE, StepDue, StepCancelled),
    **_stays(COMPLETED, StepFinished),  # the late result of a killed step changes its message and outputs only
    **_stays(phases.ACTIVE | FULFILLED, NodeNoted),
    **_stays(phases.ACTIVE, InputsSet),
}
"""The phase of a node."""

NONE, DUE, PLACED, CANCELLED = "none", "due", "placed", "cancelled"
ATTEMPT: Table = {
    (NONE, StepDue): _to(DUE),
    (DUE, StepPlaced): _to(PLACED),
    (DUE, StepFinished): _to(NONE),  # where it was placed had not been written yet
    (DUE, StepCancelled): _to(NONE),
    (PLACED, StepFinished): _to(NONE),
    (PLACED, StepCancelled): _to(CANCELLED),
    (CANCELLED, StepFinished): _to(NONE),
    **_stays(_to(PLACED), StepReady, StepProgressed),
    **_stays(_to(DUE), StepDue),  # lost before it was placed
    (PLACED, StepDue): _to(DUE),  # lost: the next attempt
}
"""The attempt of a node's work that is under way. A cancelled one is over when its result has come."""

OPEN, CANCELLING = "open", "cancelling"
HOOK: Table = {
    (NOTHING, HookDue): _to(OPEN),
    (NOTHING, HookStarted): _to(OPEN),
    (NOTHING, HookSkipped): _to(SKIPPED),
    (NOTHING, HookOmitted): _to(SKIPPED),
    (OPEN, HookFinished): COMPLETED,
    (OPEN, HookCancelled): _to(CANCELLING),
    (CANCELLING, HookFinished): COMPLETED,
    **_stays(_to(CANCELLING), HookCancelled),  # stopped, then terminated
    **_stays(COMPLETED, HookReplayed),
}
"""A hook of a run: due, until its exit run says how it ended. What a replay came to stands beside that."""

MAIN, EXITING, CLOSED = "running", "exiting", "closed"
RUN: Table = {
    (NOTHING, RunStarted): _to(MAIN),
    (MAIN, MainEnded): _to(EXITING),
    (EXITING, RunClosed): _to(CLOSED),
    (CLOSED, Retried): _to(MAIN),
    **_stays(_to(MAIN, EXITING, CLOSED), Snapshot),
}
"""A main run. Every other event may come while it is running or exiting, and none when it is closed."""

EXIT_RUN: Table = {
    (NOTHING, RunStarted): _to(MAIN),
    (MAIN, RunClosed): _to(CLOSED),
    (CLOSED, Reopened): _to(MAIN),
    **_stays(_to(MAIN, CLOSED), Snapshot),
}
"""An exit run. Every other event may come while it is running, and none when it is closed."""

LIVES: dict[str, Table] = {
    "node": NODE,
    "attempt": ATTEMPT,
    "hook": HOOK,
    "main run": RUN,
    "exit run": EXIT_RUN,
}
_OF_LIFE = {name: frozenset(event for _, event in table) for name, table in LIVES.items()}
OF_A_RUN = _OF_LIFE["main run"] | _OF_LIFE["exit run"]
"""The events that are steps of a run's life. Any other one may come while a run is neither new nor closed."""


_ONE = {(life, *pair): next(iter(may)) for life, table in LIVES.items() for pair, may in table.items() if len(may) == 1}
"""The steps that lead to one state only, which are most of them."""


def step(life: str, state: str, event: Event, following: str = NOTHING) -> str:
    """The state that follows; where several may, the one that the event names. Raises IllegalStep."""
    kind = type(event)
    one = _ONE.get((life, state, kind))
    if one is not None and following in (NOTHING, one):
        return one
    if following and following in LIVES[life].get((state, kind), ()):
        return following
    named = f" with {following}" if following else ""
    raise IllegalStep(f"{life}: {kind.__name__}{named} cannot follow {state or 'nothing'}")


def of_run(state: str, event: Event, *, exit: bool) -> None:
    """Whether the event may come in this state of the run. Raises IllegalStep."""
    life = "exit run" if exit else "main run"
    if type(event) in _OF_LIFE[life]:
        step(life, state, event)
    elif state not in (MAIN, EXITING) or type(event) in OF_A_RUN:
        raise IllegalStep(f"{life}: {type(event).__name__} cannot follow {state or 'nothing'}")
