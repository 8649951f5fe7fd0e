"""How a command ends when it cannot do what it was asked: a text for people and an exit code."""

from __future__ import annotations

from exeunt.service.program import ProgramError

SUCCEEDED = 0
WORK_FAILED = 1
WRONG_INPUT = 2
TIMED_OUT = 3
UNREACHABLE = 4
INTERRUPTED = 130

MEANINGS = {
    SUCCEEDED: "done; of a command that waits for workflows: all of them succeeded",
    WORK_FAILED: "a workflow failed, a service refused what was asked, or what was looked for is not there",
    WRONG_INPUT: "the command line, a file, a manifest or a setting is wrong; the message says where",
    TIMED_OUT: "`--timeout` was over before all had ended",
    UNREACHABLE: "no cluster is known, it cannot be reached or started, or it wants another token",
    INTERRUPTED: "Ctrl-C ended the command (`run` ended by SIGTERM: 143)",
}
"""What the exit codes say; docs/commands.md has them."""


class CommandError(ProgramError):
    """Ends the command with an exit code of `MEANINGS`."""

    def __init__(self, text: str, *, code: int) -> None:
        super().__init__(text)
        self.code = code
