"""Suspend nodes that go on, with the outputs that they were given."""

from __future__ import annotations

from exeunt.engine.facts import phases
from exeunt.engine.facts.events import (
    NodeEnded,
)
from exeunt.engine.facts.nodes import Node, NodeOutputs
from exeunt.engine.facts.run import Run
from exeunt.engine.values.outputs import export
from exeunt.engine.values.processed import template_behind
from exeunt.engine.values.supplied import defaults
from exeunt.engine.walk.ending import clear_waits


def go_on(run: Run, node: Node, outputs: NodeOutputs | None) -> None:
    """A suspended node goes on."""
    clear_waits(run, node)
    missing = [name for name, value in outputs.parameters if value is None] if outputs is not None else []
    if missing:
        run.emit(NodeEnded(node.key, phases.ERROR, f"output parameter {missing[0]} was not supplied", outputs))
        return
    run.emit(NodeEnded(node.key, phases.SUCCEEDED, node.message, outputs))
    template = template_behind(run, node)
    if template is not None:
        export(run, node, template, outputs)


def outputs_at_resume(run: Run, node: Node) -> NodeOutputs | None:
    """The outputs that a node was given, with the defaults of those that nobody gave it."""
    if node.outputs is None:
        return None
    template = template_behind(run, node)
    known = {} if template is None else defaults(run, node, template)
    return NodeOutputs(
        parameters=[(name, known.get(name) if value is None else value) for name, value in node.outputs.parameters]
    )
