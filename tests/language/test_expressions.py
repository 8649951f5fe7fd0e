"""What an expression in `{{= }}` gives: the whole of expr-lang, as Argo v4 uses it."""

from __future__ import annotations

from typing import Any

import pytest

from exeunt.language.expression import ExpressionError, evaluate, evaluate_bool, names, parse, required, to_text

ENV: dict[str, Any] = {
    "inputs": {"parameters": {"count": "5", "my-name": "anna"}},
    "steps": {"build": {"outputs": {"result": None, "parameters": {"image": "app:1"}}, "status": "Skipped"}},
    "item": {"name": "disk", "sizes": [3, 1, 2]},
    "words": ["pear", "fig", "apple"],
    "people": [{"name": "Ada", "age": 36}, {"name": "Bo", "age": 20}, {"name": "Cy", "age": 36}],
}

VALUES = [
    # numbers and their operators
    ("1 + 2 * 3 ** 2", 19.0),
    ("2 ** 3 ** 2", 512.0),
    ("7 / 2", 3.5),
    ("-7 % 3", -1),
    ("7 % -3", 1),
    ("0x2A + 0o52 + 0b101010 + 1_000", 1126),
    (".5 + 1e3", 1000.5),
    ("9223372036854775807 + 1", -9223372036854775808),
    ("1 / 0 > 1e300", True),
    ("1 == 1.0", True),
    ("sprig.int('1') == '1'", False),
    # logic
    ("not true or 1 < 2 and !false", True),
    ("1 < 2 < 3", True),
    ("3 > 2 > 2", False),
    ("true ? 'yes' : 'no'", "yes"),
    ("if 1 > 2 { 'a' } else if 2 > 1 { 'b' } else { 'c' }", "b"),
    # nil, optional members
    ("steps.build.outputs.result ?? 'nothing'", "nothing"),
    ("steps.build.outputs.result?.deep?.deeper", None),
    ("steps.test?.outputs?.result ?? 'never ran'", "never ran"),
    ("steps['build'].outputs.parameters.image", "app:1"),
    ("inputs.parameters['my-name']", "anna"),
    ("'inputs' in $env && 'outputs' not in $env", True),
    ("$env['item'].name", "disk"),
    # texts
    ("'it\\'s' + \"\\u00e9\\x41\\u{1F600}\" + `raw\\n`", "it'séA😀raw\\n"),
    ("'workflow' contains 'flow' and 'workflow' startsWith 'work' and 'workflow' endsWith 'flow'", True),
    ("'a1' matches '^[a-z][0-9]$'", True),
    ("'a1' not matches 'b'", True),
    ("steps.build.outputs.result matches 'a'", False),
    ("'hello'[1:3] + 'hello'[-2:]", "ello"),
    ("len('é')", 1),
    ("upper('straße') + lower('ÀB') + trim('  a ') + trim('__b_', '_')", "STRAßEàbab"),
    ("split('a,b,c', ',', 2)", ["a", "b,c"]),
    ("splitAfter('a,b', ',')", ["a,", "b"]),
    ("replace('aaa', 'a', 'b', 2)", "bba"),
    ("repeat('ab', 2) | indexOf('b')", 1),
    ("lastIndexOf('abab', 'b')", 3),
    ("trimPrefix('v1', 'v') + trimSuffix('a.sh', '.sh')", "1a"),
    # lists
    ("[1, 2, 3][1:] | map(# * 2) | filter(# > 4)", [6]),
    ("[1, 2, 3][-1]", 3),
    ("1..4", [1, 2, 3, 4]),
    ("4..1", []),
    ("map(words, len(#) + #index)", [4, 4, 7]),
    ("all([1, 2], # > 0) and any([1, 2], # > 1) and none([1], # > 1) and one([1, 2], # == 2)", True),
    ("find([1, 2, 3], # > 1) + findLast([1, 2, 3], # > 1)", 5),
    ("[findIndex([5, 6], # == 6), findLastIndex([5, 5], # == 5), findIndex([1], # == 2)]", [1, 1, None]),
    ("count([true, false, true]) + count([1, 2, 3], # > 1)", 4),
    ("sum([1, 2.5]) + sum([1, 2], # * 10)", 33.5),
    ("reduce(1..9, #acc + #)", 45),
    ("reduce([1, 2, 3], #acc + # * #index, 0)", 8),
    ("groupBy(people, .age)[36] | map(.name)", ["Ada", "Cy"]),
    ("sortBy(people, .age) | map(.name)", ["Bo", "Ada", "Cy"]),
    ("sortBy([3, 1, 2], #, 'desc')", [3, 2, 1]),
    ("sort(words)", ["apple", "fig", "pear"]),
    ("filter(people, {let oldest = max(map(people, .age)); .age == oldest}) | len()", 2),
    ("map(1..3, {let a = #; map(1..2, # * a)})", [[1, 2], [2, 4], [3, 6]]),
    ("flatten([1, [2, [3]]]) == concat([1], [2], [3])", True),
    ("uniq([1, 2, 1.0, '1', '1'])", [1, 2, "1"]),
    ("[first([1, 2]), last([1, 2]), first([]), get([1, 2], 5), get([1, 2], -1)]", [1, 2, None, None, 2]),
    ("take([1, 2, 3], 2)", [1, 2]),
    ("reverse([1, 2])", [2, 1]),
    ("join(['a', 'b'], '-') + join(['c', 'd'])", "a-bcd"),
    ("[max(1, [2.5, 2]), min([3, 1], 2), mean([1, 2, 3]), median([1, 2, 3, 4])]", [2.5, 1, 2.0, 2.5]),
    # maps
    ("{a: 1, 'b c': 2, ('x' + 'y'): 3, 5: 4,}", {"a": 1, "b c": 2, "xy": 3, "5": 4}),
    ("[keys({b: 1, a: 2}), values({b: 1, a: 2})]", [["a", "b"], [2, 1]]),
    ("toPairs({b: 1, a: 2})", [["a", 2], ["b", 1]]),
    ("fromPairs([['a', 1]])", {"a": 1}),
    ("'a' in {a: nil} and 'b' not in {a: nil} and 1 in [1.0]", True),
    # numbers
    ("[abs(-5), ceil(1.2), floor(-1.2), round(2.5), round(-2.5)]", [5, 2.0, -2.0, 3.0, -3.0]),
    ("int('12') + int(1.9) + int('-3')", 10),
    ("float('1.5') + float(2)", 3.5),
    ("[bitand(12, 10), bitor(12, 10), bitxor(12, 10), bitnand(12, 10), bitnot(10)]", [8, 14, 6, 4, -11]),
    ("[bitshl(45, 2), bitshr(45, 2), bitushr(-5, 2), bitshl(1, 63)]", [180, 11, 4611686018427387902, -(1 << 63)]),
    # types and formats
    ("map([1, 1.5, 'a', [1], {a: 1}, nil, true], type(#))", ["int", "float", "string", "array", "map", "nil", "bool"]),
    ("string([1, 'a', nil, {b: 1.5}])", "[1 a <nil> map[b:1.5]]"),
    ("string(1e6) + ' ' + string(123456.7) + ' ' + string(0.00001)", "1e+06 123456.7 1e-05"),
    ("toJSON({b: [1, {}], a: '<'})", '{\n  "a": "\\u003c",\n  "b": [\n    1,\n    {}\n  ]\n}'),
    ("fromJSON('{\"a\": [1, null, true]}').a", [1.0, None, True]),
    ("fromBase64(toBase64('hi'))", "hi"),
    ("b'\\xff'[0] + len(b'ab')", 257),
    # let, sequences, comments, pipes
    ("let x = 3; let y = x + 1; x * y", 12),
    ("1; 2; 3", 3),
    ("/* why */ 1 // because", 1),
    ("'A' | lower() | repeat(2)", "aa"),
    ("::upper('a')", "A"),
    # what Argo adds
    ("asInt(inputs.parameters.count) + 1", 6),
    ("asFloat('1.5')", 1.5),
    ("toJson({a: [1]})", '{"a":[1]}'),
]


