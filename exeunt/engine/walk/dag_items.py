"""The items of a DAG's loop: started in order, their exit handlers one by one (Argo: controller/dag.go)."""

from __future__ import annotations

import heapq
from collections import deque

from exeunt.engine.facts import phases
from exeunt.engine.facts.events import NodeEnded, NodeNoted
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.values import handlers
from exeunt.engine.values.artifacts import trees
from exeunt.engine.values.layout import Plan, lay_out, resolve, should_run
from exeunt.engine.values.processed import found_of
from exeunt.engine.values.templating import argument_values, source_of
from exeunt.engine.walk import daemons, parallelism
from exeunt.engine.walk.dag_frame import DagFrame, frame_of, look_exit, plans_of, scope_for
from exeunt.engine.walk.start import TOO_MANY_NODES, Begun, Caller, Spot, begin, fail, full
from exeunt.engine.walk.walking import Answer, Walk


class ItemHandlers:
    """Items whose exit handler is still to be looked at, by their node, and the node of the one that runs."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.running = -1


class Loop:
    """What is kept of a DAG's loop while it is open."""

    def __init__(self) -> None:
        self.drained = False  # it begins no further item, and all that are over were looked at
        self.todo: deque[Plan] = deque()  # of these plans those that have no node
        self.todo_of: list[Plan] | None = None
        self.exits: ItemHandlers | None = None


def run_plan(run: Run, node: Node, plan: Plan, spot: Spot, where: str) -> Begun | None:
    """The node of one plan; None when it has to wait."""
    given = plan.step.arguments
    caller = Caller(plan.step, where, argument_values(given), "tasks", plan.step.name, trees(given.artifacts))
    try:
        if not should_run(plan.step.when):
            message = f"when '{plan.step.when}' evaluated false"
            return Begun(fail(run, spot, caller, message, phases.SKIPPED))
    except NodeError as error:
        return Begun(fail(run, spot, caller, str(error)))
    if parallelism.full(run) or parallelism.boundary_full(run, node):
        return None
    begun = begin(run, spot, caller)
    raised(run, begun.node)
    return begun


def raised(run: Run, child: Node) -> None:
    """A task that could not be worked out says whose fault it is."""
    if child.raised and not child.message.startswith("task '"):
        run.emit(NodeNoted(child.key, f"task '{run.names.full(child)}' errored: {child.message}"))


def plan_of(run: Run, node: Node, child: Node) -> Plan:
    """The plan that a node was started from. Raises NodeError when there is none."""
    frame = frame_of(run, node)
    task = frame.graph.tasks[child.index]
    scope = scope_for(run, node, frame, source_of(run, task), child.index)
    for plan in lay_out(run, resolve(run, task, scope), scope).plans:
        if plan.item == child.item:
            return plan
    raise NodeError(f"{run.names.full(child)} has no task any more")


def look(run: Run, node: Node, frame: DagFrame, number: int, group: Node) -> Walk:
    """Brings a loop as far as it can go: an open exit handler keeps those of later items, and their start, waiting."""
    ready = yield from _exits(run, node, frame, number, group)
    where = found_of(run, node).scope
    handled = handlers.exit_hook(run, frame.graph.tasks[number]) is not None
    todo = _todo(run, group, plans_of(run, node, frame, group))
    never_ran: list[Node] = []
    blocked = False
    while ready and todo:
        run.turn.check()
        if full(run):
            run.emit(NodeEnded(group.key, phases.ERROR, TOO_MANY_NODES))
            return
        plan = todo[0]
        begun = run_plan(run, node, plan, Spot(group.key, plan.suffix, number, plan.item), where)
        if begun is None:
            blocked = True
            break
        todo.popleft()
        child = begun.node
        if child.type in phases.COMPOSITES and not child.fulfilled:
            yield child
            raised(run, child)
        if child.completed and (begun.error or child.type == phases.SKIPPED_TYPE):
            never_ran.append(child)  # it could not be worked out: the others begin all the same
        elif child.completed:
            if handled and parallelism.holds_back(run, node, child):
                heapq.heappush(_exits_of(run, group).waiting, child.key)
                blocked = True
                break
            if not (yield from look_exit(run, node, frame, number, child)):
                _exits_of(run, group).running = child.key
                ready = False
    for child in never_ran if handled else ():
        if parallelism.holds_back(run, node, child):
            heapq.heappush(_exits_of(run, group).waiting, child.key)
            blocked = True
        else:
            yield from look_exit(run, node, frame, number, child)
    if blocked:
        frame.waiting.append(number)
    elif ready or not todo:
        end(run, group, waits=bool(_exits_of(run, group).waiting))


