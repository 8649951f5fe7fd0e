"""The named rules of docs/argo-differences.md: where Exeunt is not Argo on purpose. A rule excuses what it is about.

A rule names the nodes at which the difference itself lies. It explains the lines that may follow from there (reach.py);
a case agrees by rule when every line is explained. The results are those of a run along Argo's own rounds
(play.Follower), so that one difference does not deal other outcomes to all that comes after it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from tests.golden.reach import ENDED, LOOPS, OPEN, Alone, Trees

Rule = Callable[[Trees], Iterable[str]]

_UNRESOLVED = re.compile(r"failed to resolve \{\{|is missing|absent optional|unable to substitute|Unable to resolve")
_NO_JSON = re.compile(
    r"(^|errored: |error: )(unexpected end of JSON input|invalid character '.*' (looking for|in |after))"
)
_FAIL_FAST = "template has failed or errored children and failFast enabled"
_STOPPED = "workflow shutdown with strategy: "
_EXIT = re.compile(r"\.onExit$")
_HOOK = re.compile(r"\.hooks\.[^.\[(]+$")


def text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def excused(case: dict[str, Any], ours: dict[str, Any], lines: list[str]) -> str:
    """The rules that together explain every line; empty when they do not."""
    trees = Trees(case, ours)
    left = set(lines)
    left -= (leftovers := _leftovers(trees, left))
    names = ["no-leftovers"] if leftovers else []
    for name, rule in RULES.items():
        if not left:
            break
        if explained := trees.explained(left, rule(trees)):
            left -= explained
            names.append(name)
    return "+".join(names) if not left else ""


def order_only(case: dict[str, Any], ours: dict[str, Any]) -> str:
    """The rule by which work comes in another order, when all that ran is the same; empty when there is none."""
    trees = Trees(case, ours)
    hooked = any(node.get("hooked") for node in ours["nodes"])
    if hooked and any("parallelism" in text_of(spec) for spec in trees.specs):
        return "limit-waits"
    if _muddled(trees):
        return "handler-is-no-attempt"
    if any(group for _, group in _item_handlers(trees)):
        return "group-waits-for-handlers"
    return ""


def survives(case: dict[str, Any], ours: dict[str, Any]) -> bool:
    """limit-waits: a handler that meets the limit kills Argo's controller. Ours ends, with all that had run there."""
    trees = Trees(case, ours)
    missing = set(case["expect"]["rounds"]) - set(ours["rounds"])
    if exit_hook_counts(trees):
        missing = {name for name in missing if not name.startswith(f"{trees.root}.onExit")}
    return "parallelism" in text_of(trees.specs) and not ours.get("stuck") and not missing


# --- the rules --------------------------------------------------------------------------------------------------------


def _leftovers(trees: Trees, lines: Iterable[str]) -> set[str]:
    """no-leftovers: what a finished workflow of Argo's still calls Running; failFast that ended another group."""
    found = set()
    for line in lines:
        name, field = trees.about(line), trees.field(line)
        one, other = trees.theirs.get(name), trees.have.get(name)
        if one is None or other is None or trees.stuck or field not in ("phase", "message", "outputs", "children"):
            continue
        if field == "children":  # what was to come hangs below the last nodes of what has ended
            if trees.left(name) and set(one["children"]) & trees.theirs.keys() <= set(other["children"]):
                found.add(line)
            continue
        elsewhere = one["type"] == "StepGroup" and one["message"] == _FAIL_FAST and other["message"] != _FAIL_FAST
        if (one["phase"] in OPEN and other["phase"] in ENDED) or (elsewhere and field in ("phase", "message")):
            found.add(line)
    return found


def never_stuck(trees: Trees) -> Iterable[str]:
    """Argo waits for what never comes; ours ends in Error there, or takes the default."""
    for name, node in trees.theirs.items():
        if trees.stuck and node["phase"] in OPEN:
            yield name
    for name, node in trees.have.items():
        asked = node["phase"] in ("Error", "Failed") and _UNRESOLVED.search(node["message"])
        if asked and trees.theirs.get(name, {"phase": "Running"})["phase"] in OPEN:
            yield name


