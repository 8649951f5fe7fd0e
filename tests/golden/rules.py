"""The named rules of differences.md: where Exeunt is not Argo on purpose. A rule excuses only what it is about.

A rule looks at a case, Argo's result and ours, and says which of the differing lines it explains. A case agrees by rule
when every line is explained.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

Case = dict[str, Any]
Lines = list[str]
Rule = Callable[[Case, Case, Lines], set[str]]

OPEN = {"Running", "Pending"}
ENDED = {"Succeeded", "Failed", "Error", "Skipped", "Omitted"}
_WHOLE = ("phase", "message", "progress", "outputs", "stuck", "rounds", "alive")


def excused(case: Case, ours: Case, lines: Lines) -> str:
    """The rules that together explain every line; empty when they do not."""
    left, names = set(lines), []
    for name, rule in RULES.items():
        explained = rule(case, ours, sorted(left)) & left
        if explained:
            left -= explained
            names.append(name)
        if not left:
            return "+".join(names)
    return ""


# --- tools ------------------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _nodes(result: Case) -> dict[str, Case]:
    return {node["name"]: node for node in result["nodes"]}


def _work_agrees(case: Case, ours: Case, leaving_out: Callable[[Case], bool] = lambda node: False) -> bool:
    """Every piece of work that had ended for Argo ended the same way for us.

    Scripted outcomes are dealt in the order in which work ends: behind the first difference in that order nothing can
    be compared.
    """
    have = _nodes(ours)
    theirs = case["expect"]["rounds"]
    pairs = zip_longest(theirs, ours["rounds"])
    common = next((at for at, (one, other) in enumerate(pairs) if one != other), None)
    known = None if common is None else set(theirs[:common])
    for node in case["expect"]["nodes"]:
        if node["type"] != "Pod" or node["phase"] not in ENDED or leaving_out(node):
            continue
        if known is not None and node["name"] not in known:
            continue
        other = have.get(node["name"])
        if other is None or other["phase"] != node["phase"] or other.get("args") != node.get("args"):
            return False
    return True


def _about(line: str) -> str:
    """The node that a line is about; empty for the workflow's own lines."""
    if re.match(r"^(phase|message|progress|outputs|stuck|rounds|alive): ", line):
        return ""
    if re.search(r": only (Argo|ours)", line):
        return line.rpartition(": only ")[0]
    return line.partition(": Argo ")[0].rpartition(".")[0]


def _key(line: str) -> str:
    """What a line is about: a field of the workflow, or NODE.FIELD."""
    return line.partition(": Argo ")[0]


def _steps(case: Case) -> list[Case]:
    """All steps and tasks of the case's manifests."""
    found = []
    specs = [case["manifest"]["spec"], *(one.get("spec", {}) for one in case["extra"])]
    for spec in specs:
        for template in spec.get("templates", []):
            found += [step for group in template.get("steps", []) for step in group]
            found += template.get("dag", {}).get("tasks", [])
    return found


def _specs(case: Case) -> list[Case]:
    return [case["manifest"]["spec"], *(one.get("spec", {}) for one in case["extra"])]


def _without(result: Case, dropped: set[str]) -> Case:
    """A result without some nodes, in all places where they show."""
    nodes = [
        {**node, "children": [child for child in node["children"] if child not in dropped]}
        for node in result["nodes"]
        if node["name"] not in dropped
    ]
    alive = [[name for name in names if name not in dropped] for names in result["alive"]]
    return {
        **result,
        "nodes": nodes,
        "rounds": [name for name in result["rounds"] if name not in dropped],
        "alive": [names for names, name in zip(alive, result["rounds"], strict=False) if name not in dropped],
        "progress": "",
    }


def _same_without(case: Case, ours: Case, dropped: set[str], *, but: tuple[str, ...] = ()) -> bool:
    """Whether nothing else differs when these nodes are left out on both sides."""
    from tests.golden.compare import differences

    cut = {**case, "expect": _without(case["expect"], dropped)}
    lines = differences(cut, _without(ours, dropped))
    return all(_key(line) in but or _is_leftover(case, line) for line in lines)


def _below(names: set[str], tops: set[str]) -> set[str]:
    return {
        name for name in names if any(name == top or name.startswith((f"{top}.", f"{top}[", f"{top}(")) for top in tops)
    }


# --- the rules --------------------------------------------------------------------------------------------------------


def _is_leftover(case: Case, line: str) -> bool:
    theirs = _nodes(case["expect"])
    node = theirs.get(_about(line))
    return node is not None and node["phase"] in OPEN and not case["expect"].get("stuck")


