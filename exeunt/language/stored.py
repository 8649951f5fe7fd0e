"""What workflows refer to and others have stored, as far as it is at hand; what is missing is noted and asked for."""

from __future__ import annotations

from typing import Any

from exeunt.language.decode import decode
from exeunt.language.load import Document
from exeunt.language.manifest import ConfigMap, Workflow, WorkflowTemplate
from exeunt.language.resolve import resolve

Key = tuple[str, str, str]
"""Kind, namespace and name of something stored."""


class StoredManifests:
    """Stored templates and config maps, for `resolve`. None stands for what is known not to be there."""

    def __init__(self) -> None:
        self._known: dict[Key, WorkflowTemplate | ConfigMap | None] = {}
        self._missing: set[Key] = set()

    def add(self, key: Key, tree: dict[str, Any] | None) -> None:
        """Has a manifest at hand, as it is stored. Raises ManifestError for one that cannot be read."""
        model = None if tree is None else decode(Document("/".join(part for part in key if part), tree, 0))
        self._known[key] = model if isinstance(model, WorkflowTemplate | ConfigMap) else None

    def template(self, kind: str, namespace: str, name: str) -> WorkflowTemplate | None:
        """A template, or a template of the cluster."""
        found = self._get((kind, namespace, name))
        return found if isinstance(found, WorkflowTemplate) else None

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        """A config map."""
        found = self._get(("ConfigMap", namespace, name))
        return found if isinstance(found, ConfigMap) else None

    def missing(self, workflow: Workflow) -> list[Key]:
        """What the workflow refers to, directly or through others, and is not known to be there or not."""
        self._missing.clear()
        resolve(workflow, self.template, self.config_map)
        return sorted(self._missing)

    def _get(self, key: Key) -> WorkflowTemplate | ConfigMap | None:
        if key not in self._known:
            self._missing.add(key)
        return self._known.get(key)
