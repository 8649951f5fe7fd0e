"""Masks secrets in output that comes in pieces: what may be the beginning of one is held back until more is known."""

from __future__ import annotations

import re

from exeunt.actions.masking import MASK, SHORTEST, Masker


class Scrubber:
    """For the output of one step. Standard output and standard error, told apart by `stdout`, are two streams."""

    def __init__(self, masker: Masker) -> None:
        forms = sorted((form.encode() for form in masker.forms), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, forms))) if forms else None
        self._longest = len(forms[0]) if forms else 0
        self._heads = {form[:length] for form in forms for length in range(1, SHORTEST)}
        self._by_head: dict[bytes, list[bytes]] = {}
        for form in forms:
            self._by_head.setdefault(form[:SHORTEST], []).append(form)
        self._held = {True: b"", False: b""}

    def take(self, data: bytes, stdout: bool) -> bytes:
        """The next piece, as far as it can be shown."""
        if self._pattern is None:
            return data
        data = self._held[stdout] + data
        shown: list[bytes] = []
        at = 0
        begun = self._begun(data, at)
        while (found := self._pattern.search(data, at)) is not None and found.start() < begun:
            shown += [data[at : found.start()], MASK.encode()]
            at = found.end()
            if begun < at:
                begun = self._begun(data, at)
        self._held[stdout] = data[begun:]
        return b"".join([*shown, data[at:begun]])

    def rest(self, stdout: bool) -> bytes:
        """What is left at the end."""
        data, self._held[stdout] = self._held[stdout], b""
        return data if self._pattern is None else self._pattern.sub(MASK.encode(), data)

    def _begun(self, data: bytes, start: int) -> int:
        """Where the first secret begins that the end of the data cuts; the length when there is none."""
        for at in range(max(start, len(data) - self._longest + 1), len(data)):
            head = data[at : at + SHORTEST]
            if len(head) < SHORTEST:
                if head in self._heads:
                    return at
                continue
            for form in self._by_head.get(head, ()):
                if len(form) > len(data) - at and form.startswith(data[at:]):
                    return at
        return len(data)
