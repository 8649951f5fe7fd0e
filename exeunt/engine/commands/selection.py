"""Which suspended nodes an operator means (Argo: `--node-field-selector`)."""

from __future__ import annotations

from exeunt.engine.commands.inputs import Rejected
from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.visible import quoted

FIELDS = ("displayName", "templateName", "templateRef.name", "templateRef.template", "phase", "name", "id")
"""What nodes can be selected by, beside `inputs.parameters.NAME.value`."""


def waiting(run: Run, selector: str) -> list[Node]:
    """The suspend nodes that wait and that the selector names; an empty one names all. Raises Rejected."""
    check(selector)
    wanted = _selected(selector)
    return [
        node
        for node in run.nodes
        if node.type == phases.SUSPEND and not node.fulfilled and all(_matches(run, node, *one) for one in wanted)
    ]


def check(selector: str) -> None:
    """Raises Rejected unless it is one, whatever it selects."""
    for field, _, _ in _selected(selector):
        if field not in FIELDS and not _is_input(field):
            raise Rejected("INVALID_SELECTOR", f"nodes cannot be selected by {quoted(field)}: {', '.join(FIELDS)}")


def check_phase(phase: str) -> None:
    """Raises Rejected unless it is one that a node that waits can be set to; an empty one leaves it waiting."""
    known = sorted(phases.COMPLETED | {phases.SKIPPED})
    if phase and phase not in known:
        raise Rejected(
            "INVALID_PHASE", f"{quoted(phase)} is no phase that a node can be set to: {', '.join(known)} are"
        )


def _is_input(field: str) -> bool:
    return field.startswith("inputs.parameters.") and field.endswith(".value")


def _selected(selector: str) -> list[tuple[str, str, bool]]:
    wanted = []
    for part in filter(None, (piece.strip() for piece in selector.split(","))):
        for mark, positive in (("!=", False), ("==", True), ("=", True)):
            name, found, value = part.partition(mark)
            if found:
                wanted.append((name.strip(), value.strip(), positive))
                break
        else:
            raise Rejected("INVALID_SELECTOR", f"{quoted(part)} is no selector: NAME=VALUE is expected")
    return wanted


def _matches(run: Run, node: Node, field: str, value: str, positive: bool) -> bool:
    if _is_input(field):
        found = dict(node.inputs or []).get(field[len("inputs.parameters.") : -len(".value")], "")
        return (found == value) == positive
    known = {
        "displayName": run.names.display(node, run.display),
        "templateName": node.template,
        "templateRef.name": node.ref[0] if node.ref else "",
        "templateRef.template": node.ref[1] if node.ref else "",
        "phase": node.phase,
        "name": run.names.full(node),
        "id": run.id(node),
    }
    return (known[field] == value) == positive
