"""Selectors of lists mean what they mean in Kubernetes."""

from __future__ import annotations

import time

import pytest

from exeunt.scheduler.selectors import SelectorError, selector

LABELS = {"team": "blue", "tier": "web", "empty": ""}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("team=blue", True),
        ("team==blue", True),
        ("team=red", False),
        ("team!=red", True),
        ("other!=red", True),
        ("team in (red, blue)", True),
        ("team in (red)", False),
        ("other in (red)", False),
        ("team notin (red)", True),
        ("other notin (red)", True),
        ("team", True),
        ("other", False),
        ("!other", True),
        ("!team", False),
        ("empty=", True),
        ("team=blue,tier in (web,db),!other", True),
        ("team=blue,tier in (db)", False),
    ],
)
def test_a_selector_fits_or_not(text: str, fits: bool) -> None:
    assert selector(text)(LABELS) is fits


@pytest.mark.parametrize("text", ["=a", "a=b=c", "a in b", "a,,b", "a in (b", "a b"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(SelectorError, match="no part of a selector"):
        selector(text)


def test_a_long_one_is_read_in_a_moment() -> None:
    began = time.process_time()
    assert selector("a," * 200_000 + "a in (" + "b," * 200_000 + "b)")({"a": "b"})
    with pytest.raises(SelectorError, match=r"^.{100,300}$"):
        selector("(" * 200_000 + ",")
    assert time.process_time() - began < 5.0, "some tenths of a second; minutes where each comma is looked for anew"