def no_leftovers(case: Case, ours: Case, lines: Lines) -> set[str]:
    """Nodes that a finished workflow of Argo's still calls Running or Pending."""
    return {line for line in lines if _is_leftover(case, line) and re.search(r"\.(phase|message|outputs): Argo", line)}


def never_stuck(case: Case, ours: Case, lines: Lines) -> set[str]:
    """Argo waits for a value that never comes; ours ends in Error there, or takes the default."""
    marks = ("failed to resolve {{", " is missing", "absent optional", "unable to substitute")
    theirs = _nodes(case["expect"])
    broken = [
        node
        for node in ours["nodes"]
        if any(mark in node["message"] for mark in marks) and theirs.get(node["name"], {}).get("phase") not in ENDED
    ]
    if not case["expect"].get("stuck") and not broken:
        return set()
    return set(lines) if _work_agrees(case, ours) else set()


def limit_waits(case: Case, ours: Case, lines: Lines) -> set[str]:
    """What meets a limit waits; handlers do not meet the workflow's."""
    limited = any("parallelism" in _text(spec) for spec in _specs(case))
    if not limited:
        return set()
    if "Max parallelism reached" in _text(case["expect"]):
        agreed = _work_agrees(
            case, ours, lambda node: "Max parallelism" in node["message"] or node.get("hooked", False)
        )
        return set(lines) if agreed else set()
    hooked = any(node.get("hooked") for node in ours["nodes"])
    only_order = {line for line in lines if line.partition(":")[0] in ("rounds", "alive")}
    return only_order if hooked and len(only_order) == len(lines) else set()


def handler_is_no_attempt(case: Case, ours: Case, lines: Lines) -> set[str]:
    """Retries that Argo muddles with hooks: the same handlers, and the same outcomes of attempts in their order."""
    theirs, have = _nodes(case["expect"]), _nodes(ours)
    muddled = [
        node
        for node in theirs.values()
        if node["type"] == "Retry" and any(theirs.get(child, {}).get("hooked") for child in node["children"])
    ]
    if not muddled:
        return set()
    for node in muddled:
        mine = have.get(node["name"])
        if mine is None:
            return set()
        one, other = _attempts(node, theirs), _attempts(mine, have)
        if any(a != b for a, b in zip(one, other, strict=False) if a not in OPEN):
            return set()
    for name, node in theirs.items():
        if (
            node.get("hooked")
            and node["phase"] in ENDED
            and have.get(name, {}).get("phase") not in (node["phase"], None)
        ):
            return set()
    return set(lines)


def _attempts(node: Case, nodes: dict[str, Case]) -> list[str]:
    tries = [nodes[child] for child in node["children"] if child in nodes and not nodes[child].get("hooked")]
    numbered = [
        (int(re.findall(r"\((\d+)\)$", one["name"])[0]), one["phase"])
        for one in tries
        if re.search(r"\(\d+\)$", one["name"])
    ]
    return [phase for _, phase in sorted(numbered)]


def stop_runs_handlers(case: Case, ours: Case, lines: Lines) -> set[str]:
    """On stop, handlers of DAG tasks run too, and those that run go on as if nothing was: all else is the same."""
    if not any(op["op"] == "stop" for op in case["ops"]):
        return set()
    have, theirs = {node["name"] for node in ours["nodes"]}, {node["name"] for node in case["expect"]["nodes"]}
    tops = {re.sub(r"\.onExit.*", ".onExit", name) for name in have - theirs if ".onExit" in name}
    dropped = _below(have | theirs, tops)
    if not tops or not have - theirs <= dropped:
        return set()
    return set(lines) if _same_without(case, ours, dropped) else set()


def group_waits(case: Case, ours: Case, lines: Lines) -> set[str]:
    """A DAG loop with an exit handler: its group ends after the items' handlers, and every item's handler runs."""
    theirs, have = _nodes(case["expect"]), _nodes(ours)
    groups = {name for name, node in have.items() if node["type"] == "TaskGroup"}
    handlers = {
        name
        for name in have
        if name.endswith(".onExit")
        and any(name.startswith(f"{group}(") or name == f"{group}.onExit" for group in groups)
    }
    if not handlers:
        return set()
    added = set(have) - set(theirs)
    tops = {name for name in added if name in handlers}
    dropped = _below(added, tops)
    if case["expect"].get("stuck"):
        return set(lines) if _work_agrees(case, ours) else set()
    if dropped != added:
        return set()
    links = {f"{name}.children" for name in have}
    turns = {
        f"{name}.{field}" for name in handlers for field in ("phase", "message", "outputs")
    }  # dealt in another order
    return set(lines) if _same_without(case, ours, dropped, but=("rounds", "alive", *links, *turns)) else set()


