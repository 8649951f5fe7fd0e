"""Why a node that its retryStrategy gave up really ended: its own message is the strategy's, as in Argo."""

from __future__ import annotations

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run


def cause(run: Run, node: Node) -> str:
    """What the last attempt said, where the node says something else; else empty."""
    if node.type != phases.RETRY or not node.failed or not node.members:
        return ""
    said = run.nodes[node.members[-1]].message
    return "" if said in node.message else said


def told(run: Run, node: Node, message: str) -> str:
    """The message of a node, or of the workflow about its root, with the cause behind it."""
    why = cause(run, node)
    return f"{message}: {why}" if why and message == node.message else message
