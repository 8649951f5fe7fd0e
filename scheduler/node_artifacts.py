"""Which artifacts the nodes of a workflow have kept, and which one is meant. Pure."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from exeunt.language.locations import store_of
from exeunt.scheduler.view import WorkflowView
from exeunt.service.errors import RpcError, invalid, not_found

BREATH = 1000
"""Nodes that are looked through before others get a turn."""
NAMED = 5
"""So many nodes are named where several have the artifact."""


class NodeArtifact(NamedTuple):
    """An artifact as it stands in a node's outputs."""

    node: str
    display_name: str
    tree: dict[str, Any]

    @property
    def name(self) -> str:
        """The artifact's name."""
        return str(self.tree.get("name", ""))

    @property
    def store(self) -> str:
        """The kind of its place."""
        return store_of(self.tree)

    @property
    def place(self) -> Any:
        """Where it lies: of two that lie in one place one is as good as the other."""
        return self.tree.get(self.store)


class _Outputs(msgspec.Struct):
    artifacts: list[dict[str, Any]] = []


class _Node(msgspec.Struct, rename="camel"):
    name: str = ""
    display_name: str = ""
    outputs: _Outputs | None = None


class NodeArtifacts:
    """Those of a workflow, of all its nodes or of one. Raises NOT_FOUND where there is no such node."""

    def __init__(self, view: WorkflowView, node: str = "") -> None:
        self.found: list[NodeArtifact] = []
        self._view = view
        self._node = node

    def look(self) -> Generator[None, None, None]:
        """Looks through the nodes, in slices."""
        known = not self._node
        for count, (id, data) in enumerate(self._view.nodes.items(), 1):
            node = msgspec.json.decode(data, type=_Node)
            if not self._node or self._node in (id, node.name, node.display_name):
                known = True
                trees = node.outputs.artifacts if node.outputs is not None else []
                self.found += [NodeArtifact(id, node.display_name, tree) for tree in trees if store_of(tree)]
            if count % BREATH == 0:
                yield
        if not known:
            raise not_found("node", self._node)

    def the(self, name: str) -> NodeArtifact:
        """The artifact of that name. Raises NOT_FOUND, and INVALID_ARGUMENT where several are meant."""
        fitting = [one for one in self.found if one.name == name]
        if not fitting:
            raise not_found("artifact", name)
        if any(one.place != fitting[0].place for one in fitting):
            raise _ambiguous(name, fitting)
        return fitting[0]


def _ambiguous(name: str, fitting: Iterable[NodeArtifact]) -> RpcError:
    nodes = list(dict.fromkeys(one.display_name or one.node for one in fitting))
    if len(nodes) == 1:
        nodes = [one.node for one in fitting]
    shown = ", ".join(nodes[:NAMED]) + (f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else "")
    text = f"several nodes have an artifact {name}: {shown}; say which"
    return invalid(text, [("node", text)], reason="ARTIFACT_AMBIGUOUS")


def whole_place(tree: Mapping[str, Any], head: Mapping[str, Any]) -> dict[str, Any]:
    """The artifact with all of its place: what it leaves out is the repository's (Argo: ArtifactLocation.Relocate)."""
    reference = (head.get("status") or {}).get("artifactRepositoryRef") or {}
    kind = store_of(tree)
    repository = (reference.get("artifactRepository") or {}).get(kind) or {}
    kept = {field: value for field, value in repository.items() if field not in ("keyFormat", "keyPrefix")}
    return {**tree, kind: {**kept, **tree[kind]}}
