"""Texts become documents as Kubernetes reads them, and a bad text is refused before it costs anything."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from exeunt.language.load import MAX_ALIASES, MAX_BYTES, MAX_DEPTH, load_documents
from exeunt.language.problems import ManifestError


def only(text: str) -> Any:
    [document] = load_documents(text)
    return document.value


def refused(text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        load_documents(text, "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("yes", True),
        ("on", True),
        ("n", False),
        ("Off", False),
        ("~", None),
        ("", None),
        ('"yes"', "yes"),
        ("!!str yes", "yes"),
        ("! yes", "yes"),
        ("2020-01-01", "2020-01-01"),
        ("1:30", "1:30"),
        ("010", 8),
        ("0o17", 15),
        ("08", 8.0),
        ("0x1F", 31),
        ("-0b11", -3),
        ("1_000", 1000),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.50", 1.5),
        ("+7", 7),
        ("18446744073709551615", 2**64 - 1),
        ("123456789012345678901", 123456789012345678901.0),
        ("1.2.3", "1.2.3"),
        ("--", "--"),
        ("!!int 5", 5),
        ("!!float 5", 5.0),
        ("!!binary aGk=", "hi"),
        ("!!timestamp 2020-01-01", "2020-01-01"),
    ],
)
def test_a_scalar_means_what_it_means_to_kubernetes(written: str, meant: Any) -> None:
    [value] = only(f"- {written}")
    assert value == meant
    assert type(value) is type(meant)


def test_json_is_yaml_and_may_write_characters_as_pairs() -> None:
    tree = {"a": "😀 \\ud83d\\ude00", "b": [1, None, True], "c": {"d": "tab\there"}}
    assert only(json.dumps(tree)) == tree
    assert only('{\n\t"a": 1\n}') == {"a": 1}


def test_a_file_holds_several_documents_and_empty_ones_are_skipped() -> None:
    values = [document.value for document in load_documents("---\n---\n# nothing\n---\na: 1\n...\n---\nb: 2\n---\n")]
    assert values == [{"a": 1}, {"b": 2}]
    assert load_documents("") == []
    assert load_documents("# only a comment\n---\n") == []


def test_merge_keys_fill_in_below_ones_own_and_the_first_wins() -> None:
    tree = only("a: &a {x: 1, z: 1}\nb: &b {x: 2, w: 2}\nc: {<<: [*a, *b], z: 3}\nd: {z: 4, <<: *a}\ne: {'<<': 5}")
    assert tree["c"] == {"x": 1, "z": 3, "w": 2}
    assert tree["d"] == {"z": 4, "x": 1}
    assert tree["e"] == {"<<": 5}


def test_keys_are_text_as_in_json() -> None:
    assert only("{1: a, yes: b, 1.5: c, 2.0: d}") == {"1": "a", "true": "b", "1.5": "c", "2": "d"}


def test_every_value_has_its_line() -> None:
    [document] = load_documents("\n# comment\na:\n- b: 1\n\n  c: {d: 3,\n   e: 4}\n- &x\n  f: 5\ng: *x\n")
    lines = {
        (): 3,
        ("a",): 3,
        ("a", 0): 4,
        ("a", 0, "c"): 6,
        ("a", 0, "c", "e"): 7,
        ("a", 1, "f"): 9,
        ("g",): 10,
        ("a", 0, "missing"): 4,
        ("a", 7): 3,
    }
    assert {path: document.line(path) for path in lines} == lines


def test_lines_go_on_in_the_second_document() -> None:
    _, second = load_documents("a: 1\n---\n\nb: 2\n")
    assert second.line(("b",)) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: {c: 1, c: 2}\na: 3\n", "f.yaml:2: b.c: the key stands here a second time"),
        ("a:\n\tb: 1", "f.yaml:2: not readable as YAML: a tab at the start of the line"),
        ("a: [1\nb: 2", "f.yaml:2: not readable as YAML"),
        ("a: &a [*a]", "f.yaml:1: a[0]: the alias *a stands inside what it names"),
        ("a: 1\nb: *c", "f.yaml:2: b: the alias *c names no anchor before it"),
        ("a: !!python/name:os.system", "f.yaml:1: a: the tag !!python/name:os.system is not allowed"),
        ('!!python/object/apply:os.system ["ls"]', "is not allowed"),
        ("a: !mine {b: 1}", "f.yaml:1: a: the tag !mine is not allowed"),
        ("? [a]\n: b", "f.yaml:1: a key must be text"),
        ("? {a: 1}\n: b", "f.yaml:1: a key must be text"),
        ("~: 1", "f.yaml:1: a key is empty"),
        ("a: .inf", "f.yaml:1: a: .inf is no number that JSON knows"),
        ("a: 1e999", "f.yaml:1: a: 1e999 is too big"),
        ("a: " + "9" * 450, "is too big for a number"),
        ("a: !!int x", "f.yaml:1: a: 'x' is no !!int"),
        ("a: !!binary '*'", "f.yaml:1: a: !!binary is no base64"),
        ("a: {<<: 5}", "f.yaml:1: a: << takes a mapping"),
        ("a: 1\n\x00", "f.yaml:2: not readable as text"),
        ("a: 1\nb: \ud800", "f.yaml:2: not readable as text"),
        ("a: b: c", "f.yaml:1: not readable as YAML"),
        ("@", "f.yaml:1: not readable as YAML"),
    ],
)
def test_a_bad_text_is_refused_with_its_line(text: str, said: str) -> None:
    assert said in refused(text)


def test_all_second_keys_are_named_at_once() -> None:
    assert len(refused("{a: 1, a: 2, b: 3, b: 4}").splitlines()) == 2


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 1_000_000, "- " * 100_000, "[" * 1_000_000 + "]" * 1_000_000])
def test_deep_nesting_is_refused_at_the_limit(text: str) -> None:
    assert f"deeper than {MAX_DEPTH} levels" in refused(text)


def test_nesting_up_to_the_limit_is_read() -> None:
    value = only("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    depth = 0
    while isinstance(value, list):
        value, depth = (value[0] if value else None), depth + 1
    assert depth == MAX_DEPTH


def test_a_manifest_of_ten_megabytes_is_refused_by_its_size() -> None:
    assert "10,000,003 bytes are too many" in refused("a: " + "x" * 10_000_000)
    assert "are too many" in refused("a: " + "ä" * (MAX_BYTES // 2))


def test_an_alias_bomb_is_refused_while_it_is_small() -> None:
    names = "abcdefghi"
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    for before, name in itertools.pairwise(names):
        bomb += f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    assert "aliases repeat more than" in refused(bomb)


def test_merge_keys_cannot_multiply_either() -> None:
    big = "a: &a {" + ",".join(f"k{n}: 1" for n in range(1000)) + "}\n"
    assert "repeat more than" in refused(big + "b:\n" + "- {<<: *a}\n" * 900)


def test_only_so_many_aliases() -> None:
    assert f"more than {MAX_ALIASES:,} aliases" in refused("a: &a 1\nb: [" + "*a," * (MAX_ALIASES + 1) + "]")
    assert len(only("a: &a 1\nb: [" + "*a," * MAX_ALIASES + "]")["b"]) == MAX_ALIASES
