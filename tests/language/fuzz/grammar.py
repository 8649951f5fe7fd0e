"""Makes expressions: most of them well formed, over variables and functions that exist, and none of them sensible."""

from __future__ import annotations

import random

from exeunt.language.expression.functions import BUILTINS, GLOBALS
from exeunt.language.expression.parser import PREDICATES

FUNCTIONS = sorted(BUILTINS)
LOOPS = sorted(PREDICATES)
SPRIG = [f"sprig.{name}" for name in sorted(GLOBALS["sprig"])]
ARGO = ["asInt", "asFloat", "toJson", "jsonpath"]

ENV = {
    "inputs": {"parameters": {"n": "5", "list": "[1, 2.5, null]", "my-name": "two words"}},
    "steps": {"a": {"status": "Skipped", "outputs": {"result": None, "parameters": {"o": '{"k": [1]}'}}}},
    "workflow": {"name": "w", "status": "Running", "failures": "null"},
    "item": {"name": "disk", "sizes": [3, 1, 2]},
    "words": ["pear", "fig", "é", ""],
    "rows": [{"k": "a", "v": 1}, {"k": "b", "v": 2.5}, {"k": "a", "v": None}],
}

PATHS = [
    "inputs.parameters.n", "inputs.parameters.list", "inputs.parameters['my-name']", "steps.a.status", "words", "rows",
    "steps.a.outputs.result", "steps.a.outputs.parameters.o", "steps?.b?.c", "workflow.failures", "item.sizes", "item",
    "rows[0].k", "words[-1]", "$env", "nothing", "inputs", "#", "#.k", "#acc", "#index", ".k",
]  # fmt: skip
LITERALS = [
    "0", "1", "-1", "2", "10", "255", "1000", "1_000", "0x1F", "0b11", "0o17", "9223372036854775807",
    "-9223372036854775808", "18446744073709551616", "1.5", ".5", "1e3", "1e308", "5e-324", "nil", "true", "false",
    "''", "'a'", '"b"', "`raw`", "'é'", "'😀'", "'\\u0000'", "'\\ud800'", "'a,b,c'", "'[1,2]'", "'{\"k\":1}'", "'1.5'",
    "' '", "'%s%d%99999d'", "'2006-01-02T15:04:05Z'", "'1h30m'", "'$..*'", "'$[?(@.k)]'", "'^(a*)*$'", "'('", "b'x'",
    "'1.2.3-rc.1'", "'>=1.0 <2 || ~3'", "'Europe/Berlin'", "'a' * 3", "1..5", "[]", "{}", "[1, 'a', nil]", "{k: 1}",
]  # fmt: skip
INFIX = [
    "+", "-", "*", "/", "%", "**", "^", "==", "!=", "<", "<=", ">", ">=", "and", "or", "&&", "||", "??", "in", "not in",
    "..", "contains", "startsWith", "endsWith", "matches", "not matches", "|",
]  # fmt: skip
PREFIX = ["-", "+", "!", "not ", "--", "let x = 1; x + "]
METHODS = [
    ".Year()",
    ".Unix()",
    ".Format('2006')",
    ".Add(duration('1h'))",
    ".Hours()",
    ".String()",
    ".name",
    "?.x",
    "[0]",
]

