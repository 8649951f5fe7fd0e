"""Secrets as documents: their values, and what is said of wrong ones, never with a value in it."""

from __future__ import annotations

import base64

import pytest

from exeunt.language.decode import load_manifests
from exeunt.language.manifest import Secret
from exeunt.language.problems import ManifestError
from exeunt.language.secret import SECRET_BYTES, check_secret, secret_values

HEAD = "apiVersion: v1\nkind: Secret\nmetadata: {name: api}\n"


def said(text: str) -> list[str]:
    try:
        [loaded] = load_manifests(text, "s.yaml")
    except ManifestError as error:
        return [str(problem) for problem in error.problems]
    assert isinstance(loaded.model, Secret)
    return [str(problem) for problem in check_secret(loaded.model, loaded.document)]


def test_values_are_plain_or_in_base64_and_plain_ones_win() -> None:
    text = HEAD + "type: Opaque\ndata: {a: YWJj, b: AP8=}\nstringData: {a: other, c: 'ü'}\n"
    [loaded] = load_manifests(text)
    assert isinstance(loaded.model, Secret)
    assert secret_values(loaded.model) == {"a": b"other", "b": b"\x00\xff", "c": "ü".encode()}
    assert check_secret(loaded.model, loaded.document) == []


def test_base64_may_be_broken_into_lines() -> None:
    coded = base64.encodebytes(b"x" * 100).decode().replace("\n", "\n    ")
    [loaded] = load_manifests(f"{HEAD}data:\n  a: |\n    {coded}")
    assert isinstance(loaded.model, Secret)
    assert secret_values(loaded.model) == {"a": b"x" * 100}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "data: {pin: hushhush!}\n", "s.yaml:4: data.pin: is not base64"),
        (HEAD + "stringData: {pin: 987654}\n", "s.yaml:4: stringData.pin: must be text, not a number; write"),
        (HEAD + "data: {pin: [hushhush]}\n", "data.pin: must be text, not a list"),
        (HEAD + "data: hushhush\n", "data: must be a mapping, not a text"),
        (HEAD + "stringData: {'a b': hushhush}\n", "'a b' is no key"),
        (HEAD + f"stringData: {{a: {'hushhush' * (SECRET_BYTES // 8)}+}}\n", "at most 262,144 are allowed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_without_a_value(text: str, words: str) -> None:
    [problem] = said(text)
    assert words in problem
    assert "hushhush" not in problem
    assert "987654" not in problem