def drain(run: Run, node: Node, frame: DagFrame, group: Node) -> Walk:
    """In a loop that begins no further item: the handlers of those that are over, one after the other, and the end."""
    changed = run.changes(group.key)
    waiting = _exits_of(run, group).waiting
    loop = run.memory.of(Loop, group.key)
    first, loop.drained = not loop.drained, True
    for key in group.members if first or changed is None else changed:
        if run.nodes[key].completed:
            heapq.heappush(waiting, key)
    while waiting and (yield from look_exit(run, node, frame, group.index, run.nodes[waiting[0]])):
        heapq.heappop(waiting)
    end(run, group, waits=bool(waiting))


def end(run: Run, group: Node, *, waits: bool = False) -> None:
    """The group is over when its items are and their handlers have ended. Where no item ever began it has failed.

    Argo ends it also while these are half-way or still to begin, and forgets them then (rule group-waits-for-handlers).
    """
    if not group.open_members and not group.hooks_below and not waits:
        phase = phases.SUCCEEDED if group.members else phases.FAILED
        for key in group.members:
            if run.nodes[key].failed:
                phase = run.nodes[key].phase
        if phase == phases.SUCCEEDED and daemons.holds_one(run, group):
            daemons.serve(run, group)
        else:
            run.emit(NodeEnded(group.key, phase))


def _todo(run: Run, group: Node, plans: list[Plan]) -> deque[Plan]:
    """The items without a node, in their order: those behind the last one, or after a retry any."""
    loop = run.memory.of(Loop, group.key)
    if loop.todo_of is not plans:
        there = {run.nodes[key].item for key in group.members}
        loop.todo, loop.todo_of = deque(plan for plan in plans if plan.item not in there), plans
    return loop.todo


def _exits_of(run: Run, group: Node) -> ItemHandlers:
    loop = run.memory.of(Loop, group.key)
    if loop.exits is None:
        loop.exits = ItemHandlers()
        loop.exits.running = next((key for key in group.members if _handled(run, run.nodes[key])), -1)
    return loop.exits


def _handled(run: Run, child: Node) -> bool:
    started = handlers.hook_of_name(run, child, handlers.EXIT) if child.open_hooks else None
    return started is not None and started.open


def rests(run: Run, group: Node, child: Node) -> bool:
    """Whether an item goes no further for now: the exit handler of one before it runs. Hooks of the loop are none."""
    if child.hook or not group.hooks_below:
        return False
    running = _exits_of(run, group).running
    return 0 <= running < child.key and bool(run.nodes[running].open_hooks)


def _exits(run: Run, node: Node, frame: DagFrame, number: int, group: Node) -> Answer:
    """The exit handlers of the items that completed, in their order. Returns whether none of them runs."""
    changed = run.changes(group.key)
    for key in group.members if changed is None else changed:
        raised(run, run.nodes[key])
    if handlers.exit_hook(run, frame.graph.tasks[number]) is None:
        return True
    exits = _exits_of(run, group)
    for key in group.members if changed is None or run.state.shutdown else changed:
        if run.nodes[key].completed:
            heapq.heappush(exits.waiting, run.nodes[key].key)
    if exits.running >= 0 and not run.nodes[exits.running].open_hooks:
        exits.running = -1
    while exits.waiting:
        child = run.nodes[exits.waiting[0]]
        if exits.running >= 0 and child.key > exits.running:
            return False
        if parallelism.holds_back(run, node, child):
            frame.waiting.append(number)
            return False
        heapq.heappop(exits.waiting)
        if not (yield from look_exit(run, node, frame, number, child)):
            exits.running = child.key
            return False
    return exits.running < 0