@pytest.mark.parametrize(("source", "value"), VALUES)
def test_an_expression_gives_its_value(source: str, value: Any) -> None:
    found = evaluate(source, ENV)
    assert found == value
    assert type(found) is type(value)


DATES = [
    ("date('2023-08-14').Year()", "2023"),
    ("date('2023-08-14').Weekday()", "1"),
    ("date('2023-08-14 00:00:00', '2006-01-02 15:04:05', 'Europe/Zurich')", "2023-08-14T00:00:00+02:00"),
    ("date('2023-08-14T10:00:00Z').In(timezone('Europe/Zurich')).Hour()", "12"),
    ("date('2023-08-14') + duration('36h')", "2023-08-15T12:00:00Z"),
    ("(date('2023-08-14') - date('2023-08-13')).Hours()", "24"),
    ("date('2023-08-14') > date('2023-08-13')", "true"),
    ("string(duration('1h') + duration('90s'))", "1h1m30s"),
    ("string(duration('1500us'))", "1.5ms"),
    ("date('2023-08-14').Format('Jan 2, 2006 at 3:04pm (MST)')", "Aug 14, 2023 at 12:00am (UTC)"),
    ("date('2023-01-31').AddDate(0, 1, 0)", "2023-03-03T00:00:00Z"),
    ("now().Unix()", "1700000000"),
    ("now() - duration('1h') < now()", "true"),
    ("type(now())", "time.Time"),
    ("type(duration('1s'))", "time.Duration"),
]


