"""What has to hold of every run, whatever it ran and however it ended. Pure: runs in, sentences out.

Given are a workflow's runs as the log tells of them: the main run and the exit runs of its handlers. `broken` says what
is not as it must be, each sentence with the node's name. The kinds, by their first word:

- `promise`: a node that began and whose call has an exit handler has it exactly once, or a record that says why not;
  nothing has one that never began.
- `unran`: nothing is Failed or Succeeded that never ran.
- `verdict`: the phase of a graph, group, or retried step follows from what is in it.
- `open`: what has ended holds nothing that is Running or Pending.
- `literal`: an exit handler was handed no tag that could be resolved.
- `stuck`: a run that is not over waits for something.
- `late`: nothing begins in what has ended, but handlers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from exeunt.engine import decide
from exeunt.engine.decide import Run
from exeunt.engine.facts import phases
from exeunt.engine.facts.events import Event, NodeEnded, NodeStarted
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.state import Hook
from exeunt.engine.values import handlers
from exeunt.engine.values.graph import Graph
from exeunt.engine.values.processed import found_of, processed_of
from exeunt.engine.walk.start import step_name
from exeunt.language.manifest import ContinueOn, Step, Task, Template

EXIT = "exit"
BARRED = ("workflow shutdown with strategy: ", phases.EXCEEDED)
"""Messages of what begins after a stop or a deadline: it is Failed at once, as in Argo."""

Sentences = Iterator[str]


def broken(runs: Mapping[str, Run], events: Mapping[str, Iterable[Event]] | None = None) -> list[str]:
    """What does not hold of a workflow's runs; the main run has the key "". Their events tell what began too late."""
    found = list(_stuck(runs))
    for run in runs.values():
        for check in (_promise, _unran, _verdict, _open, _literal):
            found += [f"{check.__name__[1:]}: {text}" for text in check(run)]
    if runs[""].closed:
        found += [
            f"open: the run of {_root(run)} goes on behind the workflow" for run in runs.values() if not run.closed
        ]
    for key, told in (events or {}).items():
        found += [f"late: {text}" for text in _late(runs[key], told)]
    return found


def _root(run: Run) -> str:
    return run.names.full(run.root) if run.nodes else run.name


# --- calls ------------------------------------------------------------------------------------------------------------


def call_of(run: Run, node: Node) -> Step | None:
    """The step or task by which a node was called; None for roots, groups, attempts and hooks."""
    if node.owner < 0 or node.hook or node.retried or node.type == phases.STEP_GROUP:
        return None
    template = _template(run, node.boundary)
    name = step_name(run, node)
    steps: list[Any] = [step for group in (template.steps or []) for step in group] if template is not None else []
    if template is not None and template.dag is not None:
        steps = list(template.dag.tasks)
    return next((step for step in steps if step.name == name), None)


def _template(run: Run, key: int) -> Template | None:
    return found_of(run, run.nodes[key]).template if key >= 0 else None


def _has_handler(run: Run, node: Node) -> bool:
    if node.owner < 0:
        return not run.exit and bool(handlers.exit_hooks(run).get(EXIT))
    call = call_of(run, node)
    return call is not None and bool(call.on_exit or EXIT in call.hooks)


def _asks_for_its_item(run: Run, node: Node) -> bool:
    """The handler of a DAG loop's group is not run where its arguments ask for an item, which the group has not."""
    call = call_of(run, node)
    hook = call.hooks.get(EXIT) if call is not None and not call.on_exit else None
    texts = [str(one.value) for one in hook.arguments.parameters] if hook is not None else []
    return node.type == phases.TASK_GROUP and any(_ITEM.search(text) for text in texts)


# --- the promise ------------------------------------------------------------------------------------------------------