def limit_waits(trees: Trees) -> Iterable[str]:
    """What meets a limit waits, where Argo's steps end with its message."""
    for name, node in trees.theirs.items():
        if "Max parallelism reached" not in node["message"]:
            continue
        if node["type"] not in ("Steps", "DAG", "Retry"):
            yield name
            continue
        yield Alone(name)
        # what Argo did not come to, what it came to instead, and what it left there
        yield from trees.below([name]) & (trees.added | trees.dropped)
        yield from (one for one in trees.below([name]) if trees.theirs.get(one, {}).get("phase") in OPEN)


def own_status(trees: Trees) -> Iterable[str]:
    """Hooks of a loop see their own item, where Argo cannot even lay the loop out."""
    hooks = text_of([step.get("hooks", {}) for step in trees.steps if any(key in step for key in LOOPS)])
    for name, node in trees.theirs.items():
        tag = re.search(r"failed to resolve (\{\{[^}]*\}\})", node["message"])
        asked = re.search(r"unable to evaluate expression '(.*)': cannot fetch", node["message"])
        if (tag and tag[1] in hooks) or (asked and text_of(asked[1])[1:-1] in hooks):
            yield name


def loop_results(trees: Trees) -> Iterable[str]:
    """Items that printed plain text: their list has it as a JSON string."""
    for name, node in trees.theirs.items():
        if _NO_JSON.search(node["message"]):
            yield name


def empty_items(trees: Trees) -> Iterable[str]:
    """A loop over nothing is skipped, where Argo runs its step once, or stumbles over its literal `{{item}}`."""
    nothing = "Skipped, empty params"
    if any(step.get("withItems") == [] or "withParam" in step for step in trees.steps):
        for name, node in trees.theirs.items():
            if re.search(r"Invalid 'when' expression '[^']*\{\{item", node["message"]):
                yield name
    for name, node in trees.have.items():
        if node["message"] == nothing and trees.theirs.get(name, {}).get("message") != nothing:
            yield name


def inline_in_loops(trees: Trees) -> Iterable[str]:
    """Argo loses the inline template of a loop once its siblings are looked at."""
    return [name for name, node in trees.theirs.items() if "failed to get a template" in node["message"]]


def _muddled(trees: Trees) -> list[str]:
    """Retries of Argo's that have hooks among their children."""
    return [
        name
        for name, node in trees.theirs.items()
        if node["type"] == "Retry" and any(trees.theirs.get(child, {}).get("hooked") for child in node["children"])
    ]


def handler_is_no_attempt(trees: Trees) -> Iterable[str]:
    """Hooks that Argo counts as attempts: numbers jump, one starts too many, a hook's verdict becomes the step's."""
    for name in _muddled(trees):
        mine = trees.have.get(name)
        if mine is None:
            continue
        attempt = re.compile(re.escape(name) + r"\(\d+\)")
        one = {child for child in trees.theirs[name]["children"] if attempt.fullmatch(child)}
        other = {child for child in mine["children"] if attempt.fullmatch(child)}
        counted = [child for child in trees.theirs[name]["children"] if trees.theirs.get(child, {}).get("hooked")]
        counted = [child for child in counted if trees.theirs[child].get("retried")]
        if one != other or trees.theirs[name]["phase"] != mine["phase"] or counted:
            yield name


def stop_runs_handlers(trees: Trees) -> Iterable[str]:
    """After a stop handlers run also where a DAG has failed at once, and those that run go on as if nothing was."""
    if not trees.ops("stop", "terminate"):
        return
    for name in trees.names:
        top = re.match(r".*?\.onExit", name)
        if top and name in trees.added | trees.dropped:
            yield top[0]