@pytest.mark.parametrize(("source", "text"), DATES)
def test_dates_and_durations(source: str, text: str) -> None:
    assert to_text(evaluate(source, {}, now=1_700_000_000.0)) == text


def test_an_expression_without_a_clock_has_no_now() -> None:
    with pytest.raises(ExpressionError, match="no time"):
        evaluate("now()", {})


def test_chance_comes_from_the_seed_alone() -> None:
    draw = "sprig.uuidv4() + sprig.randAlphaNum(8) + string(sprig.randInt(0, 1000))"
    assert evaluate(draw, {}, seed="w1") == evaluate(draw, {}, seed="w1")
    assert evaluate(draw, {}, seed="w1") != evaluate(draw, {}, seed="w2")
    assert evaluate("sprig.uuidv4() != sprig.uuidv4()", {}, seed="w1") is True
    with pytest.raises(ExpressionError, match="nothing random"):
        evaluate("sprig.uuidv4()", {})


ERRORS = [
    ("foo", "unknown name foo (1:1)\n | foo\n | ^"),
    ("true ? 1 : foo", "unknown name foo (1:12)\n | true ? 1 : foo\n | ...........^"),
    ("steps.test.outputs", "cannot fetch outputs from <nil> (1:12)\n | steps.test.outputs\n | ...........^"),
    ("1 +", "unexpected token EOF (1:3)\n | 1 +\n | ..^"),
    ("asInt('over') > 2", "invalid operation: int(over) (1:1)\n | asInt('over') > 2\n | ^"),
    ("1 +\n  nil", "invalid operation: + (mismatched types int and unknown) (1:3)\n | 1 +\n | ..^"),
    ("'a\n", "literal not terminated (1:3)\n | 'a\n | ..^"),
]


