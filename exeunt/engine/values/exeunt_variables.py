"""What the workflow's handlers are told beyond Argo: `workflow.exeunt.…`, why it ended and what failed, with its log.

`workflow.failures` stays as Argo has it. These variables stand beside it:

- `workflow.exeunt.outcome`: the phase of the main run, as in `status.outcome`
- `workflow.exeunt.reason`: why it ended: Completed, Failed, Error, Stopped, Terminated, Deadline or Deleted
- `workflow.exeunt.message`: what was said at the stop or termination, or else how the main run ended, with its cause
- `workflow.exeunt.failures`: a JSON list (`[]` without failures; not quoted once more), in the order of the ends:
  Argo's fields, and `startedAt`, `id`, `name`, `exitCode` (null where there is none), `retried` (a later attempt went
  on), `cause` (what the last attempt said, where the message is the retryStrategy's) and `log`, the last lines
- `workflow.exeunt.skipped`: a JSON list of the steps and tasks that did not run
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import Any

import msgspec

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.values import workflow_failures
from exeunt.engine.values.cause import cause
from exeunt.engine.values.scope import Scope, rfc3339

PREFIX = "workflow.exeunt."
MOST_SKIPPED = 50
ALL_CHARACTERS = 64 * 1024
"""Of all logs together: what a handler is told goes into the log with each obligation."""


class Lists:
    """Whether anything asks for the lists, and what did not run when there were so many nodes."""

    def __init__(self) -> None:
        self.asked_for: bool | None = None
        self.nodes = -1
        self.skipped: list[dict[str, str]] = []


def add_summary(run: Run, scope: Scope, message: str) -> None:
    """Puts the variables into the scope of a handler of the workflow."""
    scope[f"{PREFIX}outcome"] = run.state.outcome
    scope[f"{PREFIX}reason"] = run.state.reason
    scope[f"{PREFIX}message"] = run.state.shutdown_message or message
    if run.state.outcome and _asked_for(run):
        scope[f"{PREFIX}skipped"] = json.dumps(skipped(run), separators=(",", ":"), ensure_ascii=False)
    if not run.state.bad:
        scope[f"{PREFIX}failures"] = "[]"
    elif _asked_for(run):
        scope[f"{PREFIX}failures"] = json.dumps(failures(run), separators=(",", ":"), ensure_ascii=False)


def _asked_for(run: Run) -> bool:
    """Whether any text of the workflow or its templates has the word: the list is too large to be carried in vain."""
    lists = run.memory.of(Lists)
    if lists.asked_for is None:
        lists.asked_for = b"exeunt" in msgspec.json.encode(run.bundle)
    return lists.asked_for


def failures(run: Run) -> list[dict[str, Any]]:
    """The failures of `workflow.failures`, with what we know besides."""
    left = ALL_CHARACTERS
    found = workflow_failures.failures_list(run)
    for entry, more in zip(found, _more(run), strict=False):
        log = more["log"]
        while log and sum(map(len, log)) > left:
            del log[0]
        left -= sum(map(len, log))
        entry.update(more)
    return found


def skipped(run: Run) -> list[dict[str, str]]:
    """The first steps and tasks that did not run, and why: their condition was false, or what they depend on failed."""
    lists = run.memory.of(Lists)
    if lists.nodes != len(run.nodes):
        found = (node for node in run.nodes if node.phase in (phases.SKIPPED, phases.OMITTED) and not node.hooked)
        lists.nodes = len(run.nodes)
        lists.skipped = [_not_run(run, node) for node in islice(found, MOST_SKIPPED)]
    return lists.skipped


def _not_run(run: Run, node: Node) -> dict[str, str]:
    return {
        "displayName": run.names.display(node, run.name),
        "message": node.message,
        "templateName": node.template if node.ref is None else node.ref[1],
        "phase": node.phase,
        "id": run.id(node),
        "name": run.names.full(node),
    }


def _more(run: Run) -> Iterable[dict[str, Any]]:
    for key in run.state.bad:
        if key >= 0:
            yield _of_node(run, run.nodes[key])
            continue
        outcome = run.state.hooks[-1 - key].outcome
        for tree in outcome.nodes if outcome is not None else []:
            if tree.get("phase") in phases.BAD:
                code = (tree.get("outputs") or {}).get("exitCode")
                known = {"id": tree.get("id", ""), "name": tree.get("name", "")}
                known |= {"startedAt": tree.get("startedAt", ""), "cause": tree.get("cause", "")}
                yield {**known, "exitCode": None if code is None else int(code), "retried": False, "log": []}


def _of_node(run: Run, node: Node) -> dict[str, Any]:
    owner = run.nodes[node.owner] if node.owner >= 0 else None
    return {
        "id": run.id(node),
        "name": run.names.full(node),
        "startedAt": rfc3339(node.started),
        "cause": cause(run, node),
        "exitCode": node.outputs.exit_code if node.outputs is not None else None,
        "retried": owner is not None and owner.type == phases.RETRY and owner.members[-1] != node.key,
        "log": list(node.tail),
    }
