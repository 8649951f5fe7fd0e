"""Text of others on a terminal: shown, not obeyed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.cli import tree
from exeunt.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode, 日本, 👩\u200d🔧", "plain, ünïcode, 日本, 👩\u200d🔧"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[2J\x1b]0;title\x07", "␛[2J␛]0;title␇"),
        ("100%\rdone", "100%␍done"),
        ("\x9b31m", "\\u009b31m"),
        ("\x7f", "\\u007f"),
        ("user\u202egnp.exe", "user\\u202egnp.exe"),
    ],
)
def test_what_would_steer_a_terminal_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_nothing_that_steers_is_left(text: str) -> None:
    assert all(one in "\n\t" or (ord(one) >= 0x20 and not 0x7F <= ord(one) < 0xA0) for one in visible(text))


def test_json_stays_the_same_json() -> None:
    odd = ["\x7f\x9b\u202e\u2028\x1b é"]
    assert json.loads(visible(json.dumps(odd, ensure_ascii=False))) == odd


def test_a_tree_and_its_messages_cannot_steer() -> None:
    node = {"id": "w", "name": "w", "displayName": "w", "type": "Pod", "phase": "Failed", "message": "\x1b[2Jgone"}
    workflow = {"metadata": {"name": "w"}, "status": {"phase": "Failed", "nodes": {"w": node}}}
    shown = tree.text(workflow, 0.0)
    assert "␛[2Jgone" in shown
