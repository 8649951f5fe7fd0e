"""A workflow on its way to being started by another: its bundle, its uid and name, and the message that starts it.

Triggers write the message to the partition of the child (docs/log.md §7); the scheduler that owns it begins the run.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from exeunt.chains import DEPTH_LABEL, ROOT_LABEL
from exeunt.engine.facts import RunStarted, commit
from exeunt.journal.manifests import Manifests
from exeunt.language.manifest import Bundle, Metadata, Workflow
from exeunt.language.metadata import CREATOR
from exeunt.language.repository import repository_of, uses_artifacts
from exeunt.language.resolve import all_templates, resolve
from exeunt.language.stored import StoredManifests

START = "start"
"""The mailbox name (`to`) of messages that start a workflow (docs/log.md §7)."""

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

SUFFIX_LENGTHS = (5, 8, 13, 20)
"""Letters behind a generated name: one that is taken gets more."""


EMBEDDED: dict[str, Any] = {"nats": {}}
"""The repository of workflows that have no other: the cluster's own store."""


def repository_for(bundle: Bundle, default: Mapping[str, Any]) -> dict[str, Any]:
    """Where the artifacts of a workflow go: as it says itself, else its namespace, else `default`; empty for nowhere.

    Nowhere: nothing in it has any. Raises RepositoryError.
    """
    specs = [bundle.workflow.spec, *(template.spec for template in bundle.templates)]
    if not any(uses_artifacts(spec, all_templates(spec)) for spec in specs):
        return {}
    return repository_of(bundle) or dict(default)


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


def names_for(metadata: Metadata, uid: str) -> Iterator[str]:
    """The names that a workflow may get, in the order in which they are tried; more than one when it is generated."""
    for letters in SUFFIX_LENGTHS[:1] if metadata.name else SUFFIX_LENGTHS:
        yield name_of(metadata, uid, letters)


def name_of(metadata: Metadata, uid: str, letters: int = SUFFIX_LENGTHS[0]) -> str:
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
    stored = StoredManifests()
    while keys := stored.missing(workflow):
        trees = await asyncio.gather(*(manifests.get(*key) for key in keys))
        for key, tree in zip(keys, trees, strict=True):
            stored.add(key, tree)
    return resolve(workflow, stored.template, stored.config_map)
