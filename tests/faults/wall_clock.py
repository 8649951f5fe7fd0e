"""A wall clock that a test can move: libfaketime before the programs that are started with its environment.

The clocks that only count (CLOCK_MONOTONIC) are left alone, as the kernel leaves them alone when its clock is set.
A nats-server has no use of it: a static Go program asks the kernel itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class WallClock:
    """Right at first. `environ` is what moves with it."""

    def __init__(self, folder: Path) -> None:
        if not LIBRARIES:
            pytest.skip("libfaketime is missing: apt-get install libfaketime")
        self._file = folder / "wall-clock"
        self.put(0)
        self.environ = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
        }

    def put(self, seconds: int) -> None:
        """From now on it is so many seconds ahead of the right time."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{seconds:+d}\n")
        written.replace(self._file)
