"""The volumes that a workflow makes for itself (`volumeClaimTemplates`): on which executor they are, and how long.

All of them lie on one executor: the one that got the first step that mounts any.
"""

from __future__ import annotations

from exeunt.engine.facts import phases
from exeunt.engine.facts.struct import Struct
from exeunt.engine.facts.volumes import CLAIM
from exeunt.engine.facts.work import StepOutcome, StepSpec
from exeunt.language.manifest import WorkflowSpec

ALWAYS = "OnWorkflowCompletion"


class ClaimsHome(Struct):
    """The executor that has them, empty before any step had a place. `made`: a step has run, so they are there.

    It is never changed, another one takes its place.
    """

    executor: str = ""
    made: bool = False


def uses_claims(step: StepSpec | None) -> bool:
    """Whether the step mounts any."""
    return step is not None and any(volume.kind == CLAIM for volume in step.volumes)


def placed(home: ClaimsHome, step: StepSpec | None, executor: str) -> ClaimsHome:
    """What is known after a step got its place."""
    return ClaimsHome(executor=executor) if uses_claims(step) and not home.executor else home


def finished(home: ClaimsHome, step: StepSpec | None, outcome: StepOutcome) -> ClaimsHome:
    """What is known after a step has ended. One that was lost, or did not begin, may not have made them."""
    ran = outcome.exit_code is not None and uses_claims(step) and bool(home.executor)
    return ClaimsHome(executor=home.executor, made=True) if ran else home


def joined(one: ClaimsHome, other: ClaimsHome) -> ClaimsHome:
    """What two runs of a workflow know together; the first of them counts where they differ."""
    executor = one.executor or other.executor
    return ClaimsHome(executor=executor, made=one.made or (other.made and other.executor == executor))


def kept_after(spec: WorkflowSpec, phase: str) -> bool:
    """Whether they stay when the workflow has ended so, for its retry (Argo: volumeClaimGC, by default on success)."""
    strategy = spec.volume_claim_gc.strategy if spec.volume_claim_gc is not None else ""
    return strategy != ALWAYS and phase != phases.SUCCEEDED
