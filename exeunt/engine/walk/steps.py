"""A `steps` template: groups one after another, the steps of a group side by side (Argo: controller/steps.go)."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import suppress

import msgspec

from exeunt.engine.facts import phases
from exeunt.engine.facts.events import NodeEnded, NodeStarted
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.shown.outbound import outbound
from exeunt.engine.values import handlers, outputs
from exeunt.engine.values.artifacts import trees
from exeunt.engine.values.layout import Plan, should_run
from exeunt.engine.values.processed import found_of, processed_of
from exeunt.engine.values.scope import add_node
from exeunt.engine.values.steps_layout import EMPTY, caller_of, plan_group, scope_for
from exeunt.engine.values.templating import argument_values, source_of
from exeunt.engine.walk import daemons, hooks, parallelism
from exeunt.engine.walk.start import TOO_MANY_NODES, Caller, Spot, begin, fail, full
from exeunt.engine.walk.walking import Answer, Walk
from exeunt.language.manifest import Step, Template


class GroupLook:
    """What looks at a group keep while it is open."""

    def __init__(self) -> None:
        self.todo: deque[int] = deque()  # of these plans those that have no node
        self.todo_of: list[tuple[int, Plan]] | None = None
        self.looked = False  # all that are left were looked at, and wait for a place
        self.owed: dict[int, None] = {}  # children whose exit handlers wait for a place


def look(run: Run, node: Node) -> Walk:
    """Brings the node as far as it can go now."""
    if not node.retried and parallelism.failed_fast(run, node):
        yield from fail_fast(run, node)
        return
    if not node.retried and parallelism.failing_fast(run, node):
        run.blocked[node.key] = None
        return
    yield from _groups(run, node)
    waits = node.key in run.blocked
    if not node.fulfilled and (waits or not node.retried) and parallelism.failed_fast(run, node, looked=True):
        yield from fail_fast(run, node, waits=waits)


def _groups(run: Run, node: Node) -> Walk:
    """One group after another, as far as they come."""
    if parallelism.resting(run, node):
        run.blocked[node.key] = None
        return
    template = processed_of(run, node).template
    groups = template.steps or []
    yield from _daemons_that_died(run, node)
    while not node.fulfilled:
        number = len(node.members) - 1
        if run.state.started.run_attempt:  # a retry of the workflow begins the daemons of earlier groups first
            number = next((at for at, key in enumerate(node.members) if not run.nodes[key].fulfilled), number)
        if number < 0 or run.nodes[node.members[number]].fulfilled:
            if _daemon_died(run, node, groups):
                return
            number += 1
            if number == len(groups):
                _succeed(run, node, template)
                return
            _open_group(run, node, number)
        group = run.nodes[node.members[number]]
        yield from _group(run, node, group, groups[number])
        if not group.fulfilled:
            return
        if group.failed:
            run.emit(NodeEnded(node.key, phases.FAILED, group.message))


def _daemons_that_died(run: Run, node: Node) -> Walk:
    """Daemons of earlier groups that have ended by themselves have their exit handlers at once."""
    for group in [run.nodes[key] for key in node.members if key in run.state.daemons]:
        for child in [run.nodes[key] for key in run.changes(group.key) or group.members]:
            if child.completed and not child.open_hooks:
                yield from handler(run, node, group, child)


def _daemon_died(run: Run, node: Node, groups: list[list[Step]]) -> bool:
    """Fails the node where a daemon of an earlier group has ended by itself, and its step may not."""
    for group in (run.nodes[key] for key in node.members if key in run.state.daemons):
        bad = _unforgiven(run, group, groups[group.index])
        if bad is not None and bad.over:
            run.emit(NodeEnded(group.key, phases.FAILED, _failed(run, bad)))
            run.emit(NodeEnded(node.key, phases.FAILED, group.message))
            return True
    return False


def drain(run: Run, node: Node, *, whole: bool = False) -> Answer:
    """The exit handlers of what is over, in a node in which nothing else is to begin. Returns whether all are done."""
    if not node.members:
        return True
    group = run.nodes[node.members[-1]]
    changed = run.changes(group.key)
    for key in group.members if whole or changed is None else changed:
        child = run.nodes[key]
        if child.completed and not child.open_hooks:
            yield from handler(run, node, group, child)
    return not group.hooks_below


def handler(run: Run, node: Node, group: Node, child: Node) -> Walk:
    """The exit handler of a step that has completed, whatever else is over."""
    steps = _steps_of(run, node, group)
    step = steps[child.index]
    if handlers.exit_hook(run, step) is None:
        return
    with suppress(NodeError):  # where the group cannot be laid out any more, the handler goes without its item
        step = caller_of(run, group, plan_group(run, node, group, steps), child, step)
    yield from hooks.look_exit(run, child, handlers.exit_hook(run, step), _view(run, node, group, child, step))


def finish(run: Run, node: Node) -> Walk:
    """Ends a node in which nothing may begin any more, when the handlers of what is over have run.

    It has failed, unless its last group was its last and went well.
    """
    done = yield from drain(run, node)
    if not node.members:
        return
    group = run.nodes[node.members[-1]]
    template = processed_of(run, node).template
    groups = template.steps or []
    if done and not group.open_members and not group.fulfilled:
        if _all_began(run, node, group) or _unforgiven(run, group, groups[group.index]) is not None:
            _end_group(run, group, groups[group.index])
        else:
            run.emit(NodeEnded(group.key, phases.FAILED, _why_no_more(run)))
    if not group.fulfilled or node.fulfilled:
        return
    if group.failed or len(node.members) < len(groups):
        run.emit(NodeEnded(node.key, phases.FAILED, group.message or _why_no_more(run)))
    else:
        _succeed(run, node, template)


def _all_began(run: Run, node: Node, group: Node) -> bool:
    """Whether each step of a group, and each item, has its node."""
    try:
        plans = plan_group(run, node, group, _steps_of(run, node, group))
    except NodeError:
        return False
    return not _todo(run, group, plans)


def _why_no_more(run: Run) -> str:
    """Why the groups that are left do not begin, where the last one went well. A stop is told by the workflow."""
    return "" if run.state.shutdown else parallelism.FAIL_FAST


def _steps_of(run: Run, node: Node, group: Node) -> list[Step]:
    return (processed_of(run, node).template.steps or [])[group.index]


def _open_group(run: Run, node: Node, number: int) -> None:
    links: list[int] | None = None
    if number > 0:
        before = run.nodes[node.members[number - 1]]
        links = [end for child in before.children for end in outbound(run, child)] if before.children else [before.key]
    run.emit(
        NodeStarted(
            owner=node.key,
            suffix=f"[{number}]",
            kind=phases.STEP_GROUP,
            phase=phases.RUNNING,
            index=number,
            scope=found_of(run, node).scope,
            links=links,
        )
    )


def fail_fast(run: Run, node: Node, *, waits: bool = False) -> Walk:
    """The end for failFast. A group in which a step `waits` for its place is looked at to its end: it says which child
    it was, at once or when what is open in it is over.
    """
    yield from drain(run, node, whole=True)
    group = run.nodes[node.members[-1]] if node.members else None
    left_open = group is not None and waits and (group.open_members or group.hooks_below)
    if group is not None and not group.fulfilled and not left_open:
        bad = _unforgiven(run, group, _steps_of(run, node, group)) if waits else None
        message = parallelism.FAIL_FAST if bad is None else _failed(run, bad)
        run.emit(NodeEnded(group.key, phases.FAILED, message))
    run.emit(NodeEnded(node.key, phases.FAILED, parallelism.FAIL_FAST))


# --- one group --------------------------------------------------------------------------------------------------------


def _group(run: Run, node: Node, group: Node, steps: list[Step]) -> Walk:
    """Starts what can start, looks after hooks, and ends the group when all is done."""
    try:
        plans = plan_group(run, node, group, steps, turns=True)
    except NodeError as error:
        run.emit(NodeEnded(group.key, phases.ERROR, str(error)))
        return
    _raised(run, group)
    waiting = False if group.fulfilled else (yield from _start(run, node, group, plans))
    if not group.fulfilled:
        _raised(run, group)
    if group.fulfilled:
        yield from drain(run, node, whole=True)
        return
    done = yield from _look_after(run, node, group, steps, plans)
    if done and not waiting and not group.open_members and not group.fulfilled:
        _end_group(run, group, steps)


def _start(run: Run, node: Node, group: Node, plans: list[tuple[int, Plan]]) -> Answer:
    """Starts the plans that have no node yet, in their order. Returns whether some have to wait.

    A limit does not keep those from being skipped whose condition is false: all are looked at once. Loops over nothing
    are the first in a group (expandStepGroup).
    """
    own = run.memory.of(GroupLook, group.key)
    todo, looked = _todo(run, group, plans), own.looked
    waiting: deque[int] = deque()
    scope_name = found_of(run, node).scope
    try:
        while todo:
            run.turn.check()
            if full(run):
                run.emit(NodeEnded(group.key, phases.ERROR, TOO_MANY_NODES))
                return False
            at = todo.popleft()
            number, plan = plans[at]
            spot = Spot(group.key, f".{plan.step.name}", number, plan.item)
            given = plan.step.arguments
            caller = Caller(
                plan.step, scope_name, argument_values(given), "steps", plan.step.name, trees(given.artifacts)
            )
            if plan.item == EMPTY:
                fail(run, spot, caller, "Skipped, empty params", phases.SKIPPED)
                continue
            try:
                proceed = should_run(plan.step.when)
            except NodeError as error:
                fail(run, spot, caller, str(error))
                run.emit(NodeEnded(group.key, phases.ERROR, str(error)))
                return False
            if not proceed:
                fail(run, spot, caller, f"when '{plan.step.when}' evaluated false", phases.SKIPPED)
                continue
            if parallelism.full(run) or parallelism.boundary_full(run, node):
                waiting.append(at)
                if looked:
                    break
                continue
            begun = begin(run, spot, caller)
            if begun.error:
                return False
            if begun.node.type in phases.COMPOSITES and not begun.node.fulfilled:
                yield begun.node
                if begun.node.raised:
                    return False
    finally:  # also where the decision has done its share: the next one goes on from here
        todo.extendleft(reversed(waiting))
    own.looked = True
    if todo:
        run.blocked[node.key] = None
    return bool(todo)


def _todo(run: Run, group: Node, plans: list[tuple[int, Plan]]) -> deque[int]:
    """The plans without a node, in the order in which they are begun."""
    own = run.memory.of(GroupLook, group.key)
    if own.todo_of is not plans:
        started = {(run.nodes[key].index, run.nodes[key].item) for key in group.members}
        todo = [at for at, (number, plan) in enumerate(plans) if (number, plan.item) not in started]
        own.todo = deque(sorted(todo, key=lambda at: plans[at][1].item != EMPTY))
        own.todo_of, own.looked = plans, False
    return own.todo


def _raised(run: Run, group: Node) -> None:
    """A child that could not be worked out at all ends its group with it."""
    for key in run.changed.get(group.key, group.members if run.fresh else []):
        child = run.nodes[key]
        if child.raised:
            name = run.names.full(child)
            message = f"step group deemed errored due to child {name} error: {child.message}"
            run.emit(NodeEnded(group.key, phases.ERROR, message))
            return


def _look_after(run: Run, node: Node, group: Node, steps: list[Step], plans: list[tuple[int, Plan]]) -> Answer:
    """The hooks of the group's steps, in the order of their nodes. Returns whether all that run are done.

    A hook that runs keeps those of the steps behind it waiting.
    """
    changed = run.changes(group.key)
    if not any(step.hooks or step.on_exit for step in steps):
        return True
    lively = any(handlers.other_hooks(step) for step in steps)
    owed = run.memory.of(GroupLook, group.key).owed
    keys = group.members if lively or changed is None or run.state.shutdown else sorted({*changed, *owed})
    done = True
    for key in list(keys):
        child = run.nodes[key]
        step = steps[child.index]
        if not step.hooks and not step.on_exit:
            continue
        if child.item >= 0:
            step = caller_of(run, group, plans, child, step)
        finished = yield from _hooks_of(run, node, group, child, step)
        if finished is None:
            return False
        done = done and finished
    return done and not group.hooks_below


def _hooks_of(run: Run, node: Node, group: Node, child: Node, step: Step) -> Generator[Node, None, bool | None]:
    """Looks at a child's hooks. Returns whether its exit hook is done; None while another hook keeps all waiting."""
    others = handlers.other_hooks(step)
    exit_hook = handlers.exit_hook(run, step) if child.completed else None
    if not others and exit_hook is None:
        return True
    view = _view(run, node, group, child, step)
    if others and child.type != phases.SKIPPED_TYPE and not (yield from hooks.look(run, child, others, view)):
        return None
    if exit_hook is None:
        return True
    owed = run.memory.of(GroupLook, group.key).owed
    if parallelism.holds_back(run, node, child):
        owed[child.key] = run.blocked[node.key] = None
        return False
    owed.pop(child.key, None)
    return (yield from hooks.look_exit(run, child, exit_hook, view))