@pytest.mark.parametrize(("source", "message"), ERRORS)
def test_an_error_says_what_and_where(source: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(source, ENV)
    assert str(caught.value) == message


WRONG = [
    ("1 % 0", "divide by zero"),
    ("inputs.parameters.count < 1", "string < int"),
    ("1 ? 2 : 3", "non-bool"),
    ("true && item.name", "want bool"),
    ("upper(1)", "cannot use int as argument"),
    ("upper()", "number of arguments"),
    ("nope(1)", "unknown name nope"),
    ("sprig.nope(1)", "unknown function sprig.nope"),
    ("'a' in 'abc'", "not defined on string"),
    ("[1, 2][7]", "index out of range"),
    ("[1].name", "integer"),
    ("1 ?? 2 + 3", "cannot be mixed"),
    ("'a' matches '('", "regexp"),
    ("int('1.5')", r"int\(1.5\)"),
    ("reduce([], #acc)", "empty array"),
    ("filter(1, # > 0)", "only array"),
    ("filter([1], 2)", "boolean"),
    ("sort([1, 'a'])", "<"),
    ("let trim = 1; trim", "redeclare"),
    ("let x = 1; let x = 2; x", "cannot redeclare variable x"),
    ("fromJSON('[1,')", "JSON"),
    ("timezone('Mars/Base')", "unknown time zone"),
    ("date('2023-13-14')", "invalid date"),
    ("duration('1x')", "invalid duration"),
    ("date('2023-08-14').Foo()", "no method Foo"),
    ("date('2023-08-14').In('UTC')", "time.Location"),
    ("date('9999-12-31').AddDate(1, 0, 0)", "out of range"),
    ("# + 1", "unexpected token"),
    ("{a", "unexpected token"),
    ("@", "unrecognized character"),
]


@pytest.mark.parametrize(("source", "message"), WRONG)
def test_what_cannot_be_worked_out_is_an_error(source: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        evaluate(source, ENV)


def test_a_condition_must_be_a_boolean() -> None:
    assert evaluate_bool("asInt(lastRetry.exitCode) > 1", {"lastRetry": {"exitCode": "2"}}) is True
    with pytest.raises(ExpressionError, match="unable to cast expression result 'x' to bool"):
        evaluate_bool("'x'", {})
    with pytest.raises(ExpressionError, match=r"unable to evaluate expression 'steps.a.b': cannot fetch b from <nil>"):
        evaluate_bool("steps.a.b", {"steps": {}})
    with pytest.raises(ExpressionError, match=r"^unknown name steps \(1:1\)"):
        evaluate_bool("steps.a", {})


TEXTS = [
    ("a<b", "a<b"),
    (2, "2"),
    (2.0, "2"),
    (1.5, "1.5"),
    (1e21, "1e+21"),
    (1e-7, "1e-7"),
    (True, "true"),
    ([1, "<"], '[1,"\\u003c"]'),
    ({"b": None, "a": {}}, '{"a":{},"b":null}'),
    (b"\xff", "/w=="),
]


@pytest.mark.parametrize(("value", "text"), TEXTS)
def test_a_result_becomes_text_as_in_argo(value: Any, text: str) -> None:
    assert to_text(value) == text


def test_nil_is_no_text() -> None:
    with pytest.raises(ExpressionError, match="nil"):
        to_text(None)


MISMATCHED = [
    ("retries == 0", "invalid operation: == (mismatched types string and int) (1:9)"),
    ("retries + 1 > 2", "invalid operation: + (mismatched types string and int) (1:9)"),
    ("'1' == 1", "invalid operation: == (mismatched types string and int) (1:5)"),
    ("true ? 1 : len('a') == '1'", "invalid operation: == (mismatched types int and string) (1:21)"),
    ("let x = [1]; x == {a: 1}", "invalid operation: == (mismatched types []interface {} and map[string]interface {})"),
    ("retries and true", "invalid operation: and (mismatched types string and bool) (1:9)"),
    ("retries ? 1 : 2", "non-bool expression (type string) used as condition (1:1)"),
]


@pytest.mark.parametrize(("source", "message"), MISMATCHED)
def test_types_that_never_go_together_are_found_before_it_runs(source: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate_bool(source, {"retries": "0"})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "source",
    ["retries == '0'", "retries != nil", "lastRetry.exitCode != 1", "asInt(retries) == 0", "1 == 1.0", "absent != 1"],
)
def test_types_that_may_go_together_are_left_alone(source: str) -> None:
    assert evaluate_bool(source, {"retries": "0", "lastRetry": {"exitCode": "1"}, "absent": None}) is True


def test_the_variables_of_an_expression_are_known_before_it_runs() -> None:
    source = (
        "let a = steps.x.outputs.result; filter(item.list, .name == a) | len() > asInt(retries) ? sprig.upper('u') : q"
    )
    assert names(source) == {("steps", "x", "outputs", "result"), ("item", "list"), ("retries",), ("q",)}
    assert names("steps['a-b'].status == $env['workflow']") == {("steps", "a-b", "status"), ("workflow",)}
    assert names("steps[which].status") == {("steps",), ("which",)}


def test_what_has_a_fallback_need_not_be_there() -> None:
    assert required("item.name + (item.size ?? '1')") == {("item", "name"), ("item",)}
    assert required("tasks.a?.outputs") == {("tasks",)}


def test_reading_an_expression_twice_gives_the_same_object() -> None:
    assert parse("1 + 41") is parse("1 + 41")
