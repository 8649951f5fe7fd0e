"""What becomes of a step when its program has ended: phase, message, output parameters."""

from __future__ import annotations

from typing import Protocol

from exeunt.executor.runtime.base import Ended, Unreadable
from exeunt.v1 import step_pb2 as pb

ABORTED = "Pod was active on the node longer than the specified deadline"
"""Kubernetes' words for a step that took longer than its timeout; Argo passes them on."""


class Files(Protocol):
    """Where output files are read from."""

    def read(self, path: str, limit: int) -> bytes | None:
        """See `Running.read`."""


def conclude(step: pb.Step, ended: Ended, files: Files, limit: int, *, timed_out: bool) -> pb.StepResult:
    """How the attempt ended, but for result, last lines and times, which the caller adds.

    Exit code 0 is Succeeded, any other Failed with `main: Error (exit code N)`, as Argo reads a pod. A missing output
    file without default makes a step that went well Error; one that failed keeps its failure.
    """
    result = pb.StepResult(phase="Succeeded", exit_code=ended.exit_code)
    if timed_out:
        result.phase, result.message = "Failed", ABORTED
    elif ended.exit_code:
        result.phase, result.message = "Failed", f"main: Error (exit code {ended.exit_code})"
    for wanted in step.outputs:
        try:
            value = parameter(wanted, files, limit)
        except Unreadable as error:
            value = None
            missing = f"output parameter {wanted.name}: {error}"
        else:
            missing = f"missing output parameter {wanted.name}"
        if value is not None:
            result.parameters.add(name=wanted.name, value=value)
        elif result.phase == "Succeeded":
            result.phase, result.message = "Error", f"wait: Error (exit code 1): {missing}"
    return result


def parameter(wanted: pb.OutputParameter, files: Files, limit: int) -> str | None:
    """The file's text less one line end; else the default, else None. Unreadable when it cannot be taken."""
    data = files.read(wanted.path, limit)
    if data is None:
        return wanted.default.removesuffix("\n") if wanted.HasField("default") else None
    return data.decode(errors="replace").removesuffix("\n")
