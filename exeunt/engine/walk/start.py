"""Starting a node: its template is found, its inputs are put in, and it appears in the tree (Argo: executeTemplate)."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from exeunt.engine.facts import phases, timers
from exeunt.engine.facts.events import NodeEnded, NodeStarted, StepDue, TimerSet
from exeunt.engine.facts.nodes import Node, NodeOutputs
from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.turn import NODE
from exeunt.engine.facts.work import ContainerSetWork, StepSpec, in_order
from exeunt.engine.values import leaf
from exeunt.engine.values.durations import seconds
from exeunt.engine.values.processed import Called, found_of, processed_of
from exeunt.engine.values.scope import Scope
from exeunt.engine.values.templating import Processed, mentions, process, source_of
from exeunt.language.manifest import LifecycleHook, RetryStrategy, Step, Template
from exeunt.language.template_lookup import Found, TemplateNotFoundError
from exeunt.language.variables import NESTED

_DISPLAY = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-.]{0,61}[a-zA-Z0-9]")
MAX_DEPTH = 100
"""Calls to templates inside each other (Argo: "maximum recursion depth", `maxAllowedStackDepth`)."""
MAX_NODES = 250_000
TOO_MANY_NODES = f"the workflow has {MAX_NODES:,} nodes: no more are possible"


class Caller(NamedTuple):
    """Who asks for a template: the step, task or hook, in which scope, with which arguments."""

    holder: Step | LifecycleHook
    scope: str
    arguments: dict[str, str]
    kind: str = ""  # "steps" or "tasks"
    name: str = ""  # of the step or task
    artifacts: Sequence[dict[str, Any]] = ()  # of the arguments, each with its place


class Spot(NamedTuple):
    """Where in the tree a node appears."""

    owner: int
    suffix: str
    number: int = -1
    item: int = -1
    hook: str = ""
    hooked: bool = False
    links: list[int] | None = None


class Begun(NamedTuple):
    """The node, and why it could not be run if so: then it stands in the tree, in Error."""

    node: Node
    error: str = ""


def retry_strategy(run: Run, template: Template) -> RetryStrategy | None:
    """The template's, or else the workflow's for every template."""
    return template.retry_strategy if template.retry_strategy is not None else run.spec.retry_strategy


def reference(holder: Step | LifecycleHook) -> tuple[str, str, bool] | None:
    ref = holder.template_ref
    return None if ref is None else (ref.name, ref.template, ref.cluster_scope)


def begin(run: Run, spot: Spot, caller: Caller, problem: str = "") -> Begun:
    """Starts a node for the caller. Nothing is raised: what is wrong stands in the node, also what the caller knows."""
    beyond = problem or _beyond(run, spot)
    if beyond:
        return Begun(fail(run, spot, caller, beyond))
    try:
        found = run.templates.get(caller.holder, caller.scope)
        template = found.template
        strategy = retry_strategy(run, template)
        local = _local(run, spot, caller, template, pod=strategy is None)
        processed = process(run, template, caller.arguments, local, caller.artifacts)
        if strategy is not None:
            node = _appear(run, spot, caller, phases.RETRY, phases.RUNNING, processed=processed)
            run.memory.of(Called, node.key).found = found
            return Begun(node)
        return body(run, spot, caller, found, processed)
    except (NodeError, TemplateNotFoundError) as error:
        return Begun(
            _appear(run, spot, caller, phases.SKIPPED_TYPE, phases.ERROR, message=str(error), raised=True), str(error)
        )


def _beyond(run: Run, spot: Spot) -> str:
    """What is wrong where a node would stand too deep, or be one too many: empty if nothing is."""
    if spot.owner >= 0:
        owner = run.nodes[spot.owner]
        calls = owner.depth + (2 if owner.type in phases.BOUNDARIES else 1)
        if calls >= MAX_DEPTH:
            return f"Maximum recursion depth exceeded: templates may call each other {MAX_DEPTH - 1} deep"
    return TOO_MANY_NODES if full(run) else ""


def full(run: Run) -> bool:
    """Whether the run has as many nodes as it may have. Those that never run count as well."""
    return len(run.nodes) >= MAX_NODES


def fail(run: Run, spot: Spot, caller: Caller, message: str, phase: str = phases.ERROR) -> Node:
    """A node that never ran: in Error, Skipped or Omitted."""
    return _appear(run, spot, caller, phases.SKIPPED_TYPE, phase, message=message)


def begin_group(run: Run, spot: Spot, caller: Caller) -> Node:
    """The node that stands for all items of a DAG's loop."""
    return _appear(run, spot, caller, phases.TASK_GROUP, phases.RUNNING)


