"""A `dag` template: a task starts when those it depends on are done, with their handlers (Argo: controller/dag.go)."""

from __future__ import annotations

import heapq
from typing import Any

import msgspec

from exeunt.engine.facts import phases
from exeunt.engine.facts.events import NodeEnded
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.shown.outbound import outbound
from exeunt.engine.values import handlers, outputs
from exeunt.engine.values.layout import lay_out, resolve
from exeunt.engine.values.processed import found_of, processed_of
from exeunt.engine.values.scope import attempt_of
from exeunt.engine.values.templating import source_of
from exeunt.engine.walk import dag_items, hooks, parallelism
from exeunt.engine.walk.dag_frame import DagFrame, LoopPlans, frame_of, hook_scope, look_exit, scope_for
from exeunt.engine.walk.dag_items import plan_of, raised, run_plan
from exeunt.engine.walk.dag_verdict import verdict
from exeunt.engine.walk.start import TOO_MANY_NODES, Caller, Spot, begin_group, exempt, fail, full
from exeunt.engine.walk.walking import Answer, Walk
from exeunt.language.expression import ExpressionError, evaluate_bool
from exeunt.language.manifest import Task, Template

__all__ = ["look", "plan_of"]


def look(run: Run, node: Node) -> Walk:
    """Brings the node as far as it can go now."""
    if parallelism.failed_fast(run, node):
        yield from _fail_fast(run, node)
        return
    if parallelism.failing_fast(run, node):
        run.blocked[node.key] = None
        return
    yield from _tasks(run, node)
    if not node.fulfilled and parallelism.failed_fast(run, node, looked=True):
        yield from _fail_fast(run, node)


def _fail_fast(run: Run, node: Node) -> Walk:
    yield from drain(run, node, whole=True)
    run.emit(NodeEnded(node.key, phases.FAILED, parallelism.FAIL_FAST))


def _tasks(run: Run, node: Node) -> Walk:
    """The tasks, as far as they come, and the end when there is nothing more to come."""
    if parallelism.resting(run, node):
        run.blocked[node.key] = None
        return
    frame = frame_of(run, node)
    try:
        yield from _advance(run, node, frame)
    except NodeError as error:
        if not node.fulfilled:
            run.emit(NodeEnded(node.key, phases.ERROR, str(error), raised=True))
        return
    if frame.waiting:
        run.blocked[node.key] = None
    if node.fulfilled:
        return
    if run.state.shutdown and not exempt(run, node):
        yield from _stopped(run, node, frame)
    elif not (node.open_members or node.hooks_below or node.open_hooks or _left_in(run, node)):
        _assess(run, node, frame)  # its own hooks are children of a DAG too


def _left_in(run: Run, node: Node) -> bool:
    """Whether work runs in a node all of whose members have ended: a DAG waits for that (assessDAGPhase)."""
    if run.early:
        for work in (*run.state.placed, *run.state.due):
            at = work if not run.nodes[work].daemoned else -1
            while at > node.key:
                at = run.nodes[at].owner
            if at == node.key:
                return True
    return False


def drain(run: Run, node: Node, *, whole: bool = False) -> Walk:
    """The exit handlers of what is over, in a node in which nothing else is to begin: of all, or of what changed.

    They wait for no other hook of their task: nothing comes after it any more.
    """
    frame = frame_of(run, node)
    changed = run.changes(node.key)
    for key in node.members if whole or changed is None else changed:
        child = run.nodes[key]
        if child.type == phases.TASK_GROUP and not child.fulfilled:
            yield from dag_items.drain(run, node, frame, child)
        if child.completed:
            yield from look_exit(run, node, frame, child.index, child)


