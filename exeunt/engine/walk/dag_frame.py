"""What a DAG's look knows of its tasks: which are settled, and the variables that they bring into scope."""

from __future__ import annotations

import re
from contextlib import suppress

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.values import artifacts, handlers
from exeunt.engine.values.graph import Graph, graph_of
from exeunt.engine.values.layout import Plan, lay_out, resolve
from exeunt.engine.values.processed import found_of, processed_of
from exeunt.engine.values.scope import Scope, add_loop, add_node, add_skipped, global_scope, mentioned
from exeunt.engine.values.templating import mentions, source_of
from exeunt.engine.walk import hooks
from exeunt.engine.walk.walking import Answer
from exeunt.language.manifest import LifecycleHook, Task, Template
from exeunt.language.template_lookup import TemplateNotFoundError

_ITEM = re.compile(r"\{\{=?\s*item\b|\{\{=[^}]*\bitem\b")


class DagFrame:
    """What is known of a DAG's tasks between two looks. All of it follows from the nodes."""

    def __init__(self, run: Run, graph: Graph, node: Node) -> None:
        self.graph = graph
        self.nodes = {run.nodes[key].index: run.nodes[key] for key in node.members}
        self.settled: set[int] = set()
        self.missing = [len(needs) for needs in graph.needs]
        self.waiting: list[int] = []
        self.later: list[int] = []  # to be looked at once more in this look
        self.noticed: set[int] = set()  # composites whose end has been seen
        self.lively = [number for number in graph.order if handlers.other_hooks(graph.tasks[number])]
        self.ready = [number for number in graph.order if not self.missing[number] and number not in self.nodes]
        self.new = True

    def settle(self, number: int) -> None:
        """The task is done with all its hooks: those that depend on it come nearer."""
        if number in self.settled:
            return
        self.settled.add(number)
        for dependent in self.graph.dependents[number]:
            self.missing[dependent] -= 1
            if not self.missing[dependent] and dependent not in self.nodes and dependent in self.graph.rank:
                self.ready.append(dependent)


class NodeFrame:
    """The frame of a DAG node. A look that is left half-way leaves it half-made: then it is to be forgotten."""

    frame: DagFrame | None = None


class LoopPlans:
    """The items of a DAG's loop, as of a version of the outputs."""

    def __init__(self) -> None:
        self.plans: list[Plan] | None = None
        self.version = -1

    def keep(self, plans: list[Plan], version: int) -> None:
        self.plans, self.version = plans, version


def frame_of(run: Run, node: Node) -> DagFrame:
    template = processed_of(run, node).template
    dag = template.dag
    assert dag is not None
    graph = graph_of(run, node, dag)
    own = run.memory.of(NodeFrame, node.key)
    if own.frame is None or own.frame.graph is not graph:
        own.frame = DagFrame(run, graph, node)
    return own.frame


def scope_for(run: Run, node: Node, frame: DagFrame, source: str, number: int | None) -> Scope:
    """The variables for a text inside the template: the tasks before this one (None: all) that it mentions."""
    scope = global_scope(run)
    processed = processed_of(run, node)
    for name, value in processed.inputs:
        scope[f"inputs.parameters.{name}"] = value
    artifacts.add_inputs(scope, processed.artifacts)
    words = mentioned(source)
    graph = frame.graph
    if words is None or (number is None and not words.isdisjoint(("expression", "fromExpression"))):
        wanted = set(graph.numbers.values()) if number is None else graph.ancestors(number)
    else:
        wanted = {graph.numbers[word] for word in words & graph.numbers.keys()}
        if number is not None:
            wanted = {one for one in wanted if graph.is_ancestor(one, number)}
    for one in sorted(wanted, key=lambda at: graph.rank.get(at, 0)):
        if one in frame.nodes:
            _add_task(run, node, scope, graph.tasks[one], frame.nodes[one], result=number is not None)
    return scope


def _add_task(run: Run, node: Node, scope: Scope, task: Task, child: Node, *, result: bool) -> None:
    prefix = f"tasks.{task.name}"
    if child.type == phases.TASK_GROUP:
        add_loop(scope, prefix, [run.nodes[key] for key in child.members])
    add_node(run, scope, prefix, child)
    try:
        template: Template | None = run.templates.get(task, found_of(run, node).scope).template
    except TemplateNotFoundError:
        template = None
    add_skipped(scope, prefix, child, template, result=result)


def hook_scope(run: Run, node: Node, frame: DagFrame, number: int, child: Node) -> Scope:
    task = frame.graph.tasks[number]
    source = " ".join(source_of(run, hook) for hook in task.hooks.values())
    scope = scope_for(run, node, frame, source, number)
    scope[f"tasks.{task.name}.status"] = child.phase
    return scope


def look_exit(run: Run, node: Node, frame: DagFrame, number: int, child: Node) -> Answer:
    """The exit hook of a task's node, or of an item's. Returns whether it is done, or was never to run.

    An item's gets its item. The loop's own has none, and does not run where it asks for one (rule item-in-handlers).
    """
    started = handlers.hook_of_name(run, child, handlers.EXIT)
    if started is not None:
        return not started.open
    task = frame.graph.tasks[number]
    declared = handlers.exit_hook(run, task)
    if declared is None:
        return True
    hook = declared if child.item < 0 else _exit_hook_of_item(run, node, frame, child) or declared
    scope = hook_scope(run, node, frame, number, child)
    view = hooks.View(scope, f"tasks.{task.name}", found_of(run, node).scope)
    if child.type == phases.TASK_GROUP and _ITEM.search(source_of(run, declared)):
        hooks.skip(run, child, hook, view, "it asks for the item, which the loop as a whole has not")
        return not handlers.other_hooks(task)  # those come before what depends on the loop, as where its handler runs
    return (yield from hooks.look_exit(run, child, hook, view))


def _exit_hook_of_item(run: Run, node: Node, frame: DagFrame, child: Node) -> LifecycleHook | None:
    """The exit hook with the item that its node began with; None where the loop cannot be laid out so any more.

    A loop over outputs of the workflow may be another one by now.
    """
    with suppress(NodeError):
        plans = plans_of(run, node, frame, run.nodes[child.owner])
        if child.item < len(plans) and plans[child.item].suffix == child.suffix:
            return handlers.exit_hook(run, plans[child.item].step)
    return None


def plans_of(run: Run, node: Node, frame: DagFrame, group: Node) -> list[Plan]:
    """The items of a loop, in their order. Raises NodeError where they cannot be laid out."""
    loop = run.memory.of(LoopPlans, group.key)
    number = group.index
    task = frame.graph.tasks[number]
    if loop.plans is not None and (
        loop.version == run.outputs_version or not mentions(run, found_of(run, node).template, "workflow")
    ):
        return loop.plans
    scope = scope_for(run, node, frame, source_of(run, task), number)
    plans = lay_out(run, resolve(run, task, scope), scope).plans
    loop.keep(plans, run.outputs_version)
    return plans
