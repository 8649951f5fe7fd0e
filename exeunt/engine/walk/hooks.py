"""Hooks: when one is due, and what it is owed (Argo: docs/lifecyclehook.md; controller hooks.go, exit_handler.go).

In a main run a due hook is an obligation: `HookDue` in the very commit that made it due; its node comes back with the
outcome of its exit run. In an exit run, hooks of the handler's own steps run inside the same run.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from exeunt.engine.facts import phases
from exeunt.engine.facts.events import HookDue, HookOmitted, HookSkipped, HookStarted, Obligation
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.problem import NoArtifactError, NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.state import Hook
from exeunt.engine.values import artifacts, leaf
from exeunt.engine.values.handlers import EXIT, hook_of_name, is_handler, with_these
from exeunt.engine.values.scope import (
    Scope,
    add_loop,
    add_outputs,
    attempt_of,
    global_artifacts,
    global_scope,
    handed_on,
)
from exeunt.engine.values.templating import argument_values, mark_absent, model, replaced, tree_of
from exeunt.engine.walk.start import Caller, Spot, begin, retry_strategy
from exeunt.engine.walk.walking import Answer, Walk
from exeunt.language.expression import ExpressionError, evaluate_bool
from exeunt.language.manifest import Arguments, LifecycleHook, Template
from exeunt.language.template_lookup import TemplateNotFoundError
from exeunt.language.variables import environment


class View(NamedTuple):
    """What hooks of a node see, and where their templates are looked up. `prefix` is the node's own name in there."""

    scope: Scope
    prefix: str
    where: str


def holds(expression: str, scope: Scope) -> bool:
    """Whether the expression is true. Raises NodeError where it cannot be worked out or is no boolean."""
    try:
        return evaluate_bool(expression, environment(scope))
    except ExpressionError as error:
        raise NodeError(str(error)) from error


def look(run: Run, node: Node, hooks: dict[str, LifecycleHook], view: View) -> Answer:
    """Starts those hooks whose expression holds now. Returns whether all that started are done.

    An expression sees what its own node gave, once that is there. Before, one that cannot be worked out does not hold;
    when the node has ended it is an Error of the hook alone (rules own-outputs, handler-fails-alone). So is a hook that
    is due and asks for an artifact that is not there.
    """
    done = True
    ended = node.fulfilled and view.scope.get(f"{view.prefix}.status", node.phase) in phases.FULFILLED
    for name, hook in hooks.items():
        started = hook_of_name(run, node, name)
        if started is None:
            problem = ""
            try:
                if not hook.expression:
                    raise NodeError(f"Expression required for hook {run.names.full(node)}.hooks.{name}")
                own = view._replace(scope=_of_loop(run, node, view))
                if not holds(hook.expression, with_own(run, node, own)):
                    continue
                ready = resolved(run, hook, own, node)
            except NodeError as error:
                if not (ended or isinstance(error, NoArtifactError)):
                    continue
                ready, problem = with_these(hook, Arguments()), str(error)
            yield from start(run, node, name, ready, view, problem=problem)
            started = hook_of_name(run, node, name)
        done = done and (started is None or not started.open)
    return done


def look_exit(run: Run, node: Node, hook: LifecycleHook | None, view: View, name: str = EXIT) -> Answer:
    """Starts the exit hook of a completed node. Returns whether it is done, or was never to run.

    One that cannot be worked out is an Error by itself, in the ledger; that of the workflow then does not run.
    """
    if hook is None:
        return True
    started = hook_of_name(run, node, name)
    if started is not None:
        return not started.open
    if run.state.shutdown == "Terminate" and not run.runs_anyway:
        why = "the workflow was deleted" if run.state.deleted else "the workflow was terminated"
        skip(run, node, hook, view, why, name=name)
        return True
    problem = ""
    try:
        if hook.expression and not holds(hook.expression, with_own(run, node, view)):
            skip(run, node, hook, view, f"its expression is false: {hook.expression}", name=name)
            return True
        ready = resolved(run, hook, view, node)
    except NodeError as error:
        if node.owner < 0:
            skip(run, node, hook, view, str(error), name=name)
            return True
        ready, problem = with_these(hook, Arguments()), str(error)
    yield from start(run, node, name, ready, view, problem=problem)
    started = hook_of_name(run, node, name)
    return started is None or not started.open


def resolved(run: Run, hook: LifecycleHook, view: View, node: Node) -> LifecycleHook:
    """The hook's arguments with the node's own outputs among the variables; what is not known stays as it is.

    Argo leaves out the result and the exit code (rule own-outputs).
    """
    if not (hook.arguments.parameters or hook.arguments.artifacts):
        return hook
    return _put_in(run, hook, with_own(run, node, view))


def with_own(run: Run, node: Node, view: View) -> Scope:
    """The view's variables and what the node itself gave. Output parameters without a value read as empty."""
    scope = dict(view.scope)
    if not view.prefix:
        return scope
    outputs = attempt_of(run, node).outputs
    add_outputs(scope, view.prefix, outputs)
    for name, value in outputs.parameters if outputs is not None else []:
        scope[f"{view.prefix}.outputs.parameters.{name}"] = value or ""
    return scope


def _of_loop(run: Run, node: Node, view: View) -> Scope:
    """The view's variables, for a loop that has ended with what its items gave."""
    if node.type != phases.TASK_GROUP or not node.fulfilled:
        return view.scope
    scope = dict(view.scope)
    add_loop(scope, view.prefix, [run.nodes[key] for key in node.members])
    return scope


