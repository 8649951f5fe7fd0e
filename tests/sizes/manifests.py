"""Workflows as trees: short ways to write those that a test needs."""

from __future__ import annotations

import json
from typing import Any

Tree = dict[str, Any]
KB = 1000


def workflow(name: str, *templates: Tree, **more: Any) -> Tree:
    """A workflow whose first template is its entrypoint. `metadata` adds to its metadata, the rest to its spec."""
    metadata = {"generateName": f"{name}-", **more.pop("metadata", {})}
    spec = {"entrypoint": templates[0]["name"], "templates": list(templates), **more}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec}


def text(*workflows: Tree) -> str:
    """The manifests as one file."""
    return "\n---\n".join(json.dumps(one) for one in workflows)


def sh(name: str, source: str, **more: Any) -> Tree:
    """A template that runs a script."""
    return {"name": name, "script": {"image": "busybox", "command": ["sh"], "source": source}, **more}


def steps(name: str, *groups: list[Tree] | Tree, **more: Any) -> Tree:
    """A steps template; a group of one may be written without its list."""
    return {"name": name, "steps": [group if isinstance(group, list) else [group] for group in groups], **more}


def outputs(count: int, **more: Any) -> Tree:
    """Output parameters p0, p1, …, read from files of these names."""
    return {"parameters": [{"name": f"p{i}", "valueFrom": {"path": f"p{i}"}, **more} for i in range(count)]}


def written(count: int, size: int) -> str:
    """A script that writes such files, each of so many bytes."""
    return f"for i in $(seq 0 {count - 1}); do head -c {size} /dev/zero | tr '\\000' x > p$i; done"


def values(count: int, size: int, letter: str = "w") -> Tree:
    """Arguments b0, b1, …, each of so many bytes."""
    return {"parameters": [{"name": f"b{i}", "value": letter * size} for i in range(count)]}


BYE = sh("bye", "true")


def canary(name: str = "canary") -> Tree:
    """A small workflow with a handler."""
    return workflow(name, sh("main", "true"), BYE, onExit="bye")
