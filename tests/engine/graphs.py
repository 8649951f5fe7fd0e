"""Workflows out of hypothesis: small and nasty."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Manifest = dict[str, Any]

NAMES = "abcd"


@st.composite
def steps_of(draw: st.DrawFn, kind: str, callable_: list[str], position: int, earlier: list[str]) -> Manifest:
    name = NAMES[position]
    made: Manifest = {"name": name, "template": draw(st.sampled_from(callable_))}
    prefix = "tasks" if kind == "dag" else "steps"
    chance = st.integers(0, 5)
    if draw(chance) == 0:
        made["when"] = draw(st.sampled_from(["false", "true", "1 == 1"]))
    if draw(chance) == 0:
        made["withItems"] = draw(st.lists(st.sampled_from(["x", 1, {"k": "v"}]), max_size=2))
    elif draw(chance) == 0:
        made["withSequence"] = {"count": str(draw(st.integers(0, 2)))}
    if draw(chance) == 0:
        made["continueOn"] = {"failed": True, "error": draw(st.booleans())}
    hooks: Manifest = {}
    if draw(chance) < 2:
        hooks["exit"] = {"template": draw(st.sampled_from(["h", "hs"]))}
    if draw(chance) == 0:
        wanted = draw(st.sampled_from(["Running", "Succeeded", "Failed"]))
        hooks["look"] = {"template": "h", "expression": f'{prefix}.{name}.status == "{wanted}"'}
    if hooks and "withItems" not in made and "withSequence" not in made:
        made["hooks"] = hooks
    elif "exit" in hooks:
        made["hooks"] = {"exit": hooks["exit"]}
    if kind == "dag" and earlier and draw(st.booleans()):
        made["dependencies"] = draw(st.lists(st.sampled_from(earlier), min_size=1, unique=True))
    return made


@st.composite
def templates(draw: st.DrawFn, name: str, callable_: list[str]) -> Manifest:
    kind = draw(st.sampled_from(["steps", "dag"]))
    count = draw(st.integers(1, 3))
    made = [draw(steps_of(kind, callable_, at, list(NAMES[:at]))) for at in range(count)]
    template: Manifest = {"name": name}
    if kind == "dag":
        template["dag"] = {"tasks": made}
        if draw(st.integers(0, 4)) == 0:
            template["dag"]["failFast"] = False
    else:
        cuts = sorted(draw(st.sets(st.integers(1, count), max_size=2)) | {count})
        groups, start = [], 0
        for cut in cuts:
            groups.append(made[start:cut])
            start = cut
        template["steps"] = [group for group in groups if group]
    if draw(st.integers(0, 4)) == 0:
        template["parallelism"] = draw(st.integers(1, 2))
    if draw(st.integers(0, 4)) == 0:
        template["retryStrategy"] = {"limit": 1}
    return template


@st.composite
def workflows(draw: st.DrawFn) -> Manifest:
    leaf: Manifest = {"name": "t", "container": {"image": "x", "command": ["true"]}}
    retried: Manifest = {
        "name": "r",
        "retryStrategy": draw(
            st.sampled_from(
                [{"limit": 1}, {"limit": 2, "retryPolicy": "Always"}, {"limit": 2, "backoff": {"duration": "5"}}]
            )
        ),
        "container": {"image": "x", "command": ["true"], "args": ["{{retries}}"]},
    }
    handler: Manifest = {"name": "h", "container": {"image": "x", "command": ["true"]}}
    graph: Manifest = {"name": "hs", "steps": [[{"name": "p", "template": "h"}], [{"name": "q", "template": "r"}]]}
    inner = draw(templates("inner", ["t", "r"]))
    main = draw(templates("main", ["t", "r", "inner"]))
    spec: Manifest = {"entrypoint": "main", "templates": [main, inner, leaf, retried, handler, graph]}
    if draw(st.booleans()):
        spec["onExit"] = draw(st.sampled_from(["h", "hs"]))
    if draw(st.integers(0, 4)) == 0:
        spec["parallelism"] = draw(st.integers(1, 3))
    if draw(st.integers(0, 5)) == 0:
        spec["hooks"] = {"seen": {"template": "h", "expression": 'workflow.status == "Running"'}}
    return spec
