"""How commands are taken out of a page, and what is printed is held against it."""

from __future__ import annotations

import pytest

from tests.docs.blocks import Block, commands, looks_like, not_printed

ID = "914d058671a1d437141b56c2"


def block(text: str, language: str = "sh") -> Block:
    return Block("page.md", 1, language, text)


def test_a_command_goes_on_behind_a_backslash() -> None:
    assert [one.text for one in commands(block("one \\\n  two\n\nthree\n"))] == ["one \\\n  two", "three"]


def test_a_console_shows_what_its_commands_print() -> None:
    found = commands(block("$ one \\\n  more\nshown\nand this\n$ two\n", "console"))
    assert [(one.text, one.shown) for one in found] == [("one \\\n  more", ["shown", "and this"]), ("two", [])]


def test_a_block_names_its_file() -> None:
    assert block("# receiver.py\nimport json\n", "python").file == "receiver.py"
    assert block("# a word\nimport json\n", "python").file == ""


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("hello  world", "hello world  "),
        ("took 1.5 s", "took 12.75 s"),
        (f"{ID} succeeded", "0f0f0f0f0f0f succeeded"),
        ("nightly-x7k2p Failed", "nightly-9b4c1 Failed"),
        ("…{state…} 0.0", 'exeunt_exits_open{state="due"} 3.0'),
    ],
)
def test_what_is_as_it_happens_may_differ(shown: str, printed: str) -> None:
    assert looks_like(shown, printed)


@pytest.mark.parametrize(("shown", "printed"), [("hello", "hello you"), ("a Failed", "a Succeeded"), ("1 s", "no s")])
def test_anything_else_may_not(shown: str, printed: str) -> None:
    assert not looks_like(shown, printed)


def test_lines_have_to_come_in_their_order() -> None:
    assert not_printed(["one", "three"], "one\ntwo\nthree") == []
    assert not_printed(["three", "one"], "one\ntwo\nthree") == ["one"]
