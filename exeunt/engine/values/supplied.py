"""Suspend nodes: the outputs that somebody else gives them, and what counts when nobody does."""

from __future__ import annotations

import msgspec

from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.values.scope import Scope
from exeunt.engine.values.templating import put_in
from exeunt.language.manifest import Template
from exeunt.language.variables import text


def defaults(run: Run, node: Node, template: Template) -> dict[str, str]:
    """Defaults of supplied outputs: their own, or that of the input of the same name."""
    local: Scope = {}
    ready = put_in(run, template, node.inputs or [], local).template
    found: dict[str, str] = {}
    for parameter in ready.outputs.parameters:
        source = parameter.value_from
        if source is None or source.supplied is None:
            continue
        if not isinstance(source.default, msgspec.UnsetType):
            found[parameter.name] = text(source.default)
            continue
        for given in template.inputs.parameters:
            if given.name == parameter.name and not isinstance(given.default, msgspec.UnsetType):
                found[parameter.name] = text(given.default)
    return found
