"""The differences that no recording shows as we mean them, each as narrow as its own sentence.

All other differences on purpose have an oracle: the recordings' `mended`. These have none, so a rule says what of a
case is left out; all the rest of it is compared exactly.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.golden.compare import HANDLER, Target, differences
from tests.golden.play import Follower

Case = dict[str, Any]

REFUSED_AT_ONCE = re.compile(
    r"(hooks\.\w+\.template(Ref\.template)?: there is no template"
    r"|retryStrategy\.limit: must be a whole number"
    r"|withSequence: has no end"
    r"|: \{\{=.*(there is no (step|task|variable)|there is nothing of this name|has no such))"
)
"""The problems for which we refuse what Argo accepts, since it could never run."""

_LOOPS = ("withItems", "withParam", "withSequence")
_TAGS = re.compile(r"\{\{(=[^}]*)?\s*\b(tasks|steps)\b")
_ITEM = re.compile(r"\{\{(=[^}]*)?\s*\bitem\b")


class Excuse(NamedTuple):
    """How many nodes were left out, and the lines that nothing excuses."""

    nodes: int
    lines: list[str]


Rule = Callable[[Case, Target, Case], Excuse | None]
"""Gives None where the case is not of this rule."""


def refused_at_once(problems: list[str]) -> bool:
    """What can never run is refused with its submission; refused is all that is compared."""
    return all(REFUSED_AT_ONCE.search(problem) for problem in problems)


def item_in_handlers(case: Case, target: Target, ours: Case) -> Excuse | None:
    """A DAG loop's exit handlers get their item, where Argo hands on the text; the group's own, without it, is not run.

    Left out are these handlers and what is in them, and hooks that were handed tags by the rule for those; the order of
    rounds and the count of pods, for others run.
    """
    groups = _groups_with_item_handlers(case, target, ours)
    if not groups:
        return None
    handed = _handed_tags(target)

    def handler(name: str) -> bool:
        if _inside(name, handed):
            return True
        for group in groups:
            rest = name.removeprefix(group)
            if rest != name and re.match(r"(\(.*?\))?\.onExit(?![\w-])", rest):
                return True
        return False

    followed = along(case, target)
    nodes = {node["name"] for one in (target.said, followed) for node in one["nodes"] if handler(node["name"])}
    target = target._replace(varies=target.varies | {"rounds", "alive", "progress", "nodes[].left-out"})
    return Excuse(len(nodes), differences(target, followed, handler)) if nodes else None


def _groups_with_item_handlers(case: Case, target: Target, ours: Case) -> set[str]:
    tasks = {
        task["name"]
        for task in _tasks([case["manifest"], *case["extra"]])
        if any(loop in task for loop in _LOOPS) and _ITEM.search(json.dumps(task.get("hooks", {}).get("exit", {})))
    }
    nodes = [*target.said["nodes"], *ours["nodes"]]
    return {node["name"] for node in nodes if node["type"] == "TaskGroup" and node["displayName"] in tasks}


def _tasks(tree: Any) -> Iterator[Case]:
    if isinstance(tree, dict):
        dag = tree.get("dag")
        yield from dag.get("tasks") or [] if isinstance(dag, dict) else []
        tree = list(tree.values())
    if isinstance(tree, list):
        for one in tree:
            yield from _tasks(one)


def exit_comes_last(case: Case, target: Target, ours: Case) -> Excuse | None:
    """The workflow's exit handler begins when all others have ended, also where a stop or an Error ends it all at once.

    The same nodes in another order of rounds; each pod ends here as it did there. It is told of the failures of all.
    """
    name = f"{case['manifest']['metadata'].get('name') or 'w'}.onExit"
    beside = [pods for pods in target.said["alive"] if len({pod.startswith(name) for pod in pods}) > 1]
    stopped = any(op["op"] in ("stop", "terminate") for op in case["ops"])
    if not beside and not (stopped and any(node["name"] == name for node in [*ours["nodes"], *target.said["nodes"]])):
        return None
    followed = along(case, target)
    varies = target.varies | {"rounds", "alive", "nodes[].left-out"}
    began = {node["name"] for node in followed["nodes"]}
    if name not in began and any(op["op"] == "terminate" for op in case["ops"]):
        # there it had begun when the workflow was terminated; here it was still to come, and does not begin any more
        def left_out(node: str) -> bool:
            return node.startswith(name)

        return Excuse(0, differences(target._replace(varies=varies | {"progress"}), followed, left_out))
    told = re.compile(rf"{re.escape(name)}\S*\.(inputs|args|env|source): .*displayName")
    lines = [line for line in differences(target._replace(varies=varies), followed) if not told.match(line)]
    one, other = Counter(target.said["rounds"]), Counter(followed["rounds"])
    if one != other and not target.chance("rounds"):
        lines.append(f"rounds: only {target.name} {sorted(one - other)} — only ours {sorted(other - one)}")
    return Excuse(0, lines)


def exit_takes_global_artifacts(case: Case, target: Target, ours: Case) -> Excuse | None:
    """The workflow's exit handler can take a global artifact, where Argo ends with `missing location information`."""
    name = f"{case['manifest']['metadata'].get('name') or 'w'}.onExit"
    if target.name != "Argo" or "missing location information" not in target.said["message"]:
        return None
    lines = differences(target, ours, lambda node: node.startswith(name))
    mine = [node for node in ours["nodes"] if node["name"].startswith(name)]
    if not mine or any(node["phase"] != "Succeeded" for node in mine):
        return Excuse(0, [*lines, f"{name}: has not taken the artifact"])
    own = re.compile(r"(phase|message|progress|rounds|alive|clock): ")
    return Excuse(len(mine), [line for line in lines if not own.match(line)])


