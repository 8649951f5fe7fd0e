"""Where a played case differs from what was recorded: every node, every field, in short lines.

There are two recordings to agree with: `expect` is what Argo's controller did, `mended` what it does with its named
faults mended. Agreement is with the one or with the other, never with a bit of each.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from exeunt.engine.facts import phases
from tests.golden.play import normal

Case = dict[str, Any]

WORKFLOW_FIELDS = ("phase", "message", "progress", "outputs", "stuck", "rounds", "alive", "clock", "ended")
NODE_FIELDS = (
    "displayName", "type", "phase", "message", "templateName", "boundary", "children", "inputs", "outputs", "hooked",
    "retried", "killed", "command", "args", "env", "source", "containers",
)  # fmt: skip

HANDLER = re.compile(r"\.(onExit|hooks\.)")


class Target(NamedTuple):
    """A recording to agree with. `varies` names what is chance there: fields, `nodes[]`, `nodes[].FIELD`."""

    name: str
    said: Case
    varies: frozenset[str]

    def chance(self, field: str) -> bool:
        return field in self.varies


def targets(case: Case) -> list[Target]:
    """What the case may agree with. A controller that died has recorded nothing to agree with."""
    found = []
    if not case["expect"].get("controller_dies"):
        found.append(_target("Argo", case["expect"], case, "varies"))
    if "mended" in case and "mended_doubt" not in case:
        found.append(_target("mended", case["mended"], case, "mended_varies"))
    return found


def _target(name: str, said: Case, case: Case, varies: str) -> Target:
    said = normal(said)
    if "nodes" in said:
        made = {node["name"] for node in said["nodes"]}  # links that Argo left to nodes which it never made say nothing
        nodes = [{**node, "children": [one for one in node["children"] if one in made]} for node in said["nodes"]]
        said = {**said, "nodes": nodes}
    return Target(name, said, frozenset(case.get(varies, ())))


def differences(target: Target, ours: Case, left_out: Callable[[str], bool] = lambda name: False) -> list[str]:
    """Empty when they agree. Nodes that are `left_out` by name are not compared, nor links to them."""
    found = []
    for field in WORKFLOW_FIELDS:
        if target.chance(field):
            found += _as_set(target, field, ours)
        elif target.said.get(field) != ours.get(field):
            found.append(_line(field, target, target.said.get(field), ours.get(field)))
    return found + sorted(_nodes(target, ours, left_out))


def _as_set(target: Target, field: str, ours: Case) -> list[str]:
    """Rounds whose order is chance are still of the same nodes, where the nodes are no chance."""
    if field != "rounds" or any(other.startswith("nodes[]") for other in target.varies):
        return []
    one, other = Counter(target.said["rounds"]), Counter(ours["rounds"])
    return [] if one == other else [_line(field, target, sorted(one - other), sorted(other - one))]


def _nodes(target: Target, ours: Case, left_out: Callable[[str], bool]) -> Iterator[str]:
    want = {node["name"]: node for node in target.said["nodes"] if not left_out(node["name"])}
    have = {node["name"]: node for node in ours["nodes"] if not left_out(node["name"])}
    if not target.chance("nodes[]"):
        yield from (f"{name}: only {target.name} has it ({want[name]['phase']})" for name in want.keys() - have.keys())
        yield from (f"{name}: only ours ({have[name]['phase']})" for name in have.keys() - want.keys())
    fields = [field for field in NODE_FIELDS if not target.chance(f"nodes[].{field}")]
    for name in want.keys() & have.keys():
        for field in fields:
            one, other = want[name].get(field), have[name].get(field)
            if field == "children":
                one, other = ([child for child in links if not left_out(child)] for links in (one or [], other or []))
            if one != other and not _unseen(field, one, other, want[name], have[name]):
                yield _line(f"{name}.{field}", target, one, other)


def _unseen(field: str, one: Any, other: Any, theirs: Case, ours: Case) -> bool:
    """What one of both cannot see.

    The recorder had no registry to ask what an image runs by itself, and scripts are compared by their source. Where
    the workflow's deadline ends a pod, it is the kubelet there and the scheduler here, at the same second.
    """
    if field == "args":
        return "source" in theirs or (one == [""] and not other and "command" not in theirs)
    if theirs.get("overdue") and ours.get("killed") and field in ("message", "killed"):
        return ours["message"] == phases.EXCEEDED
    return False


def _line(what: str, target: Target, one: Any, other: Any) -> str:
    return f"{what}: {target.name} {short(one)} — ours {short(other)}"


def short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:200] + "…"
