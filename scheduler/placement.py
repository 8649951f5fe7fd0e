"""Where steps go: which executor has a free slot for which waiting step. Pure rules, no I/O.

Executors lend slots, ordinary ones and some that only steps of exit handlers take. A step takes a lent slot before the
commit that names its executor; there is no slot that is taken twice, and no step waits while there is a slot for it.
Steps of exit handlers take the slots kept for them, then ordinary ones, and come before other steps there: what ends
work comes before what begins it. Among equals, namespaces take turns, and in a namespace workflows do.
Every operation costs the same whatever the number of steps, workflows and executors.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar


class WaitingStep(Protocol):
    """What placement knows of a step that waits."""

    id: str
    kind: str  # of work: what the executor must be able to run
    exit: bool
    namespace: str
    uid: str


T = TypeVar("T", bound=WaitingStep)


class Slot(NamedTuple):
    """A taken slot of an executor; `kept` is one that only steps of exit handlers take."""

    executor: str
    kept: bool


class Lent:
    """Slots of one sort that one executor has lent, and what became of them.

    An executor says how many are free as of the last frame that it has seen; what was sent in later frames is not in
    that number yet and is taken off here.
    """

    __slots__ = ("_flying", "_lent", "_reserved", "_sent")

    def __init__(self) -> None:
        self._lent = 0
        self._reserved = 0  # taken, not sent yet
        self._sent: deque[tuple[int, int]] = deque()  # frame, steps in it: those that the executor has not counted
        self._flying = 0  # the sum of them

    @property
    def free(self) -> int:
        """How many may be taken."""
        return max(0, self._lent - self._reserved - self._flying)

    def lend(self, count: int, seen: int) -> None:
        """The executor says: so many are free, counted after your frame `seen`."""
        self._lent = count
        while self._sent and self._sent[0][0] <= seen:
            self._flying -= self._sent.popleft()[1]

    def take(self) -> None:
        self._reserved += 1

    def give_back(self) -> None:
        """A taken slot is not used after all; nothing was sent."""
        self._reserved = max(0, self._reserved - 1)  # it may be from before the executor was given up

    def sent(self, frame: int, count: int) -> None:
        """So many of the taken slots went out in this frame."""
        self._reserved = max(0, self._reserved - count)
        self._flying += count
        self._sent.append((frame, count))

    def reconnect(self) -> None:
        """A new stream: nothing is on its way, and nothing is lent before the executor says so."""
        self._lent = 0
        self._flying = 0
        self._sent.clear()


class FairQueue(Generic[T]):
    """Steps that wait, in order within a workflow; namespaces take turns, and workflows within each."""

    def __init__(self) -> None:
        self._namespaces: OrderedDict[str, OrderedDict[str, OrderedDict[str, T]]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        for workflows in self._namespaces.values():
            for steps in workflows.values():
                yield from steps.values()

    def add(self, step: T) -> None:
        """Puts a step at the end of its workflow's line. One that stands there already keeps its place."""
        workflows = self._namespaces.setdefault(step.namespace, OrderedDict())
        steps = workflows.setdefault(step.uid, OrderedDict())
        if step.id not in steps:
            steps[step.id] = step
            self._count += 1

    def remove(self, step: T) -> bool:
        """Takes a step out, wherever it stands; False when it is not here."""
        workflows = self._namespaces.get(step.namespace)
        steps = workflows.get(step.uid) if workflows else None
        if workflows is None or steps is None or steps.pop(step.id, None) is None:
            return False
        self._count -= 1
        if not steps:
            del workflows[step.uid]
            if not workflows:
                del self._namespaces[step.namespace]
        return True

    def pop(self) -> T:
        """Takes out whose turn it is. LookupError when nobody waits."""
        namespace = next(iter(self._namespaces), None)
        if namespace is None:
            raise LookupError("nobody waits")
        workflows = self._namespaces[namespace]
        uid = next(iter(workflows))
        steps = workflows[uid]
        _, step = steps.popitem(last=False)
        self._count -= 1
        if steps:
            workflows.move_to_end(uid)
        else:
            del workflows[uid]
        if workflows:
            self._namespaces.move_to_end(namespace)
        else:
            del self._namespaces[namespace]
        return step


class _Offer:
    """What one executor has to give."""

    __slots__ = ("kept", "kinds", "ordinary", "turn")

    def __init__(self, kinds: Collection[str]) -> None:
        self.kinds = tuple(dict.fromkeys(kinds))
        self.ordinary = Lent()
        self.kept = Lent()
        self.turn = 0  # whose turn it is among the kinds, when a slot is free and several wait

    def lent(self, kept: bool) -> Lent:
        return self.kept if kept else self.ordinary


