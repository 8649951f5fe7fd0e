"""A workflow on its way to being started by another: its bundle, its uid and name, and the message that starts it.

Triggers write the message to the partition of the child (journal.md §7); the scheduler that owns it begins the run.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from exeunt.engine import commit
from exeunt.engine.events import RunStarted
from exeunt.journal.manifests import Manifests
from exeunt.language.decode import decode
from exeunt.language.load import Document
from exeunt.language.manifest import Bundle, ConfigMap, Metadata, Workflow, WorkflowTemplate
from exeunt.language.metadata import CREATOR
from exeunt.language.resolve import resolve

START = "start"
"""The mailbox name (`to`) of messages that start a workflow (journal.md §7)."""

DEPTH_LABEL = "exeunt.dev/depth"
"""On a child: how many workflows stand above it in the chain of triggers."""
ROOT_LABEL = "exeunt.dev/root"
"""On a child: the uid of the workflow with which the chain of triggers began."""
STARTED_BY = "exeunt.dev/started-by"
"""The annotation of a child: the workflow whose handler started it."""
RESUBMITTED_FROM = "workflows.argoproj.io/resubmitted-from-workflow"
"""Argo's label of a resubmitted workflow: the name of the one that it was made of."""
OF_THE_RUN = (
    "workflows.argoproj.io/completed",
    "workflows.argoproj.io/phase",
    DEPTH_LABEL,
    ROOT_LABEL,
    RESUBMITTED_FROM,
)
"""Labels that say something of one run: a resubmission does not take them over."""

LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' letters for generated names: nothing can be misread, and no words come about."""

HOUR = 3600.0

M = TypeVar("M", WorkflowTemplate, ConfigMap)


def depth_of(labels: Mapping[str, str]) -> int:
    """How many workflows stand above one with these labels in the chain of those that start each other."""
    text = labels.get(DEPTH_LABEL, "0")
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 6 else 0


def root_of(labels: Mapping[str, str], uid: str) -> str:
    """The uid of the workflow that one with these labels descends from: its own where nothing started it."""
    return labels.get(ROOT_LABEL) or uid