def _put_in(run: Run, hook: LifecycleHook, scope: Scope) -> LifecycleHook:
    whole = tree_of(run, hook.arguments)
    done = replaced(run, mark_absent(whole, scope), scope)
    if not artifacts.has_sources(hook.arguments.artifacts):
        return hook if done is whole else with_these(hook, model(done, Arguments))
    given = model(done, Arguments)
    given.artifacts = artifacts.arguments(
        run, given.artifacts, scope, tolerant=True, prefix="unable to resolve references: "
    )
    return with_these(hook, given)


def start(run: Run, node: Node, name: str, hook: LifecycleHook, view: View, *, problem: str = "") -> Walk:
    """The hook is due, with its arguments resolved; or it has a problem, and is an Error from the beginning."""
    if not run.exit and not (run.state.shutdown and not is_handler(run, node, name)):
        owed = obligation(run, node, name, hook, view)
        owed.problem = problem
        run.emit(HookDue(owed))
        return
    # inside an exit run; or after a stop, where a hook that is no handler fails at once, as in Argo
    own = {key: value for key, value in view.scope.items() if key.startswith("workflow.")}
    try:
        hook = _put_in(run, hook, own)
    except NodeError as error:
        problem = problem or str(error)
    run.emit(HookStarted(node.key, name))
    begun = begin(
        run,
        Spot(node.key, suffix(name), hook=name, hooked=True),
        Caller(
            hook,
            view.where,
            argument_values(hook.arguments),
            artifacts=artifacts.trees(hook.arguments.artifacts),
        ),
        problem,
    )
    if not run.exit:
        run.emit(HookSkipped(_bare(run, node, name, hook, view), f"not run: the workflow was {_shut(run)}"))
    if begun.node.type in phases.COMPOSITES and not begun.node.fulfilled:
        yield begun.node


def _shut(run: Run) -> str:
    return run.state.shutdown_reason.lower() or "stopped"


def _bare(run: Run, node: Node, name: str, hook: LifecycleHook, view: View) -> Obligation:
    """What is recorded of a hook that does not run."""
    return obligation(run, node, name, with_these(hook, Arguments()), view._replace(scope=global_scope(run)))


def skip(run: Run, node: Node, hook: LifecycleHook, view: View, why: str, *, name: str = EXIT) -> None:
    """Says that an exit handler will not run, and why."""
    if hook_of_name(run, node, name) is not None:
        return
    if run.exit:
        run.emit(HookOmitted(node.key, name, run.names.full(node), why))
    else:
        run.emit(HookSkipped(_bare(run, node, name, hook, view), why))


def suffix(name: str) -> str:
    return ".onExit" if name == EXIT else f".hooks.{name}"


def hook_id(run: Run, node: Node, name: str) -> str:
    parts = (run.uid, str(run.state.started.run_attempt), run.id(node), name)
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:24]


def obligation(run: Run, node: Node, name: str, hook: LifecycleHook, view: View) -> Obligation:
    """All that an exit run needs."""
    node_name = run.names.full(node)
    of_workflow = node.owner < 0
    hook_name = node_name + suffix(name)
    inherited = {key: value for key, value in view.scope.items() if handed_on(key) and isinstance(value, str)}
    display = run.names.display(node, run.name) + suffix(name)
    return Obligation(
        hook_id=hook_id(run, node, name),
        hook=name,
        node=run.id(node),
        node_name=node_name,
        hook_node=run.names.hooked_id(node, suffix(name)),
        hook_node_name=hook_name,
        boundary=None if of_workflow or node.boundary < 0 else run.id(run.nodes[node.boundary]),
        uid=run.uid,
        name=run.name,
        namespace=run.namespace,
        bundle=run.state.started.bundle,
        caller=msgspec.to_builtins(LifecycleHook(template=hook.template, template_ref=hook.template_ref)),
        caller_scope=view.where,
        arguments=dict(argument_values(hook.arguments)),
        scope=inherited,
        reason=run.state.reason if of_workflow else _reason(node),
        phase=run.state.outcome or node.phase if of_workflow else node.phase,
        run_attempt=run.state.started.run_attempt,
        labels={**run.workflow.metadata.labels, **run.state.started.labels},
        due_at=run.now,
        trace=run.state.started.trace,
        display=display,
        further=name != EXIT and is_handler(run, node, name),
        started_by=run.state.started.started_by,
        artifacts=artifacts.trees(hook.arguments.artifacts),
        global_artifacts=dict(global_artifacts(run)),
        repository=run.repository,
        claims=run.claims,
    )


def _reason(node: Node) -> str:
    return {phases.SUCCEEDED: "Completed", phases.FAILED: "Failed", phases.ERROR: "Error"}.get(node.phase, "")


def counts_as_pod(run: Run, hook: Hook) -> bool:
    """Whether an open obligation counts as a pod for the limits. So does a graph: it runs one at least."""
    template = _template(run, hook)
    return template is not None and leaf.node_type(template) in phases.COUNTED


def is_pod(run: Run, hook: Hook) -> bool:
    """Whether an open obligation is a pod, tried once or several times."""
    template = _template(run, hook)
    return template is not None and leaf.node_type(template) == phases.POD


def is_dag(run: Run, hook: Hook) -> bool:
    """Whether an open obligation is a DAG, not tried again."""
    template = _template(run, hook)
    return template is not None and retry_strategy(run, template) is None and leaf.node_type(template) == phases.DAG


def _template(run: Run, hook: Hook) -> Template | None:
    owed = hook.obligation
    if owed is None:
        return None
    try:
        template = run.templates.get(msgspec.convert(owed.caller, LifecycleHook), owed.caller_scope).template
        leaf.node_type(template)
    except (NodeError, TemplateNotFoundError):
        return None
    return template
