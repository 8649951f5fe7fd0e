"""The plain `when` of steps and tasks: bare words are texts, and what cannot be read fails with Argo's words."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from exeunt.language.expression import ExpressionError, when

TRUTHS = [
    ("", True),
    ("true", True),
    ("a == a", True),
    ("a==a", True),
    ("heads != tails", True),
    ("'a b' == \"a b\"", True),
    ("[a b] == 'a b'", True),
    ("a\\ b == 'a b'", True),
    ("1 < 2 && 3 > 2 || false", True),
    ("10 < 9", False),
    ("'10' < '9'", True),
    ("1.5 == 1.50", True),
    ("0x10 == 16", True),
    ('true == "true"', False),
    ("'1' == 1", False),
    ('"a" =~ "^a"', True),
    ("heads =~ tai", False),
    ("heads !~ tai", True),
    ("x in (x, y)", True),
    ('"x" in ("y", "z")', False),
    ("4 in (1, 2, 4)", True),
    ("!(1 == 2)", True),
    ("-1 < 2", True),
    ("1 - 2 - 3 == -4", True),
    ("2 + 3 * 4 == 14", True),
    ("2 ** 3 ** 2 == 64", True),
    ("10 / 2 / 5 == 1", True),
    ("7 % 4 == 3", True),
    ('"a" + 1 == "a1"', True),
    ("(1 & 3) == 1 && (1 | 2) == 3 && (1 ^ 3) == 2 && ~1 == -2", True),
    ("1 << 3 == 8 && 16 >> 2 == 4", True),
    ("2 > 1 ? true : false", True),
    ("false ? false : 1 == 1", True),
    ("(a ?? b) == a", True),
    ("false && (a < 1)", False),
    ("true || (a < 1)", True),
    # texts in quotes that look like dates are dates
    ("'2026-01-01' == '2026-01-01 00:00'", True),
    ("'2026-01-01T10:00:00Z' < '2026-01-01T11:00:00+00:00'", True),
    ("2026-01-01 == 2026-01-01", True),
    ("2026-01-02 == 2025-01-01", True),  # without quotes it is arithmetic
]


@pytest.mark.parametrize(("text", "truth"), TRUTHS)
def test_a_condition_holds_or_not(text: str, truth: bool) -> None:
    assert when(text) is truth


HINT = ' (hint: try wrapping the affected expression in quotes ("))'
EVALUATE = "Failed to evaluate 'when' expresion '{}'"

INVALID = [
    ("a b == a b", "Invalid 'when' expression '{}': Cannot transition token types from VARIABLE [a] to VARIABLE [b]"),
    (" == x", "Invalid 'when' expression '{}': Cannot transition token types from UNKNOWN [<nil>] to COMPARATOR [==]"),
    ("a =~ ^a", "Invalid 'when' expression '{}': Cannot transition token types from COMPARATOR [=~] to MODIFIER [^]"),
    ("10m == 10m", "Invalid 'when' expression '{}': Cannot transition token types from NUMERIC [10] to VARIABLE [m]"),
    ("(1 == 1", "Invalid 'when' expression '{}': Unbalanced parenthesis"),
    ("x ==", "Invalid 'when' expression '{}': Unexpected end of expression"),
    ("'abc", "Invalid 'when' expression '{}': Unclosed string literal"),
    ("[a == x", "Invalid 'when' expression '{}': Unclosed parameter bracket"),
    ("foo()", "Invalid 'when' expression '{}': Undefined function foo"),
    (
        "a === b",
        f"Invalid 'when' expression '{{}}': Invalid token: '==='{HINT}",
    ),
    ("!a", "Failed to parse 'when' expression '{}': Cannot transition token types from PREFIX [!] to STRING [a]"),
    (
        "a-b == a-b",
        "Failed to evaluate 'when' expresion '{}': Value 'a' cannot be used with the modifier '-', it is not a number",
    ),
    (
        "true && a",
        f"{EVALUATE}: Value 'a' cannot be used with the logical operator '&&', it is not a bool",
    ),
    (
        "x in (x)",
        f"{EVALUATE}: Value 'x' cannot be used with the comparator 'in', it is not a number",
    ),
    ("v1.2 == v1.2", "Failed to evaluate 'when' expresion '{}': No parameter 'v1' found."),
    ("yes", "Expected boolean evaluation for '{}'. Got yes"),
    ("1", "Expected boolean evaluation for '{}'. Got 1"),
    ("1 + 0.5", "Expected boolean evaluation for '{}'. Got 1.5"),
    ("1 == 1, 2", "Expected boolean evaluation for '{}'. Got [true 2]"),
]


@pytest.mark.parametrize(("text", "message"), INVALID)
def test_what_is_no_condition_says_so_as_argo_does(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        when(text)
    assert caught.value.message == message.format(text)


_FAILED = re.compile(
    r"(?:Invalid 'when' expression|Failed to (?:parse|evaluate) 'when' expres+ion|Expected boolean evaluation for) "
    r"'(.*)'(?:: (?:Cannot|Value|Invalid|Un|Hanging|No|error)|\. Got)",
    re.DOTALL,
)


def recorded() -> Iterator[tuple[str, str]]:
    """Every `when` in the recordings whose outcome is in a message: the text, and `false` or the error."""
    folder = Path(__file__).parent.parent / "golden"
    for file in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                for node in json.loads(line)["expect"].get("nodes", ()):
                    message = node.get("message") or ""
                    if "displayName" in message:
                        continue  # failures are in another order in the recording than they were in the condition
                    skipped = re.fullmatch(r"when '(.*)' evaluated false", message, re.DOTALL)
                    failed = _FAILED.search(message)
                    if skipped:
                        yield skipped[1], "false"
                    elif failed:
                        yield failed[1], message[failed.start() :]


def test_every_recorded_condition_has_its_recorded_outcome() -> None:
    found = set(recorded())
    if not found:
        pytest.skip("no recordings in tests/golden")
    different = []
    for text, outcome in sorted(found):
        try:
            ours = str(when(text)).lower()
        except ExpressionError as error:
            ours = error.message
        if ours != outcome:
            different.append((text, outcome, ours))
    assert not different
    assert len(found) > 100