TYPED = {
    "number": [
        "{number} + {number}", "{number} * {number}", "{number} - {number}", "{number} / {number}", "{number} % 7",
        "{number} ** 2", "-{number}", "({number})", "len({list})", "len({text})", "int({number})", "abs({number})",
        "sum({numbers})", "max({numbers})", "count({list}, {bool})", "reduce({numbers}, #acc + #, {number})",
        "indexOf({text}, {text})", "sprig.add({number}, {number})", "sprig.round({number}, 2)", "bitand({number}, 255)",
        "{bool} ? {number} : {number}", "let n{depth} = {number}; n{depth} + {number}", "findIndex({list}, {bool})",
        "round(float({number}))", "date('2024-02-29').Year()", "duration('1h').Minutes()", "mean({numbers})",
        "inputs.parameters.n | int()", "item.sizes[0]", "last({numbers}) ?? {number}", "0", "1", "2", "3.5", "1e18",
    ],
    "text": [
        "{text} + {text}", "upper({text})", "trim({text})", "({text})[1:3]", "replace({text}, {text}, {text})",
        "join(map({list}, string(#)), {text})", "string({any})", "toJSON({any})", "type({any})", "repeat({text}, 2)",
        "sprig.trunc(3, {text})", "sprig.quote({any})", "sprig.default({text}, {text})", "sprig.b64enc({text})",
        "sprig.regexReplaceAll('[a-c]+', {text}, '<$0>')", "sprig.substr(0, 2, {text})", "{text} ?? {text}",
        "{bool} ? {text} : {text}", "sprig.camelcase({text})", "toBase64({text})", "sprig.sha256sum({text})",
        "sprig.wrap(3, {text})", "date('2024-02-29T01:02:03Z').Format({text})", "words[0]", "workflow.name",
        "steps.a.status",
        "inputs.parameters['my-name']", "if {bool} {{ {text} }} else {{ {text} }}", "'a'", "'two words'", "'é😀'", "''",
    ],
    "bool": [
        "{number} < {number}", "{any} == {any}", "{text} contains {text}", "{text} matches '^[a-z]*$'", "not {bool}",
        "{bool} and {bool}", "{bool} || {bool}", "any({list}, {bool})", "all({list}, {bool})", "{any} in {list}",
        "hasPrefix({text}, {text})", "sprig.empty({any})", "sprig.regexMatch('a|b', {text})", "# != nil", "true",
        "false",
        "sprig.semverCompare('^1.2', '1.3.0')", "workflow.status == 'Running'", "{text} startsWith {text}",
    ],
    "list": [
        "[{any}, {any}]", "map({list}, {any})", "filter({list}, {bool})", "({list})[1:]", "sort({numbers})", "words",
        "split({text}, {text})", "keys({map})", "values({map})", "reverse({list})", "uniq({list})", "rows", "[]",
        "concat({list}, {list})", "flatten([{list}, {list}])", "sprig.splitList(' ', {text})", "toPairs({map})",
        "sortBy(rows, #.k)", "groupBy(rows, #.k) | values()", "jsonpath('[1,[2]]', '$..*')", "{numbers}",
        "take({list}, 2)",
        "let l{depth} = {list}; concat(l{depth}, l{depth})", "words[:1]",
    ],
    "numbers": [
        "1..4", "[{number}, {number}]", "item.sizes", "map({list}, #index)", "map({numbers}, # * {number})", "[1]",
    ],
    "map": [
        "{{k: {any}}}", "rows[0]", "groupBy({list}, type(#))", "countBy({list}, string(#))", "sprig.dict('a', {any})",
        "item", "{{}}",
    ],
}  # fmt: skip

WHEN = [
    "a", "b", "two words", "'a'", '"b"', "1", "1.5", "-2", "true", "false", "null", "", "==", "!=", "<", "<=", ">",
    ">=", "&&", "||", "!", "=~", "!~",
    "in", "+", "-", "*", "/", "%", "**", "??", "?", ":", "(", ")", ",", "[a]", "[", "]",
    "'^(a|b)*$'", "'('", "&", "|", "^", "<<", ">>", "~", "a.b", "f(1)", "0x1F", "1e9", "'2006-01-02'", "\\", "{{x}}",
]  # fmt: skip


