"""What is true of a run: events, the state that they fold to, and what stands in both. Nothing is decided here.

`events` has what can become true, `fold` what each makes of the `state`, `nodes` the tree, `phases` the words for
where a node stands, `work` what is handed out and what comes back. `commit` is their form in the log. `turn` counts
what a decision takes, `pending_looks` orders what is to be looked at, `shared` is what follows from a bundle alone.
"""

from __future__ import annotations

from exeunt.engine.facts import commit, phases, turn
from exeunt.engine.facts.claims import kept_after, uses_claims
from exeunt.engine.facts.commit import Commit
from exeunt.engine.facts.events import (
    ChildKnown,
    Event,
    HookCancelled,
    HookDue,
    HookOmitted,
    HookOutcome,
    HookSkipped,
    Obligation,
    Reopened,
    RunClosed,
    RunStarted,
    ShutdownSet,
    Snapshot,
    StepCancelled,
    StepDue,
    StepFinished,
    StepPlaced,
    TimerCleared,
    TimerSet,
)
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.phases import BAD, EXIT
from exeunt.engine.facts.problem import MESSAGE_BYTES, NodeError
from exeunt.engine.facts.replayed import note_replay
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.state import State, pack, unpack
from exeunt.engine.facts.turn import TooMuchToDecide
from exeunt.engine.facts.work import (
    ContainerEnd,
    ContainerSetWork,
    ContainerWork,
    DataWork,
    EnvSource,
    ExecutorFact,
    HttpWork,
    NamedContainer,
    OutputParameter,
    PluginWork,
    Probe,
    ResourceWork,
    SecretRef,
    StepOutcome,
    StepSpec,
    Work,
    kind_of_work,
)

__all__ = [
    "BAD",
    "EXIT",
    "MESSAGE_BYTES",
    "ChildKnown",
    "Commit",
    "ContainerEnd",
    "ContainerSetWork",
    "ContainerWork",
    "DataWork",
    "EnvSource",
    "Event",
    "ExecutorFact",
    "HookCancelled",
    "HookDue",
    "HookOmitted",
    "HookOutcome",
    "HookSkipped",
    "HttpWork",
    "NamedContainer",
    "Node",
    "NodeError",
    "Obligation",
    "OutputParameter",
    "PluginWork",
    "Probe",
    "Reopened",
    "ResourceWork",
    "Run",
    "RunClosed",
    "RunStarted",
    "SecretRef",
    "ShutdownSet",
    "Snapshot",
    "State",
    "StepCancelled",
    "StepDue",
    "StepFinished",
    "StepOutcome",
    "StepPlaced",
    "StepSpec",
    "TimerCleared",
    "TimerSet",
    "TooMuchToDecide",
    "Work",
    "commit",
    "kept_after",
    "kind_of_work",
    "note_replay",
    "pack",
    "phases",
    "turn",
    "unpack",
    "uses_claims",
]
