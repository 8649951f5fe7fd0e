"""Placement: no slot is taken twice, nobody waits while there is a slot, exit steps keep theirs, turns are fair."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exeunt.scheduler.placement import Placement, Slot


@dataclass(eq=False)
class Work:
    id: str
    kind: str = "container"
    exit: bool = False
    namespace: str = "default"
    uid: str = "w"


def connected(
    ordinary: int, kept: int = 0, executor: str = "e", kinds: tuple[str, ...] = ("container",)
) -> Placement[Work]:
    placement: Placement[Work] = Placement()
    placement.connect(executor, kinds)
    placement.lend(executor, ordinary=ordinary, kept=kept, seen=0)
    return placement


def test_a_step_takes_a_lent_slot_and_the_next_one_waits() -> None:
    placement = connected(1)
    assert placement.take("container", exit=False) == Slot("e", False)
    assert placement.take("container", exit=False) is None
    assert placement.wait(Work("b")) is None
    assert placement.waiting(exit=False) == 1


def test_slots_for_exit_steps_are_kept_from_others() -> None:
    placement = connected(0, 2)
    assert placement.wait(Work("ordinary")) is None
    assert placement.take("container", exit=True) == Slot("e", True)
    assert placement.take("container", exit=True) == Slot("e", True)
    assert placement.take("container", exit=True) is None


def test_exit_steps_take_ordinary_slots_before_other_steps_do() -> None:
    placement = connected(0, 0)
    first, handler = Work("first"), Work("handler", exit=True)
    placement.wait(first)
    placement.wait(handler)
    assert placement.lend("e", ordinary=1, kept=0, seen=0) == [(handler, Slot("e", False))]
    assert placement.lend("e", ordinary=2, kept=0, seen=0) == [(first, Slot("e", False))]


def test_what_was_sent_and_not_yet_counted_is_not_lent_again() -> None:
    placement = connected(1)
    placement.take("container", exit=False)
    placement.sent("e", 5, ordinary=1, kept=0)
    placement.wait(Work("b"))
    assert placement.lend("e", ordinary=1, kept=None, seen=4) == []  # counted before frame 5 came
    assert [w.id for w, _ in placement.lend("e", ordinary=1, kept=None, seen=5)] == ["b"]


def test_a_slot_that_is_given_back_goes_to_who_waits() -> None:
    placement = connected(1)
    slot = placement.take("container", exit=False)
    assert slot is not None
    waiting = Work("b")
    placement.wait(waiting)
    assert placement.give_back(slot) == [(waiting, Slot("e", False))]


def test_work_goes_only_to_executors_that_can_do_it() -> None:
    placement = connected(5, kinds=("http",))
    assert placement.take("container", exit=False) is None
    assert placement.take("http", exit=False) is not None


def test_a_gone_executor_gets_nothing() -> None:
    placement = connected(5)
    placement.disconnect("e")
    assert placement.take("container", exit=False) is None
    placement.connect("e", ("container",))
    assert placement.take("container", exit=False) is None
    placement.lend("e", ordinary=1, kept=0, seen=0)
    assert placement.take("container", exit=False) == Slot("e", False)


def test_namespaces_and_workflows_take_turns() -> None:
    placement = connected(0)
    for i in range(3):
        placement.wait(Work(f"a1-{i}", namespace="a", uid="a1"))
    for i in range(3):
        placement.wait(Work(f"a2-{i}", namespace="a", uid="a2"))
    placement.wait(Work("b-0", namespace="b", uid="b1"))
    order = [w.id for w, _ in placement.lend("e", ordinary=7, kept=0, seen=0)]
    assert order == ["a1-0", "b-0", "a2-0", "a1-1", "a2-1", "a1-2", "a2-2"]


def test_executors_take_turns() -> None:
    placement = connected(3, executor="one")
    placement.connect("two", ("container",))
    placement.lend("two", ordinary=3, kept=0, seen=0)
    took = [placement.take("container", exit=False) for _ in range(4)]
    assert [slot.executor for slot in took if slot] == ["one", "two", "one", "two"]


@dataclass
class Machine:
    """An executor as it is in truth: what runs in its slots, and frames on their way to and from it."""

    kinds: tuple[str, ...]
    slots: int
    kept: int
    running: dict[str, bool] = field(default_factory=dict)  # step → in a kept slot
    frames: list[tuple[int, list[tuple[str, bool]]]] = field(default_factory=list)  # sent, not seen
    seen: int = 0
    number: int = 0
    offers: list[tuple[int, int, int]] = field(default_factory=list)  # ordinary, kept, seen: said, not heard

    def free(self, kept: bool) -> int:
        return (self.kept if kept else self.slots) - sum(1 for k in self.running.values() if k == kept)


class Dispatching(RuleBasedStateMachine):
    """Frames are delayed at will; whatever the order, every slot holds one step at most."""

    @initialize()
    def begin(self) -> None:
        self.placement: Placement[Work] = Placement()
        self.machines: dict[str, Machine] = {}
        self.held: list[tuple[Work, Slot]] = []  # taken, commit on its way
        self.waiting: dict[str, Work] = {}
        self.count = 0

    @rule(
        slots=st.integers(0, 3),
        kept=st.integers(0, 2),
        kinds=st.sampled_from([("container",), ("http",), ("container", "http")]),
    )
    @precondition(lambda self: len(self.machines) < 3)
    def connect(self, slots: int, kept: int, kinds: tuple[str, ...]) -> None:
        name = f"e{len(self.machines)}"
        self.machines[name] = Machine(kinds, slots, kept)
        self.placement.connect(name, kinds)
        self.machines[name].offers.append((slots, kept, 0))

    @rule(kind=st.sampled_from(["container", "http"]), exit=st.booleans(), uid=st.sampled_from("abc"))
    def due(self, kind: str, exit: bool, uid: str) -> None:
        self.count += 1
        work = Work(f"s{self.count}", kind, exit, f"ns{uid > 'a'}", uid)
        slot = self.placement.wait(work)
        if slot is None:
            self.waiting[work.id] = work
        else:
            self._got(work, slot)

    @rule(data=st.data())
    @precondition(lambda self: self.waiting)
    def cancel_waiting(self, data: st.DataObject) -> None:
        work = self.waiting.pop(data.draw(st.sampled_from(sorted(self.waiting))))
        assert self.placement.withdraw(work)
        assert not self.placement.withdraw(work)

    @rule(data=st.data())
    @precondition(lambda self: self.held)
    def committed(self, data: st.DataObject) -> None:
        work, slot = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        machine = self.machines[slot.executor]
        machine.number += 1
        self.placement.sent(slot.executor, machine.number, ordinary=int(not slot.kept), kept=int(slot.kept))
        machine.frames.append((machine.number, [(work.id, slot.kept)]))

    @rule(data=st.data())
    @precondition(lambda self: self.held)
    def refused(self, data: st.DataObject) -> None:
        _, slot = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self._placed(self.placement.give_back(slot))

    @rule(data=st.data())
    @precondition(lambda self: any(m.frames for m in self.machines.values()))
    def frame_arrives(self, data: st.DataObject) -> None:
        machine = data.draw(st.sampled_from([m for m in self.machines.values() if m.frames]))
        number, steps = machine.frames.pop(0)
        machine.seen = number
        for step, kept in steps:
            assert machine.free(kept) > 0, f"{step} was sent to a slot that is taken"
            machine.running[step] = kept
        machine.offers.append((machine.free(False), machine.free(True), machine.seen))

    @rule(data=st.data())
    @precondition(lambda self: any(m.running for m in self.machines.values()))
    def step_ends(self, data: st.DataObject) -> None:
        machine = data.draw(st.sampled_from([m for m in self.machines.values() if m.running]))
        machine.running.pop(data.draw(st.sampled_from(sorted(machine.running))))
        machine.offers.append((machine.free(False), machine.free(True), machine.seen))

    @rule(data=st.data())
    @precondition(lambda self: any(m.offers for m in self.machines.values()))
    def offer_is_heard(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([n for n, m in self.machines.items() if m.offers]))
        ordinary, kept, seen = self.machines[name].offers.pop(0)
        self._placed(self.placement.lend(name, ordinary=ordinary, kept=kept, seen=seen))

    @invariant()
    def nobody_waits_while_there_is_a_slot(self) -> None:
        for work in self.waiting.values():
            for name, machine in self.machines.items():
                ordinary, kept = self.placement.free(name)
                if work.kind in machine.kinds:
                    assert ordinary == 0
                    assert not (work.exit and kept)

    @invariant()
    def those_who_wait_are_counted(self) -> None:
        waiting = self.placement.waiting(exit=True) + self.placement.waiting(exit=False)
        assert waiting == len(self.waiting)

    def _placed(self, placed: list[tuple[Work, Slot]]) -> None:
        for work, slot in placed:
            del self.waiting[work.id]
            self._got(work, slot)

    def _got(self, work: Work, slot: Slot) -> None:
        assert work.exit or not slot.kept, "an ordinary step got a slot that is kept for exit steps"
        assert work.kind in self.machines[slot.executor].kinds
        self.held.append((work, slot))


Dispatching.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDispatching = Dispatching.TestCase