def _promise(run: Run) -> Sentences:
    # after a stop a hook that is no exit handler has a node that fails at once, and a record that says why
    counted = Counter((hook.parent, hook.name) for hook in run.state.hooks if hook.name == EXIT or not hook.why)
    yield from (
        f"{run.names.full(run.nodes[at])} has its hook {name} {n} times" for (at, name), n in counted.items() if n > 1
    )
    exits = {hook.parent: hook for hook in run.state.hooks if hook.name == EXIT}
    for node in run.nodes:
        name, hook = run.names.full(node), exits.get(node.key)
        due = _has_handler(run, node)
        if hook is not None and not due:
            yield f"{name} has an exit handler, and its call has none"
        elif hook is not None and _never_began(node) and not hook.why:
            yield f"{name} never began ({node.phase}), and has its exit handler"
        elif due and hook is None and node.phase in phases.COMPLETED and not _may_lack(run, node):
            if run.closed or (
                node.owner >= 0 and run.nodes[node.owner].fulfilled and not run.nodes[node.owner].open_members
            ):
                yield f"{name} is {node.phase}, and its exit handler is missing"
        elif hook is not None and run.closed and hook.open:
            yield f"the exit handler of {name} is still open"
        elif hook is not None and run.closed and not _told(run, hook):
            yield f"the exit handler of {name} has left nothing: no node, and no reason"


def _never_began(node: Node) -> bool:
    return node.phase in (phases.SKIPPED, phases.OMITTED)


def _may_lack(run: Run, node: Node) -> bool:
    """What could not begin; and in an exit run nobody is told of handlers that are not to run."""
    if node.type == phases.SKIPPED_TYPE or node.message.startswith(BARRED) or _asks_for_its_item(run, node):
        return True
    if not run.exit:
        return False
    call = call_of(run, node)
    conditional = call is not None and not call.on_exit and bool(call.hooks[EXIT].expression)
    return conditional or bool(run.state.shutdown)


def _told(run: Run, hook: Hook) -> bool:
    return bool(hook.why or hook.inner >= 0 or (hook.outcome is not None and (hook.outcome.nodes or hook.cancelled)))


# --- what ran ---------------------------------------------------------------------------------------------------------


def _unran(run: Run) -> Sentences:
    for node in run.nodes:
        if node.type not in phases.WORK or node.phase not in (phases.SUCCEEDED, phases.FAILED) or node.executor:
            continue
        if not (node.message.startswith(BARRED) or node.killed or _failed_with_its_run(run, node)):
            yield f"{run.names.full(node)} is {node.phase} and was nowhere placed ({node.message!r})"


def _failed_with_its_run(run: Run, node: Node) -> bool:
    """A step that was due when its run was cancelled is ended with a word of that."""
    return bool(run.state.shutdown and node.message)


def _open(run: Run) -> Sentences:
    if run.closed:
        for node in run.nodes:
            if node.phase in phases.ACTIVE:
                yield f"{run.names.full(node)} is {node.phase} in a run that has ended"
        if run.state.due or run.state.placed:
            yield f"{_root(run)} has ended with {len(run.state.due) + len(run.state.placed)} steps under way"


# --- verdicts ---------------------------------------------------------------------------------------------------------


def _verdict(run: Run) -> Sentences:
    for node in run.nodes:
        if node.type in _VERDICTS and node.fulfilled and (run.closed or not node.open_members):
            for text in _VERDICTS[node.type](run, node, [run.nodes[key] for key in node.members]):
                yield f"{run.names.full(node)} <{node.type}> is {node.phase}: {text}"


def _said(run: Run, node: Node) -> bool:
    """Ended for a reason of its own, which it tells: a stop, a deadline, failFast, what cannot be worked out."""
    return bool(node.message or run.state.shutdown)


def _voting(members: list[Node]) -> list[Node]:
    """Without daemons that were ready: they have gone well where they end only after what holds them has its phase."""
    return [one for one in members if not one.daemoned]


def _retry(run: Run, node: Node, members: list[Node]) -> Sentences:
    attempts = [one for one in members if one.retried]
    if len(attempts) < len(members):
        yield f"{len(members) - len(attempts)} of its members are no attempts"
    if not attempts:
        if node.phase == phases.SUCCEEDED:
            yield "there was no attempt"
    elif (attempts[-1].phase == phases.SUCCEEDED) != (node.phase == phases.SUCCEEDED):
        if node.phase == phases.FAILED and node.message.startswith("Stopped with strategy"):
            return  # a stop ends what would be tried again
        yield f"its last attempt is {attempts[-1].phase}"


