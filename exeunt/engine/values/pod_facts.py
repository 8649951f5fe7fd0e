"""What a step's pod would be called and labelled on Argo (workflowpod.go, createWorkflowPod)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.values.scope import global_scope
from exeunt.engine.values.templating import replaced
from exeunt.language.manifest import Template
from exeunt.language.volume_rules import field_key


def pod_field(run: Run, node: Node, template: Template, path: str) -> str:
    """The value of a field of `metadata`, as Kubernetes writes it into a file; empty for a label that is not there."""
    known: dict[str, Callable[[], str]] = {
        "metadata.name": lambda: run.names.pod(node),
        "metadata.namespace": lambda: run.namespace,
        "metadata.uid": lambda: _pod_uid(run, node),
        "spec.serviceAccountName": lambda: template.service_account_name or run.spec.service_account_name or "default",
    }
    if path in known:
        return known[path]()
    kind, key = field_key(path)
    words = _words(run, node, template, kind or path.removeprefix("metadata."))
    if kind:
        return words.get(key, "")
    return "\n".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(words.items()))


def _words(run: Run, node: Node, template: Template, kind: str) -> dict[str, str]:
    """The labels or annotations that Argo gives a pod."""
    own = {
        "labels": {"workflows.argoproj.io/completed": "false", "workflows.argoproj.io/workflow": run.name},
        "annotations": {
            "workflows.argoproj.io/node-id": run.id(node),
            "workflows.argoproj.io/node-name": run.names.full(node),
        },
    }[kind]
    of_all: Any = replaced(run, run.spec.pod_metadata or {}, global_scope(run))
    for metadata in (of_all, template.metadata or {}):
        given = metadata.get(kind)
        if isinstance(given, Mapping):
            own |= {str(name): str(value) for name, value in given.items()}
    return own


def _pod_uid(run: Run, node: Node) -> str:
    """One for each node, the same whenever it is asked for."""
    text = hashlib.sha256(f"{run.uid}/{run.hook_id}/{run.id(node)}".encode()).hexdigest()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))
