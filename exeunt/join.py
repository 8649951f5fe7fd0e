"""A join: one workflow is started when several have arrived (fan-in).

It is a run like any other, of a small workflow that is made here: a suspended node for each member, and an exit handler
that starts what the join is for. Its uid is a hash of the join's key (docs/log.md §7), so whoever arrives first starts
it, and every member's arrival ends its own node, once. Exactly one child follows, as a handler starts exactly one.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

ARRIVE = "arrive"
"""The mailbox name (`to`) of messages that say that a member of a join has arrived."""
KEY_ANNOTATION = "exeunt.dev/join"
"""On the run of a join: its key."""
FORMAT = 1


@dataclass(frozen=True)
class JoinRequest:
    """What a member's handler asks for. `trigger` is what is started, as the action's own fields."""

    key: str
    of: list[str]
    member: str = ""  # which of them asks; empty: known by its workflow's name, generateName or template
    within: int = 0  # seconds for which the first member waits for the last; 0 for ever
    trigger: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)  # that this member gives to the child


class Arrival(msgspec.Struct, array_like=True):
    """A member has arrived."""

    format: int
    uid: str  # of the join's run
    member: str
    parameters: str  # that it gives to the child, as JSON
    by: str  # its workflow, for people


def uid_of_join(namespace: str, key: str) -> str:
    """The uid of a join's run: the same for every member."""
    digest = hashlib.blake2b(f"join\0{namespace}\0{key}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


def arrival_id(arrival: Arrival) -> str:
    """What the message is known by: a member arrives once, whoever says so and however often."""
    member = hashlib.blake2b(arrival.member.encode(), digest_size=8).hexdigest()
    return f"{arrival.uid}-{member}"


def encode_arrival(arrival: Arrival) -> bytes:
    """The message's content."""
    return msgspec.msgpack.encode(arrival)


def decode_arrival(data: bytes) -> Arrival:
    """The arrival of a message. Raises ValueError for anything else."""
    try:
        found = msgspec.msgpack.decode(data, type=Arrival)
    except msgspec.DecodeError as error:
        raise ValueError(f"an arrival cannot be read: {error}") from error
    if found.format != FORMAT:
        raise ValueError(f"an arrival of format {found.format} is not known here: {FORMAT} is")
    return found


def manifest(request: JoinRequest, namespace: str) -> dict[str, Any]:
    """The workflow of a join."""
    members = [
        {
            "name": f"arrival-of-{name}",
            "suspend": {},
            "outputs": {"parameters": [{"name": "parameters", "globalName": name, "valueFrom": {"supplied": {}}}]},
        }
        for name in request.of
    ]
    given = [f"{{{{workflow.outputs.parameters.{name}}}}}" for name in request.of]
    spec: dict[str, Any] = {
        "entrypoint": "all",
        "hooks": {"exit": {"template": "start", "expression": 'workflow.status == "Succeeded"'}},
        "templates": [
            {"name": "all", "dag": {"tasks": [{"name": n, "template": f"arrival-of-{n}"} for n in request.of]}},
            *members,
            {"name": "start", "plugin": {"trigger": {**request.trigger, "parametersFrom": given}}},
        ],
    }
    if request.within:
        spec["activeDeadlineSeconds"] = request.within
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "join-", "namespace": namespace, "annotations": {KEY_ANNOTATION: request.key}},
        "spec": spec,
    }