def _leaving(run: Run, node: Node) -> bool:
    """Whether a task that is over is held up only by hooks that the stop has ended, and is settled when they are gone.

    Only hooks that are DAGs are waited for here: a DAG ends as soon as it is looked at, work only when it says so.
    """
    if not node.hooks_below:
        return False
    keys = [key for member in node.members for key in (member, *run.nodes[member].members)]
    for child in (run.nodes[key] for key in keys if run.nodes[key].open_hooks):
        open_ = [run.state.hooks[number] for number in child.hooks if run.state.hooks[number].open]
        if attempt_of(run, child).fulfilled and all(hook.cancelled and hooks.is_dag(run, hook) for hook in open_):
            return True
    return False


def _stopped(run: Run, node: Node, frame: DagFrame) -> Walk:
    """After a stop a DAG has failed as soon as it was looked at once, whatever still runs in it (assessDAGPhase).

    It waits for the exit handlers of its targets alone. What is left inside ends later (left_inside).
    """
    if _leaving(run, node):
        return
    ended = [frame.nodes[target] for target in frame.graph.targets if target in frame.nodes]
    started = [handlers.hook_of_name(run, child, handlers.EXIT) for child in ended if child.completed]
    if not any(hook is not None and hook.open for hook in started):
        yield from drain(run, node, whole=True)
        run.emit(NodeEnded(node.key, phases.FAILED))


def _advance(run: Run, node: Node, frame: DagFrame) -> Walk:
    """Looks at the tasks that changed, then starts what has become ready, in the order of the graph.

    Of a composite that has just ended the exit handler comes first, then what depends on it, then its other hooks.
    """
    heap = [frame.graph.rank[number] for number in _changed(run, node, frame)]
    frame.ready, starts = [], frame.ready
    frame.waiting, waiting = [], frame.waiting
    heap += [frame.graph.rank[number] for number in (*starts, *waiting)]
    while heap:
        heapq.heapify(heap)
        yield from _round(run, node, frame, heap)
        heap = [frame.graph.rank[number] for number in frame.later]
        frame.later = []


def _round(run: Run, node: Node, frame: DagFrame, heap: list[int]) -> Walk:
    last = -1
    while heap:
        rank = heapq.heappop(heap)
        if rank == last:
            continue
        last = rank
        run.turn.check()
        number = frame.graph.order[rank]
        if number in frame.nodes:
            known = number in frame.noticed
            yield from _task(run, node, frame, number)
            if number in frame.noticed and not known and number in frame.graph.in_their_turn:
                yield from _others(run, node, frame, number, frame.nodes[number].phase)
        elif not frame.missing[number]:
            yield from _start(run, node, frame, number)
            if number in frame.nodes:
                yield from _started(run, node, frame, number)
        for ready in frame.ready:
            heapq.heappush(heap, frame.graph.rank[ready])
            last = -1
        frame.ready = []


def _changed(run: Run, node: Node, frame: DagFrame) -> set[int]:
    keys = run.changes(node.key)
    if keys is None or frame.new or run.state.shutdown:
        frame.new = False
        return {number for number in frame.nodes if number in frame.graph.rank}
    changed = {run.nodes[key].index for key in keys}
    changed.update(number for number in frame.lively if number in frame.nodes)
    return changed & frame.graph.rank.keys()


def _started(run: Run, node: Node, frame: DagFrame, number: int) -> Walk:
    """A task that has just begun: the items of its loop start; its hooks are for the second look."""
    child = frame.nodes[number]
    if child.type == phases.TASK_GROUP:
        yield from dag_items.look(run, node, frame, number, child)
    if child.fulfilled and not child.completed:
        frame.settle(number)
    elif child.fulfilled:
        yield from _task(run, node, frame, number, begun=True)
    if handlers.other_hooks(frame.graph.tasks[number]):
        if number in frame.graph.targets:  # Argo looks at a target's hooks before it comes to the next target
            yield from _others(run, node, frame, number, child.phase)
        frame.later.append(number)


