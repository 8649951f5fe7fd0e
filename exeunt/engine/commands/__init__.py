"""What comes from outside, taken in: results, timers, and what people ask for.

`inputs` has what can come. `results`, `firing` and `operators` say what each makes true; `killing` ends what runs,
`gates` lets suspend nodes go on, `selection` says which nodes are meant, `give_up` ends a run that cannot go on.
"""

from __future__ import annotations

from exeunt.engine.commands import selection
from exeunt.engine.commands.inputs import (
    AttemptEnded,
    AttemptLost,
    AttemptProgressed,
    AttemptReady,
    Cancel,
    ChildStarting,
    GiveUp,
    GoOn,
    HookEnded,
    Input,
    Placed,
    Rejected,
    Replay,
    ReplayEnded,
    ResumeRun,
    RetryRun,
    SetNodes,
    ShutdownRun,
    SuspendRun,
    TimerFired,
    less,
)

__all__ = [
    "AttemptEnded",
    "AttemptLost",
    "AttemptProgressed",
    "AttemptReady",
    "Cancel",
    "ChildStarting",
    "GiveUp",
    "GoOn",
    "HookEnded",
    "Input",
    "Placed",
    "Rejected",
    "Replay",
    "ReplayEnded",
    "ResumeRun",
    "RetryRun",
    "SetNodes",
    "ShutdownRun",
    "SuspendRun",
    "TimerFired",
    "less",
    "selection",
]
