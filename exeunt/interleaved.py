"""Which bytes of an output were written where: runs of standard output and of standard error, in turn.

`[5, 3, 2]` are five bytes of standard output, three of standard error and two of standard output; the first may be 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def add(runs: list[int], size: int, *, stdout: bool) -> None:
    """So many bytes follow."""
    side = 0 if stdout else 1
    if runs and (len(runs) - 1) % 2 == side:
        runs[-1] += size
    else:
        runs += [size] if len(runs) % 2 == side else [0, size]


def split(runs: Sequence[int], size: int) -> tuple[list[int], list[int]]:
    """The runs of the first so many bytes, and those of the rest."""
    first: list[int] = []
    rest: list[int] = []
    for run in runs:
        taken = min(run, size)
        size -= taken
        first.append(taken)
        rest.append(run - taken)
    while first and not first[-1]:
        first.pop()
    while rest and not any(rest[:2]):
        del rest[:2]
    return first, rest


def pieces(data: bytes, runs: Sequence[int]) -> Iterator[tuple[bool, bytes]]:
    """The output in its parts, each with whether it is standard output. Raises ValueError for runs of other data."""
    if sum(runs) != len(data) or any(run < 0 for run in runs):
        raise ValueError(f"{len(data)} bytes, but runs of {sum(runs)}")
    start = 0
    for number, run in enumerate(runs):
        if run:
            yield number % 2 == 0, data[start : start + run]
        start += run
