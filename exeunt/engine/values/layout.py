"""What a step or task comes to: references put in, its condition looked at, its loop laid out.

The result is a list of plans: one for a plain step, one for each item of a loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.turn import ITEM, LoopBudget
from exeunt.engine.values import artifacts, loops
from exeunt.engine.values.scope import Scope
from exeunt.engine.values.templating import mark_absent, model, replaced, replaced_text, source_of, tree_of
from exeunt.language.expression import ExpressionError, when
from exeunt.language.expression.limits import Allowance, sharing
from exeunt.language.manifest import Arguments, LifecycleHook, Step, Task
from exeunt.language.variables import OPEN

S = TypeVar("S", bound=Step)
STRICT = ("steps", "tasks")


class Plan(NamedTuple):
    """One node to be: the step as it is called, its suffix in the names, its item's number or -1."""

    step: Step
    suffix: str
    item: int = -1


class Looped(NamedTuple):
    """The plans of a step; `loop` when it stands for many."""

    plans: list[Plan]
    loop: bool


def should_run(condition: str) -> bool:
    """A condition with everything put in. Raises NodeError where it is none."""
    if not condition:
        return True
    try:
        return when(condition)
    except ExpressionError as error:
        raise NodeError(str(error)) from error


def resolve(run: Run, step: S, scope: Scope) -> S:
    """The step with what the others gave. Hooks stay as they are: they are for later. Raises NodeError.

    A step whose condition is false is left as it is otherwise: it will never be called.
    """
    if step.when:
        condition = replaced_text(run, step.when, scope, STRICT)
        try:
            proceed = should_run(condition)
        except NodeError:
            if not loops.loops(step):
                raise
        else:
            if not proceed:
                return _with(step, when=condition)
    files = step.arguments.artifacts
    if OPEN not in source_of(run, step) and not artifacts.has_sources(files):
        return step
    with sharing(Allowance()):
        done = _put_in(run, step, scope)
        if artifacts.has_sources(done.arguments.artifacts):
            steps = not isinstance(step, Task)
            prefix = "unable to resolve references: " if steps else ""
            found = artifacts.arguments(run, done.arguments.artifacts, scope, tolerant=steps, prefix=prefix)
            done = _with(done, arguments=Arguments(parameters=done.arguments.parameters, artifacts=found))
        return done


def _put_in(run: Run, step: S, scope: Scope) -> S:
    hooks = step.hooks
    whole = tree_of(run, step)
    tree = {key: value for key, value in whole.items() if key != "hooks"}
    if "arguments" in whole:  # in its place: what cannot be put in first is what the step says
        tree["arguments"] = mark_absent(whole["arguments"], scope)
    done = model(replaced(run, tree, scope, STRICT), type(step))
    done.hooks = hooks
    return done


def _with(step: S, **changes: object) -> S:
    copy = type(step)(**{name: getattr(step, name) for name in step.__struct_fields__})
    for name, value in changes.items():
        setattr(copy, name, value)
    return copy


class HalfLaid:
    """A loop that is being laid out, as of a version of the outputs: how far it came, and what it has taken."""

    def __init__(self, items: list[Any], version: int) -> None:
        self.items = items
        self.version = version
        self.plans: list[Plan] = []
        self.budget = LoopBudget()


class Laying:
    """Loops of a group that are half laid out, by the number of their step."""

    def __init__(self) -> None:
        self.left: dict[int, HalfLaid] = {}


def lay_out(run: Run, step: Step, scope: Scope, key: tuple[int, int] | None = None) -> Looped:
    """The plans of a resolved step. Raises NodeError.

    With a `key`, the group and the step's number, it keeps how far it came, and raises TurnOver when it is more than
    one decision's work.
    """
    if not loops.loops(step):
        return Looped([Plan(step, "")], loop=False)
    left = {} if key is None else run.memory.of(Laying, key[0]).left
    number = 0 if key is None else key[1]
    half = left.get(number)
    if half is None or half.version != run.outputs_version:
        half = HalfLaid(_items(step), run.outputs_version)
    bare = _with(step, with_items=None, with_param=None, with_sequence=None, hooks={})
    tree = tree_of(run, bare)
    tags = OPEN in source_of(run, bare)
    hooked = [name for name, hook in step.hooks.items() if OPEN in source_of(run, hook)]
    skipped = _never(step.when)
    for index, value in enumerate(half.items[len(half.plans) :], len(half.plans)):
        if key is not None:
            left[number] = half
            run.turn.check()
        item = loops.item(value, index)
        before = run.turn.meter.spent
        one = _item_step(run, bare, tree, {**scope, **item.variables}, skipped) if tags else _with(bare)
        one.hooks = step.hooks
        if hooked:
            given = {name: value for name, value in {**scope, **item.variables}.items() if value is not None}
            one.hooks = {name: _item_hook(run, hook, given) for name, hook in step.hooks.items()}
        one.name = step.name + item.name
        half.plans.append(Plan(one, item.name, index))
        run.turn.took(ITEM)
        half.budget.took(run.turn.meter.spent - before)
    left.pop(number, None)
    return Looped(half.plans, loop=True)


def _items(step: Step) -> list[Any]:
    """The items; none where they cannot be worked out and the step never runs. Raises NodeError."""
    try:
        return loops.items_of(step)
    except NodeError:
        if not _never(step.when):
            raise
        return []


def _item_hook(run: Run, hook: LifecycleHook, scope: Scope) -> LifecycleHook:
    """A hook of an item: what is known by now is put in, the rest is for when it is due."""
    tree = tree_of(run, hook)
    done = replaced(run, tree, scope)
    return hook if done is tree else model(done, LifecycleHook)


def _never(condition: str) -> bool:
    try:
        return not should_run(condition)
    except NodeError:
        return False


def _item_step(run: Run, bare: S, tree: object, scope: Scope, skipped: bool) -> S:
    if skipped:
        known = {name: value for name, value in scope.items() if value is not None}
        return model(replaced(run, tree, known), type(bare))
    with sharing(Allowance()):
        return model(replaced(run, tree, scope, whole=True), type(bare))
