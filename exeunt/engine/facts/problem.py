"""What can go wrong with a node before it runs. Never seen outside the engine: it becomes the node's message."""

from __future__ import annotations

from exeunt.utf8 import cut

MESSAGE_BYTES = 16 * 1024


class NodeError(Exception):
    """The node, or what holds it, ends in Error with this text: of a long one, its beginning with a mark of the cut."""

    def __init__(self, text: str) -> None:
        super().__init__(cut(text, MESSAGE_BYTES))


class NoArtifactError(NodeError):
    """An argument is to be taken from an artifact that is not there."""
