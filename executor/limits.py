"""How large the outputs of a step may be. Larger ones make it an Error before its result is noted or sent."""

from __future__ import annotations

from dataclasses import dataclass

from exeunt.executor.logs import TAIL_LINE, TAIL_LINES
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.utf8 import cut, valid

MESSAGE_BYTES = 16 * 1024
"""A longer message is cut, with a mark."""


@dataclass(frozen=True, kw_only=True)
class OutputLimits:
    """In bytes of UTF-8: one parameter or result, all outputs of a step together, and its output that is kept."""

    output_bytes: int
    step_output_bytes: int
    log_bytes: int

    def one(self, size: int) -> str:
        """What is wrong with one output of this size; empty when nothing is."""
        if size <= self.output_bytes:
            return ""
        return (
            f"{size} bytes, which is more than the {self.output_bytes} that an output may have (EXEUNT_OUTPUT_BYTES); "
            "pass it on as an artifact"
        )

    def all(self, size: int) -> str:
        """What is wrong with all outputs of a step together."""
        if size <= self.step_output_bytes:
            return ""
        return (
            f"the step's outputs are more than the {self.step_output_bytes} bytes that they may have together "
            "(EXEUNT_STEP_OUTPUT_BYTES); pass large ones on as artifacts"
        )


def failure(phase: str, message: str, exit_code: int | None = None) -> pb.StepResult:
    """A result that says what went wrong. The message may be any text."""
    return pb.StepResult(phase=phase, message=valid(message), exit_code=exit_code)


def bound(result: pb.StepResult, limits: OutputLimits) -> None:
    """Brings a result within the limits.

    What only people read is cut. When an output is too large all of them are removed, and a step that succeeded becomes
    an Error; one that failed keeps its failure.
    """
    if result.ByteSize() <= min(TAIL_LINE, limits.output_bytes, limits.step_output_bytes):
        return  # most are small
    result.message = cut(result.message, MESSAGE_BYTES)
    lines = [line[-TAIL_LINE:] for line in result.log_tail[-TAIL_LINES:]]
    del result.log_tail[:]
    result.log_tail.extend(lines)
    wrong = _wrong(result, limits)
    if wrong:
        del result.parameters[:]
        result.ClearField("result")
        result.ClearField("answer_json")
        if result.phase == "Succeeded":
            result.phase, result.message = "Error", cut(wrong, MESSAGE_BYTES)


def _wrong(result: pb.StepResult, limits: OutputLimits) -> str:
    sizes = [(f"output parameter {p.name}", len(p.value.encode())) for p in result.parameters]
    sizes.append(("the result", len(result.result.encode())))
    for name, size in sizes:
        if wrong := limits.one(size):
            return f"{name}: {wrong}"
    names = sum(len(p.name.encode()) for p in result.parameters)
    return limits.all(sum(size for _, size in sizes) + names + len(result.answer_json.encode()))
