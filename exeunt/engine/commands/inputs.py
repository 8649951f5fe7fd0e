"""Everything that can happen to a run from outside. An input is not stored: what it makes true is (events).

Of what operators ask `by` says who, and `message` why: both are for people, and neither changes what happens. With a
`revision` it is done only while the run stands at that many commits.
"""

from __future__ import annotations

from typing import Any

import msgspec

from exeunt.engine.facts.events import HookOutcome
from exeunt.engine.facts.work import StepOutcome


class Placed(msgspec.Struct):
    """A due step has an executor (in an exit run: or the exit handler itself). From here on the node is Running."""

    node: str
    attempt: int
    executor: str


class AttemptReady(msgspec.Struct):
    """The attempt of a daemon is ready, and can be reached at this address. Told again, it changes nothing."""

    node: str
    attempt: int
    address: str = ""


class AttemptProgressed(msgspec.Struct):
    """An attempt has come so far: N/M. Told again, or of one that is not the current one, it changes nothing."""

    node: str
    attempt: int
    progress: str = ""


class AttemptEnded(msgspec.Struct):
    """An attempt ended. One that is not the node's current attempt changes nothing."""

    node: str
    attempt: int
    outcome: StepOutcome


class AttemptLost(msgspec.Struct):
    """The executor of an attempt is gone: a main run's node ends in Error, an exit run's is due again."""

    node: str
    attempt: int
    message: str = "the executor was lost"


class ChildStarting(msgspec.Struct):
    """To an exit run: the attempt is about to start this workflow (name, uid, namespace). Rejected when it is over."""

    node: str
    attempt: int
    child: dict[str, str]


class HookEnded(msgspec.Struct):
    """An exit run closed (read from the log). Folding it twice is nothing."""

    outcome: HookOutcome


class ReplayEnded(msgspec.Struct):
    """The replay of an exit run ended so. Folding it twice is nothing."""

    hook_id: str
    phase: str
    message: str = ""


class TimerFired(msgspec.Struct):
    """A timer is due. Unknown ones change nothing."""

    timer: str


class GoOn(msgspec.Struct):
    """The decision before this one had done its share: decide what is left."""


class ShutdownRun(msgspec.Struct):
    """Stop or Terminate. `deleted` when it comes of a deletion."""

    strategy: str
    request_id: str = ""
    message: str = ""
    deleted: bool = False
    by: str = ""
    revision: int = 0


class SuspendRun(msgspec.Struct):
    """Starts nothing further until resumed."""

    request_id: str = ""
    message: str = ""
    by: str = ""
    revision: int = 0


class ResumeRun(msgspec.Struct):
    """Resumes the run and its waiting suspend nodes; with a selector (`displayName=a,…`) only nodes that it names."""

    request_id: str = ""
    selector: str = ""
    elsewhere: bool = False  # nodes of its handlers' runs were meant: that none of its own is, is no error
    message: str = ""
    by: str = ""
    revision: int = 0


class SetNodes(msgspec.Struct):
    """Gives waiting suspend nodes outputs (`valueFrom.supplied`), a message, or a phase."""

    selector: str
    parameters: dict[str, str] = {}
    phase: str = ""
    message: str = ""
    request_id: str = ""
    elsewhere: bool = False  # as of ResumeRun
    by: str = ""
    revision: int = 0


class Cancel(msgspec.Struct):
    """To an exit run: it is not wanted any more, and why. It ends everything and closes as cancelled.

    `strategy` is how its workflow was shut down; empty when somebody ends this run alone. After a stop the handlers of
    its own steps run. `below`: the run hangs below work that was ended, and all of it has failed with that.
    """

    reason: str = ""
    strategy: str = "Terminate"
    below: bool = False
    request_id: str = ""


class Replay(msgspec.Struct):
    """To a closed exit run: run it again from its inputs. `again` makes new effect keys."""

    request_id: str
    again: bool = False
    revision: int = 0


class GiveUp(msgspec.Struct):
    """To a main run: what was decided cannot be written, or not be worked out. It ends in Error for this reason."""

    reason: str


class RetryRun(msgspec.Struct):
    """To a closed main run that did not succeed: run again what failed. `parameters` in place of its own."""

    request_id: str = ""
    parameters: dict[str, str] = {}
    message: str = ""
    by: str = ""
    revision: int = 0


Input = (
    Placed
    | AttemptEnded
    | AttemptLost
    | AttemptProgressed
    | AttemptReady
    | ChildStarting
    | HookEnded
    | ReplayEnded
    | TimerFired
    | GoOn
    | ShutdownRun
    | SuspendRun
    | ResumeRun
    | SetNodes
    | Cancel
    | GiveUp
    | Replay
    | RetryRun
)


class Rejected(Exception):  # noqa: N818 - it is an answer, not a fault
    """A command that cannot be done in this state. `reason` is stable (UPPER_SNAKE), the text is for people."""

    def __init__(self, reason: str, text: str, **facts: Any) -> None:
        super().__init__(text)
        self.reason = reason
        self.facts = facts


def less(given: Input) -> Input | None:
    """What is left of an input that could not be taken in: that work is over. None for commands, which were refused."""
    match given:
        case AttemptEnded():
            return AttemptLost(given.node, given.attempt, "what it ended with could not be written down")
        case HookEnded():
            return HookEnded(msgspec.structs.replace(given.outcome, nodes=given.outcome.nodes[:1], outputs={}))
        case AttemptLost() | AttemptProgressed() | AttemptReady():
            return given
    return None
