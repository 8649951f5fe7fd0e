"""Workflows out of a seed: graphs of up to some forty nodes with handlers at every place that may have one."""

from __future__ import annotations

import random
from typing import Any

Manifest = dict[str, Any]

MISSING = 404
"""The exit code of a program that cannot be started."""

LEAVES = ["ok", "ok", "ok", "bad", "again", "nap", "late", "missing"]
HANDLERS = ["h", "h", "call", "graph", "tree", "next"]


def workflow(rng: random.Random, name: str) -> Manifest:
    """A Workflow manifest."""
    templates = [*_fixed(rng, name)]
    inner = _graph(rng, "inner", LEAVES)
    main = _graph(rng, "main", [*LEAVES, "inner", "inner"])
    spec: Manifest = {"entrypoint": "main", "templates": [main, inner, *templates]}
    if rng.random() < 0.8:
        spec["onExit"] = rng.choice(HANDLERS)
    if rng.random() < 0.2:
        spec["hooks"] = {"seen": {"template": "h", "expression": 'workflow.status == "Running"'}}
    if rng.random() < 0.15:
        spec["parallelism"] = rng.randint(1, 3)
    if rng.random() < 0.15:
        spec["activeDeadlineSeconds"] = rng.randint(1, 8)
    _with_pods(spec, random.Random(f"pods {name} {len(str(spec))}"))
    metadata: Manifest = {"name": name, "namespace": "default"}
    if rng.random() < 0.1:
        metadata["annotations"] = {"exeunt.dev/exit-on": "terminate,delete"}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec}


def _with_pods(spec: Manifest, rng: random.Random) -> None:
    """Some of the plain calls are of a daemon, or of a set of containers with a sidecar."""
    if rng.random() < 0.6:
        return
    for template in spec["templates"]:
        steps = [step for group in template.get("steps", []) for step in group]
        for call in (*steps, *template.get("dag", {}).get("tasks", [])):
            if call["template"] in ("ok", "h") and rng.random() < 0.4:
                call["template"] = rng.choice(["serve", "set"])
    one = {"name": "one", "image": "x", "command": ["exit", rng.choice(["0", "0", "1"])]}
    main = {"name": "main", "image": "x", "command": ["exit", "0"], "dependencies": ["one"]}
    side = {"name": "side", "image": "x", "command": ["serve"]}
    spec["templates"] += [
        {"name": "serve", "daemon": True, "container": {"image": "x", "command": ["serve"]}},
        {"name": "set", "containerSet": {"containers": [one, main]}, "sidecars": [side]},
    ]


def _container(name: str, code: int) -> Manifest:
    return {"name": name, "container": {"image": "x", "command": ["exit", str(code)]}}


def _fixed(rng: random.Random, name: str) -> list[Manifest]:
    again = _container("again", rng.choice([0, 1]))
    again["retryStrategy"] = {"limit": 2, "retryPolicy": "Always", "backoff": {"duration": "1"}}
    child = {
        "metadata": {"generateName": f"{name}-child-"},
        "spec": {
            "entrypoint": "m",
            "onExit": "after",
            "templates": [
                {"name": "m", "container": {"image": "x", "command": ["exit", "0"]}},
                {"name": "after", "container": {"image": "x", "command": ["exit", "0"]}},
            ],
        },
    }
    if rng.random() < 0.3:
        del child["spec"]["onExit"]  # type: ignore[attr-defined]  # a nested dictionary
    late = _container("late", 0)
    late["activeDeadlineSeconds"] = 1
    handler = _container("h", rng.choice([0, 0, 1]))
    if rng.random() < 0.2:
        handler["activeDeadlineSeconds"] = 1
    return [
        _container("ok", 0),
        _container("bad", 1),
        _container("missing", MISSING),
        late,
        again,
        {"name": "nap", "suspend": {"duration": "1"}},
        handler,
        {"name": "call", "http": {"url": "http://there.example/"}},
        {"name": "next", "plugin": {"trigger": {"workflow": child}}},
        {
            "name": "graph",
            "steps": [
                [{"name": "one", "template": "h"}, {"name": "two", "template": "call", **_nested(rng)}],
                [{"name": "three", "template": rng.choice(["again", "next", "call"]), **_nested(rng)}],
            ],
        },
        {
            "name": "tree",
            "dag": {
                "tasks": [
                    {"name": "a", "template": rng.choice(["h", "call"]), "withItems": [1, 2], **_nested(rng)},
                    {"name": "b", "template": rng.choice(["h", "graph"]), "depends": "a.Succeeded || a.Failed"},
                    {"name": "c", "template": "nap", "depends": "a"},
                ]
            },
        },
    ]


def _nested(rng: random.Random) -> Manifest:
    """A handler of a handler's step."""
    return {"hooks": {"exit": {"template": rng.choice(["h", "call"])}}} if rng.random() < 0.3 else {}


def _graph(rng: random.Random, name: str, callable_: list[str]) -> Manifest:
    count = rng.randint(1, 5)
    dag = rng.random() < 0.5
    made = []
    for i in range(count):
        step: Manifest = {"name": f"s{i}", "template": rng.choice(callable_)}
        if rng.random() < 0.15:
            step["withItems"] = list(range(rng.randint(1, 3)))
        if rng.random() < 0.15:
            step["when"] = rng.choice(["1 == 1", "1 == 2"])
        if rng.random() < 0.3:
            step["continueOn"] = {"failed": True, "error": True}
        hooks: Manifest = {}
        if rng.random() < 0.35:
            hooks["exit"] = {"template": rng.choice(HANDLERS)}
        if rng.random() < 0.15 and "withItems" not in step:
            prefix = "tasks" if dag else "steps"
            wanted = rng.choice(["Running", "Succeeded", "Failed"])
            hooks["look"] = {"template": "h", "expression": f'{prefix}.s{i}.status == "{wanted}"'}
        if hooks:
            step["hooks"] = hooks
        if dag and i and rng.random() < 0.6:
            step["dependencies"] = rng.sample([f"s{k}" for k in range(i)], rng.randint(1, min(i, 2)))
        made.append(step)
    template: Manifest = {"name": name}
    if dag:
        template["dag"] = {"tasks": made, **({"failFast": False} if rng.random() < 0.3 else {})}
    else:
        cut = rng.randint(1, count)
        template["steps"] = [group for group in (made[:cut], made[cut:]) if group]
    if rng.random() < 0.15:
        template["retryStrategy"] = {"limit": 1}
    return template