class Placement(Generic[T]):
    """All lent slots and all waiting steps."""

    def __init__(self) -> None:
        self._offers: dict[str, _Offer] = {}
        self._free: dict[tuple[str, bool], OrderedDict[str, None]] = {}  # kind, kept → executors with a slot, in turn
        self._queues: dict[tuple[str, bool], FairQueue[T]] = {}  # kind, exit → steps

    # --- steps --------------------------------------------------------------------------------------------------------

    def take(self, kind: str, *, exit: bool) -> Slot | None:
        """A free slot for a step of this kind, now taken; None when there is none."""
        for kept in (True, False) if exit else (False,):
            free = self._free.get((kind, kept))
            if free:
                executor = next(iter(free))
                self._take(executor, kept)
                if executor in free:
                    free.move_to_end(executor)
                return Slot(executor, kept)
        return None

    def force(self, executor: str) -> Slot:
        """Takes a slot of this executor, also when none is free: for what was placed there in an earlier life."""
        offer = self._offers.get(executor)
        if offer is not None:
            offer.ordinary.take()
            self._show(executor)
        return Slot(executor, kept=False)

    def wait(self, step: T) -> Slot | None:
        """Puts a step in line; a slot instead when one has become free meanwhile."""
        slot = self.take(step.kind, exit=step.exit)
        if slot is None:
            self._queues.setdefault((step.kind, step.exit), FairQueue()).add(step)
        return slot

    def withdraw(self, step: T) -> bool:
        """Takes a step out of the line; False when it was not in it."""
        queue = self._queues.get((step.kind, step.exit))
        return queue is not None and queue.remove(step)

    def waiting(self, *, exit: bool) -> int:
        """How many steps wait."""
        return sum(len(queue) for (_, of_exit), queue in self._queues.items() if of_exit == exit)

    # --- executors ----------------------------------------------------------------------------------------------------

    def connect(self, executor: str, kinds: Collection[str]) -> None:
        """An executor's stream has begun. It has lent nothing yet; what it was to get and was not sent stays taken."""
        old = self._offers.get(executor)
        offer = _Offer(kinds)
        if old is not None:
            self._forget(executor, old)
            offer.ordinary, offer.kept = old.ordinary, old.kept
            offer.ordinary.reconnect()
            offer.kept.reconnect()
        self._offers[executor] = offer

    def disconnect(self, executor: str) -> None:
        """Its stream has ended: nothing can be placed there. Slots that were taken may still be given back."""
        offer = self._offers.get(executor)
        if offer is not None:
            offer.ordinary.reconnect()
            offer.kept.reconnect()
            self._show(executor)

    def remove(self, executor: str) -> None:
        """The executor is gone for good."""
        offer = self._offers.pop(executor, None)
        if offer is not None:
            self._forget(executor, offer)

    def lend(self, executor: str, *, ordinary: int | None, kept: int | None, seen: int) -> list[tuple[T, Slot]]:
        """The executor says what is free. Answers the steps that have a place now, their slots taken."""
        offer = self._offers[executor]
        if ordinary is not None:
            offer.ordinary.lend(ordinary, seen)
        if kept is not None:
            offer.kept.lend(kept, seen)
        return self._match(executor)

    def give_back(self, slot: Slot) -> list[tuple[T, Slot]]:
        """A taken slot is free again; nothing was sent. Answers the steps that have a place now."""
        offer = self._offers.get(slot.executor)
        if offer is None:
            return []
        offer.lent(slot.kept).give_back()
        return self._match(slot.executor)

    def sent(self, executor: str, frame: int, *, ordinary: int, kept: int) -> None:
        """So many taken slots went out in this frame."""
        offer = self._offers.get(executor)
        if offer is not None:
            if ordinary:
                offer.ordinary.sent(frame, ordinary)
            if kept:
                offer.kept.sent(frame, kept)

    def free(self, executor: str) -> tuple[int, int]:
        """Ordinary and kept slots that may be taken now."""
        offer = self._offers.get(executor)
        return (offer.ordinary.free, offer.kept.free) if offer else (0, 0)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _match(self, executor: str) -> list[tuple[T, Slot]]:
        offer = self._offers[executor]
        placed: list[tuple[T, Slot]] = []
        for kept, exit in ((True, True), (False, True), (False, False)):
            lent = offer.lent(kept)
            while lent.free and (queue := self._next_queue(offer, exit)):
                lent.take()
                placed.append((queue.pop(), Slot(executor, kept)))
        self._show(executor)
        return placed

    def _next_queue(self, offer: _Offer, exit: bool) -> FairQueue[T] | None:
        """The next kind of work that waits and that the executor can do; kinds take turns."""
        for i in range(len(offer.kinds)):
            at = (offer.turn + i) % len(offer.kinds)
            queue = self._queues.get((offer.kinds[at], exit))
            if queue:
                offer.turn = at + 1
                return queue
        return None

    def _take(self, executor: str, kept: bool) -> None:
        lent = self._offers[executor].lent(kept)
        lent.take()
        if not lent.free:
            self._show(executor)

    def _show(self, executor: str) -> None:
        """Puts the executor in, or takes it out of, the lists of those that have something free."""
        offer = self._offers[executor]
        for kept in (False, True):
            has = offer.lent(kept).free > 0
            for kind in offer.kinds:
                free = self._free.setdefault((kind, kept), OrderedDict())
                if not has:
                    free.pop(executor, None)
                elif executor not in free:
                    free[executor] = None

    def _forget(self, executor: str, offer: _Offer) -> None:
        for kept in (False, True):
            for kind in offer.kinds:
                free = self._free.get((kind, kept))
                if free:
                    free.pop(executor, None)
