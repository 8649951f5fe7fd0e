"""Which artifacts of a workflow that is over are to go, and what its record says of them. Pure.

As in Argo (controller/artifact_gc.go). The note that some are to go stands in the archive record itself, from the
moment that it is written: whoever has the workflow's partition does what is left.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from exeunt.engine.decide import Run
from exeunt.engine.facts import State, pack, unpack
from exeunt.journal.records import ArchiveSummary
from exeunt.language.artifact_gc import ON_COMPLETION, ON_DELETION, has_gc, strategy_for
from exeunt.language.locations import store_of

CONDITION = "ArtifactGCError"
EMBEDDED_KIND = "nats"
BREATH = 1000
"""Nodes that are looked through before others get a turn."""
SAID = 3
"""Errors that a condition names."""

Tree = dict[str, Any]


class GarbageNote(msgspec.Struct, omit_defaults=True):
    """What a record says of the artifacts that go by themselves. `strategy` is the workflow's.

    With `deletion` somebody wants the workflow to be deleted: it goes behind its artifacts. `told`: subscribers have
    heard of that. `force`: it goes after one try (forceFinalizerRemoval).
    """

    strategy: str = ""
    force: bool = False
    deletion: bool = False
    told: bool = False
    by: str = ""
    why: str = ""


class Garbage(NamedTuple):
    """An artifact that is to go, and whose it is."""

    node: str
    tree: Tree

    @property
    def key(self) -> tuple[str, str]:
        """What names it in the workflow."""
        return self.node, str(self.tree.get("name", ""))


def note_of(run: Run) -> GarbageNote | None:
    """The note for the record of a run that is over; None where no artifact goes by itself."""
    if not has_gc(run.spec, run.bundle):
        return None
    gc = run.spec.artifact_gc
    note = GarbageNote() if gc is None else GarbageNote(gc.strategy, gc.force_finalizer_removal)
    note.deletion = note.told = run.deleted
    return note


def looking_for(note: GarbageNote, nodes: Mapping[str, msgspec.Raw]) -> Generator[None, None, list[Garbage]]:
    """The artifacts that are to go now (Argo: findArtifactsToGC), in slices.

    At the deletion of a workflow those in the embedded store go with everything else that it has there.
    """
    found: list[Garbage] = []
    wanted = (ON_COMPLETION, ON_DELETION) if note.deletion else (ON_COMPLETION,)
    for count, (id, data) in enumerate(nodes.items(), 1):
        node = msgspec.msgpack.decode(data)
        for tree in _kept(node):
            kind = store_of(tree)
            if not kind or tree.get("deleted") or (note.deletion and kind == EMBEDDED_KIND):
                continue
            if strategy_for(tree, note.strategy) in wanted:
                found.append(Garbage(id, tree))
        if count % BREATH == 0:
            yield
    return found


def _kept(node: Tree) -> Iterable[Tree]:
    """What a node has kept itself: what composites say is what their steps have."""
    return (node.get("outputs") or {}).get("artifacts") or () if node.get("type") == "Pod" else ()


def collected(
    summary: ArchiveSummary, body: Tree, *, gone: set[tuple[str, str]], problems: list[str]
) -> tuple[ArchiveSummary, Tree]:
    """A record as it is after a try: what went is marked as Argo does, and what did not is said.

    Marked is also what a retry goes on from, so that a step which needs an artifact that went says so.
    """
    tree = body["workflow"]
    status = dict(tree["status"])
    nodes = dict(status.get("nodes") or {})
    places: list[Any] = []
    for id in {node for node, _ in gone} & set(nodes):
        names = {name for node, name in gone if node == id}
        places += [_place(one) for one in _kept(nodes[id]) if one.get("name") in names]
        nodes[id] = _marked(nodes[id], names)
    if nodes:
        status["nodes"] = nodes
    conditions = [one for one in status.get("conditions") or [] if one["type"] != CONDITION]
    if problems:
        conditions.append({"type": CONDITION, "status": "True", "message": told(problems)})
    status["conditions"] = conditions
    left = bool(problems) or bool((body.get("garbage") or {}).get("deletion"))
    changed = {**body, "workflow": {**tree, "status": status}}
    if places and body.get("state") is not None:
        state = unpack(body["state"])
        _forget(state, places)
        changed["state"] = pack(state)
    return msgspec.structs.replace(summary, collect=left), changed


def _forget(state: State, places: list[Any]) -> None:
    """Marks what lay in these places, whoever has it."""
    for node in state.nodes:
        if node.outputs is not None and node.outputs.artifacts:
            node.outputs.artifacts = [_gone(one, places) for one in node.outputs.artifacts]
    state.global_artifacts = {name: _gone(one, places) for name, one in state.global_artifacts.items()}


def _gone(tree: Tree, places: list[Any]) -> Tree:
    return {**tree, "deleted": True} if _place(tree) in places else tree


def _place(tree: Tree) -> tuple[str, Any]:
    kind = store_of(tree)
    return kind, tree.get(kind)


def _marked(node: Tree, names: set[str]) -> Tree:
    outputs = node["outputs"]
    artifacts = [{**one, "deleted": True} if one.get("name") in names else one for one in outputs["artifacts"]]
    return {**node, "outputs": {**outputs, "artifacts": artifacts}}


def told(problems: list[str]) -> str:
    """What went wrong, bounded."""
    more = f" (and {len(problems) - SAID} more)" if len(problems) > SAID else ""
    return "; ".join(problems[:SAID]) + more


def to_be_deleted(summary: ArchiveSummary, body: Tree, *, by: str, why: str) -> tuple[ArchiveSummary, Tree]:
    """A record of a workflow that goes when its artifacts have."""
    note = {**body["garbage"], "deletion": True, "by": by, "why": why}
    return msgspec.structs.replace(summary, collect=True), {**body, "garbage": note}
