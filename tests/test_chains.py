"""Chains of workflows that start each other end, in their depth and in their breadth."""

from __future__ import annotations

import uuid

import pytest

from exeunt.chains import DEPTH_LABEL, HOUR, ROOT_LABEL, ChainRefused, Chains, depth_of, wrong_labels


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


@pytest.mark.parametrize("depth", ["-3", "100000", "deep", "", "1.5", "²"])
def test_a_depth_that_is_none_is_said_to_be_wrong(depth: str) -> None:
    assert [label for label, _ in wrong_labels({DEPTH_LABEL: depth, ROOT_LABEL: "me"})] == [DEPTH_LABEL, ROOT_LABEL]
    assert depth_of({DEPTH_LABEL: depth}) == 0


def test_labels_of_chains_are_fine() -> None:
    assert not [*wrong_labels({DEPTH_LABEL: "32", ROOT_LABEL: str(uuid.uuid4())}), *wrong_labels({"team": "-1"})]
