"""A workflow as people see it: everything but its nodes as a tree, the nodes as JSON one by one, and messages of both.

A workflow may have a quarter of a million nodes. What goes through all of them yields after each, so that whoever does
it shares the loop (`Turns.through`).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from exeunt import cloudevents
from exeunt.engine.decide import Run
from exeunt.engine.shown import each_node, head
from exeunt.journal.records import TEXT_BYTES, ArchiveSummary
from exeunt.service.bounds import ANSWER_BYTES, LISTED_BYTES, PART_BYTES, PART_NODES
from exeunt.service.errors import Code, RpcError
from exeunt.utf8 import cut
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.words import finalizations, phases, reasons

Tree = dict[str, Any]
RESTING = "Resting"
"""The condition of a run that does not go on by itself."""


class WorkflowView(NamedTuple):
    """A workflow at one moment. `head` is the object in Argo's shape without status.nodes."""

    head: Tree
    nodes: dict[str, bytes]
    version: int

    @property
    def size(self) -> int:
        """What the nodes have together, about."""
        return sum(map(len, self.nodes.values()))


def looking(run: Run) -> Generator[None, None, WorkflowView]:
    """The workflow of a run, which must not change meanwhile."""
    nodes: dict[str, bytes] = {}
    for id, tree in each_node(run):
        nodes[id] = msgspec.json.encode(tree)
        yield
    return WorkflowView(head(run), nodes, run.commits)


def at_once(run: Run) -> WorkflowView:
    """The same without a break: for a few nodes."""
    work = looking(run)
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: WorkflowView = end.value
            return found


def seen(tree: Tree, version: int) -> WorkflowView:
    """The view of a small workflow whose whole tree is at hand."""
    status = dict(tree["status"])
    nodes = status.pop("nodes", None) or {}
    encoded = {id: msgspec.json.encode(node) for id, node in nodes.items()}
    return WorkflowView({**tree, "status": status}, encoded, version)


def resting(found: WorkflowView, why: str) -> WorkflowView:
    """The view of a run that does not go on, which says so."""
    status = found.head["status"]
    told = {"type": RESTING, "status": "True", "message": why}
    changed = {"message": f"it rests: {why}", "conditions": [*status["conditions"], told]}
    return found._replace(head={**found.head, "status": {**status, **changed}})


def text_of(found: WorkflowView) -> bytes:
    """The whole object as JSON."""
    nodes = {id: msgspec.Raw(node) for id, node in found.nodes.items()}
    return msgspec.json.encode({**found.head, "status": {**found.head["status"], "nodes": nodes}})


def whole(found: WorkflowView, instead: str = "ReadWorkflow gives it in parts") -> pb.Workflow:
    """The workflow as one message. Raises RESOURCE_EXHAUSTED, with what to do instead, where it is too large."""
    if found.size <= ANSWER_BYTES:
        text = text_of(found)
        if len(text) <= ANSWER_BYTES:
            return message(found.head, found.version, text)
    said = f"the workflow has more than {ANSWER_BYTES // 2**20} MB, too many for one message; {instead}"
    raise RpcError(Code.RESOURCE_EXHAUSTED, "WORKFLOW_TOO_LARGE", said)


def fitted(found: WorkflowView, most: int, *, left_out: bool = False) -> pb.Workflow:
    """The workflow as one message of at most so many bytes: the largest things are left out, and named.

    `left_out` says that the nodes have been.
    """
    if found.size <= most and not left_out:
        text = text_of(found)
        if len(text) <= most:
            return message(found.head, found.version, text)
    return message(found.head, found.version, cloudevents.body({**found.head, "truncated": ["status.nodes"]}, most))


def listed(tree: Tree, version: int, view: int) -> pb.Workflow:
    """A workflow as lists show it: with its JSON where the view asks for that."""
    status = tree.get("status", {})
    if len(said := str(status.get("message") or "")) > TEXT_BYTES // 4:  # as a record of the archive has it
        tree = {**tree, "status": {**status, "message": cut(said, TEXT_BYTES)}}
    return message(tree, version, cloudevents.body(tree, LISTED_BYTES) if view == pb.WORKFLOW_VIEW_OBJECT else b"")


