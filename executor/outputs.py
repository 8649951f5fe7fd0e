"""What becomes of a step when its program has ended: phase, message, output parameters."""

from __future__ import annotations

from typing import Protocol

from exeunt.executor.limits import OutputLimits, failure
from exeunt.executor.pod_end import PodEnded
from exeunt.executor.runtime.base import Ended, OutputTooLarge, Unreadable
from exeunt.internal.v1 import step_pb2 as pb

ABORTED = "Pod was active on the node longer than the specified deadline"
"""Kubernetes' words for a step that took longer than its timeout; Argo passes them on."""


class Files(Protocol):
    """Where output files are read from."""

    async def read(self, path: str, limit: int) -> bytes | None:
        """See `RunningProgram.read`."""


async def conclude(
    step: pb.Step, ended: Ended, files: Files, limits: OutputLimits, *, timed_out: bool, hungry: str = ""
) -> pb.StepResult:
    """How the attempt ended, but for result, last lines and times, which the caller adds.

    Exit code 0 is Succeeded, any other Failed with `main: Error (exit code N)`, as Argo reads a pod. A missing output
    file without default makes a step that went well Error; one that failed keeps its failure.
    """
    result = failure("Succeeded", "", ended.exit_code)
    if timed_out:
        result.phase, result.message = "Failed", ABORTED
    elif ended.exit_code and hungry:
        result.phase, result.message = "Failed", f"main: OOMKilled (exit code {ended.exit_code}): {hungry}"
    elif isinstance(ended, PodEnded):
        result.phase, result.message = ("Failed", ended.message) if ended.message else ("Succeeded", "")
    elif ended.exit_code:
        result.phase, result.message = "Failed", f"main: {ended.reason} (exit code {ended.exit_code})"
    if isinstance(ended, PodEnded):
        ended.told(result, of_set=step.HasField("container_set"))
    together = 0
    for wanted in step.outputs:
        value, wrong = await _parameter(wanted, files, limits)
        together += len(wanted.name.encode()) + len((value or "").encode())
        wrong = limits.all(together) or wrong
        if value is not None:
            result.parameters.add(name=wanted.name, value=value)
        if wrong and result.phase == "Succeeded":
            result.phase, result.message = "Error", f"wait: Error (exit code 1): {wrong}"
        if limits.all(together):  # nothing more is read
            del result.parameters[:]
            break
    return result


async def _parameter(wanted: pb.OutputParameter, files: Files, limits: OutputLimits) -> tuple[str | None, str]:
    """The text of the file without its last line end, or the default; and what is wrong with it, empty for nothing."""
    try:
        data = await files.read(wanted.path, limits.output_bytes)
    except OutputTooLarge as error:
        return None, f"output parameter {wanted.name}: {limits.one(error.size)}"
    except Unreadable as error:
        return None, f"output parameter {wanted.name}: {error}"
    if data is None:
        if wanted.HasField("default"):
            return wanted.default.removesuffix("\n"), ""
        return None, f"missing output parameter {wanted.name}"
    text = data.decode(errors="replace").removesuffix("\n")  # three bytes for each that is no text
    wrong = limits.one(len(text.encode()))
    return (None, f"output parameter {wanted.name}: {wrong}") if wrong else (text, "")