def exit_expression(case: Case, ours: Case, lines: Lines) -> set[str]:
    """The workflow's exit hook has an expression that is false: its handler does not run."""
    if not any(spec.get("hooks", {}).get("exit", {}).get("expression") for spec in _specs(case)):
        return set()
    gone = {node["name"] for node in case["expect"]["nodes"]} - {node["name"] for node in ours["nodes"]}
    if not gone or gone != _below(gone, {name for name in gone if name.endswith(".onExit") and "." not in name[:-7]}):
        return set()
    return set(lines) if _same_without(case, ours, gone, but=("phase", "message", "outputs")) else set()


def error_runs_handlers(case: Case, ours: Case, lines: Lines) -> set[str]:
    """An entrypoint that cannot be worked out makes the workflow Error, and its handler runs (exit-semantics.md)."""
    if not case["expect"]["message"].startswith("error in entry template execution"):
        return set()
    added = {node["name"] for node in ours["nodes"]} - {node["name"] for node in case["expect"]["nodes"]}
    root = case["manifest"]["metadata"].get("name", "w")
    tops = {
        name for name in added if name == f"{root}.onExit" or re.fullmatch(rf"{re.escape(root)}\.hooks\.[^.\[(]+", name)
    }
    if not added or added != _below(added, tops):
        return set()
    return set(lines) if _same_without(case, ours, added) else set()


def hook_not_missed(case: Case, ours: Case, lines: Lines) -> set[str]:
    """A hook whose expression held only between two of Argo's looks, or at the end of its DAG (exit-semantics.md)."""
    added = {node["name"] for node in ours["nodes"]} - {node["name"] for node in case["expect"]["nodes"]}
    tops = {name for name in added if re.search(r"\.hooks\.[^.\[(]+$", name)}
    dropped = _below(added, tops)
    if not tops or dropped != added:
        return set()
    return set(lines) if _same_without(case, ours, dropped) else set()


def _argo_says(*marks: str) -> Rule:
    """Where Argo's result has one of these texts, the work that had ended is compared."""

    def rule(case: Case, ours: Case, lines: Lines) -> set[str]:
        text = _text([case["expect"]["message"], [node["message"] for node in case["expect"]["nodes"]]])
        if not any(mark in text for mark in marks):
            return set()
        return (
            set(lines)
            if _work_agrees(case, ours, lambda node: any(mark in node["message"] for mark in marks))
            else set()
        )

    return rule


def own_status(case: Case, ours: Case, lines: Lines) -> set[str]:
    """Hooks of a loop see their own item: its status and outputs."""
    own = [
        step["name"]
        for step in _steps(case)
        if any(key in step for key in ("withItems", "withParam", "withSequence"))
        and re.search(rf"(?:steps|tasks)(\.|\[\\?['\"]){re.escape(step['name'])}\b", _text(step.get("hooks", {})))
    ]
    text = _text([case["expect"]["message"], [node["message"] for node in case["expect"]["nodes"]]])
    said = any(f"{{{{{kind}.{name}." in text or f"{kind}.{name}" in text for name in own for kind in ("steps", "tasks"))
    asked = re.findall(r"failed to resolve (\{\{[^}]*\}\})", text)
    looped = [step for step in _steps(case) if any(key in step for key in ("withItems", "withParam", "withSequence"))]
    unresolved = any(tag in _text(step.get("hooks", {})) for tag in asked for step in looped)
    if not unresolved and (not own or not (said or "cannot fetch" in text)):
        return set()
    return set(lines) if _work_agrees(case, ours) else set()


def empty_items(case: Case, ours: Case, lines: Lines) -> set[str]:
    """A loop over nothing is skipped: the rest is compared."""
    tops = {
        node["name"]
        for node in ours["nodes"]
        if node["message"] == "Skipped, empty params"
        and _nodes(case["expect"]).get(node["name"], {}).get("message") != "Skipped, empty params"
    }
    if not tops:
        return set()
    return set(lines) if _work_agrees(case, ours, lambda node: bool(_below({node["name"]}, tops))) else set()


RULES: dict[str, Rule] = {
    "no-leftovers": no_leftovers,
    "stop-runs-handlers": stop_runs_handlers,
    "exit-expression": exit_expression,
    "error-runs-handlers": error_runs_handlers,
    "hook-not-missed": hook_not_missed,
    "group-waits-for-handlers": group_waits,
    "empty-items": empty_items,
    "loop-results-as-text": _argo_says(
        "looking for beginning of value",
        "unexpected end of JSON input",
        "in literal",
        "after top-level value",
        "after array element",
    ),
    "inline-in-loops": _argo_says("failed to get a template"),
    "own-status-in-loops": own_status,
    "handler-is-no-attempt": handler_is_no_attempt,
    "never-stuck": never_stuck,
    "limit-waits": limit_waits,
}