def parts(tree: Tree, nodes: Iterable[tuple[str, bytes]], version: int) -> Iterator[pb.WorkflowPart]:
    """The workflow, or what changed of it, in parts."""
    text = msgspec.json.encode(tree).decode()
    first = message(tree, version, b"")
    for number, (piece, unfinished) in enumerate(_pieces(text)):
        part = first if number == 0 else pb.Workflow()
        part.json = piece
        yield pb.WorkflowPart(workflow=part, unfinished=unfinished)
    for some in _together(nodes):
        for piece, unfinished in _pieces(msgspec.json.encode(some).decode()):
            yield pb.WorkflowPart(nodes_json=piece, unfinished=unfinished)


def _together(nodes: Iterable[tuple[str, bytes]]) -> Iterator[dict[str, msgspec.Raw]]:
    """As many nodes as one part holds; one that is larger is alone."""
    some: dict[str, msgspec.Raw] = {}
    size = 0
    for id, node in nodes:
        if some and (size + len(node) > PART_BYTES or len(some) == PART_NODES):
            yield some
            some, size = {}, 0
        some[id] = msgspec.Raw(node)
        size += len(node)
    if some:
        yield some


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """A text in pieces, and whether it goes on behind each."""
    for start in range(0, len(text), PART_BYTES):
        yield text[start : start + PART_BYTES], start + PART_BYTES < len(text)


def message(tree: Tree, version: int, text: bytes) -> pb.Workflow:
    """The object as a message, with this JSON."""
    metadata, status = tree.get("metadata", {}), tree.get("status", {})
    return pb.Workflow(
        name=metadata.get("name", ""),
        namespace=metadata.get("namespace", ""),
        uid=metadata.get("uid", ""),
        phase=phases.number(status.get("phase", "")),
        outcome=phases.number(status.get("outcome", "")),
        reason=reasons.number(status.get("reason", "")),
        finalization=finalizations.number(status.get("finalization", "")),
        message=status.get("message", ""),
        create_time=_stamp(seconds_of(metadata.get("creationTimestamp"))),
        start_time=_stamp(seconds_of(status.get("startedAt"))),
        finish_time=_stamp(seconds_of(status.get("finishedAt"))),
        revision=version,
        json=text.decode(),
        progress=status.get("progress", ""),
        labels={str(k): str(v) for k, v in (metadata.get("labels") or {}).items()},
        attempt=status.get("runAttempt", 0),
    )


def summary(tree: Tree, version: int) -> ArchiveSummary:
    """What the archive's lists show."""
    metadata, status = tree.get("metadata", {}), tree.get("status", {})
    return ArchiveSummary(
        uid=metadata.get("uid", ""),
        name=metadata.get("name", ""),
        namespace=metadata.get("namespace", ""),
        phase=status.get("phase", ""),
        outcome=status.get("outcome", ""),
        reason=status.get("reason", ""),
        finalization=status.get("finalization", ""),
        message=status.get("message", ""),
        created_at=seconds_of(metadata.get("creationTimestamp")),
        started_at=seconds_of(status.get("startedAt")),
        finished_at=seconds_of(status.get("finishedAt")),
        progress=status.get("progress", ""),
        version=version,
        labels={str(k): str(v) for k, v in (metadata.get("labels") or {}).items()},
        attempt=status.get("runAttempt", 0),
    )


def of_summary(s: ArchiveSummary, view: int) -> pb.Workflow:
    """A finished workflow as lists show it. Its JSON has what the summary knows."""
    tree = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": s.name,
            "namespace": s.namespace,
            "uid": s.uid,
            "labels": s.labels,
            "creationTimestamp": _text(s.created_at),
        },
        "status": {
            "phase": s.phase,
            "outcome": s.outcome,
            "reason": s.reason,
            "finalization": s.finalization,
            "message": s.message,
            "startedAt": _text(s.started_at),
            "finishedAt": _text(s.finished_at),
            "progress": s.progress,
            **({"runAttempt": s.attempt} if s.attempt else {}),
        },
    }
    return listed(tree, s.version, view)


def seconds_of(text: object) -> float:
    """Seconds since the epoch of a time as Argo writes it (RFC 3339, UTC); 0 for anything else."""
    if not isinstance(text, str) or not text:
        return 0.0
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def _text(seconds: float) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else None


def _stamp(seconds: float) -> Timestamp | None:
    if not seconds:
        return None
    whole = int(seconds)
    return Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e9))