def _task_group(run: Run, node: Node, members: list[Node]) -> Sentences:
    bad = [one for one in members if one.failed]
    if (sure := _voting(bad)) and node.phase not in phases.BAD:
        yield f"{run.names.full(sure[0])} is {sure[0].phase}"
    if members and not bad and node.phase in phases.BAD and not _said(run, node):
        yield "no item has failed"
    if not members and node.phase == phases.SUCCEEDED:
        yield "no item ever began"


def _step_group(run: Run, node: Node, members: list[Node]) -> Sentences:
    bad = [one for one in members if one.failed and not _forgiven(one, call_of(run, one))]
    if (sure := _voting(bad)) and node.phase == phases.SUCCEEDED:
        yield f"{run.names.full(sure[0])} is {sure[0].phase}"
    if not bad and node.phase in phases.BAD and not _said(run, node):
        yield "no step in it has failed"


def _steps(run: Run, node: Node, members: list[Node]) -> Sentences:
    bad = [one for one in members if one.failed]
    if (sure := _voting(bad)) and node.phase == phases.SUCCEEDED:
        yield f"{run.names.full(sure[0])} is {sure[0].phase}"
    if not bad and node.phase in phases.BAD and not _said(run, node):
        yield "no group in it has failed"
    template = _template(run, node.key)
    laid_out = len(template.steps or []) if template is not None else 0
    if node.phase == phases.SUCCEEDED and len(members) < laid_out:
        yield f"{len(members)} of {laid_out} groups have a node"


def _dag(run: Run, node: Node, members: list[Node]) -> Sentences:
    template = processed_of(run, node).template
    if template.dag is None or run.state.shutdown:
        return
    graph = Graph(template.dag)
    nodes = {step_name(run, one): one for one in members}
    ends = [_end(run, graph, nodes, target) for target in graph.targets]
    bad = [graph.tasks[at].name for at, end in zip(graph.targets, ends, strict=True) if end == phases.FAILED]
    missing = [graph.tasks[at].name for at in graph.targets if graph.tasks[at].name not in nodes]
    if node.phase == phases.SUCCEEDED and (bad or missing):
        yield f"its targets {bad + missing} have failed or are not there"
    if node.phase in phases.BAD and not missing and set(ends) == {phases.SUCCEEDED} and not _said(run, node):
        yield "all its targets went well"


def _end(run: Run, graph: Graph, nodes: dict[str, Node], target: int) -> str:
    """How a target counts: Succeeded or Failed, or empty where only what is inside of other graphs could tell."""
    task = graph.tasks[target]
    node = nodes.get(task.name)
    if node is None or node.daemoned:
        return ""
    if node.completed:
        arrived = {node.phase}
    else:
        arrived = _arriving(run, graph, nodes, target)
        if "" in arrived:
            return ""
    bad = arrived & phases.BAD
    if len(bad) > 1:
        return ""  # which of them comes first decides what continueOn forgives
    return phases.FAILED if bad and not _forgives(task.continue_on, *bad) else phases.SUCCEEDED


def _arriving(run: Run, graph: Graph, nodes: dict[str, Node], number: int) -> set[str]:
    """What a task that never ran inherits from those before it."""
    found: set[str] = set()
    seen: set[int] = set()
    stack = [number]
    while stack:
        at = stack.pop()
        if at in seen:
            continue
        seen.add(at)
        if not graph.needs[at]:
            found.add(phases.SUCCEEDED)
        for need in graph.needs[at]:
            before = nodes.get(graph.tasks[need].name)
            if before is None:
                found.add("")
            elif not before.completed:
                stack.append(need)
            elif _is_leaf(run, before):
                found.add(before.phase)
            else:
                found.add("")  # the ends inside of a graph decide
    return found


def _is_leaf(run: Run, node: Node) -> bool:
    if node.type == phases.RETRY and node.members:
        node = run.nodes[node.members[-1]]
    return node.type not in phases.COMPOSITES and not node.members  # of a set its last containers count, too