def _view(run: Run, node: Node, group: Node, child: Node, step: Step) -> hooks.View:
    """What the hooks of a step's node see: the steps before it, its own status, and for an item the item's."""
    name = child.suffix[1:]
    declared = name.partition("(")[0]
    several = len((processed_of(run, node).template.steps or [])[group.index]) > 1
    wanted = [source_of(run, hook) for hook in step.hooks.values()]
    scope = scope_for(run, node, " ".join(wanted), group.index)
    for key in group.members if several else ():
        other = run.nodes[key]
        scope[f"steps.{other.suffix[1:]}.status"] = other.phase
        if key == child.key:
            break
    scope[f"steps.{name}.status"] = child.phase
    if child.item >= 0:
        add_node(run, scope, f"steps.{declared}", child)
        scope[f"steps.{declared}.status"] = child.phase
    return hooks.View(scope, f"steps.{declared}", found_of(run, node).scope)


def _end_group(run: Run, group: Node, steps: list[Step]) -> None:
    bad = _unforgiven(run, group, steps)
    if bad is None and daemons.holds_one(run, group):
        daemons.serve(run, group)
    elif bad is None:
        run.emit(NodeEnded(group.key, phases.SUCCEEDED))
    else:
        run.emit(NodeEnded(group.key, phases.FAILED, _failed(run, bad)))


def _unforgiven(run: Run, group: Node, steps: list[Step]) -> Node | None:
    """The first that failed, and whose step may not."""
    for key in group.members:
        child = run.nodes[key]
        lenient = steps[child.index].continue_on
        if child.failed and not (lenient and (lenient.error if child.phase == phases.ERROR else lenient.failed)):
            return child
    return None


def _failed(run: Run, child: Node) -> str:
    return f"child '{run.id(child)}' failed"


def _succeed(run: Run, node: Node, template: Template) -> None:
    made = None
    if template.outputs.parameters or template.outputs.artifacts:
        source = msgspec.json.encode(template.outputs).decode()
        scope = scope_for(run, node, source, len(node.members), outputs=True)
        try:
            made = outputs.from_scope(run, template, scope)
        except NodeError as error:
            run.emit(NodeEnded(node.key, phases.ERROR, str(error), raised=True))
            return
        outputs.export(run, node, template, made)
    run.emit(NodeEnded(node.key, phases.SUCCEEDED, "", made))
