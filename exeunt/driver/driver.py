"""The loop around the engine: input → decide → append → act. One driver for each open run, main run or exit run.

A driver never has more than one commit on its way. Inputs that come meanwhile wait and are decided together
afterwards, so that a busy run makes few, larger commits. Nothing acts before the log has said that the commit is
durable; what acts is read off the committed events, or after a restart off `pending`. A driver has no task of its
own: it runs when it is fed and when an answer comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence

from exeunt.driver.in_flight import InFlight
from exeunt.driver.ports import Clock, Journal, Steps
from exeunt.driver.turns import Turns
from exeunt.engine import decide
from exeunt.engine.commands import GiveUp, GoOn, Input, Placed, Rejected, TimerFired, less
from exeunt.engine.decide import Run
from exeunt.engine.facts import (
    Event,
    Snapshot,
    StepDue,
    TooMuchToDecide,
    commit,
)
from exeunt.journal.errors import LogClosed, LogFull, NotOwner, Refused
from exeunt.journal.sizes import TooLarge
from exeunt.journal.subjects import Family

log = logging.getLogger(__name__)

INPUTS_PER_COMMIT = 256


OnCommit = Callable[["Driver", list[Event], int], None]
OnEnd = Callable[["Driver"], None]
OnBroken = Callable[["Driver"], bool]
"""True: `give_up` will follow."""
Batch = Sequence[tuple["Input | _WriteSnapshot", "asyncio.Future[None] | None"]]
Told = Callable[[], asyncio.Future[None]]
"""Answers a future that is done when everything that was told so far is out."""


class Driver:
    """Drives one run.

    `on_commit(driver, events, sequence)` is called for each durable commit before its effects; `on_lost(driver)` once
    when this process is not the run's owner any more. `on_broken(driver)` is called when something cannot be decided
    (an error in the engine) or not be written (too large, or refused for good): `broken` says what, and the run rests
    until `give_up`; no other run is touched.
    """

    __slots__ = (
        "_asked",
        "_busy",
        "_epoch",
        "_flight",
        "_held",
        "_inbox",
        "_queued",
        "_resting",
        "_settled",
        "_spoilt",
        "_took",
        "broken",
        "clock",
        "dropped",
        "family",
        "given_up",
        "journal",
        "on_broken",
        "on_commit",
        "on_lost",
        "rests",
        "run",
        "sequence",
        "steps",
        "turns",
    )

    def __init__(
        self,
        run: Run,
        family: Family,
        *,
        journal: Journal,
        steps: Steps[Driver],
        clock: Clock,
        turns: Turns,
        on_commit: OnCommit,
        on_lost: OnEnd,
        on_broken: OnBroken = lambda driver: False,
    ) -> None:
        self.run = run
        self.family = family
        self.journal = journal
        self.steps = steps
        self.clock = clock
        self.turns = turns
        self.on_commit = on_commit
        self.on_lost = on_lost
        self.on_broken = on_broken
        self.sequence = 0  # of the last durable commit
        self.dropped = False
        self.broken = ""
        self.rests = False  # nothing is decided any more
        self.given_up = ""  # why the run was ended: it had been broken before
        self._spoilt: list[Input] = []  # what was to be decided when it broke
        self._busy = False
        self._queued = False  # it waits for its turn
        self._resting = False  # it waits until it has rested from its last one
        self._took = 0.0  # the last turn, in seconds, where it has to rest from it
        self._held = 0  # how many look at the run
        self._inbox: list[tuple[Input | _WriteSnapshot, asyncio.Future[None] | None]] = []
        self._asked: list[asyncio.Future[None]] = []
        self._flight = InFlight(self, steps, clock, lambda timer: self.feed(TimerFired(timer)))
        self._settled: asyncio.Future[None] | None = None
        # the run's own time is counted on from here by the loop's clock
        self._epoch = max(clock.now(), run.now) - asyncio.get_running_loop().time()

    # --- what others call ---------------------------------------------------------------------------------------------

    def start(self, events: list[Event]) -> asyncio.Future[None]:
        """Writes the first commit of a run that was just begun. The future is done when it is durable."""
        future = self._future()
        self._asked.append(future)
        self._write(events)
        return future

    def resume(self) -> None:
        """Takes up a run that was read from the log: what should be in flight is brought there again."""
        self.feed(*self._flight.bring_back(decide.pending(self.run), self._now()))

    def feed(self, *inputs: Input) -> None:
        """Takes in what happened. Never waits and never raises. What comes to a broken run waits for `give_up`."""
        if self.dropped or self.rests:
            return
        self._inbox.extend((i, None) for i in inputs)
        self._ready()

    def ask(self, command: Input) -> asyncio.Future[None]:
        """Takes in a command; done when what it changed is durable.

        Raises Rejected when it cannot be done or not be written, NotOwner when the run is not ours (any more).
        """
        future = self._future()
        if self.dropped:
            future.set_exception(NotOwner("the run has moved to another owner"))
            return future
        if self.rests:
            future.set_exception(self._refusal())
            return future
        self._inbox.append((command, future))
        self._ready(asked=True)
        return future

    def write_snapshot(self, told: Told | None = None) -> None:
        """Writes the whole state as a commit as soon as no other is on its way (docs/log.md §4).

        `told` is waited for first: what the commits before it tell others has to be out, since a load begins with the
        snapshot.
        """
        if any(isinstance(given, _WriteSnapshot) for given, _ in self._inbox):
            return
        if not (self.dropped or self.broken or self.run.closed):
            self._inbox.append((_WriteSnapshot(told), None))
            self._ready()

    def give_up(self, run: Run, events: list[Event]) -> None:
        """Goes on with the run as the log has it, and ends it for the reason that it was broken for.

        `events`: the first commit of one that has none in the log.
        """
        if self.dropped:
            return
        self.run, self.given_up, self.broken = run, self.broken, ""
        self._flight.know(decide.pending(run), self._now())
        left = [(given, None) for given in map(less, self._spoilt) if given is not None]
        self._spoilt = []
        self._inbox[:0] = left if events else [(GiveUp(self.given_up), None), *left]
        if events:
            self._write(events)
        else:
            self._ready()

    def end(self, run: Run, events: list[Event]) -> asyncio.Future[None]:
        """Writes the end of a run that rests; done when it is durable."""
        future = self._future()
        self.run, self._asked = run, [*self._asked, future]
        self._write(events)
        return future

    @property
    def busy(self) -> bool:
        """True while a commit is on its way: what the run says now is not all durable."""
        return self._busy

    @property
    def waits(self) -> bool:
        """True while the run waits for its turn to decide. A run that rests does not wait."""
        return self._queued

    def hold(self) -> None:
        """Nothing is decided, and the run stays as it is, until `let_go`: somebody looks at it for several rounds."""
        self._held += 1

    def let_go(self) -> None:
        """The run goes on when nobody looks at it any more."""
        self._held -= 1
        self._ready()

    @property
    def attempts(self) -> Collection[tuple[str, int]]:
        """Nodes and attempts that wait for a place, or are under way."""
        return self._flight.attempts

    async def settled(self) -> None:
        """Waits until what is decided is durable: what is shown to people must not be taken back."""
        while self._busy and not self.dropped:
            if self._settled is None:
                self._settled = self._future()
            await asyncio.shield(self._settled)

    def drop(self) -> None:
        """Stops acting: the run is somebody else's, or the process ends. Nothing is written any more."""
        if self.dropped:
            return
        self.dropped = True
        self._flight.stop_timers()
        _moved([*self._asked, *(f for _, f in self._inbox if f is not None)])
        self._asked.clear()
        self._inbox.clear()
        self._wake()

    # --- deciding -----------------------------------------------------------------------------------------------------

    def _ready(self, *, later: bool = False, asked: bool = False) -> None:
        """Has the run decide in its turn, when there is something to decide and no commit is on its way.

        A run that has much to decide rests between its turns; what people ask for is taken in all the same.
        """
        if self._busy or self._queued or self._held or self.dropped or self.broken or (self._resting and not asked):
            return
        if not (self._inbox or self.run.unfinished):
            return
        if self._took and not asked:
            self._resting = True
            self.turns.rest(self._again, self._took)
        else:
            self._queued = True
            (self.turns.wait if later else self.turns.take)(self._turn)

    def _again(self) -> None:
        """It has rested."""
        self._resting, self._took = False, 0.0
        if not (self._queued or self._busy):
            self._turn()

    def _turn(self) -> None:
        """Decides what waits, as long as this is its turn, and notes how long that took where it was much."""
        self._queued = False
        if self._held or self.dropped:
            return
        began = asyncio.get_running_loop().time()
        self._decide()
        if not self._resting and (self.run.unfinished or self.run.turn.heavy):
            self._took = asyncio.get_running_loop().time() - began
        self._ready(later=True)

    def _decide(self) -> None:
        """Decides what waits and writes it as one commit; does so again while nothing has to be written."""
        if self.run.unfinished and not self._resting:
            self._inbox.append((GoOn(), None))
        while self._inbox and not self._busy and not self.dropped and not self.broken:
            batch, self._inbox = self._inbox[:INPUTS_PER_COMMIT], self._inbox[INPUTS_PER_COMMIT:]
            events: list[Event] = []
            for number, (given, asked) in enumerate(batch):
                if number and self.turns.over:
                    self._inbox[:0] = batch[number:]
                    batch = batch[:number]
                    break
                if isinstance(given, _WriteSnapshot):
                    if self.run.closed:  # the commit before closed it: nothing may follow that
                        continue
                    if not events and len(batch) == 1:
                        self._snapshot(given.told)
                        return
                    # a snapshot is a commit of its own
                    self._inbox.append((given, None))
                    continue
                try:
                    events += decide.decide(self.run, given, self._now())
                except Rejected as error:
                    _fail(asked, error)
                    continue
                except Exception as error:  # noqa: BLE001 - one run's fault must not stop the others
                    self._break(error, batch, [asked])
                    return
                if asked is not None:
                    self._asked.append(asked)
            if events:
                self._write(events, batch)
            else:
                self._answer()
            if self.turns.over:
                break

    def _snapshot(self, told: Told | None) -> None:
        """Writes a snapshot when everything is out; nothing is decided meanwhile."""

        def write(_: object = None) -> None:
            self._busy = False
            if not self.dropped:
                self._write([decide.snapshot(self.run, self._now())])

        if told is None:
            write()
        else:
            self._busy = True
            told().add_done_callback(write)

    def _place(self, events: list[Event]) -> list[Event]:
        """Adds the placements that can be had now, so that a step's start needs no commit of its own."""
        seen = 0
        while seen < len(events):
            event = events[seen]
            seen += 1
            if isinstance(event, StepDue):
                executor = self.steps.place(self, event)
                if executor is not None:
                    events += decide.decide(self.run, Placed(event.node, event.attempt, executor), self._now())
        return events

    def _now(self) -> float:
        """The run's time: the wall clock as it was when this began, and from then on as time goes by.

        A wall clock that is put forward or back is not followed before the next load: every wait and every deadline of
        the run is counted in this time, and none may come sooner or later for it (docs/log.md §6).
        """
        return max(self.run.now, self._epoch + asyncio.get_running_loop().time())

    # --- writing and acting -------------------------------------------------------------------------------------------

    def _write(self, events: list[Event], batch: Batch = ()) -> None:
        try:
            events = self._place(events)
            data = commit.encode(self.run.now, events)
        except Exception as error:  # noqa: BLE001 - as in _turn
            self._break(error, batch, [])
            return
        self._busy = True
        asked, self._asked = self._asked, []
        self.run.commits += 1
        answer = self.journal.append(
            self.family, self.run.commits, commit.kind(events), data, snapshot=isinstance(events[0], Snapshot)
        )
        answer.add_done_callback(lambda done: self._written(done, events, batch, asked))

    def _written(
        self, answer: asyncio.Future[int], events: list[Event], batch: Batch, asked: list[asyncio.Future[None]]
    ) -> None:
        self._busy = False
        error = None if answer.cancelled() else answer.exception()
        if isinstance(error, Exception) and not isinstance(error, NotOwner | LogClosed | LogFull) and not self.dropped:
            self._asked += asked
            self._break(error, batch, [])
            return
        if answer.cancelled() or error is not None:
            lost = not self.dropped
            self.drop()
            _moved(asked)  # also when the run was dropped while its commit was on its way
            if lost:
                self.on_lost(self)
            return
        self.sequence = answer.result()
        if not self.dropped:
            self.on_commit(self, events, self.sequence)
            self._flight.act(events, self.run.now)
        for future in asked:
            if not future.done():
                future.set_result(None)
        self._wake()
        self._ready()

    # --- answers ------------------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        asked, self._asked = self._asked, []
        for future in asked:
            if not future.done():
                future.set_result(None)

    def _break(self, error: Exception, batch: Batch, asked: Iterable[asyncio.Future[None] | None]) -> None:
        self.broken = (
            str(error)
            if isinstance(error, TooLarge | Refused | TooMuchToDecide)
            else f"{type(error).__name__}: {error}"
        )
        log.error("run %s (%s) cannot go on: %s", self.run.uid, self.run.name, self.broken, exc_info=error)
        self._flight.stop_timers()
        self._spoilt = [given for given, _ in batch if not isinstance(given, _WriteSnapshot)]
        for future in (*asked, *(future for _, future in batch)):
            _fail(future, self._refusal())
        if not self.on_broken(self):
            self.rest()
        elif self.run.commits > 1:  # whoever began the run hears how it goes on
            self._refuse_asked()
        self._wake()

    def rest(self) -> None:
        """Takes in nothing any more; what was asked is refused."""
        self.rests = True
        for _, future in self._inbox:
            _fail(future, self._refusal())
        self._inbox.clear()
        self._refuse_asked()

    def _refuse_asked(self) -> None:
        asked, self._asked = self._asked, []
        for future in asked:
            _fail(future, self._refusal())

    def _refusal(self) -> Rejected:
        return Rejected("NOT_WRITTEN", f"the workflow cannot go on: {self.broken}")

    def _wake(self) -> None:
        if self._settled is not None:
            if not self._settled.done():
                self._settled.set_result(None)
            self._settled = None

    def _future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()


class _WriteSnapshot:
    """A snapshot that waits for its turn."""

    __slots__ = ("told",)

    def __init__(self, told: Told | None) -> None:
        self.told = told


def _fail(future: asyncio.Future[None] | None, error: Exception) -> None:
    if future is not None and not future.done():
        future.set_exception(error)
        future.exception()  # whoever asked may be gone


def _moved(asked: Iterable[asyncio.Future[None]]) -> None:
    for future in asked:
        _fail(future, NotOwner("the run has moved to another owner"))