class ChainRefused(Exception):  # noqa: N818 - as StartRefused
    """One more workflow is not started; the text says which bound that met."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Chains:
    """Whether a workflow may start another one: how deep chains are, and how many descend from one root in an hour.

    Each service counts what it starts itself, and forgets it when it ends.
    """

    def __init__(self, depth: int, descendants: int) -> None:
        self._depth = depth
        self._most = descendants
        self._started: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()  # by root: uids, and when

    def check(self, labels: Mapping[str, str], uid: str, now: float) -> None:
        """Raises ChainRefused where a workflow with these labels is not to be started."""
        depth, root = depth_of(labels), labels.get(ROOT_LABEL, "")
        if depth > self._depth:
            text = f"{depth - 1} workflows have started each other in a chain already; the bound is {self._depth}"
            raise ChainRefused("CHAIN_TOO_DEEP", text)
        self._forget(root, now)
        started = self._started.get(root) or OrderedDict[str, float]()
        if uid not in started and len(started) >= self._most:
            text = (
                f"{len(started):,} workflows that descend from {root} have been started within an hour; "
                f"the bound is {self._most:,}"
            )
            raise ChainRefused("CHAIN_TOO_WIDE", text)

    def note(self, labels: Mapping[str, str], uid: str, now: float) -> None:
        """It is started."""
        root = labels.get(ROOT_LABEL)
        if root:
            self._started.setdefault(root, OrderedDict()).setdefault(uid, now)

    def _forget(self, root: str, now: float) -> None:
        """What was started longer ago: of this root, and of the one that was looked at longest ago."""
        for one in {root, next(iter(self._started), "")} & self._started.keys():
            started = self._started[one]
            while started and next(iter(started.values())) <= now - HOUR:
                started.popitem(last=False)
            self._started.move_to_end(one)
            if not started:
                del self._started[one]


def encode_bundle(bundle: Bundle) -> bytes:
    """A bundle as it is stored among the blobs: JSON, so that the same bundle has the same hash."""
    return msgspec.json.encode(bundle)


def decode_bundle(content: bytes) -> Bundle:
    """The bundle of a blob. Raises msgspec.DecodeError or ValidationError for anything else."""
    return msgspec.json.decode(content, type=Bundle)


def uid_of_trigger(key: str) -> str:
    """The uid of the child that a node starts; `key` is the node's idempotency key."""
    digest = hashlib.blake2b(f"trigger\0{key}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


def name_of(metadata: Metadata, uid: str, letters: int = 5) -> str:
    """The workflow's name: its own, or its generateName with a suffix that follows from the uid."""
    if metadata.name:
        return metadata.name
    number = int.from_bytes(hashlib.blake2b(uid.encode(), digest_size=16).digest(), "big")
    suffix = ""
    for _ in range(letters):
        number, letter = divmod(number, len(LETTERS))
        suffix += LETTERS[letter]
    return (metadata.generate_name or "workflow-")[: 63 - letters] + suffix


def resubmission(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a workflow like this one (Argo: FormulateResubmitWorkflow)."""
    metadata = tree["metadata"]
    name = metadata["name"]
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k not in OF_THE_RUN}
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in (STARTED_BY, CREATOR)}
    return {
        "apiVersion": tree["apiVersion"],
        "kind": "Workflow",
        "metadata": {
            "generateName": _prefix(metadata),
            "namespace": metadata["namespace"],
            "labels": {**labels, RESUBMITTED_FROM: name},
            "annotations": annotations,
        },
        "spec": tree["spec"],
    }


def _prefix(metadata: Mapping[str, Any]) -> str:
    """As the workflow was named: by its generateName, or its name."""
    given = metadata.get("generateName")
    return str(given) if given else str(metadata["name"])[:50] + "-"


def start_message(started: RunStarted, now: float) -> bytes:
    """What goes to the scheduler of the child's partition: the first event of its run. Its bundle is stored before."""
    data: bytes = commit.encode(now, [started])
    return data


def read_start_message(data: bytes) -> RunStarted:
    """The event of a start message. Raises ValueError for anything else."""
    try:
        events = commit.decode(data).events
    except msgspec.DecodeError as error:
        raise ValueError(f"a start message cannot be read: {error}") from error
    if len(events) != 1 or not isinstance(events[0], RunStarted):
        raise ValueError("a start message holds one event, the run's first")
    return events[0]


async def bundle_of(workflow: Workflow, manifests: Manifests) -> Bundle:
    """The workflow with the stored templates and config maps that it names, as they are now."""
    found: dict[tuple[str, str, str], Any] = {}
    while True:
        missing: set[tuple[str, str, str]] = set()

        def lookup(kind: str, namespace: str, name: str) -> WorkflowTemplate | None:
            return _known(found, missing, (kind, namespace, name), WorkflowTemplate)  # noqa: B023 - used within the turn

        def config_map(namespace: str, name: str) -> ConfigMap | None:
            return _known(found, missing, ("ConfigMap", namespace, name), ConfigMap)  # noqa: B023 - as above

        bundle = resolve(workflow, lookup, config_map)
        if not missing:
            return bundle
        keys = sorted(missing)
        trees = await asyncio.gather(*(manifests.get(*key) for key in keys))
        for key, tree in zip(keys, trees, strict=True):
            found[key] = None if tree is None else decode(Document("/".join(p for p in key if p), tree, 0))


def _known(
    found: dict[tuple[str, str, str], Any],
    missing: set[tuple[str, str, str]],
    key: tuple[str, str, str],
    shape: type[M],
) -> M | None:
    if key not in found:
        missing.add(key)
    manifest = found.get(key)
    return manifest if isinstance(manifest, shape) else None