def along(case: Case, target: Target) -> Case:
    """The case played along the recording's own rounds: no difference deals other outcomes to what comes after it."""
    player = Follower(case, target.said)
    player.play()
    return player.result()


def no_tags(case: Case, target: Target, ours: Case) -> Excuse | None:
    """A hook gets its step's status and what is known when it begins, where Argo hands on the tags as they stand.

    So it is for hooks of a DAG's loop, and for those that begin while their step runs. Left out are hooks that were
    handed such tags and what is in them; the order of rounds and the count of pods: what they start differs.
    """
    handed = _handed_tags(target)
    if not handed:
        return None

    def hook(name: str) -> bool:
        return _inside(name, handed)

    followed = along(case, target)
    nodes = {node["name"] for one in (target.said, followed) for node in one["nodes"] if hook(node["name"])}
    target = target._replace(varies=target.varies | {"rounds", "alive", "progress", "nodes[].left-out"})
    return Excuse(len(nodes), differences(target, followed, hook))


def _handed_tags(target: Target) -> set[str]:
    return {
        node["name"]
        for node in target.said["nodes"]
        if _hook_of(node["name"]) and _TAGS.search(json.dumps(node.get("inputs", {})))
    }


def _inside(name: str, nodes: set[str]) -> bool:
    return any(name == one or re.match(r"[.\[(]", name.removeprefix(one)) for one in nodes if name.startswith(one))


def _hook_of(name: str) -> str:
    """The node whose hook this one is; empty where it is none."""
    owner, mark, rest = name.rpartition(".hooks.")
    return owner if mark and not re.search(r"[.\[(]", rest) else ""


def own_outputs(case: Case, target: Target, ours: Case) -> Excuse | None:
    """A hook's expression that asks for its own step before that has given anything does not hold yet.

    There it ends the task, the group or the workflow in Error, which decides all that follows: nothing else of such a
    case is compared but what must hold of every run.
    """
    if target.name == "Argo" and "mended" in case:
        return None  # where the mended one has no such Error, that is what we do
    have = {node["name"]: node["message"] for node in ours["nodes"]}
    told = [node["message"] for node in target.said["nodes"] if node["message"] != have.get(node["name"])]
    asked = [hook.get("expression", "") for hook in _hooks([case["manifest"], *case["extra"]])]
    lost = [text for text in told if "cannot fetch" in text and any(one and one.strip() in text for one in asked)]
    return Excuse(len(target.said["nodes"]), []) if lost else None


def begun_goes_on(case: Case, target: Target, ours: Case) -> Excuse | None:
    """What stands in a hook or handler that has begun waits for no limit outside of it.

    The same nodes in another order of rounds; each pod ends here as it did there. In the first round that differs more
    runs here than there, and all of that in hooks and handlers.
    """
    if '"parallelism"' not in json.dumps([case["manifest"], case["extra"]]):
        return None
    rounds = zip(target.said["alive"], ours["alive"], strict=False)
    there, here = next(((one, other) for one, other in rounds if one != other), ([], []))
    more = set(here) - set(there)
    if not more or set(there) - set(here) or not all(HANDLER.search(pod) for pod in more):
        return None
    varies = target.varies | {"rounds", "alive", "nodes[].left-out"}
    return Excuse(0, differences(target._replace(varies=varies), along(case, target)))


def late_stop(case: Case, target: Target, ours: Case) -> Excuse | None:
    """A stop that comes when the main part has ended is not why it ended, and hooks of the workflow that run go on.

    Left out are the workflow's message, and its hooks that were killed there, with the order of rounds.
    """
    stopped = re.match(r"Stopped with strategy '(Stop|Terminate)'$", target.said.get("message", ""))
    name = case["manifest"]["metadata"].get("name") or "w"
    hooks = {node["name"] for node in target.said["nodes"] if node["name"].startswith(f"{name}.hooks.")}
    killed = {node["name"] for node in target.said["nodes"] if node["name"] in hooks and node.get("killed")}
    if not case["ops"] or not (stopped or killed):
        return None
    root = next(node for node in ours["nodes"] if node["name"] == name)
    if ours["message"].removeprefix("error in entry template execution: ") != root.get("message", ""):
        return None  # here it was in time as well
    varies = target.varies | ({"progress", "rounds", "alive", "nodes[].left-out"} if killed else set())
    lines = differences(
        target._replace(varies=varies), {**ours, "message": target.said["message"]}, lambda node: _inside(node, killed)
    )
    return Excuse(len(killed), lines)


def _hooks(tree: Any) -> Iterator[Case]:
    if isinstance(tree, dict):
        hooks = tree.get("hooks")
        yield from (
            (hook for hook in (hooks or {}).values() if isinstance(hook, dict)) if isinstance(hooks, dict) else ()
        )
        tree = list(tree.values())
    if isinstance(tree, list):
        for one in tree:
            yield from _hooks(one)


RULES: dict[str, Rule] = {
    "item-in-handlers": item_in_handlers,
    "exit-comes-last": exit_comes_last,
    "exit-takes-global-artifacts": exit_takes_global_artifacts,
    "no-tags": no_tags,
    "own-outputs": own_outputs,
    "begun-goes-on": begun_goes_on,
    "late-stop": late_stop,
}
NAMES = ("refused-at-once", *RULES)
