"""`workflow.failures`: what failed in a run, in the order of its end (Argo: docs/variables.md)."""

from __future__ import annotations

import json
from typing import Any

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.values.scope import (
    go_json,
    rfc3339,
)

MAX_FAILURES = 50


def failures(run: Run) -> str:
    """`workflow.failures`: all nodes that failed, in the order of their end, as JSON, quoted once more."""
    return json.dumps(failures_json(run), ensure_ascii=False)


def failures_json(run: Run) -> str:
    entries = failures_list(run)
    return go_json(entries) if entries else "null"


def failures_list(run: Run) -> list[dict[str, Any]]:
    """The first failures, in the order of their end."""
    entries: list[dict[str, Any]] = []
    for key in run.state.bad:
        if key >= 0:
            entries.append(_failure(run, run.nodes[key]))
        else:
            outcome = run.state.hooks[-1 - key].outcome
            trees = outcome.nodes if outcome is not None else []
            entries += [_hook_failure(run, tree) for tree in trees if tree.get("phase") in phases.BAD]
        if len(entries) >= MAX_FAILURES:
            break
    return entries[:MAX_FAILURES]


def _failure(run: Run, node: Node) -> dict[str, Any]:
    return {
        "displayName": run.names.display(node, run.name),
        "message": node.message,
        "templateName": node.template if node.ref is None else node.ref[1],
        "phase": node.phase,
        "podName": run.names.pod(node),
        "finishedAt": rfc3339(node.finished),
    }


def _hook_failure(run: Run, tree: dict[str, Any]) -> dict[str, Any]:
    ref = tree.get("templateRef") or {}
    name = ref.get("template") or tree.get("templateName", "")
    return {
        "displayName": tree.get("displayName", ""),
        "message": tree.get("message", ""),
        "templateName": name,
        "phase": tree.get("phase", ""),
        "podName": "-".join(filter(None, (run.name, name, str(tree.get("id", "")).rpartition("-")[2]))),
        "finishedAt": tree.get("finishedAt", ""),
    }
