"""Steps that mount volumes of their workflow go to the executor that has these; the first of them decides which. Pure.

While it is not decided, one step of the workflow looks for a place as any other does, and the others wait for it here.
From then on they are placed as a kind of work that only this executor does (`kind_at`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable

from exeunt.internal.v1 import step_pb2
from exeunt.scheduler.attempts import Executor, Flight
from exeunt.wire_work import kinds_with_volumes

MOST_KNOWN = 100_000
"""Workflows whose executor is remembered here. Of one that is forgotten, its log and the executor itself know it."""


def kind_at(kind: str, executor: str) -> str:
    """A kind of work that is done by this executor only."""
    return f"{kind}@{executor}"


def kinds_at(kinds: Iterable[str], executor: str) -> list[str]:
    """Those that an executor does besides these kinds: its own ones."""
    return [kind_at(kind, executor) for kind in kinds if kind in kinds_with_volumes()]


def stranded(executor: str, grace: float) -> step_pb2.StepResult:
    """How a step ends whose volumes cannot be reached."""
    told = (
        f"the workflow's volumes are on executor {executor}, which was not heard of for {grace:g} seconds: start it "
        "again with its data directory and retry the workflow, or resubmit it"
    )
    return step_pb2.StepResult(phase="Error", message=told)


class Homes:
    """Which executor has the volumes of which workflow, and what waits until that is known or the executor is there."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()
        self._scouts: dict[str, Flight] = {}
        self._parked: dict[str, dict[str, Flight]] = {}
        self._waiting: dict[str, dict[str, Flight]] = {}  # by executor: in line for it alone

    def bind(self, flight: Flight) -> bool:
        """Whether the attempt may look for a place now. Where its executor is known it looks there only."""
        home = flight.home or self._known.get(flight.uid, "")
        if home and not flight.home:
            flight.home = home
        if home:
            flight.kind = kind_at(flight.work, home)
            return True
        return self._scouts.get(flight.uid, flight) is flight

    def may_look(self, flight: Flight) -> bool:
        """The attempt waits: for a place, or (False) for the attempt that decides where its workflow's volumes are."""
        if not self.bind(flight):
            self._parked.setdefault(flight.uid, {})[flight.id] = flight
            return False
        if flight.home:
            self._waiting.setdefault(flight.home, {})[flight.id] = flight
        else:
            self._scouts[flight.uid] = flight
        return True

    def expect(self, flight: Flight, executor: str) -> None:
        """The log says where the attempt was placed."""
        if flight.claims:
            self.learn(flight.uid, executor)

    def found(self, flight: Flight, executor: str) -> list[Flight]:
        """The attempt has a place on this executor. Those that waited to know that."""
        self.learn(flight.uid, executor)
        return self._leave(flight)

    def gone(self, flight: Flight) -> list[Flight]:
        """The attempt does not wait any more. Those that may look for a place in its stead."""
        return self._leave(flight)

    def learn(self, uid: str, executor: str) -> None:
        """This executor has the workflow's volumes. What is known already counts."""
        self._known.setdefault(uid, executor)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def forget(self, uid: str) -> None:
        """The workflow is over, or somebody else's."""
        self._known.pop(uid, None)

    def holds(self, executor: Executor, uids: Iterable[str]) -> None:
        """These workflows have made volumes on the executor."""
        for uid in uids:
            executor.claims[uid] = None
            self.learn(uid, executor.profile.id)

    def release(self, uid: str, executors: Iterable[Executor]) -> None:
        """The workflow needs its volumes no more. An executor that is away is told when it is back."""
        self.forget(uid)
        for executor in executors:
            if executor.link is not None and uid in executor.claims:
                del executor.claims[uid]
                executor.link.release(uid)

    def waiting_for(self, executor: str) -> Collection[Flight]:
        """What waits for this executor alone."""
        return list(self._waiting.get(executor, {}).values())

    def _leave(self, flight: Flight) -> list[Flight]:
        uid = flight.uid
        for table, key in ((self._waiting, flight.home), (self._parked, uid)):
            rest = table.get(key)
            if rest is not None:
                rest.pop(flight.id, None)
                if not rest:
                    del table[key]
        if self._scouts.get(uid) is flight:
            del self._scouts[uid]
            return list(self._parked.pop(uid, {}).values())
        return list(self._parked.pop(uid, {}).values()) if uid in self._known else []