def _task(run: Run, node: Node, frame: DagFrame, number: int, *, begun: bool = False) -> Walk:
    """The hooks of a task that has its node, and the items of its loop. `begun`: its node is of this very look."""
    child = frame.nodes[number]
    raised(run, child)
    just_ended = child.fulfilled and child.type in phases.COMPOSITES and number not in frame.noticed
    # Argo looks at hooks before it sees that a composite has ended
    phase = phases.RUNNING if just_ended else child.phase
    unseen = just_ended and begun and child.type != phases.TASK_GROUP
    at_once = child.type in (phases.TASK_GROUP, phases.SKIPPED_TYPE) and not child.hooks_below
    if begun and at_once and child.completed:  # it has ended where it began: its handler waits for no hook
        yield from look_exit(run, node, frame, number, child)
    if not unseen and not (yield from _others(run, node, frame, number, phase)):
        return
    if child.type == phases.TASK_GROUP and not child.fulfilled:
        yield from dag_items.look(run, node, frame, number, child)
        just_ended = child.fulfilled
    if not child.fulfilled:
        return
    if just_ended:
        frame.noticed.add(number)
        frame.later.append(number)
        if child.hooks_below:
            return  # it has ended before the handlers of its items: what comes of that is for the second look
    if child.completed:
        if handlers.exit_hook(run, frame.graph.tasks[number]) is not None and parallelism.holds_back(run, node, child):
            frame.waiting.append(number)
            return
        if not (yield from look_exit(run, node, frame, number, child)):
            return
    if not child.open_hooks:
        frame.settle(number)


def _others(run: Run, node: Node, frame: DagFrame, number: int, phase: str) -> Answer:
    """Hooks other than the exit hook, for a task that is in this phase. Returns whether those that run are done."""
    task, child = frame.graph.tasks[number], frame.nodes[number]
    others = handlers.other_hooks(task)
    if not others or (child.phase == phases.PENDING and number not in frame.graph.targets):
        return True
    scope = hook_scope(run, node, frame, number, child)
    scope[f"tasks.{task.name}.status"] = phase
    where = found_of(run, node).scope
    return (yield from hooks.look(run, child, others, hooks.View(scope, f"tasks.{task.name}", where)))


def _start(run: Run, node: Node, frame: DagFrame, number: int) -> Walk:
    """Starts a task when all that it depends on is settled: or omits it, or has it wait for a place."""
    if any(frame.nodes[need].open_hooks for need in frame.graph.needs[number]):
        frame.waiting.append(number)  # a hook began after its task was settled: it is waited for as well
        return
    if run.state.started.run_attempt and not frame.graph.ancestors(number) <= frame.settled:
        frame.waiting.append(number)  # a retry of the workflow begins daemons again, and what is between went well
        return
    if full(run):
        raise NodeError(TOO_MANY_NODES)
    task = frame.graph.tasks[number]
    scope_name = found_of(run, node).scope
    caller = Caller(task, scope_name, {}, "tasks", task.name)
    spot = Spot(node.key, f".{task.name}", number, links=_links(run, frame, number))
    try:
        if not _wanted(run, frame, number):
            frame.nodes[number] = fail(run, spot, caller, "omitted: depends condition not met", phases.OMITTED)
            return
        scope = scope_for(run, node, frame, source_of(run, task), number)
        resolved = resolve(run, task, scope)
        laid = lay_out(run, resolved, scope, key=(node.key, number))
    except NodeError as error:
        frame.nodes[number] = fail(run, spot, caller, str(error))
        return
    if laid.loop:
        if not laid.plans:
            frame.nodes[number] = fail(run, spot, caller, "Skipped, empty params", phases.SKIPPED)
            return
        group = begin_group(run, spot, caller)
        frame.nodes[number] = group
        run.memory.of(LoopPlans, group.key).keep(laid.plans, run.outputs_version)
        return
    begun = run_plan(run, node, laid.plans[0], spot, scope_name)
    if begun is None:
        frame.waiting.append(number)
        return
    frame.nodes[number] = begun.node
    if begun.node.type in phases.COMPOSITES and not begun.node.fulfilled:
        yield begun.node


