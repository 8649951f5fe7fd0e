"""Which hooks and exit handlers a step, a node and a workflow have, and what became of them."""

from __future__ import annotations

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.state import Hook
from exeunt.engine.values.scope import (
    workflow_parameters,
)
from exeunt.language.manifest import Arguments, LifecycleHook, Parameter, Step

EXIT = phases.EXIT


def exit_hook(run: Run, step: Step) -> LifecycleHook | None:
    """The exit hook of a step or task: `onExit`, or `hooks.exit`. Without arguments it gets the workflow's."""
    if step.on_exit:
        return LifecycleHook(template=step.on_exit, arguments=run.spec.arguments)
    hook = step.hooks.get(EXIT)
    return None if hook is None else with_arguments(run, hook)


def with_arguments(run: Run, hook: LifecycleHook) -> LifecycleHook:
    if hook.arguments.parameters or hook.arguments.artifacts:
        return hook
    return with_these(hook, run.spec.arguments)


def other_hooks(step: Step) -> dict[str, LifecycleHook]:
    return {name: hook for name, hook in step.hooks.items() if name != EXIT}


def hook_of_name(run: Run, node: Node, name: str) -> Hook | None:
    """The hook of this name, when it was due."""
    for number in node.hooks:
        hook = run.state.hooks[number]
        if hook.name == name:
            return hook
    return None


def is_handler(run: Run, node: Node, name: str) -> bool:
    """Whether the hook of this name is an exit handler of the node: a workflow may have several."""
    return name == EXIT or (node.owner < 0 and name in run.handlers)


def with_these(hook: LifecycleHook, arguments: Arguments) -> LifecycleHook:
    """The hook with other arguments."""
    return LifecycleHook(
        template=hook.template,
        arguments=arguments,
        template_ref=hook.template_ref,
        expression=hook.expression,
    )


def exit_hooks(run: Run) -> dict[str, LifecycleHook]:
    """The workflow's handlers by their hooks' names: its own, and those that its annotation names."""
    own = workflow_exit_hook(run)
    found = {} if own is None else {EXIT: own}
    for name, hook in run.handlers.items():
        found[name] = with_these(hook, own_arguments(run))
    return found


def workflow_exit_hook(run: Run) -> LifecycleHook | None:
    """The workflow's: `onExit` before `hooks.exit`; without arguments of its own it gets the workflow's."""
    if run.spec.on_exit:
        return LifecycleHook(template=run.spec.on_exit, arguments=own_arguments(run))
    hook = run.spec.hooks.get(EXIT)
    if hook is None:
        return None
    if hook.arguments.parameters or hook.arguments.artifacts:
        return hook
    return with_these(hook, own_arguments(run))


def own_arguments(run: Run) -> Arguments:
    parameters = [Parameter(name=name, value=value) for name, value in workflow_parameters(run).items()]
    return Arguments(parameters=parameters, artifacts=run.spec.arguments.artifacts)


def finalization(run: Run) -> str:
    """What the exit handlers came to, all together."""
    owed = exit_handlers(run)
    ran = [hook for hook in owed if hook.phase != phases.SKIPPED]
    if not ran:
        return "Skipped" if owed else "None"
    if any(hook.open for hook in ran):
        return "Running"
    return "Failed" if any(hook.last in phases.BAD for hook in ran) else "Succeeded"


def exit_handlers(run: Run) -> list[Hook]:
    """Those that were due: of the workflow and of its steps; hooks that run meanwhile are none."""
    return [hook for hook in run.state.hooks if is_handler(run, run.nodes[hook.parent], hook.name)]
