"""What can go wrong with a node before it runs. Never seen outside the engine: it becomes the node's message."""

from __future__ import annotations


class NodeError(Exception):
    """The node, or what holds it, ends in Error with this text."""