def _forgiven(node: Node, call: Step | Task | None) -> bool:
    return call is not None and _forgives(call.continue_on, node.phase)


def _forgives(lenient: ContinueOn | None, phase: str) -> bool:
    return lenient is not None and (lenient.error if phase == phases.ERROR else lenient.failed)


_VERDICTS = {
    phases.RETRY: _retry,
    phases.TASK_GROUP: _task_group,
    phases.STEP_GROUP: _step_group,
    phases.STEPS: _steps,
    phases.DAG: _dag,
}

# --- literal tags -----------------------------------------------------------------------------------------------------

_OWN = re.compile(
    r"\{\{\s*(?:steps|tasks)\.([\w-]+)\.(status|exitCode|outputs\.result|outputs\.parameters\.([\w-]+))\s*\}\}"
)
_ITEM = re.compile(r"\{\{=?\s*item\b")


def _literal(run: Run) -> Sentences:
    """What an exit handler could have been told of its own step, and of its own item."""
    for hook in run.state.hooks:
        parent = run.nodes[hook.parent]
        if hook.name != EXIT or parent.owner < 0:
            continue
        for text in _handed_on(run, hook):
            if parent.item >= 0 and _ITEM.search(text):
                yield f"the exit handler of {run.names.full(parent)} was handed {text!r}"
            for name, what, parameter in _OWN.findall(text):
                if name == step_name(run, parent) and _known(run, parent, what, parameter):
                    yield f"the exit handler of {run.names.full(parent)} was handed {text!r}"


def _handed_on(run: Run, hook: Hook) -> list[str]:
    if hook.inner >= 0:
        return [value for _, value in run.nodes[hook.inner].inputs or []]
    nodes = hook.outcome.nodes if hook.outcome is not None else []
    inputs = nodes[0].get("inputs") if nodes else None
    return [str(one.get("value", "")) for one in (inputs or {}).get("parameters", [])]


def _known(run: Run, node: Node, what: str, parameter: str) -> bool:
    while node.type == phases.RETRY and node.members and node.outputs is None:
        node = run.nodes[node.members[-1]]
    if what == "status":
        return True
    outputs = node.outputs
    if outputs is None:
        return False
    if parameter:
        return outputs.parameter(parameter) is not None
    return (outputs.exit_code if what == "exitCode" else outputs.result) is not None


# --- waiting, and beginning too late ----------------------------------------------------------------------------------


def _stuck(runs: Mapping[str, Run]) -> Sentences:
    """A main run that is open waits for a step, a timer, a person, or an exit run that does."""
    main = runs[""]
    if main.closed or main.suspended:
        return
    for run in runs.values():
        if run.closed:
            continue
        pending = decide.pending(run)
        if pending.due or pending.placed or pending.cancelled or pending.timers:
            return
        if any(node.type == phases.SUSPEND and node.phase == phases.RUNNING for node in run.nodes):
            return
    waits = [
        f"{run.names.full(node)} ({node.phase})"
        for run in runs.values()
        for node in run.nodes
        if node.phase in phases.ACTIVE
    ]
    yield f"stuck: {main.name} is {main.phase or 'not begun'} and waits for nothing: " + ", ".join(waits)


def _late(run: Run, events: Iterable[Event]) -> Sentences:
    """In what has ended early only handlers begin. `events` are all of the run, in their order."""
    ended: set[int] = set()
    number = 0
    for event in events:
        if isinstance(event, NodeEnded):
            ended.add(event.node)
        elif isinstance(event, NodeStarted):
            key, number = number, number + 1
            if event.phase in phases.ACTIVE and not event.hook:
                yield from _begun(run, key, event.owner, ended)


def _begun(run: Run, key: int, owner: int, ended: set[int]) -> Sentences:
    name = run.names.full(run.nodes[key])
    if run.nodes[key].message.startswith(BARRED):
        return  # Failed at once
    while owner >= 0:
        if owner in ended:
            yield f"{name} has begun in {run.names.full(run.nodes[owner])}, which had ended"
            return
        if run.nodes[owner].hook:
            return
        owner = run.nodes[owner].owner
