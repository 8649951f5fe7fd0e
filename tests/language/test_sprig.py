"""Sprig's functions in expressions, and those that are not offered."""

from __future__ import annotations

from typing import Any

import pytest

from exeunt.language.expression import ExpressionError, evaluate, to_text

VALUES = [
    # texts
    (
        "trim('  a ') + sprig.trimAll('$', '$5$') + sprig.trimPrefix('-', '-b') + sprig.trimSuffix('.sh', 'c.sh')",
        "a5bc",
    ),
    ("title('hello wide-world')", "Hello Wide-World"),
    ("untitle('Hello World')", "hello world"),
    ("substr(0, 5, 'hello world')", "hello"),
    ("trunc(5, 'hello world') + sprig.trunc(-5, 'hello world')", "helloworld"),
    ("abbrev(8, 'hello world') + sprig.abbrevboth(5, 10, '1234 5678 9123')", "hello......5678..."),
    ("initials('First Try') + sprig.nospace('a b  c') + sprig.swapcase('aB')", "FTabcAb"),
    ("wrap(5, 'hello wide world')", "hello\nwide\nworld"),
    ("wrapWith(5, '|', 'longestword x')", "longe|stwor|d x"),
    ("quote('a', nil, 1) + sprig.squote('b')", '"a" "1"\'b\''),
    ("cat('a', nil, 1)", "a 1"),
    ("indent(2, 'a\\nb') + sprig.nindent(1, 'c')", "  a\n  b\n c"),
    ("replace(' ', '-', 'a b') + sprig.plural('one', 'many', 2) + sprig.repeat(2, 'x')", "a-bmanyxx"),
    ("sha256sum('a')", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
    ("adler32sum('a')", "6422626"),
    ("join('-', [1, nil, 'a']) + sprig.splitList(',', 'a,b')[1]", "1-ab"),
    ("split('/', 'a/b')._1 + sprig.splitn('/', 2, 'a/b/c')._1", "bb/c"),
    ("sortAlpha(['b', 'a'])", ["a", "b"]),
    ("b64dec(sprig.b64enc('hi')) + sprig.b32dec(sprig.b32enc('ho'))", "hiho"),
    ("b64dec('!')", "illegal base64 data at input byte 0"),
    # defaults
    ("default('x', '') + sprig.default('x', nil) + sprig.default('x', 'y')", "xxy"),
    ("coalesce(0, '', 'a')", "a"),
    ("empty([]) && !sprig.empty('a') && sprig.all(1, 'a') && sprig.any(0, 1)", True),
    ("ternary('yes', 'no', 1 > 2)", "no"),
    ("fromJson('{\"a\": [1]}').a", [1.0]),
    ("fromJson('broken') ?? 'nothing'", "nothing"),
    ("toRawJson({a: '<'})", '{"a":"<"}'),
    # lists and maps
    ("initial(sprig.rest(sprig.prepend(sprig.append([1], 2), 0)))", [1]),
    ("uniq([1, 1, 2])", [1, 2]),
    ("without([1, 2, 3], 2)", [1, 3]),
    ("has(2, [1, 2])", True),
    ("chunk(2, [1, 2, 3])", [[1, 2], [3]]),
    ("compact([0, 1, '', 'a'])", [1, "a"]),
    ("slice([1, 2, 3], 1)", [2, 3]),
    ("dict('a', 1, 'b')", {"a": 1, "b": ""}),
    ("get({a: 1}, 'b')", ""),
    ("set({a: 1}, 'b', 2) == sprig.merge({a: 1}, {a: 9, b: 2})", True),
    ("mergeOverwrite({a: {x: 1}}, {a: {y: 2}})", {"a": {"x": 1, "y": 2}}),
    ("dig('a', 'b', 'none', {a: {b: 1}})", 1),
    ("dig('a', 'c', 'none', {a: {b: 1}})", "none"),
    ("pick({a: 1, b: 2}, 'a') == sprig.omit({a: 1, b: 2}, 'b')", True),
    ("pluck('a', {a: 1}, {b: 2}, {a: 3})", [1, 3]),
    # numbers
    ("add(1, '2', 3.9)", 6),
    ("div(-7, 2) + sprig.mod(7, 3) + sprig.mul(2, 3) - sprig.sub(5, 2)", 1),
    ("addf(0.1, 0.2)", 0.3),
    ("divf(10, 4)", 2.5),
    ("max(1, '5', 3) + sprig.min(4, 2)", 7),
    ("round(123.5555, 3)", 123.556),
    ("int('0x10') + sprig.int('010') + sprig.int('x') + sprig.atoi('3') + sprig.int('5.0')", 32),
    ("seq(1, 3) + '|' + sprig.seq(0, 5, 10) + '|' + sprig.seq(-2)", "1 2 3|0 5 10|1 0 -1 -2"),
    ("untilStep(0, 10, 4)", [0, 4, 8]),
    # dates, paths, addresses, patterns, versions
    ("dateInZone('2006-01-02 15:04 MST', 0, 'Europe/Zurich')", "1970-01-01 01:00 CET"),
    ("unixEpoch(sprig.toDate('2006-01-02', '2023-01-02'))", "1672617600"),
    ("durationRound('2h10m5s') + ' ' + sprig.duration('95')", "2h 1m35s"),
    ("base('/a/b.txt') + sprig.ext('x.tar.gz') + sprig.dir('/a/b') + sprig.clean('/a/../b//c')", "b.txt.gz/a/b/c"),
    ("urlParse('https://u:p@host:8080/a?x=1#f').hostname", "host"),
    ("urlJoin({scheme: 'http', host: 'h:80', path: '/p', query: 'q'})", "http://h:80/p?q"),
    ("regexReplaceAll('a(x*)b', '-ab-axxb-', '${1}W')", "-W-xxW-"),
    ("regexFindAll('[0-9]', 'a1b2', 1)", ["1"]),
    ("regexSplit('z+', 'pizza', -1)", ["pi", "a"]),
    ("regexMatch('(', 'a')", False),
    ("semverCompare('^1.2.0', '1.9.0') && !sprig.semverCompare('~1.2', '1.3.0')", True),
    ("semver('v1.2.3-rc').Major() + sprig.semver('1.2.3').Patch()", 4),
    ("typeOf({a: 1}) + ' ' + sprig.kindOf([1]) + ' ' + sprig.typeOf(nil)", "map[string]interface {} slice <nil>"),
]


@pytest.mark.parametrize(("source", "value"), VALUES)
def test_a_function_gives_its_value(source: str, value: Any) -> None:
    found = evaluate(f"sprig.{source}", {})
    assert found == value
    assert type(found) is type(value)


CASES = [
    ("HTTPServer", "http_server", "Httpserver"),
    ("firstName", "first_name", "FirstName"),
    ("http2xx", "http_2xx", "Http2xx"),
    ("HTTP20xOK", "http_20x_ok", "Http20xOK"),
    ("Bld4Floor3rd", "bld4_floor_3rd", "Bld4Floor3rd"),
    ("GO-PATH name", "go_path_name", "GoPathName"),
    ("_a__b_", "_a__b_", "_A_B_"),
]


@pytest.mark.parametrize(("text", "snake", "pascal"), CASES)
def test_words_are_found_in_names(text: str, snake: str, pascal: str) -> None:
    assert evaluate("sprig.snakecase(t)", {"t": text}) == snake
    assert evaluate("sprig.kebabcase(t)", {"t": text}) == snake.replace("_", "-")
    assert evaluate("sprig.camelcase(t)", {"t": text}) == pascal


VERSIONS = [
    ("1.x", "1.5.3", True),
    ("*", "0.0.1", True),
    ("1.2 - 2.3", "2.3.5", True),
    ("1.2 - 2.3", "2.4.0", False),
    ("1 || 3", "3.1.0", True),
    ("!=1.2", "1.2.3", False),
    (">1.2", "1.2.5", False),
    ("<=1.2", "1.2.5", True),
    ("^0.2.3", "0.3.0", False),
    ("^0.0.3", "0.0.4", False),
    (">=1.2.3", "1.2.4-rc", False),
    (">=1.2.3-beta", "1.2.3-rc", True),
]


@pytest.mark.parametrize(("constraint", "version", "met"), VERSIONS)
def test_versions_meet_constraints(constraint: str, version: str, met: bool) -> None:
    assert evaluate("sprig.semverCompare(c, v)", {"c": constraint, "v": version}) is met


def test_what_is_given_to_a_function_stays_as_it_is() -> None:
    settings = {"a": 1}
    assert evaluate("sprig.set(settings, 'b', 2)", {"settings": settings}) == {"a": 1, "b": 2}
    assert settings == {"a": 1}


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("env('HOME')", "environment"),
        ("expandenv('$HOME')", "environment"),
        ("getHostByName('example.org')", "network"),
        ("genPrivateKey('rsa')", "secrets"),
        ("htpasswd('u', 'p')", "secrets"),
    ],
)
def test_functions_that_reach_outside_are_not_offered(call: str, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        evaluate(f"sprig.{call}", {})


@pytest.mark.parametrize(
    "call", ["fail('no such plan')", "div(1, 0)", "trim(1)", "semver('x')", "chunk(0, [1])", "substr(3, 1, 'abc')"]
)
def test_a_function_that_cannot_answer_is_an_error(call: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(f"sprig.{call}", {})


DATA = '{"people": [{"name": "Ada", "age": 36, "tags": ["x", "y"]}, {"name": "Bo", "age": 20}], "limit": 30}'
PATHS = [
    ("$.limit", "30"),
    ("$.people[0].name", "Ada"),
    ("$['people'][-1]['name']", "Bo"),
    ("$.people[*].name", '["Ada","Bo"]'),
    ("$..name", '["Ada","Bo"]'),
    ("$.people[?(@.age > 30)].name", '["Ada"]'),
    ("$.people[?(@.age > $.limit && @.name =~ 'A.*')][0].name", "Ada"),
    ("$.people[(@.length-1)].name", "Bo"),
    ("$.people[0:1].age", "[36]"),
    ("$.people[0,1].age", "[36,20]"),
    ("$.people[0]['name','age']", '["Ada",36]'),
    ("$.people[?(@.tags)].tags[1]", '["y"]'),
    ("$.people[?(@.name in ['Bo', 'Cy'])].age", "[20]"),
    ("$.people.length", "2"),
]


@pytest.mark.parametrize(("path", "text"), PATHS)
def test_jsonpath_finds_things(path: str, text: str) -> None:
    assert to_text(evaluate("jsonpath(data, path)", {"data": DATA, "path": path})) == text


@pytest.mark.parametrize("path", ["$.nobody", "$.people[7]", "people", "$[", "$.people[?(@.age >)]", "$.limit.name"])
def test_a_path_that_leads_nowhere_is_an_error(path: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate("jsonpath(data, path)", {"data": DATA, "path": path})
