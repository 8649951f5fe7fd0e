"""The fold of events about hooks."""

from __future__ import annotations

from exeunt.engine.facts import phases, transitions
from exeunt.engine.facts.claims import joined
from exeunt.engine.facts.events import (
    Event,
    HookCancelled,
    HookDue,
    HookFinished,
    HookOmitted,
    HookReplayed,
    HookSkipped,
    HookStarted,
)
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.replayed import note_replay
from exeunt.engine.facts.standing import hook_of_id, hook_state, node_at, node_of
from exeunt.engine.facts.state import Facts, Hook
from exeunt.engine.facts.transitions import IllegalStep


def inner_hook_ended(run: Facts, node: Node) -> None:
    for number in run.nodes[node.owner].hooks if node.owner >= 0 else []:
        hook = run.state.hooks[number]
        if hook.inner == node.key and hook.open:
            _close(run, hook, node.phase)


def _close(run: Facts, hook: Hook, phase: str) -> None:
    hook.phase = phase
    hook.obligation = None
    run.state.open_hooks -= 1
    _count(run, hook.parent, -1)


def _count(run: Facts, parent: int, step: int) -> None:
    node = run.nodes[parent]
    node.open_hooks += step
    if node.owner >= 0:
        owner = run.nodes[node.owner]
        owner.hooks_below += step
        if owner.type == phases.TASK_GROUP:  # a group may end before the handlers of its items, its DAG does not
            run.nodes[owner.owner].hooks_below += step


def _open(run: Facts, hook: Hook) -> None:
    number = len(run.state.hooks)
    run.state.hooks.append(hook)
    if hook.hook_id:
        run.state.hook_numbers[hook.hook_id] = number
    run.nodes[hook.parent].hooks.append(number)
    if hook.open:
        run.state.open_hooks += 1
        _count(run, hook.parent, 1)


def _is_new(run: Facts, hook_id: str, event: Event) -> None:
    if hook_id in run.state.hook_numbers:
        raise IllegalStep(f"hook: {type(event).__name__} cannot follow {hook_state(hook_of_id(run, hook_id))}")


def hook_due(run: Facts, event: HookDue) -> None:
    owed = event.obligation
    _is_new(run, owed.hook_id, event)
    parent = node_of(run, owed.node).key
    number = len(run.state.hooks)
    _open(run, Hook(parent=parent, name=owed.hook, hook_id=owed.hook_id, obligation=owed))
    if parent != 0 or owed.hook != "exit":  # the workflow's exit handler is nobody's child
        run.nodes[parent].children.append(-1 - number)


def hook_skipped(run: Facts, event: HookSkipped) -> None:
    owed = event.obligation
    _is_new(run, owed.hook_id, event)
    _open(
        run,
        Hook(
            parent=node_of(run, owed.node).key,
            name=owed.hook,
            hook_id=owed.hook_id,
            phase=phases.SKIPPED,
            why=event.why,
        ),
    )


def hook_omitted(run: Facts, event: HookOmitted) -> None:
    _open(run, Hook(parent=node_at(run, event.node).key, name=event.hook, phase=phases.SKIPPED, why=event.why))


def hook_replayed(run: Facts, event: HookReplayed) -> None:
    transitions.step("hook", hook_state(hook_of_id(run, event.hook_id)), event)
    note_replay(run.state, event.hook_id, event.phase, event.message)


def hook_started(run: Facts, event: HookStarted) -> None:
    _open(run, Hook(parent=node_at(run, event.node).key, name=event.hook, inner=len(run.nodes)))


def hook_cancelled(run: Facts, event: HookCancelled) -> None:
    hook = hook_of_id(run, event.hook_id)
    transitions.step("hook", hook_state(hook), event)
    hook.cancelled = True
    hook.strategy = event.strategy


def hook_finished(run: Facts, event: HookFinished) -> None:
    outcome = event.outcome
    hook = hook_of_id(run, outcome.hook_id)
    transitions.step("hook", hook_state(hook), event, outcome.phase)
    number = run.state.hook_numbers[outcome.hook_id]
    _close(run, hook, outcome.phase)
    hook.outcome = outcome
    run.state.claims = joined(run.state.claims, outcome.claims)
    if any(node.get("phase") in phases.BAD for node in outcome.nodes):
        run.state.bad.append(-1 - number)
    for name, value in outcome.global_outputs.items():
        if value is not None or name not in run.state.global_outputs:  # a failed step's empty output takes nothing away
            run.state.global_outputs[name] = value
            run.outputs_version += 1
    if outcome.global_artifacts:
        run.state.global_artifacts.update(outcome.global_artifacts)
        run.outputs_version += 1
