"""Where a played case differs from its recording, in short lines."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.golden.play import normal

Case = dict[str, Any]

_NODE_FIELDS = (
    "displayName", "type", "phase", "message", "templateName", "boundary", "children", "inputs", "outputs", "hooked",
    "retried", "command", "args", "env", "source",
)  # fmt: skip


def differences(case: Case, ours: Case) -> list[str]:
    """Empty when they agree in all that the recordings hold."""
    theirs = normal(case["expect"])
    skipped = set(case.get("varies", ())) if case.get("unstable") else set()
    found = []
    for key in ("phase", "message", "progress", "outputs", "stuck", "rounds", "alive"):
        one, other = theirs.get(key), ours.get(key)
        if key not in skipped and one != other:
            found.append(f"{key}: Argo {short(theirs.get(key))} — ours {short(ours.get(key))}")
    if not any(key.startswith("nodes") for key in skipped):
        found += _nodes(theirs["nodes"], ours["nodes"])
    return found


def _nodes(theirs: list[Case], ours: list[Case]) -> list[str]:
    """Links that Argo left to nodes which it never made are left out."""
    made = {node["name"] for node in theirs}
    theirs = [{**node, "children": [child for child in node["children"] if child in made]} for node in theirs]
    want = {node["name"]: node for node in theirs}
    have = {node["name"]: node for node in ours}
    found = [f"{name}: only Argo has it ({want[name]['phase']})" for name in want.keys() - have.keys()]
    found += [f"{name}: only ours ({have[name]['phase']})" for name in have.keys() - want.keys()]
    for name in sorted(want.keys() & have.keys()):
        for field in _NODE_FIELDS:
            one, other = want[name].get(field), have[name].get(field)
            if field == "args" and "source" in want[name]:
                continue
            if one != other and not _same(field, one, other, want[name]):
                found.append(f"{name}.{field}: Argo {short(one)} — ours {short(other)}")
    return sorted(found)


def _same(field: str, one: Any, other: Any, node: Case) -> bool:
    """A killed step of a run that closed with it: nothing is added to a closed run, so it keeps its first message."""
    if field == "args" and one == [""] and not other and "command" not in node:
        return True  # what the recorder's image says
    if not node.get("killed"):
        return False
    if field == "message":
        return str(other).startswith("workflow shutdown with strategy") and "143" in str(one)
    return field == "outputs" and other is None


def short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:200] + "…"


def key_of(line: str) -> str:
    """What kind of difference a line tells of, for counting."""
    return re.sub(r"^(phase|message|progress|outputs|stuck|rounds|alive):.*", r"\1", line).split(":")[0]
