"""`workflowMetadata`: labels and annotations that a workflow gives itself (Argo: updateWorkflowMetadata).

They may come out of the WorkflowTemplate that it refers to. What comes of them stands in the run's first event.
"""

from __future__ import annotations

import msgspec

from exeunt.engine.facts.events import RunStarted
from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.values.scope import global_scope
from exeunt.engine.values.templating import replaced_text
from exeunt.language.expression import ExpressionError, evaluate
from exeunt.language.manifest import WorkflowMetadata
from exeunt.language.metadata import wrong_label_value
from exeunt.language.variables import environment


def labelled(run: Run) -> RunStarted:
    """How the run is started, with its own labels and annotations. Raises NodeError where they cannot be worked out."""
    started, own = run.state.started, run.spec.workflow_metadata
    if own is None or run.exit:
        return started
    scope = global_scope(run)
    labels = {key: replaced_text(run, value, scope) for key, value in own.labels.items()}
    annotations = {key: replaced_text(run, value, scope) for key, value in own.annotations.items()}
    scope |= {f"workflow.labels.{key}": value for key, value in labels.items()}
    scope |= {f"workflow.annotations.{key}": value for key, value in annotations.items()}
    labels |= _worked_out(run, own, scope)
    return msgspec.structs.replace(
        started, labels={**started.labels, **labels}, annotations={**started.annotations, **annotations}
    )


def _worked_out(run: Run, own: WorkflowMetadata, scope: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, source in own.labels_from.items():
        where = f"workflowMetadata.labelsFrom.{key}"
        try:
            value = evaluate(source.expression, environment(scope), now=run.now, seed=f"{run.uid}{key}")
        except ExpressionError as error:
            raise NodeError(f"{where}: {error}") from error
        if not isinstance(value, str):
            raise NodeError(f"{where}: {source.expression} is no text; string(…) makes one")
        if wrong := wrong_label_value(value):
            raise NodeError(f"{where}: {wrong}")
        found[key] = value
    return found
