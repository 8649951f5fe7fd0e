"""Selectors of lists mean what they mean in Kubernetes."""

from __future__ import annotations

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
