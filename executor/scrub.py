"""Masks secrets in output that comes in pieces: what may be the beginning of one is held back until more is known."""

from __future__ import annotations

from exeunt.actions.masking import MASK, Masker
from exeunt.actions.search import replace


class Scrubber:
    """For the output of one step. Standard output and standard error, told apart by `stdout`, are two streams."""

    def __init__(self, masker: Masker) -> None:
        self._needles = masker.needles if masker.forms else None
        self._held = {True: b"", False: b""}

    def take(self, data: bytes, stdout: bool) -> bytes:
        """The next piece, as far as it can be shown."""
        if self._needles is None:
            return data
        data = self._held[stdout] + data
        found, certain = self._needles.find(data, more=True)
        self._held[stdout] = data[certain:]
        return replace(data[:certain], found, MASK.encode())

    def rest(self, stdout: bool) -> bytes:
        """What is left at the end."""
        data, self._held[stdout] = self._held[stdout], b""
        return data if self._needles is None else self._needles.replaced(data, MASK.encode())
