"""An attempt under way, and an executor as it is known here: what `dispatch` moves about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple, Protocol

from exeunt.internal.v1 import step_pb2
from exeunt.scheduler.placement import Slot
from exeunt.steps import AttemptKey, attempt_key


class FlightState(Enum):
    """Where an attempt stands."""

    WAITING = 1  # for a slot
    PLACED = 2  # has one; the commit that says so is on its way
    SENT = 3  # is, or is to be, with its executor
    ENDED = 4  # its result is here and on its way into the log


class Owner(Protocol):
    """Who wants attempts run: the main runs, or an exit handler."""

    def placed(self, flights: list[Flight]) -> None:
        """They have a slot: commit, then `send`."""

    def ready(self, flight: Flight, address: str) -> None:
        """A daemon that is ready, at this address. It may be told again."""

    def progressed(self, flight: Flight, progress: str) -> None:
        """It has come so far (N/M). It may be told again."""

    def ended(self, flight: Flight, result: step_pb2.StepResult) -> None:
        """A result: commit, then `acknowledge`."""

    def lost(self, flight: Flight, message: str) -> None:
        """It is lost with its executor: commit, then `acknowledge`; nothing more will come of it."""


class FinishedRunsOwner:
    """Owns attempts whose run is over: nobody needs to know what becomes of them."""

    def __init__(self, acknowledge: Callable[[str], None]) -> None:
        self._acknowledge = acknowledge

    def placed(self, flights: list[Flight]) -> None:
        """Nothing that is over waits for a slot."""

    def ready(self, flight: Flight, address: str) -> None:
        """Nobody waits for it."""

    def progressed(self, flight: Flight, progress: str) -> None:
        """Nobody looks at it."""

    def ended(self, flight: Flight, result: step_pb2.StepResult) -> None:
        """It has ended."""
        self._acknowledge(flight.id)

    def lost(self, flight: Flight, message: str) -> None:
        """It will not be heard of."""
        self._acknowledge(flight.id)


class Flight:
    """One attempt under way."""

    __slots__ = (
        "cancelled",
        "claims",
        "executor",
        "exit",
        "group",
        "home",
        "id",
        "key",
        "kind",
        "make",
        "namespace",
        "owner",
        "report",
        "secretive",
        "since",
        "slot",
        "state",
        "uid",
        "where",
        "work",
    )

    def __init__(
        self,
        id: str,
        *,
        kind: str,
        exit: bool,
        namespace: str,
        uid: str,
        where: Callable[[], str],
        owner: Owner,
        group: dict[str, Flight],
        key: Any,
        make: Callable[[], step_pb2.Step],
        secretive: bool = False,
        claims: bool = False,
        home: str = "",
    ) -> None:
        self.id = id
        self.work = kind  # the kind of work
        self.kind = kind  # what an executor must be able to run: its work, or that of one executor
        self.claims = claims  # it mounts volumes that its workflow has made for itself
        self.home = home if claims else ""  # the executor that has them, where it is known
        self.exit = exit
        self.namespace = namespace
        self.uid = uid
        self.where = where  # namespace/workflow/node, for people
        self.owner = owner
        self.group = group  # all flights of one run or stream
        self.key = key  # the owner's own
        self.make = make
        self.secretive = secretive  # its work may name secrets, which are put in as it is sent
        self.state = FlightState.WAITING
        self.slot: Slot | None = None
        self.executor = ""
        self.cancelled = False
        self.report: AttemptReport | None = None
        self.since = 0.0


class PlacementNotices:
    """Tells owners of attempts that got a slot; of all that did in one turn of the loop together."""

    def __init__(self, flights: Mapping[str, Flight]) -> None:
        self._flights = flights  # all that are known: one that was withdrawn meanwhile is not told of
        self._placed: list[Flight] = []

    def add(self, flight: Flight) -> None:
        """This one got a slot."""
        if not self._placed:
            asyncio.get_running_loop().call_soon(self._tell)
        self._placed.append(flight)

    def _tell(self) -> None:
        by_owner: dict[int, list[Flight]] = {}
        placed, self._placed = self._placed, []
        for flight in placed:
            if flight.state is FlightState.PLACED and self._flights.get(flight.id) is flight:
                by_owner.setdefault(id(flight.owner), []).append(flight)
        for flights in by_owner.values():
            flights[0].owner.placed(flights)


class Link(Protocol):
    """The stream to an executor. Everything is gathered and sent together."""

    def send(self, flight: Flight) -> None: ...
    def cancel(self, id: str) -> None: ...
    def acknowledge(self, id: str) -> None: ...
    def forget(self, id: str) -> None: ...
    def release(self, uid: str) -> None: ...
    def close(self) -> None: ...


class AttemptReport(NamedTuple):
    """How an attempt ended; `lost` when it did only because its executor was restarted."""

    id: str
    result: step_pb2.StepResult
    lost: bool = False


class ExecutorProfile(NamedTuple):
    """What an executor says of itself."""

    id: str
    labels: dict[str, str]
    capabilities: tuple[str, ...]
    slots: int
    exit_slots: int
    claims: tuple[str, ...] = ()  # the uids of workflows that have made volumes on it


class Executor:
    """An executor as it is known here; also one that was heard of only from the log."""

    def __init__(self, profile: ExecutorProfile) -> None:
        self.profile = profile
        self.link: Link | None = None
        self.draining = False
        self.flights: dict[str, Flight] = {}  # sent there, not settled
        self.listed: set[str] = set()  # attempts that it knows
        self.ready: dict[str, str] = {}  # daemons of those that are ready, and where they are reached
        self.held: dict[str, AttemptReport] = {}  # reports that nobody has asked for yet
        self.heard = 0.0  # by the loop's clock
        self.seen_at = 0.0  # the same by the wall clock
        self.timer: asyncio.TimerHandle | None = None
        self.claims: dict[str, None] = {}  # workflows that have made volumes there
        self.doubted = False  # silent for the grace: it has a moment more

    def is_ready(self, id: str, address: str, flight: Flight | None) -> None:
        """A daemon is ready; `flight` is its attempt, where somebody here wants it."""
        self.ready[id] = address
        if flight is not None and flight.executor == self.profile.id and flight.state is FlightState.SENT:
            self.tell_ready(flight)

    def has_come(self, progress: str, flight: Flight | None) -> None:
        """An attempt has come so far; `flight` is it, where somebody here wants it."""
        if flight is not None and flight.executor == self.profile.id and flight.state is FlightState.SENT:
            flight.owner.progressed(flight, progress)

    def tell_ready(self, flight: Flight) -> None:
        """Tells the owner of a daemon that is ready, if it is."""
        if flight.id in self.ready:
            flight.owner.ready(flight, self.ready[flight.id])


def named(id: str) -> AttemptKey | None:
    """The attempt that an id names; None where it names none."""
    try:
        return attempt_key(id)
    except ValueError:
        return None
