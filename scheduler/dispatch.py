"""Attempts between those who want them run and the executors that run them.

An attempt waits for a slot, has one while the commit that names its executor is on its way, is sent, and ends when its
result is durable and acknowledged. What executors say is level-triggered: their hello lists every attempt that they
know, so lost frames, broken streams and restarts of either side heal by the attempt's id. An attempt that an executor
has not got is sent there again (it starts an attempt once, also over its own restart); one whose executor stays away
for the grace period is lost. Nothing is said about attempts of partitions that are not owned and loaded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable

from exeunt.journal.subjects import partition_of
from exeunt.scheduler.attempts import (
    AttemptReport,
    Executor,
    ExecutorProfile,
    FinishedRunsOwner,
    Flight,
    FlightState,
    Link,
    PlacementNotices,
    named,
)
from exeunt.scheduler.homes import Homes, kinds_at, stranded
from exeunt.scheduler.lost_executors import ExecutorSilence
from exeunt.scheduler.placement import Placement, Slot
from exeunt.scheduler.strays import Judges, StrayAttempts
from exeunt.wire_work import kinds_for

log = logging.getLogger(__name__)


class Dispatch:
    """All attempts and all executors of this scheduler."""

    def __init__(self, *, grace: float, judges: Judges, now: Callable[[], float]) -> None:
        self.grace = grace
        self.executors: dict[str, Executor] = {}
        self.flights: dict[str, Flight] = {}
        self.placement: Placement[Flight] = Placement()
        self.homes = Homes()
        self.sent = 0  # attempts sent, ever
        self.waited_seconds = 0.0  # the sum of their times from due to sent
        self._judges = judges
        self._now = now  # wall clock, for people
        self._placed = PlacementNotices(self.flights)
        self._over = FinishedRunsOwner(self.acknowledge)
        self._silence = ExecutorSilence(grace, self._lose)
        self._strays = StrayAttempts(self.flights, judges, self._let_go)

    @property
    def unjudged(self) -> bool:
        """Whether something was left open because ownership had not been confirmed: call `judge` when it has been."""
        return self._strays.unjudged

    # --- for those who want steps run ---------------------------------------------------------------------------------

    def place(self, flight: Flight) -> str | None:
        """Takes a slot for the attempt now, if there is one. Then either `send` or `drop` it."""
        free = self.homes.bind(flight) if flight.claims else True
        slot = self.placement.take(flight.kind, exit=flight.exit) if free else None
        if slot is None:
            return None
        self._add(flight)
        self._got(flight, slot)
        return slot.executor

    def wait(self, flight: Flight) -> None:
        """Puts the attempt in line; its owner hears `placed`."""
        self._add(flight)
        self._line_up(flight)

    def send(self, id: str, executor: str) -> None:
        """The placement is durable: the attempt goes out. Unknown ids (withdrawn meanwhile) are passed over."""
        flight = self.flights.get(id)
        if flight is None or flight.state not in {FlightState.WAITING, FlightState.PLACED}:
            return
        if flight.state is FlightState.PLACED and flight.executor == executor:
            self._give(flight, self._executor(executor))
        else:  # it was asked for again on a new stream, and the answer to the old one is what the log says
            self._withdraw(flight)
            self.expect(flight, executor)

    def expect(self, flight: Flight, executor: str) -> None:
        """The log says that the attempt was placed there earlier: it runs there, or ended, or never arrived."""
        self.homes.expect(flight, executor)
        self._add(flight)
        flight.executor = executor
        there = self._executor(executor)
        report = there.held.pop(flight.id, None)
        if report is not None:
            there.flights[flight.id] = flight
            self._ended(flight, report)
        elif flight.id in there.listed:
            there.flights[flight.id] = flight
            flight.state = FlightState.SENT
            there.tell_ready(flight)
        else:
            self._give(flight, there)

    def expect_cancelled(self, flight: Flight) -> None:
        """The log says that the attempt was cancelled; where it runs, if it does, an executor will say."""
        self._add(flight)
        flight.state = FlightState.SENT
        flight.cancelled = True
        for executor in self.executors.values():
            if flight.id in executor.listed:
                self._found(flight, executor)

    def end(self, flight: Flight, executor: str) -> None:
        """The log says that the attempt was placed there and then cancelled: it ends there, or has, or never began."""
        self._add(flight)
        flight.state = FlightState.SENT
        flight.cancelled = True
        there = self._executor(executor)
        self._bind(flight, there)
        if flight.id in there.listed:
            self._found(flight, there)
        elif there.link is not None:
            self._never_began(flight)

    def unclaimed(self, id: str) -> bool:
        """Whether an executor knows the attempt and nobody here has asked for it."""
        return id not in self.flights and any(id in executor.listed for executor in self.executors.values())

    def cancel(self, id: str) -> None:
        """The attempt is not wanted any more: out of the line, or ended where it runs."""
        flight = self.flights.get(id)
        if flight is None:
            return
        if flight.cancelled and flight.state is FlightState.SENT:
            return
        flight.cancelled = True
        if flight.state in {FlightState.WAITING, FlightState.PLACED}:
            self._withdraw(flight)
        elif flight.state is FlightState.ENDED:
            if flight.report is not None:
                self._ended(flight, flight.report)  # what was fed before may have changed nothing: settle it anew
        elif (executor := self.executors.get(flight.executor)) is not None and executor.link is not None:
            if id in executor.listed:
                executor.link.cancel(id)
            else:
                self._never_began(flight)

    def acknowledge(self, id: str) -> None:
        """The attempt's result is durable."""
        flight = self.flights.get(id)
        if flight is None:
            for executor in self.executors.values():
                if id in executor.listed:
                    self._let_go(executor, id)
        elif flight.state is FlightState.ENDED:
            self._remove(flight)
            if flight.executor in self.executors:
                self._let_go(self.executors[flight.executor], id, flight.report)

    def drop(self, group: dict[str, Flight]) -> None:
        """Lets go of all attempts of a run or stream: another owner will ask for those that are with executors."""
        for flight in list(group.values()):
            if flight.state in {FlightState.WAITING, FlightState.PLACED}:
                self._withdraw(flight)
                continue
            self._remove(flight)
            executor = self.executors.get(flight.executor)
            if executor is not None and flight.report is not None:
                executor.held[flight.id] = flight.report

    def close(self, group: dict[str, Flight]) -> None:
        """The run is over: its results are acknowledged, and what still runs is ended, with its grace."""
        for flight in list(group.values()):
            flight.owner = self._over
            flight.group.pop(flight.id, None)
            flight.group = {}
            if flight.state is FlightState.ENDED:
                self.acknowledge(flight.id)
            elif flight.state is FlightState.SENT and not flight.executor:
                self._remove(flight)  # cancelled in an earlier life, and no executor has told of it
            else:
                self.cancel(flight.id)
        group.clear()

    def judge(self, partitions: Collection[int]) -> None:
        """Says what becomes of attempts of these partitions that executors know and nobody here does."""
        self._strays.begin(self.executors.values())
        for executor in list(self.executors.values()):
            if executor.link is not None:
                self._bring(executor)
                self._judge(executor, partitions)

    def loaded(self, partitions: Collection[int]) -> None:
        """These partitions have just been loaded: the grace of executors that are not there begins now."""
        for executor in list(self.executors.values()):
            if executor.link is None:
                self.listen(executor)
        self.judge(partitions)

    def exit_closed(self, uid: str, hook_id: str, attempt: int) -> None:
        """An exit run has closed: nobody will ask for its results any more, up to that attempt (a replay has others).

        What was cancelled has its grace to end.
        """
        prefix = f"{uid}.{hook_id}/"
        for executor in self.executors.values():
            for id in [id for id in executor.listed if id.startswith(prefix)]:
                known = named(id)
                if known is not None and known.attempt > attempt:
                    continue
                if id in self.flights:
                    self.acknowledge(id)
                else:
                    self._let_go(executor, id)

    def goes(self, flight: Flight, executor: Executor) -> bool:
        """Whether an attempt that was given to a stream goes out with its next frame.

        It does not when it is somebody else's by now. While it is not certain that it is ours, it goes out later: when
        that has been confirmed.
        """
        now = self.flights.get(flight.id)
        if now is not None and not now.cancelled and self._judges(partition_of(flight.uid), None):
            return True
        executor.listed.discard(flight.id)
        if now is not None and now.cancelled:
            self._never_began(now)
        elif now is not None:
            self._strays.unjudged = True
        if flight.slot is not None:
            slot, flight.slot = flight.slot, None
            self._match(self.placement.give_back(slot))
        return False

    def sweep(self, over: Callable[[str, str], bool]) -> None:
        """Executors forget what is left of exit runs that are over (`StrayAttempts.sweep`)."""
        self._strays.sweep(self.executors.values(), over)

    # --- for the executors' streams -----------------------------------------------------------------------------------

    def attach(
        self, link: Link, profile: ExecutorProfile, attempts: Iterable[str], reports: Iterable[AttemptReport]
    ) -> Executor:
        """An executor has said hello. A stream of it that is still there is closed: the newest counts."""
        executor = self.executors.get(profile.id)
        if executor is None:
            executor = self.executors[profile.id] = Executor(profile)
        if executor.link is not None:
            executor.link.close()
        executor.profile = profile
        executor.link = link
        executor.draining = False
        executor.listed = set(attempts)
        executor.held, executor.ready, executor.claims = {}, {}, {}
        kinds = kinds_for(profile.capabilities)
        self.placement.connect(profile.id, (*kinds, *kinds_at(kinds, profile.id)))
        self.homes.holds(executor, profile.claims)
        self.listen(executor)
        for report in reports:
            executor.listed.add(report.id)
            self.update(executor, report)
        for flight in list(executor.flights.values()):
            if flight.state is not FlightState.SENT:
                continue
            if flight.cancelled and flight.id not in executor.listed:
                self._never_began(flight)
            elif flight.cancelled:
                link.cancel(flight.id)
        self._bring(executor)
        self._judge(executor, None)
        return executor

    def detach(self, link: Link, executor: Executor) -> None:
        """The stream has ended; the executor has the grace period to come back."""
        if executor.link is link:
            executor.link = None
            self.placement.disconnect(executor.profile.id)
            self.listen(executor)

    def heard(self, executor: Executor) -> None:
        """A frame came."""
        self._silence.heard(executor)
        executor.seen_at = self._now()

    def listen(self, executor: Executor) -> None:
        """Counts its silence from now."""
        self._silence.begin(executor)
        executor.seen_at = self._now()

    def lend(self, executor: Executor, *, ordinary: int | None, kept: int | None, seen: int) -> None:
        """The executor says what is free."""
        if self.executors.get(executor.profile.id) is executor:
            self._match(self.placement.lend(executor.profile.id, ordinary=ordinary, kept=kept, seen=seen))

    def update(self, executor: Executor, report: AttemptReport) -> None:
        """An attempt ended."""
        id = report.id
        executor.ready.pop(id, None)
        flight = self.flights.get(id)
        if flight is not None and flight.executor in {"", executor.profile.id}:
            if flight.state is FlightState.SENT:
                self._bind(flight, executor)
                self._ended(flight, report)
            elif flight.state is FlightState.ENDED:
                if flight.report is None:  # it is counted as lost, and that is being written
                    executor.held[id] = report
            else:
                log.warning("executor %s reports %s, which was not sent to it", executor.profile.id, id)
        elif self._strays.nobody_wants(id):
            self._let_go(executor, id, report)
        else:
            executor.held[id] = report
            executor.listed.add(id)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _judge(self, executor: Executor, partitions: Collection[int] | None) -> None:
        """Says what becomes of attempts that the executor knows. None: of all partitions."""
        for id in list(executor.listed):
            flight = self.flights.get(id)
            if flight is not None and not flight.executor and flight.state is FlightState.SENT:
                self._found(flight, executor)
        self._strays.judge(executor, partitions)

    def _line_up(self, flight: Flight) -> None:
        if flight.claims and not self.homes.may_look(flight):
            return
        if flight.home:
            self._executor(flight.home)  # one that is not there has the grace period to come
        slot = self.placement.wait(flight)
        if slot is not None:
            self._match([(flight, slot)])

    def _match(self, placed: list[tuple[Flight, Slot]]) -> None:
        for flight, slot in placed:
            self._got(flight, slot)
            self._placed.add(flight)

    def _add(self, flight: Flight) -> None:
        old = self.flights.get(flight.id)
        if old is not None:  # a new stream of the same exit handler asks, the old one has not ended yet
            self.drop({old.id: old})
        self.flights[flight.id] = flight
        flight.group[flight.id] = flight
        flight.since = asyncio.get_running_loop().time()

    def _remove(self, flight: Flight) -> None:
        if self.flights.get(flight.id) is flight:
            del self.flights[flight.id]
        flight.group.pop(flight.id, None)
        executor = self.executors.get(flight.executor)
        if executor is not None:
            executor.flights.pop(flight.id, None)

    def _withdraw(self, flight: Flight) -> None:
        self._remove(flight)
        if flight.state is FlightState.WAITING:
            self.placement.withdraw(flight)
            for following in self.homes.gone(flight) if flight.claims else ():
                self._line_up(following)
        elif flight.slot is not None:
            slot, flight.slot = flight.slot, None
            self._match(self.placement.give_back(slot))

    def _got(self, flight: Flight, slot: Slot) -> None:
        flight.slot = slot
        flight.executor = slot.executor
        flight.state = FlightState.PLACED
        for following in self.homes.found(flight, slot.executor) if flight.claims else ():
            self._line_up(following)

    def _give(self, flight: Flight, executor: Executor) -> None:
        """Sends the attempt, or keeps it for when the executor is there."""
        flight.state = FlightState.SENT
        executor.flights[flight.id] = flight
        if executor.link is not None:
            if flight.slot is None:
                flight.slot = self.placement.force(executor.profile.id)
            executor.listed.add(flight.id)
            executor.link.send(flight)
            self.sent += 1
            self.waited_seconds += asyncio.get_running_loop().time() - flight.since

    def _let_go(self, executor: Executor, id: str, report: AttemptReport | None = None) -> None:
        """Nobody needs the attempt any more: its result is not kept, and it is ended if it runs."""
        executor.listed.discard(id)
        report = executor.held.pop(id, report)
        if executor.link is not None and report is not None:
            executor.link.acknowledge(id)
        elif executor.link is not None:
            executor.link.forget(id)

    def _bring(self, executor: Executor) -> None:
        """Sends what should be with the executor and is not."""
        for flight in list(executor.flights.values()):
            if flight.state is FlightState.SENT and not flight.cancelled and flight.id not in executor.listed:
                self._give(flight, executor)

    def _never_began(self, flight: Flight) -> None:
        """A cancelled attempt never arrived, or is over: there is nothing to end."""
        self._remove(flight)
        flight.owner.lost(flight, "it was cancelled before it began")

    def _found(self, flight: Flight, executor: Executor) -> None:
        """An executor knows a cancelled attempt."""
        self._bind(flight, executor)
        report = executor.held.pop(flight.id, None)
        if report is not None:
            self._ended(flight, report)
        elif executor.link is not None:
            executor.link.cancel(flight.id)

    def _bind(self, flight: Flight, executor: Executor) -> None:
        flight.executor = executor.profile.id
        executor.flights[flight.id] = flight

    def _ended(self, flight: Flight, report: AttemptReport) -> None:
        flight.state = FlightState.ENDED
        flight.report = report
        if report.lost and not flight.cancelled:
            flight.owner.lost(flight, report.result.message)
        else:
            flight.owner.ended(flight, report.result)

    def _executor(self, id: str) -> Executor:
        """The executor of that id, also when it has not been seen yet: then it has the grace period to come."""
        executor = self.executors.get(id)
        if executor is None:
            executor = self.executors[id] = Executor(ExecutorProfile(id, {}, (), 0, 0))
            self.listen(executor)
        return executor

    def _lose(self, executor: Executor) -> None:
        name = executor.profile.id
        log.warning("executor %s was silent for %g s: its %d steps are lost", name, self.grace, len(executor.flights))
        del self.executors[name]
        self.placement.remove(name)
        if executor.link is not None:
            executor.link.close()
            executor.link = None
        for flight in list(executor.flights.values()):
            executor.flights.pop(flight.id)
            if flight.state is FlightState.SENT:
                flight.state = FlightState.ENDED  # without a report; known until that is written
                flight.owner.lost(flight, f"executor {name} was not heard of for {self.grace:g} seconds")
        for flight in self.homes.waiting_for(name):
            self.placement.withdraw(flight)
            self.homes.gone(flight)
            self._ended(flight, AttemptReport(flight.id, stranded(name, self.grace)))