def body(run: Run, spot: Spot, caller: Caller, found: Found, processed: Processed, *, retried: bool = False) -> Begun:
    """The node that does the work, without or within a Retry. Raises NodeError before the node appears."""
    template = processed.template
    kind = leaf.node_type(template)
    if kind in phases.BOUNDARIES:
        node = _appear(run, spot, caller, kind, phases.RUNNING, processed=processed, retried=retried)
        called = run.memory.of(Called, node.key)
        called.found, called.processed, called.version = found, processed, run.outputs_version
        return Begun(node)
    if kind == phases.SUSPEND:
        return _suspend(run, spot, caller, processed, retried=retried)
    node = _appear(run, spot, caller, kind, phases.PENDING, processed=processed, retried=retried)
    run.memory.of(Called, node.key).found = found
    if barred(run, node):
        run.emit(NodeEnded(node.key, phases.FAILED, barred(run, node)))
        return Begun(node)
    try:
        spec = leaf.spec(run, node, template, result=_wants_result(run, node))
    except NodeError as error:
        run.emit(NodeEnded(node.key, phases.ERROR, str(error), raised=True))
        return Begun(node, str(error))
    run.emit(StepDue(run.id(node), run.state.first_attempt, spec, run.exit))
    _containers(run, node, spec)
    if template.timeout:
        run.emit(TimerSet(timers.timeout(run.id(node)), run.now + seconds(template.timeout)))
    return Begun(node)


def _containers(run: Run, pod: Node, spec: StepSpec) -> None:
    """The nodes of the containers of a set: each hangs below those it depends on, or else below its pod."""
    if not isinstance(spec.work, ContainerSetWork):
        return
    keys: dict[str, int] = {}
    for one in in_order(spec.work.containers):
        run.turn.took(NODE)
        keys[one.name] = len(run.nodes)
        run.emit(
            NodeStarted(
                owner=pod.key,
                suffix=f".{one.name}",
                kind=phases.CONTAINER,
                phase=phases.PENDING,
                template=pod.template,
                hooked=pod.hooked,
                retried=pod.retried,
                scope=pod.scope,
                ref=pod.ref,
                links=[keys[name] for name in one.dependencies] or None,
            )
        )


def barred(run: Run, node: Node) -> str:
    """Why no work may start any more; empty while it may."""
    if run.state.shutdown and not exempt(run, node):
        return f"workflow shutdown with strategy: {run.state.shutdown}"
    return phases.EXCEEDED if run.state.shutdown_reason == "Deadline" else ""


def exempt(run: Run, node: Node) -> bool:
    """Whether a stop does not concern the node: in a hook's own run exit handlers of its steps go on all the same."""
    if not run.exit or run.state.shutdown != "Stop":
        return False
    while node.hook != phases.EXIT and node.owner >= 0:
        node = run.nodes[node.owner]
    return node.hook == phases.EXIT


def _appear(
    run: Run,
    spot: Spot,
    caller: Caller,
    kind: str,
    phase: str,
    *,
    processed: Processed | None = None,
    message: str = "",
    retried: bool = False,
    outputs: NodeOutputs | None = None,
    raised: bool = False,
) -> Node:
    run.turn.took(NODE)
    run.emit(
        NodeStarted(
            owner=spot.owner,
            suffix=spot.suffix,
            kind=kind,
            phase=phase,
            template=caller.holder.template,
            index=spot.number,
            item=spot.item,
            message=message,
            inputs=processed.inputs if processed is not None and processed.inputs else None,
            hook=spot.hook,
            hooked=spot.hooked,
            retried=retried,
            scope=caller.scope,
            ref=reference(caller.holder),
            outputs=outputs,
            links=spot.links,
            raised=raised,
            display="" if retried or processed is None else _display(processed.template),
            artifacts=processed.artifacts if processed is not None and processed.artifacts else None,
        )
    )
    return run.nodes[-1]


