"""Chains of workflows that start each other end, in their depth and in their breadth."""

from __future__ import annotations

import pytest

from exeunt.chains import DEPTH_LABEL, HOUR, ROOT_LABEL, ChainRefused, Chains


def start(chains: Chains, uid: str, now: float = 0.0, *, root: str = "r", depth: int = 1) -> str:
    """The reason why it is not started; empty when it is."""
    labels = {DEPTH_LABEL: str(depth), ROOT_LABEL: root} if root else {}
    try:
        chains.check(labels, uid, now)
    except ChainRefused as error:
        return error.reason
    chains.note(labels, uid, now)
    return ""


def test_a_root_has_so_many_descendants_in_an_hour() -> None:
    chains = Chains(32, 3)
    assert [start(chains, f"c{n}", n) for n in range(4)] == ["", "", "", "CHAIN_TOO_WIDE"]
    assert not start(chains, "c1", 5), "what comes again is counted once"
    assert not start(chains, "c9", 6, root="other")
    assert not any(start(chains, f"own{n}", 7, root="") for n in range(9)), "nobody has started these"
    assert start(chains, "c4", HOUR - 1) == "CHAIN_TOO_WIDE"
    assert not start(chains, "c4", HOUR)


def test_a_chain_has_an_end() -> None:
    assert [start(Chains(32, 3), "c", depth=depth) for depth in (32, 33)] == ["", "CHAIN_TOO_DEEP"]


def test_roots_of_long_ago_are_forgotten() -> None:
    chains = Chains(32, 3)
    for number in range(100):
        start(chains, f"c{number}", number * HOUR, root=f"r{number}")
    assert len(chains._started) <= 2


@pytest.mark.parametrize("count", [1000])
def test_a_wide_fan_out_is_no_bomb(count: int) -> None:
    chains = Chains(32, 2000)
    assert not any(start(chains, f"c{n}") for n in range(count))