class Grammar:
    """Expressions out of a source of chance: the same one gives the same expressions."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def expression(self, depth: int = 4) -> str:
        draw = self.chance.random()
        if depth <= 0 or draw < 0.18:
            return self.leaf()
        inner = depth - 1
        if draw < 0.42:
            return f"{self.expression(inner)} {self.chance.choice(INFIX)} {self.expression(inner)}"
        if draw < 0.62:
            return self.call(inner)
        if draw < 0.72:
            return self.loop(inner)
        return self.other(inner)

    def typed(self, kind: str = "any", depth: int = 4) -> str:
        """One whose parts fit together, so that most of them have a value."""
        if kind == "any":
            kind = self.chance.choice(("number", "text", "bool", "list", "map"))
        forms = TYPED[kind]
        form = self.chance.choice(forms) if depth > 0 else self.chance.choice([one for one in forms if "{" not in one])
        parts = {name: _Part(self, name, depth - 1) for name in ("any", *TYPED)}
        return form.format(depth=depth, **parts)

    def leaf(self) -> str:
        return self.chance.choice(PATHS if self.chance.random() < 0.4 else LITERALS)

    def call(self, depth: int) -> str:
        name = self.chance.choice(
            SPRIG if self.chance.random() < 0.5 else FUNCTIONS if self.chance.random() < 0.9 else ARGO
        )
        given = [self.expression(depth) for _ in range(self.chance.choice((0, 1, 1, 1, 2, 2, 2, 3, 3, 4)))]
        if given and self.chance.random() < 0.15:
            return f"{given[0]} | {name}({', '.join(given[1:])})"
        return f"{name}({', '.join(given)})"

    def loop(self, depth: int) -> str:
        name = self.chance.choice(LOOPS)
        over = self.chance.choice(("1..9", "words", "rows", "item.sizes", self.expression(depth)))
        body = self.chance.choice(
            ("#", "# > 1", "#.k", ".v", "#acc + #", "#index", "{# == nil}", self.expression(depth))
        )
        more = f", {self.expression(depth)}" if self.chance.random() < 0.2 else ""
        return f"{name}({over}, {body}{more})"

    def other(self, depth: int) -> str:
        one, other = self.expression(depth), self.expression(depth)
        return self.chance.choice(
            (
                f"({one})",
                f"{self.chance.choice(PREFIX)}{one}",
                f"{one} ? {other} : {self.leaf()}",
                f"if {one} {{ {other} }} else {{ {self.leaf()} }}",
                f"[{one}, {other}]",
                f"{{k: {one}, 'two words': {other}}}",
                f"{one}[{other}]",
                f"({one})[{self.leaf()}:{self.leaf()}]",
                f"({one}){self.chance.choice(METHODS)}",
                f"let x = {one}; {other} ?? x",
                f"{one} // {other}",
                f"{one}; {other}",
            )
        )

    def condition(self) -> str:
        """One for `when`, in its other language."""
        return " ".join(self.chance.choice(WHEN) for _ in range(self.chance.randint(1, 9)))

    def mutated(self, source: str, other: str) -> str:
        """An expression with something cut out, doubled, swapped or put in."""
        for _ in range(self.chance.choice((1, 1, 1, 2, 4))):
            source = self._once(source, other)
        return source

    def _once(self, source: str, other: str) -> str:
        start = self.chance.randrange(len(source) + 1)
        end = min(len(source), start + self.chance.choice((0, 1, 1, 2, 5, 20)))
        way = self.chance.randrange(7)
        if way == 0:
            return source[:start] + source[end:]
        if way == 1:
            return source[:start] + source[start:end] * self.chance.choice((2, 3, 50)) + source[end:]
        if way == 2:
            return source[:start] + self.leaf() + source[end:]
        if way == 3:
            return source[:start] + other[self.chance.randrange(len(other) + 1) :]
        if way == 4:
            return f"{source[:start]} {self.chance.choice(INFIX)} {source[end:]}"
        if way == 5:
            return source[:start] + chr(self.chance.choice((0, 9, 10, 34, 39, 40, 91, 92, 123, 125, 0xD7FF, 0x1F600)))
        return source[:start] + self.call(1) + source[end:]


class _Part:
    """A hole in a form: each time it is put in it is another expression."""

    def __init__(self, grammar: Grammar, kind: str, depth: int) -> None:
        self.grammar, self.kind, self.depth = grammar, kind, depth

    def __format__(self, how: str) -> str:
        return self.grammar.typed(self.kind, self.depth)
