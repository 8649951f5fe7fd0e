"""No expression runs for ever, takes all memory, or ends in anything but a value or an ExpressionError."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.language.expression import ExpressionError, evaluate, names, to_text, when
from exeunt.language.expression.limits import MAX_DEPTH, MAX_SOURCE, MAX_STEPS, MAX_TEXT, Budget
from exeunt.language.expression.render import format_value

STEPS, LONG, MEMORY, DEEP = f"more than {MAX_STEPS} steps", f"longer than {MAX_TEXT}", "memory budget", "deep"

GREEDY = [
    ("map(1..1000, map(1..1000, map(1..1000, # * 2)))", STEPS),
    ("filter(1..1000, any(1..1000, # == -1))", STEPS),
    ("uniq(1..1000000)", STEPS),
    ("sort(1..1000000)", STEPS),
    ("reduce(1..100, [#acc, #acc], 1) == reduce(1..100, [#acc, #acc], 1)", STEPS),
    ("flatten(reduce(1..100, [#acc, #acc], 1))", STEPS),
    ("sprig.regexFindAll('a*?', repeat('a', 900000), -1)", STEPS),
    ("jsonpath(repeat('[', 150) + '1' + repeat(']', 150), '$..*..*..*..*')", STEPS),
    ("toJSON(reduce(1..100, [#acc, #acc], 1))", MEMORY),
    ("map(1..1000, repeat('a', 1000000))", MEMORY),
    ("1..1000001", MEMORY),
    ("repeat('a', 100000000)", LONG),
    ("reduce(1..100, #acc + #acc, 'ab')", LONG),
    ("replace(repeat('a', 9000), 'a', repeat('b', 9000))", LONG),
    ("join(['', ''], repeat('a', 3000000))", LONG),
    ("sprig.seq(1, 100000000)", LONG),
    ("sprig.untilStep(0, 9000000000000000000, 1)", LONG),
    ("sprig.indent(3000, repeat('\\n', 3000))", LONG),
    ("string(reduce(1..20000, [#acc], 1))", DEEP),
    ("reduce(1..20000, [#acc], 1) == reduce(1..20000, [#acc], 1)", DEEP),
    ("fromJSON(repeat('[', 100000))", DEEP),
    ("(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1), DEEP),
    ("-" * 5000 + "1", DEEP),
    ("[" * 5000, DEEP),
    ("a" + ".b" * 5000, DEEP),
    ("1" + " + 1" * 10_000, "maximum allowed nodes"),
    ("'" + "a" * MAX_SOURCE + "'", f"longer than {MAX_SOURCE}"),
    ("'a' matches repeat('a', 5000)", "regular expression is longer"),
    ("'a' matches '((a{1,1000}){1,1000}){1,1000}'", "regexp"),
]


@pytest.mark.parametrize(("source", "bound"), GREEDY, ids=lambda value: value[:50])
def test_a_bound_stops_what_is_too_much(source: str, bound: str) -> None:
    with pytest.raises(ExpressionError, match=bound):
        evaluate(source, {"a": None})


def test_long_chains_of_operators_are_no_nesting() -> None:
    assert evaluate(" + ".join(["1"] * 3000), {}) == 3000
    assert evaluate(" || ".join(["false"] * 3000), {}) is False
    assert when(" || ".join(["1 == 2"] * 3000)) is False


def test_a_long_way_into_a_value_is_looked_at_once() -> None:
    value: object = 7
    for _ in range(40):
        value = {"a": value}
    assert evaluate("x" + ".a" * 40, {"x": value}) == 7


def test_patterns_take_linear_time() -> None:
    # one that a backtracking matcher would not finish in the lifetime of the universe
    assert evaluate("repeat('a', 100000) matches '^(a*)*b$'", {}) is False
    assert when(f"'{'a' * 30000}' =~ '^(a|aa)+b$'") is False


def test_a_message_stays_short_whatever_the_values_are() -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate("int(repeat('1', 1000000))", {})
    assert len(str(caught.value)) < 5000


@pytest.mark.parametrize("text", ["(" * 5000 + ")" * 5000, "a" * (MAX_SOURCE + 1), "!" * 5000 + "(true)", "-(" * 3000])
def test_a_condition_is_bounded_too(text: str) -> None:
    with pytest.raises(ExpressionError):
        when(text)


def outcome(source: str, env: dict[str, Any] | None = None) -> str:
    """What an expression comes to, as a text: its value, or the error."""
    try:
        value = evaluate(source, env or {}, now=1.7e9, seed="s")
        names(source)
        to_text(value)
        return f"value {format_value(Budget(), value)}"
    except ExpressionError as error:
        return f"error {error}"


def truth(text: str) -> str:
    """What a condition comes to."""
    try:
        return f"value {when(text)}"
    except ExpressionError as error:
        return f"error {error}"


PIECES = [
    "1", "0", "-1", "2.5", "1e308", "'a'", "''", "nil", "true", "a", "a.b", "a?.c", "[1, 'x', nil]", "[]", "{k: 1}",
    "#",
    ".k", "#acc", "#index", "(", ")", "[", "]", "{", "}", "+", "-", "*", "/", "%", "**", "==", "<", "in",
    "not in", "..",
    "matches", "contains", "and", "or", "not", "??", "?", ":", "?.", ".", ",", ";", "|", "let x =", "x", "if", "else",
    "map(", "filter(", "reduce(", "sum(", "sortBy(", "groupBy(", "len(", "string(", "toJSON(", "fromJSON(", "split(",
    "date(", "duration(", "int(", "sprig.", "sprig.add(", "sprig.trunc(", "sprig.dict(", "sprig.regexFind(", "b'\\xff'",
    "jsonpath(", "get(", "now()", ".Year()", "repeat(", "bitshl(", "0x", "'\\u{110000}'", "`",
]  # fmt: skip


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_any_expression_gives_a_value_or_an_error(pieces: list[str]) -> None:
    assert outcome(" ".join(pieces), {"a": {"b": [1, 2]}})


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_any_text_can_be_read_or_is_refused(source: str) -> None:
    assert outcome(source)
    assert truth(source)


WORDS = [
    "a",
    "1",
    "'x'",
    "'2026-01-01'",
    "true",
    "(",
    ")",
    "==",
    "!",
    "-",
    "&&",
    "||",
    "in",
    ",",
    "=~",
    "?",
    ":",
    "+",
    "[",
    "]",
]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(WORDS), max_size=10))
def test_any_condition_holds_or_is_refused(words: list[str]) -> None:
    assert truth(" ".join(words)).startswith(("value True", "value False", "error "))


NAMES = sorted(
    set(evaluate("keys(sprig)", {})) - {"fail"},
)
ARGUMENTS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from([1 << 62, -(1 << 63)]), st.floats(),
    st.text(max_size=5),
    st.lists(st.one_of(st.integers(0, 3), st.text(max_size=2), st.none()), max_size=3),
    st.dictionaries(st.sampled_from(["a", "b", "scheme"]), st.one_of(st.integers(), st.text(max_size=3)), max_size=2),
)  # fmt: skip


@settings(max_examples=600)
@given(st.sampled_from(NAMES), st.lists(ARGUMENTS, max_size=4))
def test_no_function_falls_over_whatever_it_is_given(name: str, arguments: list[Any]) -> None:
    call = f"sprig.{name}({', '.join(f'v[{place}]' for place in range(len(arguments)))})"
    assert outcome(call, {"v": arguments})


FUNCTIONS = (
    "trim trimPrefix trimSuffix upper lower split splitAfter replace repeat indexOf lastIndexOf hasPrefix "
    "hasSuffix max min abs ceil floor round concat flatten uniq join mean median first last take reverse "
    "sort keys values type int float string toJSON fromJSON toBase64 fromBase64 toPairs fromPairs len get "
    "bitand bitor bitxor bitnand bitnot bitshl bitshr bitushr now duration date timezone asInt asFloat "
    "toJson jsonpath "
).split()


@settings(max_examples=600)
@given(st.sampled_from(FUNCTIONS), st.lists(ARGUMENTS, max_size=4))
def test_no_builtin_falls_over_whatever_it_is_given(name: str, arguments: list[Any]) -> None:
    call = f"{name}({', '.join(f'v[{place}]' for place in range(len(arguments)))})"
    assert outcome(call, {"v": arguments})
