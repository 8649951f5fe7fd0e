"""What the groups of a `steps` template come to: the plans of their steps, and what texts in there see.

Nothing begins here; the looks at steps (walk/steps.py) begin what is planned.
"""

from __future__ import annotations

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.turn import ITEM
from exeunt.engine.values import artifacts
from exeunt.engine.values.layout import Plan, lay_out, resolve
from exeunt.engine.values.processed import found_of, processed_of
from exeunt.engine.values.scope import Scope, add_loop, add_node, add_skipped, global_scope, mentioned
from exeunt.engine.values.templating import mentions, source_of
from exeunt.language.manifest import Step, Template
from exeunt.language.template_lookup import TemplateNotFoundError

EMPTY = -2
"""The item of a loop over nothing."""


class GroupPlans:
    """The plans of a group while it is open, and what was made on the way to them."""

    def __init__(self) -> None:
        self.plans: list[tuple[int, Plan]] | None = None
        self.version = -1  # of the workflow's outputs that they were made with
        self.varies = False  # with the workflow's outputs
        self.resolved: list[tuple[Step, Scope]] = []  # the first steps, with what others gave put in
        self.resolved_version = -1
        self.callers: dict[tuple[int, int], Step] = {}  # by the number of the step, and the item
        self.callers_of: list[tuple[int, Plan]] | None = None
        self.members: dict[int, list[Node]] | None = None  # by the number of their step


class Places:
    """In which groups of a steps template a step's name stands."""

    def __init__(self) -> None:
        self.groups: dict[str, list[int]] = {}


def plan_group(run: Run, node: Node, group: Node, steps: list[Step], *, turns: bool = False) -> list[tuple[int, Plan]]:
    """What the group consists of: for each node to be the number of its step, and its plan. Raises NodeError.

    With `turns` also TurnOver, when it is more than one decision's work.
    """
    own = run.memory.of(GroupPlans, group.key)
    if own.plans is not None and (own.version == run.outputs_version or not own.varies):
        return own.plans
    plans: list[tuple[int, Plan]] = []
    varies = mentions(run, found_of(run, node).template, "workflow")
    resolved = _resolved(run, node, group, steps, turns=turns)
    for number, (step, scope) in enumerate(resolved):
        laid = lay_out(run, step, scope, key=(group.key, number) if turns else None)
        plans += [(number, plan) for plan in laid.plans]
        if laid.loop and not laid.plans:
            plans.append((number, Plan(step, "", EMPTY)))
    own.plans, own.version, own.varies = plans, run.outputs_version, varies
    own.resolved = []
    return plans


def _resolved(run: Run, node: Node, group: Node, steps: list[Step], *, turns: bool) -> list[tuple[Step, Scope]]:
    """The steps with what the others gave, each with its scope. Raises NodeError."""
    own = run.memory.of(GroupPlans, group.key)
    if own.resolved_version != run.outputs_version:
        own.resolved, own.resolved_version = [], run.outputs_version
    resolved = own.resolved
    for step in steps[len(resolved) :]:
        if turns:
            run.turn.check()
        scope = scope_for(run, node, source_of(run, step), group.index)
        try:
            resolved.append((resolve(run, step, scope), scope))
        except NodeError as error:
            raise NodeError(f"failed to resolve references: {error}") from error
        run.turn.took(ITEM)
    return resolved


def plan_of(run: Run, node: Node, child: Node) -> Plan:
    """The plan that a node was started from. Raises NodeError when there is none."""
    group = run.nodes[child.owner]
    steps = (processed_of(run, node).template.steps or [])[group.index]
    for number, plan in plan_group(run, node, group, steps):
        if number == child.index and plan.item == child.item:
            return plan
    raise NodeError(f"{run.names.full(child)} has no step any more")


def caller_of(run: Run, group: Node, plans: list[tuple[int, Plan]], child: Node, declared: Step) -> Step:
    """The step that a child was called by, for an item the one with its item; as it is declared where none is left."""
    own = run.memory.of(GroupPlans, group.key)
    if own.callers_of is not plans:
        own.callers, own.callers_of = {(number, plan.item): plan.step for number, plan in plans}, plans
    return own.callers.get((child.index, child.item), declared)


def scope_for(run: Run, node: Node, source: str, until: int, *, outputs: bool = False) -> Scope:
    """The variables for a text inside the template: those of the groups before `until` that it mentions."""
    scope = global_scope(run)
    processed = processed_of(run, node)
    for name, value in processed.inputs:
        scope[f"inputs.parameters.{name}"] = value
    artifacts.add_inputs(scope, processed.artifacts)
    words = mentioned(source)
    if outputs and words is not None and not words.isdisjoint(("expression", "fromExpression")):
        words = None
    groups = processed.template.steps or []
    places = run.memory.of(Places, node.key).groups
    if not places:
        for number, steps in enumerate(groups):
            for step in steps:
                places.setdefault(step.name, []).append(number)
    for name in places if words is None else words & places.keys():
        for number in places[name]:
            if number < until:
                _add_step(run, node, scope, number, name, result=not outputs)
    return scope


def _add_step(run: Run, node: Node, scope: Scope, number: int, name: str, *, result: bool) -> None:
    group = run.nodes[node.members[number]]
    steps = (processed_of(run, node).template.steps or [])[number]
    index = next(at for at, step in enumerate(steps) if step.name == name)
    own = run.memory.of(GroupPlans, group.key)
    if own.members is None:
        own.members = {}
        for key in group.members:
            own.members.setdefault(run.nodes[key].index, []).append(run.nodes[key])
    nodes = own.members.get(index, [])
    prefix = f"steps.{name}"
    if len(nodes) == 1 and nodes[0].item < 0:
        add_node(run, scope, prefix, nodes[0])
        template = _template(run, steps[index], found_of(run, node).scope)
        add_skipped(scope, prefix, nodes[0], template, result=result, artifacts=True)
        return
    ran = [one for one in nodes if one.type != phases.SKIPPED_TYPE]
    if ran:
        add_loop(scope, prefix, ran)
    kept = {key: value for key, value in scope.items() if key.startswith(f"{prefix}.outputs")}
    add_node(run, scope, prefix, group)
    scope.update(kept)


def _template(run: Run, step: Step, scope: str) -> Template | None:
    try:
        return run.templates.get(step, scope).template
    except TemplateNotFoundError:
        return None