def stop_starts_no_attempt(trees: Trees) -> Iterable[str]:
    """After a stop Argo begins one more attempt of a DAG that has failed at once; all in it fails where it begins."""
    if not trees.ops("stop", "terminate"):
        return
    for name in trees.dropped:
        holder = trees.up(name)
        if trees.node(holder).get("type") == "Retry" and trees.theirs[name].get("retried"):
            work = [trees.theirs[one] for one in trees.below([name]) & trees.dropped if ".onExit" not in one]
            if all(pod["type"] != "Pod" or pod["message"].startswith(_STOPPED) for pod in work):
                yield name


def _item_handlers(trees: Trees) -> Iterable[tuple[str, str]]:
    """The exit handlers of a DAG's loops and their items, each with its loop's group."""
    for name in trees.names:
        owner = _EXIT.sub("", name)
        if owner == name or trees.node(trees.up(owner)).get("type") not in ("TaskGroup", "DAG"):
            continue
        group = owner if trees.node(owner).get("type") == "TaskGroup" else trees.up(owner)
        if trees.node(group).get("type") == "TaskGroup":
            yield name, group


def group_waits(trees: Trees) -> Iterable[str]:
    """The handlers of a DAG loop's items all run, and its group waits for their end."""
    for name, group in _item_handlers(trees):
        if name in trees.added or trees.theirs.get(name, {}).get("phase") in OPEN:
            yield name
            if trees.theirs.get(group, {}).get("phase") in OPEN or trees.stuck:
                yield group


def exit_expression(trees: Trees) -> Iterable[str]:
    """The workflow's exit hook has an expression, and it counts."""
    if exit_hook_counts(trees):
        yield from {f"{trees.root}.onExit"} & trees.dropped


def exit_hook_counts(trees: Trees) -> bool:
    return any(spec.get("hooks", {}).get("exit", {}).get("expression") for spec in trees.specs)


def error_runs_handlers(trees: Trees) -> Iterable[str]:
    """An error is an end too: of the entrypoint, or of a task that could not begin at all."""
    for name in trees.added:
        owner = _EXIT.sub("", _HOOK.sub("", name))
        ended = trees.theirs.get(owner, {"phase": "", "type": ""})
        lost = owner == trees.root and trees.expect["message"].startswith("error in entry template execution")
        if owner != name and (lost or (ended["phase"] == "Error" and ended["type"] == "Skipped")):
            yield name


def handler_fails_alone(trees: Trees) -> Iterable[str]:
    """A handler that cannot begin is an Error of its own, where Argo makes its step's group one, or the workflow."""
    for name, node in trees.theirs.items():
        if not (node["type"] == "Skipped" and node["phase"] == "Error" and node.get("hooked")):
            continue
        mine = trees.have.get(name)
        if mine is None or mine["phase"] in ("Error", "Failed"):
            yield _EXIT.sub("", _HOOK.sub("", name))


def hook_not_missed(trees: Trees) -> Iterable[str]:
    """A hook whose expression held only between two of Argo's looks, or at the end of its DAG."""
    return [name for name in trees.added if _HOOK.search(name)]


def inputs_stay(trees: Trees) -> Iterable[str]:
    """Argo puts a running hook's arguments in anew at every look: what it does is not what its inputs say."""
    for name, node in trees.theirs.items():
        literal = node.get("hooked") and "{{" in text_of(node.get("inputs", {}))
        said = [trees.have[one]["message"] for one in trees.below([name]) & trees.have.keys()] if literal else []
        if _UNRESOLVED.search(text_of(said)):
            yield name


RULES: dict[str, Rule] = {
    "loop-results-as-text": loop_results,
    "empty-items": empty_items,
    "inline-in-loops": inline_in_loops,
    "own-status-in-loops": own_status,
    "handler-fails-alone": handler_fails_alone,
    "inputs-stay": inputs_stay,
    "limit-waits": limit_waits,
    "handler-is-no-attempt": handler_is_no_attempt,
    "never-stuck": never_stuck,
    "exit-expression": exit_expression,
    "stop-starts-no-attempt": stop_starts_no_attempt,
    "stop-runs-handlers": stop_runs_handlers,
    "group-waits-for-handlers": group_waits,
    "error-runs-handlers": error_runs_handlers,
    "hook-not-missed": hook_not_missed,
}
