"""Plays a cell of the matrix through the engine and says which handlers were not kept."""

from __future__ import annotations

import msgspec

from exeunt.engine import decide
from exeunt.engine.facts import phases
from exeunt.language.manifest import Bundle, Workflow
from exeunt.language.validate import validate
from tests.generated.manifests import Generated
from tests.generated.play import Delivery
from tests.invariants import broken, call_of
from tests.matrix.shapes import EXIT_ON, Cell, outcome_of, spec_of

_OPERATIONS = {
    "stop": "Stop", "terminate": "Terminate", "deletion": "Delete", "deadline": "Time", "lost executor": "Lose",
    "step timeout": "Time", "template deadline": "Time",
}  # fmt: skip


def bundle_of(cell: Cell) -> Bundle:
    metadata = {"name": "w", "annotations": {"exeunt.dev/exit-on": EXIT_ON}}
    tree = {"metadata": metadata, "spec": spec_of(cell)}
    return Bundle(workflow=msgspec.convert(tree, Workflow, strict=False))


def lost(cell: Cell, order: str = "first") -> list[str]:
    """The invariants that do not hold, and the handlers that did not run; empty when all were kept."""
    bundle = bundle_of(cell)
    problems = [str(problem) for problem in validate(bundle, support=False) if not problem.warning]
    assert not problems, problems
    operations = [(cell.moment, _OPERATIONS[cell.way])] if cell.way in _OPERATIONS else []
    played = Delivery(0, Generated({}, operations, 0), bundle, order, lambda name, _: outcome_of(cell.way, name))
    played.run(400)
    return [*played.wrong, *broken(played.runs, played.told_of), *_missing(played)]


def _missing(played: Delivery) -> list[str]:
    """Every call that began had its handler really run: a record is not enough, for all ask for it."""
    main = played.main
    ran = {node["name"] for node in decide.status(main)["status"]["nodes"].values()}
    began = [node for node in main.nodes if node.phase in phases.COMPLETED and node.type != phases.SKIPPED_TYPE]
    found = []
    for node in began:
        call, name = call_of(main, node), main.names.full(node)
        due = node.owner < 0 or (call is not None and bool(call.on_exit or "exit" in call.hooks))
        group = node.type == phases.TASK_GROUP  # has no item to hand on
        barred = node.message.startswith(("workflow shutdown", phases.EXCEEDED)) and not node.executor
        if due and not group and not barred and f"{name}.onExit" not in ran:
            found.append(f"kept: {name} is {node.phase}, and its handler did not run")
    return found
