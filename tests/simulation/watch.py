"""What must hold at every step, looked at from outside: all that is ever stored is seen here, before it is cut.

The watcher folds all runs from what was ever stored, and compares: with the fences, with what services have in
memory, with what programs and actions are started, with what is cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from exeunt.driver.driver import Driver
from exeunt.engine import decide
from exeunt.engine.decide import Run
from exeunt.engine.facts import commit
from exeunt.engine.facts.events import Event, HookDue, HookSkipped, Reopened, RunClosed, Snapshot, StepPlaced
from exeunt.engine.facts.state import pack, unpack
from exeunt.journal.subjects import Family, Fence, Joiner, MessagePiece, Piece, Record, parse
from exeunt.language.manifest import Bundle
from exeunt.launch import START, decode_bundle
from exeunt.scheduler.announce import events_to_publish
from exeunt.steps import AttemptKey, attempt_key
from tests.invariants import broken
from tests.simulation.loop import Process, SimLoop, current
from tests.simulation.nats import Stored

FRESH_SECONDS = 1.0
COMPARED = 5
"""Every so many commits the whole state is compared with the one in the service's memory."""


class Watch:
    """Sees all; `wrongs` says what was not as it must be, `lines` what happened."""

    def __init__(self, loop: SimLoop, blobs: Callable[[], dict[str, bytes]]) -> None:
        self.loop = loop
        self.blobs = blobs
        self.kept: Callable[[str], bool] = lambda uid: False  # whether a workflow is in the archive, or was deleted
        self.wrongs: list[str] = []
        self.lines: list[str] | None = None
        self.runs: dict[Family, Run] = {}
        self.needed: dict[Family, int] = {}  # where the log of a run must begin
        self.numbers: dict[Family, int] = {}
        self.due: dict[str, tuple[Family, int]] = {}  # hook id → its main run, and where it became due
        self.skipped: dict[str, set[str]] = {}  # uid → hook ids of handlers that do not run
        self.results: dict[str, int] = {}  # hook id → position of the closing commit
        self.replays: Counter[str] = Counter()  # hook id → how often it was run again
        self.closings: Counter[str] = Counter()  # hook id → how often its run has closed
        self.open: dict[Family, None] = {}  # runs that have not handed over their end
        self.asked: dict[str, int] = {}  # uids of children → where their start was asked for
        self.placed: dict[str, str] = {}
        self.programs: dict[str, Process] = {}
        self.actions = 0
        self.commits = 0
        self.cuts = 0
        self._lost: set[str] = set()  # attempts that were reported as lost with their executor
        self._renewed: dict[Process, float] = {}
        self._owners: dict[tuple[int, str], Process] = {}
        self._joiner = Joiner()
        self._bundles: dict[str, Bundle] = {}

    def wrong(self, text: str) -> None:
        self.say(f"WRONG: {text}")
        self.wrongs.append(f"at {self.loop.time():.3f} s: {text}")

    def say(self, text: str) -> None:
        if self.lines is not None:
            process = current()
            self.lines.append(f"{self.loop.time():9.4f}  {process.name if process else '':4} {text}")

    # --- the log ------------------------------------------------------------------------------------------------------

    def stored(self, stored: Stored) -> None:
        what = parse(stored.sequence, stored.subject, stored.headers, stored.data)
        if isinstance(what, Fence):
            self._owners[what.partition, what.role] = stored.writer
            self.say(f"#{stored.sequence} fence of {what.partition}.{what.role} by {stored.writer}")
        elif isinstance(what, MessagePiece):
            message = what.message
            if message.to == START:
                self.asked.setdefault(message.id, stored.sequence)
            self.say(f"#{stored.sequence} message to {message.partition}.{message.role}: {message.to} {message.id}")
        elif isinstance(what, Piece):
            role = "x" if what.family.hook_id else "m"
            if self._owners.get((what.family.partition, role)) is not stored.writer:
                self.wrong(f"{stored.writer} committed #{stored.sequence} to {what.family} behind the fence of another")
            record = self._joiner.join(what)
            if record is not None:
                self._commit(record)
        else:
            self.wrong(f"#{stored.sequence} is of no known kind: {stored.subject}")

    def _commit(self, record: Record) -> None:
        family = record.family
        self.commits += 1
        decoded = commit.decode(record.data)
        if self.lines is not None:
            names = " ".join(type(e).__name__ for e in decoded.events)
            self.say(f"#{record.sequence} {_name(family)} commit {record.number} ({record.kind}): {names}")
        last = self.numbers.get(family, 0)
        if record.number != last + 1:
            self.wrong(f"commit {record.number} of {family} follows commit {last} (#{record.sequence})")
        self.numbers[family] = record.number
        again = family.hook_id and (record.snapshot or isinstance(decoded.events[0], Reopened))
        if last and family not in self.open and not again:
            self.wrong(f"{_name(family)} goes on after its end (#{record.sequence})")
        if record.number == 1 or record.snapshot:
            self.needed[family] = record.first
        self.open[family] = None
        run = self._fold(family, decoded)
        for event in decoded.events:
            self._event(family, record, event)
        if run.closed and (record.kind == "r" or not family.hook_id or isinstance(decoded.events[0], Snapshot)):
            del self.open[family]
        if record.kind in "ze":
            open_hooks = [h for h, (main, _) in self.due.items() if main == family and h not in self.results]
            if open_hooks:
                self.wrong(f"{family.uid} closed while its handlers {open_hooks} were open")
            if any(hook.open for hook in run.state.hooks):
                self.wrong(f"{family.uid} closed before it folded the results of its handlers")

    def _fold(self, family: Family, decoded: commit.Commit) -> Run:
        run = self.runs.get(family)
        if run is None or (run.closed and isinstance(decoded.events[0], Snapshot)):  # it begins, or begins anew
            run = self.runs[family] = decide.replay(self._bundle, [decoded])
        else:
            for event in decoded.events:
                if isinstance(event, Snapshot):
                    kept, ours = unpack(event.state), run.state
                    kept.commits = ours.commits
                    ours.now = max(kept.now, ours.now)  # a decision that changes nothing moves it, unwritten
                    if pack(kept) != pack(ours):
                        self.wrong(f"the snapshot of {family} differs from its commits: {_difference(kept, ours)}")
                elif not (isinstance(event, RunClosed) and run.closed):  # an exit run says it twice
                    decide.apply(run, event, decoded.now)
            run.commits += 1
        if not family.hook_id:
            events_to_publish(run, decoded.events)
        return run

    def _event(self, family: Family, record: Record, event: Event) -> None:
        match event:
            case HookDue() | HookSkipped():
                id = event.obligation.hook_id
                if id in self.due:
                    self.wrong(f"the handler {id} of {family.uid} became due twice")
                if isinstance(event, HookDue):
                    self.due[id] = family, record.sequence
                else:
                    self.skipped.setdefault(family.uid, set()).add(id)
            case StepPlaced():
                self.placed[AttemptKey(family.uid, event.node, event.attempt, family.hook_id).id] = event.executor
            case Reopened():
                self.replays[family.hook_id] += 1
            case RunClosed() if record.kind == "r":
                self.closings[family.hook_id] += 1
                if self.closings[family.hook_id] > 1 + self.replays[family.hook_id]:
                    self.wrong(f"the exit run {family.hook_id} closed twice")
                self.results[family.hook_id] = record.sequence

    def _bundle(self, digest: str) -> Bundle:
        if digest not in self._bundles:
            self._bundles[digest] = decode_bundle(self.blobs()[digest])
        return self._bundles[digest]

    def cut(self, upto: int) -> None:
        """Everything before this position is about to go: nothing of it may be needed."""
        self.cuts += 1
        self.say(f"cut before #{upto}")
        for family, needed in self.needed.items():
            over = self.runs[family].closed and (family.hook_id in self.results or self.kept(family.uid))
            if needed < upto and not over:
                self.wrong(f"the cut before #{upto} takes what {family} needs from #{needed} on")
        for id, (main, position) in self.due.items():
            if position < upto and not any(f.hook_id == id for f in self.runs):
                self.wrong(f"the cut before #{upto} takes the obligation {id} of {main.uid}, which nobody took up")
        for id, position in self.results.items():
            run = self.runs[self.due[id][0]]
            if position < upto and not run.closed and run.state.hooks[run.state.hook_numbers[id]].open:
                self.wrong(f"the cut before #{upto} takes the result of {id}, which was not folded")
        for uid, position in self.asked.items():
            if position < upto and not any(f.uid == uid for f in self.runs):
                self.wrong(f"the cut before #{upto} takes the start of {uid}, which was not begun")

    # --- memory -------------------------------------------------------------------------------------------------------

    def join(self, runs: Any) -> None:
        """Compares a scheduler's runs with the log at their commits."""
        original = runs._committed

        def committed(driver: Driver, events: list[Event], sequence: int) -> None:
            original(driver, events, sequence)
            entry = runs.by_uid.get(driver.run.uid)
            if entry is not None and entry.driver is driver:
                self._compare(driver)

        runs._committed = committed

    def join_exits(self, runs: Any, steps: Any) -> None:
        """The same for an exit handler's, and looks at each of its actions."""
        original = runs._committed
        perform = steps._perform

        def committed(opened: Any, driver: Driver, events: list[Event]) -> None:
            self._compare(driver)
            original(opened, driver, events)

        async def watched(driver: Driver, due: Any) -> None:
            self._acts(driver.family, AttemptKey(driver.family.uid, due.node, due.attempt, driver.family.hook_id).id)
            await perform(driver, due)

        runs._committed = committed
        steps._perform = watched

    def _compare(self, driver: Driver) -> None:
        seen = self.runs.get(driver.family)
        if seen is None:
            self.wrong(f"{driver.family} has told of a commit that is not in the log")
            return
        if self.numbers[driver.family] != driver.run.commits or (driver.run.commits % COMPARED and not seen.closed):
            return
        kept, ours = driver.run.state, seen.state
        number, kept.commits = kept.commits, ours.commits
        ours.now = max(kept.now, ours.now)
        if pack(kept) != pack(ours):
            self.wrong(f"what {driver.family} is in memory differs from its log: {_difference(kept, ours)}")
        kept.commits = number

    # --- effects ------------------------------------------------------------------------------------------------------

    def confirmed(self, process: Process, sent: float) -> None:
        self._renewed[process] = sent

    def program(self, id: str, process: Process) -> None:
        """An executor starts a program."""
        self.say(f"starts {id}")
        if self.placed.get(id) != process.name:
            self.wrong(f"{process} starts {id}, which the log places at {self.placed.get(id, 'nobody')}")
        before = self.programs.get(id)
        if before is not None and not (id in self._lost and attempt_key(id).hook_id):
            # a step of an exit run that was lost with its executor is started again, also before the log says so
            self.wrong(f"{id} is started twice: by {before} and by {process}")
        self.programs[id] = process

    def _acts(self, family: Family, id: str) -> None:
        process = current()
        assert process is not None
        self.actions += 1
        self.say(f"acts: {id}")
        if id not in self.placed:  # after a take-over it may say the former owner
            self.wrong(f"{process} does {id}, which the log does not know of")
        age = self.loop.time() - self._renewed.get(process, float("-inf"))
        if age > FRESH_SECONDS:
            self.wrong(f"{process} does {id} although its ownership was last confirmed {age:.2f} s ago")

    def join_executor(self, attempts: Any) -> None:
        """Looks at what an executor is told to forget."""
        acknowledge, forget = attempts.acknowledge, attempts.forget

        def acknowledged(ids: Collection[str]) -> None:
            self._lost.update(i for i in ids if (a := attempts.get(i)) is not None and a.update and a.update.lost)
            self._given_up([i for i in ids if not (i in self._lost and attempt_key(i).hook_id)], "acknowledged")
            acknowledge(ids)

        def forgotten(ids: Collection[str]) -> None:
            self._given_up(ids, "forgotten")
            forget(ids)

        attempts.acknowledge, attempts.forget = acknowledged, forgotten

    def _given_up(self, ids: Collection[str], what: str) -> None:
        """Nobody needs these attempts any more, says a scheduler."""
        for id in ids:
            self.say(f"{id} is {what}")
            for family, run in self.runs.items():
                if not id.startswith(f"{family.uid}.{family.hook_id}/" if family.hook_id else f"{family.uid}/"):
                    continue
                for due, _ in decide.pending(run).placed:
                    if AttemptKey(family.uid, due.node, due.attempt, family.hook_id).id == id:
                        self.wrong(f"{id} is {what} while its run waits for it")

    # --- the end ------------------------------------------------------------------------------------------------------

    def ended(self, ledger: dict[str, tuple[Any, Any]], events: dict[str, tuple[str, str, str]]) -> None:
        """Everything is over: nothing may be left, and the world has heard of all."""
        for family, run in self.runs.items():
            if not run.closed:
                self.wrong(f"{_name(family)} has not ended: {run.phase}")
        for id, (main, _) in self.due.items():
            if id not in self.results:
                self.wrong(f"the handler {id} of {main.uid} has not ended")
            elif id not in ledger or ledger[id][0].state not in ("succeeded", "failed", "cancelled", "parked"):
                self.wrong(f"the ledger does not tell how the handler {id} ended")
        for family in [f for f in self.runs if not f.hook_id]:
            for text in broken({f.hook_id: run for f, run in self.runs.items() if f.uid == family.uid}):
                self.wrong(f"{_name(family)}: {text}")
        heard = [(i, ident, uid, kind) for i, (ident, (uid, kind, _)) in enumerate(events.items())]
        for family in [f for f in self.runs if not f.hook_id]:
            ends = [i for i, _, uid, kind in heard if uid == family.uid and kind in ENDS]
            exits = [(i, ident) for i, ident, uid, kind in heard if uid == family.uid and kind in EXIT_ENDS]
            first = [i for i, ident in exits if ident.endswith(".2")]  # and not of a replay
            if len(ends) != 1:
                self.wrong(f"subscribers heard {len(ends)} times that {family.uid} ended")
            elif first and max(first) > ends[0]:
                self.wrong(f"subscribers heard of the end of {family.uid} before that of its handlers")
            owed = sum(1 + self.replays[id] for id, (main, _) in self.due.items() if main == family)
            if len(exits) != owed:
                self.wrong(f"subscribers heard of {len(exits)} handlers of {family.uid} that ended; {owed} were due")
            skipped = [i for i, _, uid, kind in heard if uid == family.uid and kind == "exit.skipped"]
            if len(skipped) != len(self.skipped.get(family.uid, ())):
                self.wrong(f"subscribers heard of {len(skipped)} handlers of {family.uid} that were skipped")
            elif skipped and ends and max(skipped) > ends[0]:
                self.wrong(f"subscribers heard of the end of {family.uid} before that a handler is skipped")
            numbers = sorted(int(n) for i, n in (i.rsplit(".", 1) for _, i, _, _ in heard) if i == family.uid)
            if numbers != list(range(1, len(numbers) + 1)):
                self.wrong(f"the numbers of the events of {family.uid} have a gap: {numbers}")


ENDS = ("workflow.succeeded", "workflow.failed", "workflow.error")
EXIT_ENDS = ("exit.succeeded", "exit.failed")


def _name(family: Family) -> str:
    return f"{family.partition}.{family.uid[-6:]}" + (f".x.{family.hook_id[:6]}" if family.hook_id else "")


def _difference(kept: Any, ours: Any) -> str:
    """The first part in which two states differ."""
    for name in kept.__struct_fields__:
        a, b = getattr(kept, name), getattr(ours, name)
        if a == b:
            continue
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            at = next(i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
            return f"{name}[{at}]: {a[at]!r} and {b[at]!r}"
        return f"{name}: {a!r} and {b!r}"
    return "in their form only"
