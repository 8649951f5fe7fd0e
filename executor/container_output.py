"""What one container of a step writes, on its way into the output of the attempt: masked, and with its name.

Where a step has several containers, whole lines are passed on, so that what one writes stays together; those of the
container `main` go as they are, those of the others have its name before them.
"""

from __future__ import annotations

from exeunt.actions.masking import Masker
from exeunt.executor.attempt import LocalAttempt
from exeunt.executor.logs import FRAME, Output
from exeunt.executor.scrub import Scrubber
from exeunt.executor.staging import LogFile

MAIN = "main"


class ContainerOutput:
    """Takes the output of a container (`OnOutput`). `several`: others write into the same output."""

    def __init__(
        self,
        name: str,
        attempt: LocalAttempt,
        output: Output,
        masker: Masker,
        *,
        several: bool,
        log_file: LogFile | None = None,
    ) -> None:
        self._log_file = log_file
        self._main = name == MAIN
        self._prefix = b"" if self._main else f"{name}: ".encode()
        self._attempt = attempt
        self._output = output
        self._scrubber = Scrubber(masker)
        self._lines = {True: bytearray(), False: bytearray()} if several else None

    def __call__(self, data: bytes, stdout: bool) -> None:
        """The next piece."""
        self._pass_on(self._scrubber.take(data, stdout), stdout)

    def end(self) -> None:
        """Nothing follows: what was held back is passed on."""
        for stdout in (True, False):
            self._pass_on(self._scrubber.rest(stdout), stdout)
            line = self._lines[stdout] if self._lines is not None else b""
            if line:
                self._write(bytes(line), stdout)
            if self._lines is not None:
                self._lines[stdout] = bytearray()

    def _pass_on(self, data: bytes, stdout: bool) -> None:
        if self._lines is None:
            self._write(data, stdout)
            return
        line = self._lines[stdout]
        line += data
        cut = line.rfind(b"\n") + 1
        if cut:
            whole, self._lines[stdout] = line[:cut], line[cut:]
            self._write(bytes(whole), stdout)
        elif len(line) >= FRAME:  # as in Output: a line that fills a frame is cut
            self._lines[stdout] = bytearray()
            self._write(bytes(line), stdout)

    def _write(self, data: bytes, stdout: bool) -> None:
        attempt = self._attempt
        if self._log_file is not None:
            self._log_file.write(data)
        if self._prefix:
            data = b"".join(self._prefix + each for each in data.splitlines(keepends=True))
            data += b"" if data.endswith(b"\n") else b"\n"
        if self._output.write(data, stdout, result=self._main) and attempt.link is not None:
            attempt.link.has_output(attempt)
        if self._output.full and attempt.running is not None:
            attempt.running.pause()
