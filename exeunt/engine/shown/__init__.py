"""What others see of a run: its status in Argo's shape, the lines between nodes, and the events for subscribers."""

from __future__ import annotations

from exeunt.engine.shown.public_events import NODE_BYTES, ending, handler, whole
from exeunt.engine.shown.status import count_nodes, each_node, head

__all__ = [
    "NODE_BYTES",
    "count_nodes",
    "each_node",
    "ending",
    "handler",
    "head",
    "whole",
]
