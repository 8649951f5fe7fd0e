"""How a command ends when it cannot do what it was asked: a text for people and an exit code."""

from __future__ import annotations

from exeunt.service.program import ProgramError

SUCCEEDED = 0
WORK_FAILED = 1
WRONG_INPUT = 2
TIMED_OUT = 3
UNREACHABLE = 4


class CommandError(ProgramError):
    """Ends the command. `code`: 1 work failed, 2 wrong input, 3 timeout, 4 no cluster."""

    def __init__(self, text: str, *, code: int) -> None:
        super().__init__(text)
        self.code = code
