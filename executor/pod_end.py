"""How a pod ended, of what its containers ended with: phases and words as Argo reads them. Pure.

Init containers count first, then main ones, then sidecars; a sidecar that was ended by a signal counts as well ended
(Argo: inferFailedReason and assessNodeStatus in operator.go).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from exeunt.executor.runtime.base import Ended
from exeunt.internal.v1 import step_pb2 as pb

BY_SIGNAL = frozenset({137, 143})
"""What a sidecar may exit with: it was killed, or asked to end."""

NOT_RUN = 64
"""The exit code of what could not be run: an Error of the container."""


@dataclass(frozen=True, slots=True)
class ContainerEnded:
    """A container's end; `words` where there is more to say than its exit code."""

    name: str
    exit_code: int
    words: str = ""
    reason: str = "Error"  # see `Ended`

    @property
    def message(self) -> str:
        """As Argo says it of a pod."""
        return f"{self.name}: {self.reason} (exit code {self.exit_code})" + (f": {self.words}" if self.words else "")


@dataclass(slots=True)
class PodEnded(Ended):
    """A pod's end: `exit_code` is that of the container `main`, and counts where `has_main` is set."""

    message: str = ""  # why it failed, empty when it went well
    has_main: bool = True
    containers: list[ContainerEnded] = field(default_factory=list)  # the main ones

    def told(self, result: pb.StepResult, *, of_set: bool) -> None:
        """Adds to a result what only pods have; `of_set`: its main containers are told of one by one."""
        if not self.has_main:
            result.ClearField("exit_code")
        for one in self.containers if of_set else ():
            phase = {0: "Succeeded", NOT_RUN: "Error"}.get(one.exit_code, "Failed")
            result.containers.add(name=one.name, phase=phase, message=one.message if one.exit_code else "")


def judge(
    init: Sequence[ContainerEnded],
    main: Sequence[ContainerEnded],
    sidecars: Sequence[ContainerEnded],
    *,
    began: bool = True,
) -> PodEnded:
    """The pod's end. `began` is False where its main containers never did."""
    bad = [one for one in (*init, *main) if one.exit_code]
    bad += [one for one in sidecars if one.exit_code and one.exit_code not in BY_SIGNAL]
    code = next((one.exit_code for one in main if one.name == "main"), None)
    message = bad[0].message if bad else "" if began else "ended before its main container began"
    return PodEnded(code or 0, message=message, has_main=code is not None, containers=list(main))