def _links(run: Run, frame: DagFrame, number: int) -> list[int] | None:
    needs = frame.graph.needs[number]
    if not needs:
        return None
    keys = [frame.nodes[need].key for need in needs if need in frame.nodes]
    alone = not run.state.shutdown  # a graph that has ended without ends is its own, but for one that was stopped
    return [end for key in keys for end in outbound(run, key) or ([key] if alone else [])]


def _wanted(run: Run, frame: DagFrame, number: int) -> bool:
    """Whether the task shall run, now that all it depends on is settled. Raises NodeError."""
    graph = frame.graph
    if not graph.logic[number]:
        return all(_went_well(graph.tasks[need], frame.nodes[need]) for need in graph.needs[number])
    env = {graph.tasks[need].name.replace("-", "_"): _results(run, frame.nodes[need]) for need in graph.needs[number]}
    logic = graph.logic[number].replace("-", "_")
    try:
        return evaluate_bool(logic, env)
    except ExpressionError as error:
        raise NodeError(f"unable to evaluate expression '{logic}': {error}") from error


def _went_well(task: Task, node: Node) -> bool:
    if node.phase in (phases.SUCCEEDED, phases.SKIPPED) or node.serving:
        return True
    lenient = task.continue_on
    return lenient is not None and (
        (lenient.error and node.phase == phases.ERROR) or (lenient.failed and node.phase == phases.FAILED)
    )


def _results(run: Run, node: Node) -> dict[str, bool]:
    some = every = False
    if node.type == phases.TASK_GROUP:
        below = [run.nodes[key].phase for key in node.members]
        some = phases.SUCCEEDED in below
        every = bool(below) and all(phase == phases.FAILED for phase in below)
    return {
        "Succeeded": node.phase == phases.SUCCEEDED,
        "Failed": node.phase == phases.FAILED,
        "Errored": node.phase == phases.ERROR,
        "Skipped": node.phase == phases.SKIPPED,
        "Omitted": node.phase == phases.OMITTED,
        "Daemoned": node.serving,
        "AnySucceeded": some,
        "AllFailed": every,
    }


def _assess(run: Run, node: Node, frame: DagFrame) -> None:
    """Nothing is open inside: is the DAG over, and how?"""
    template = processed_of(run, node).template
    phase = verdict(run, node, frame.graph, frame.nodes, lenient=_lenient(template))
    if phase == phases.RUNNING:
        return
    made = None
    if phase == phases.SUCCEEDED:
        try:
            made = _outputs(run, node, frame, template)
        except NodeError as error:
            run.emit(NodeEnded(node.key, phases.ERROR, str(error), raised=True))
            return
    run.emit(NodeEnded(node.key, phase, "", made))


def conclude(run: Run, node: Node) -> None:
    """Ends a DAG in which nothing is open and nothing may begin any more: tasks that are not there yet never come."""
    if not run.state.shutdown or exempt(run, node):
        _assess(run, node, frame_of(run, node))
    if not node.fulfilled:
        run.emit(NodeEnded(node.key, phases.FAILED))


def _lenient(template: Template) -> bool:
    """failFast: false waits for every target."""
    return template.dag is not None and template.dag.fail_fast is False


def _outputs(run: Run, node: Node, frame: DagFrame, template: Template) -> Any:
    for number in range(len(frame.graph.tasks)):
        child = frame.nodes.get(number)
        given = child.outputs if child is not None else None
        if child is not None and given is not None and (given.parameters or given.artifacts):
            outputs.export(run, child, _template(run, node, frame.graph.tasks[number]), child.outputs)
    if not (template.outputs.parameters or template.outputs.artifacts):
        return None
    source = msgspec.json.encode(template.outputs).decode()
    return outputs.from_scope(run, template, scope_for(run, node, frame, source, None))


def _template(run: Run, node: Node, task: Task) -> Template:
    return run.templates.get(task, found_of(run, node).scope).template