def _display(template: Template) -> str:
    """The display name that the template asks for, where it is a proper one."""
    asked = (template.annotations or {}).get("workflows.argoproj.io/display-name", "")
    return asked if _DISPLAY.fullmatch(asked) else ""


def _suspend(run: Run, spot: Spot, caller: Caller, processed: Processed, *, retried: bool) -> Begun:
    template = processed.template
    names = [
        parameter.name
        for parameter in template.outputs.parameters
        if parameter.value_from is not None and parameter.value_from.supplied is not None
    ]
    outputs = NodeOutputs(parameters=[(name, None) for name in names]) if names else None
    node = _appear(
        run, spot, caller, phases.SUSPEND, phases.RUNNING, processed=processed, retried=retried, outputs=outputs
    )
    try:
        gate = template.suspend
        length = seconds(gate.duration) if gate is not None and gate.duration else None
    except NodeError as error:
        run.emit(NodeEnded(node.key, phases.ERROR, str(error), raised=True))
        return Begun(node, str(error))
    if run.state.shutdown_reason == "Deadline":
        run.emit(NodeEnded(node.key, phases.FAILED, barred(run, node)))
    elif length is not None:
        run.emit(TimerSet(timers.wait(run.id(node)), run.now + length))
    # a handler has a time of its own; in a main run only `timeout` ends a wait, as in Argo
    limit = leaf.time_limit(template) if run.exit else seconds(template.timeout) if template.timeout else 0.0
    if limit and not node.fulfilled:
        run.emit(TimerSet(timers.timeout(run.id(node)), run.now + limit))
    return Begun(node)


def _local(run: Run, spot: Spot, caller: Caller, template: Template, *, pod: bool) -> Scope:
    """The variables of the node itself: its name, its step's, and its pod's where it has one already."""
    scope: Scope = {}
    if mentions(run, template, "node"):  # putting a long name together is only worth it where it is read
        owner = run.nodes[spot.owner] if spot.owner >= 0 else None
        scope["node.name"] = spot.suffix if owner is None else run.names.full(owner) + spot.suffix
    if caller.kind:
        scope[f"{caller.kind}.name"] = caller.name
    if pod and leaf.is_pod(template):
        owner = run.nodes[spot.owner] if spot.owner >= 0 else None
        scope["pod.name"] = run.names.pod_of(owner, spot.suffix, template.name)
    return scope


class Read:
    """What templates were found to ask for, by their ids; the template stands beside, so that its id stays its own."""

    def __init__(self) -> None:
        self.nests: dict[int, tuple[Template, bool]] = {}
        self.results: dict[int, tuple[Template, Collection[str]]] = {}


def _nests_tags(run: Run, template: Template) -> bool:
    """Whether there are tags inside of tags. Each template is read once."""
    read = run.memory.of(Read).nests
    known = read.get(id(template))
    if known is None:
        known = read[id(template)] = template, bool(NESTED.search(source_of(run, template)))
    return known[1]


def _wants_result(run: Run, node: Node) -> bool:
    if node.boundary < 0:
        return False
    boundary = run.nodes[node.boundary]
    template = found_of(run, boundary).template
    if _nests_tags(run, template):  # the names that it asks for come from its inputs
        template = processed_of(run, boundary).template
    name = step_name(run, node)
    known = run.memory.of(Read).results
    wanted = known.get(id(template))
    if wanted is None:
        kind = "tasks" if boundary.type == phases.DAG else "steps"
        wanted = known[id(template)] = template, leaf.results_wanted(source_of(run, template), kind)
    return name in wanted[1]


def step_name(run: Run, node: Node) -> str:
    """The name of the step or task that a node belongs to: without item and attempt."""
    current = node
    while not current.suffix.startswith(".") and current.owner >= 0:
        current = run.nodes[current.owner]
    name = current.suffix.partition("(")[0]
    return name.rpartition(".")[2]
