"""Text is made such that it can be written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.engine.values import loops
from exeunt.language.expression import evaluate
from exeunt.utf8 import cut, loads, valid

any_text = st.text(st.characters(), max_size=30) | st.text(
    st.sampled_from(["\ud83d", "\ude00", "a", "é", "😀"]), max_size=8
)
trees = st.recursive(any_text, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3))


@given(trees)
def test_json_holds_only_text_that_can_be_written(tree: Any) -> None:
    read = loads(json.dumps(tree))
    json.dumps(read, ensure_ascii=False).encode()
    if "\N{REPLACEMENT CHARACTER}" not in str(read):
        assert read == json.loads(json.dumps(tree))


@pytest.mark.parametrize(
    ("text", "is_now"),
    [("a\ud800b", "a\ufffdb"), ("\ud83d\ude00", "😀"), ("\ude00\ud83d", "\ufffd\ufffd"), ("é😀", "é😀"), ("", "")],
)
def test_halves_of_a_pair_are_joined_and_those_alone_replaced(text: str, is_now: str) -> None:
    assert valid(text) == is_now


def test_expressions_and_loops_read_json_so() -> None:
    assert evaluate(r'fromJSON("[\"\\ud800\"]")[0]', {}) == "\ufffd"
    assert evaluate(r'sprig.fromJson("\"\\ud800\"")', {}) == "\ufffd"
    assert loops.parse(r'["\ud800", {"\ud800": 1}]') == ["\ufffd", {"\ufffd": "1"}]


@given(st.text(max_size=200), st.integers(60, 300))
def test_a_text_that_is_cut_says_how_much_is_left_out(text: str, limit: int) -> None:
    short = cut(text, limit)
    assert len(short.encode()) <= limit
    if short != text:
        kept, _, said = short.rpartition(" [")
        assert text.startswith(kept)
        assert int(said.split()[0]) == len(text.encode()) - len(kept.encode())
