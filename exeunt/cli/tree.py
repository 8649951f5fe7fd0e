"""A workflow as a tree of its nodes, in the way of `argo get`: symbols, templates, durations, messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exeunt.cli.times import duration, seconds
from exeunt.visible import visible

SYMBOLS = {
    "Pending": "◷",
    "Running": "●",
    "Succeeded": "✔",
    "Skipped": "○",
    "Omitted": "○",
    "Failed": "✖",
    "Error": "⚠",
    "Daemoned": "●",
}
STYLES = {"Succeeded": "green", "Failed": "red", "Error": "red", "Running": "cyan", "Pending": "yellow"}
WAITING = "ǁ"  # a suspend node that waits
DEEPEST = 40
_HOOK = re.compile(r"^(?P<node>.*)\.(?:onExit|hooks\.[^.]+)$", re.DOTALL)

Node = Mapping[str, Any]
Workflow = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A line of the tree."""

    lead: str  # branches before the symbol
    symbol: str
    name: str
    template: str
    duration: str
    message: str
    phase: str


def rows(workflow: Workflow, now: float) -> list[Row]:
    """The nodes of a workflow as lines, each step group in the order of its steps, hooks below what they belong to."""
    nodes: dict[str, Node] = workflow.get("status", {}).get("nodes") or {}
    below = _children(nodes)
    found: list[Row] = []
    stack = [(key, "", "", 0) for key in reversed(below.get("", []))]
    while stack:
        key, lead, inner, depth = stack.pop()
        found.append(_row(nodes[key], lead, now))
        children = below.get(key, [])
        if depth >= DEEPEST and children:
            found.append(Row(f"{inner}└─", "…", f"{len(children)} more below", "", "", "", ""))
            continue
        in_steps = nodes[key].get("type") == "Steps"
        groups = list(_groups(nodes, children)) if in_steps else [[child] for child in children]
        placed = _branches(groups, in_steps=in_steps)
        stack += [(child, inner + branch, inner + beneath, depth + 1) for child, branch, beneath in reversed(placed)]
    return found


def _branches(groups: list[list[str]], *, in_steps: bool) -> list[tuple[str, str, str]]:
    """Each child with the branch before its symbol and what stands before those below it.

    Steps that run side by side hang on one branch, as in `argo get`.
    """
    placed = []
    for number, group in enumerate(groups):
        last = number == len(groups) - 1
        trunk = "  " if last else "│ "
        if not in_steps:
            placed += [(child, "└─" if last else "├─", trunk) for child in group]
            continue
        for position, child in enumerate(group):
            first, final = position == 0, position == len(group) - 1
            fork = "──" if first and final else "┬─" if first else "└─" if final else "├─"
            start = ("└─" if last else "├─") if first else trunk
            placed.append((child, start + fork, trunk + ("  " if final else "│ ")))
    return placed


def header(workflow: Workflow, now: float) -> list[tuple[str, str]]:
    """What is said of a workflow above its tree."""
    metadata, status = workflow.get("metadata", {}), workflow.get("status", {})
    started, finished = seconds(status.get("startedAt")), seconds(status.get("finishedAt"))
    lines = [
        ("Name", metadata.get("name", "")),
        ("Namespace", metadata.get("namespace", "")),
        ("Status", status.get("phase") or "Pending"),
    ]
    outcome, finalization = status.get("outcome"), status.get("finalization")
    if outcome and (outcome != status.get("phase") or status.get("reason") not in ("Completed", outcome, None)):
        lines.append(("Outcome", f"{outcome} ({status.get('reason')})" if status.get("reason") else outcome))
    if finalization not in (None, "", "None"):
        lines.append(("Exit handlers", finalization))
    lines += [
        ("Message", _message(status.get("message", ""), _root(workflow))),
        ("Created", metadata.get("creationTimestamp", "")),
        ("Started", status.get("startedAt") or ""),
        ("Finished", status.get("finishedAt") or ""),
        ("Duration", duration((finished or now) - started) if started else ""),
        ("Progress", status.get("progress", "")),
    ]
    return [(name, text) for name, text in lines if text]


def outputs(workflow: Workflow) -> list[tuple[str, str]]:
    """The workflow's output parameters."""
    parameters = (workflow.get("status", {}).get("outputs") or {}).get("parameters") or []
    return [(str(p.get("name", "")), str(p.get("value", ""))) for p in parameters]


