"""A replay has ended: what the exit handler tells the owner of the workflow, through the log (docs/log.md §7).

The main run may be over, and its log cut; the message keeps its place until the archive has it too.
"""

from __future__ import annotations

import msgspec

REPLAYED = "replayed"
"""The mailbox name (`to`) of these messages."""
FORMAT = 1


def first_number(replay: int) -> int:
    """The number in `ce-id` of the event that a run, or a replay of it, has begun.

    Its end has the next one; that of a replay is followed by `workflow.finalized`, with the one behind that.
    """
    return 3 * replay if replay else 1


class Replayed(msgspec.Struct, array_like=True):
    """How the replay of a handler ended."""

    format: int
    uid: str  # of the workflow
    hook_id: str
    replay: int
    node: str  # the full name of the handler's own node
    handler: bool  # an exit handler; else a hook that ran meanwhile
    phase: str
    message: str
    at: float = 0.0  # when
    trace: dict[str, str] = {}


def replayed_id(told: Replayed) -> str:
    """What the message is known by: each replay ends once."""
    return f"{told.hook_id}-{told.replay}"


def encode_replayed(told: Replayed) -> bytes:
    """The message's content."""
    return msgspec.msgpack.encode(told)


def decode_replayed(data: bytes) -> Replayed:
    """What a message says. Raises ValueError for anything else."""
    try:
        found = msgspec.msgpack.decode(data, type=Replayed)
    except msgspec.DecodeError as error:
        raise ValueError(f"the end of a replay cannot be read: {error}") from error
    if found.format != FORMAT:
        raise ValueError(f"the end of a replay of format {found.format} is not known here: {FORMAT} is")
    return found