def text(workflow: Workflow, now: float) -> str:
    """Header, outputs and tree as plain text."""
    parts = [f"{name + ':':<15}{value}" for name, value in header(workflow, now)]
    given = outputs(workflow)
    if given:
        parts += ["Outputs:", *(f"  {name + ':':<13}{value}" for name, value in given)]
    lines = rows(workflow, now)
    if lines:
        parts += ["", *table(("STEP", "TEMPLATE", "DURATION", "MESSAGE"), [_cells(row) for row in lines])]
    return "\n".join(parts) + "\n"


def table(head: tuple[str, ...], body: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns of text, each as wide as it needs, the last one open."""
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in [head, *body]
    ]


def _cells(row: Row) -> tuple[str, ...]:
    return (f"{row.lead}{row.symbol} {row.name}", row.template, row.duration, row.message)


def _row(node: Node, lead: str, now: float) -> Row:
    phase = node.get("phase", "Pending")
    waiting = node.get("type") == "Suspend" and phase == "Running"
    started, finished = seconds(node.get("startedAt")), seconds(node.get("finishedAt"))
    reference = node.get("templateRef") or {}
    template = node.get("templateName") or "/".join(filter(None, (reference.get("name"), reference.get("template"))))
    ran = started is not None and phase not in ("Skipped", "Omitted", "Pending")
    return Row(
        lead=lead,
        symbol=WAITING if waiting else SYMBOLS.get(phase, "?"),
        name=visible(str(node.get("displayName") or node.get("name", ""))),
        template=visible(str(template)),
        duration=duration((finished or now) - started) if ran and started is not None else "",
        message=visible(" ".join(_message(str(node.get("message") or ""), node).split())),
        phase=phase,
    )


def _message(message: str, node: Node) -> str:
    """A message with what its node ended of, where it is the node's own."""
    cause = node.get("cause")
    return f"{message}: {cause}" if cause and message == node.get("message") else message


def _root(workflow: Workflow) -> Node:
    """The workflow's first node has the workflow's name for its id."""
    nodes: Mapping[str, Node] = workflow.get("status", {}).get("nodes") or {}
    return nodes.get(str(workflow.get("metadata", {}).get("name", "")), {})


def _children(nodes: Mapping[str, Node]) -> dict[str, list[str]]:
    """Node id → those shown below it; "" has the roots. Step groups themselves are not shown."""
    by_name = {str(node.get("name", "")): key for key, node in nodes.items()}
    inside: dict[str, str] = {}  # attempts and items → the node that groups them
    for key, node in nodes.items():
        if node.get("type") in ("Retry", "TaskGroup"):
            name = str(node.get("name", ""))
            for child in node.get("children") or []:
                if str(nodes.get(child, {}).get("name", "")).startswith(f"{name}("):
                    inside[child] = key
    below: dict[str, list[str]] = {}
    for key, node in nodes.items():
        if node.get("type") == "StepGroup":
            continue
        hook = _HOOK.match(str(node.get("name", "")))
        parent = inside.get(key) or (by_name.get(hook["node"]) if hook else None) or node.get("boundaryID") or ""
        root = parent not in nodes or parent == key or (hook is not None and _is_root(nodes, parent))
        below.setdefault("" if root else parent, []).append(key)
    return {key: sorted(keys, key=lambda k: _order(nodes[k])) for key, keys in below.items()}


def _is_root(nodes: Mapping[str, Node], key: str) -> bool:
    return not nodes[key].get("boundaryID") and not _HOOK.match(str(nodes[key].get("name", "")))


def _order(node: Node) -> tuple[Any, ...]:
    """By the step group's number, then by start, then by the numbers in the name."""
    name = str(node.get("name", ""))
    groups = tuple(int(n) for n in re.findall(r"\[(\d+)\]", name))
    items = tuple(int(n) for n in re.findall(r"\((\d+)", name))
    return (bool(_HOOK.match(name)), groups, seconds(node.get("startedAt")) or float("inf"), items, name)


def _groups(nodes: Mapping[str, Node], keys: list[str]) -> Iterator[list[str]]:
    """The steps of a template by step group; hooks of the template itself are groups of their own."""
    group: list[str] = []
    last = None
    for key in keys:
        found = re.findall(r"\[(\d+)\]\.[^.]*$", str(nodes[key].get("name", "")))
        number = found[-1] if found else key
        if group and number != last:
            yield group
            group = []
        group.append(key)
        last = number
    if group:
        yield group
