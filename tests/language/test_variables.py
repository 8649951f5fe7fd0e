"""Putting values into texts: simple tags, expressions, what is not there (yet), and what looks like a tag."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.language.expression import ExpressionError
from exeunt.language.variables import (
    AbsentError,
    Tag,
    UnresolvedError,
    environment,
    substitute,
    substitute_tree,
    tags,
    text,
)

SCOPE: dict[str, Any] = {
    "inputs.parameters.name": "Ada",
    "inputs.parameters.count": "5",
    "inputs.parameters.quote": 'say "hi"\n\tand \\ {{braces}}',
    "steps.a-b.outputs.result": "done",
    "steps.skipped.outputs.result": None,
    "item": '{"size":"xl"}',
    "item.size": "xl",
    "workflow.name": "w",
    "outer-Ada": "nested",
}

TEXTS = [
    ("no tag at all", "no tag at all"),
    ("Hello {{inputs.parameters.name}}!", "Hello Ada!"),
    ("{{ inputs.parameters.name }}{{inputs.parameters.count}}", "Ada5"),
    ("{{inputs.parameters.quote}}", 'say "hi"\n\tand \\ {{braces}}'),
    ("{{steps.a-b.outputs.result}}", "done"),
    ("{{=asInt(inputs.parameters.count) + 1}}", "6"),
    ("{{= inputs.parameters.name | lower() }}", "ada"),
    ("{{=steps['a-b'].outputs.result}}", "done"),
    ("{{=steps.skipped.outputs.result ?? 'none'}}", "none"),
    ("{{=item.size}}", "xl"),
    ("{{item}}", '{"size":"xl"}'),
    ("{{=[1, 'a']}} and {{={a: 1.5} }}", '[1,"a"] and {"a":1.5}'),
    ('{{="a" + "\\n" + `"`}}', 'a\n"'),
    ("{{=1 == 1 ? 'ends' : 'at the first'}} braces }}", "ends braces }}"),
    ("{{=let n = inputs.parameters.name; n + n}}", "AdaAda"),
    ("{{", "{{"),
    ("}} {{ {", "}} {{ {"),
]


@pytest.mark.parametrize(("given_text", "made"), TEXTS)
def test_values_are_put_into_a_text(given_text: str, made: str) -> None:
    assert substitute(given_text, SCOPE, allow_unresolved=False) == made
    assert substitute(given_text, SCOPE, allow_unresolved=True) == made


LATER = [
    "{{nobody}}",
    "{{ nobody.knows }}",
    "{{ =inputs.parameters.name}}",
    "{{=nobody}}",
    "{{=tasks.x.outputs.result ?? 'd'}}",
    "{{=retries == '0' ? 'first' : 'again'}}",
    "{{=workflow.status == 'Succeeded' ? 'good' : 'bad'}}",
    "{{=sprig.upper(lastRetry.message)}}",
]


@pytest.mark.parametrize("given_text", LATER)
def test_what_is_not_known_yet_stays_or_is_an_error(given_text: str) -> None:
    assert substitute(given_text, SCOPE, allow_unresolved=True) == given_text
    with pytest.raises(UnresolvedError):
        substitute(given_text, SCOPE, allow_unresolved=False)


def test_an_unresolved_name_is_named() -> None:
    with pytest.raises(UnresolvedError, match=r"^failed to resolve \{\{nobody\}\}$") as caught:
        substitute("{{nobody}}", SCOPE, allow_unresolved=False)
    assert caught.value.name == "nobody"
    with pytest.raises(UnresolvedError, match=r"^failed to evaluate expression: nobody is missing$"):
        substitute("{{=nobody}}", SCOPE, allow_unresolved=False)


def test_names_under_a_strict_prefix_must_be_there() -> None:
    with pytest.raises(UnresolvedError):
        substitute("{{steps.x.outputs.result}}", SCOPE, allow_unresolved=True, strict=["steps"])
    with pytest.raises(UnresolvedError):
        substitute("{{=steps.x.outputs.result}}", SCOPE, allow_unresolved=True, strict=["steps"])
    assert substitute("{{stepsy.x}}", SCOPE, allow_unresolved=True, strict=["steps"]) == "{{stepsy.x}}"
    artifact = "{{steps.x.outputs.artifacts.log}}"
    assert substitute(artifact, SCOPE, allow_unresolved=True, strict=["steps"]) == artifact


def test_a_guarded_member_need_not_be_there_under_a_strict_prefix() -> None:
    scope = {"item": {"name": "b"}}
    for source in ("item.size ?? 'm'", "item['size'] ?? 'm'", "item?.size ?? 'm'"):
        assert substitute(f"{{{{={source}}}}}", scope, allow_unresolved=True, strict=["item"]) == "m"
    with pytest.raises(UnresolvedError, match="item is missing"):
        substitute("{{=item.size ?? 'm'}}", {}, allow_unresolved=True, strict=["item"])


@pytest.mark.parametrize("allow", [True, False])
def test_an_absent_output_is_not_an_empty_one(allow: bool) -> None:
    with pytest.raises(AbsentError, match="absent optional"):
        substitute("x {{steps.skipped.outputs.result}}", SCOPE, allow_unresolved=allow)
    empty = {"steps.skipped.outputs.result": ""}
    assert substitute("x {{steps.skipped.outputs.result}}", empty, allow_unresolved=allow) == "x "
    assert substitute("{{=steps.skipped.outputs.result ?? 'none'}}", empty, allow_unresolved=allow) == ""


def test_an_expression_that_gives_nil_is_unresolved() -> None:
    source = "{{=steps.skipped.outputs.result}}"
    assert substitute(source, SCOPE, allow_unresolved=True) == source
    with pytest.raises(ExpressionError, match=r'^failed to evaluate expression "steps.skipped.outputs.result"$'):
        substitute(source, SCOPE, allow_unresolved=False)


def test_a_broken_expression_says_where() -> None:
    with pytest.raises(ExpressionError) as caught:
        substitute("{{=1 +}}", SCOPE, allow_unresolved=False)
    assert str(caught.value) == "failed to evaluate expression: unexpected token EOF (1:3)\n | 1 +\n | ..^"
    with pytest.raises(ExpressionError) as caught:
        substitute("{{=asInt(inputs.parameters.name) > 2}}", SCOPE, allow_unresolved=False)
    assert str(caught.value).startswith("failed to evaluate expression: invalid operation: int(Ada) (1:1)\n | asInt(")


def test_a_tag_ends_at_its_first_two_braces() -> None:
    with pytest.raises(ExpressionError, match='hint: a tag ends at the first "}}"; write "} }}" behind a map'):
        substitute("{{={a: 1}}}", {}, allow_unresolved=False)


def test_a_value_that_is_no_text_goes_only_into_expressions() -> None:
    scope = {"item": {"ports": [80, 443]}}
    assert substitute("{{=item.ports[1]}}", scope, allow_unresolved=False) == "443"
    with pytest.raises(ExpressionError, match="to string"):
        substitute("{{item}}", scope, allow_unresolved=False)


def test_of_nested_tags_the_inner_goes_first() -> None:
    once = substitute("{{outer-{{inputs.parameters.name}}}}", SCOPE, allow_unresolved=True)
    assert once == "{{outer-Ada}}"
    assert substitute(once, SCOPE, allow_unresolved=True) == "nested"
    with pytest.raises(AbsentError, match="absent optional"):
        substitute("{{outer-{{steps.skipped.outputs.result}}}}", SCOPE, allow_unresolved=True)


def test_templates_of_other_tools_pass_through() -> None:
    vault = '{{- with secret "{{inputs.parameters.name}}" -}}\n  {{ .Data.data.creds }}\n{{- end }}'
    assert substitute(vault, SCOPE, allow_unresolved=True) == vault.replace("{{inputs.parameters.name}}", "Ada")


def test_tags_are_found_where_they_stand() -> None:
    found = list(tags("a{{b}} {{=c}}{{ d }} {{e"))
    assert found == [Tag(1, 6, "simple", "b"), Tag(7, 13, "expression", "c"), Tag(13, 20, "simple", " d ")]


SCALARS = [
    ("a", "a"),
    (2, "2"),
    (1.5, "1.5"),
    (2.0, "2"),
    (1e-7, "0.0000001"),
    (1e21, "1000000000000000000000"),
    (881217801864, "881217801864"),
    (True, "true"),
    (None, ""),
    ({"b": [1, "<"], "a": None}, '{"a":null,"b":[1,"<"]}'),
]


@pytest.mark.parametrize(("value", "made"), SCALARS)
def test_a_scalar_is_a_text(value: Any, made: str) -> None:
    assert text(value) == made


def test_dotted_names_are_nested_for_expressions() -> None:
    scope = {"a.b": 1, "a.c.d": 2, "a": 3, "ab": 4, "x.y": {"z": 5}}
    assert environment(scope) == {"a": {"b": 1, "c": {"d": 2}}, "ab": 4, "x": {"y": {"z": 5}}}
    inner = {"z": 5}
    environment({"x": inner, "x.w": 1})
    assert inner == {"z": 5}


def test_a_tree_shares_what_does_not_change() -> None:
    tree = {"same": {"list": ["x"]}, "args": ["{{inputs.parameters.name}}", 1, None], "{{workflow.name}}": "key"}
    made = substitute_tree(tree, SCOPE, allow_unresolved=False)
    assert made == {"same": {"list": ["x"]}, "args": ["Ada", 1, None], "w": "key"}
    assert made["same"] is tree["same"]
    assert substitute_tree(tree["same"], SCOPE, allow_unresolved=False) is tree["same"]


def test_time_and_chance_are_passed_on() -> None:
    made = substitute("{{=now().Unix()}} {{=sprig.randNumeric(3)}}", {}, allow_unresolved=False, now=60.0, seed="s")
    assert made.startswith("60 ")
    assert made == substitute(
        "{{=now().Unix()}} {{=sprig.randNumeric(3)}}", {}, allow_unresolved=False, now=60.0, seed="s"
    )


def test_two_expressions_do_not_draw_the_same() -> None:
    first, second = substitute("{{=sprig.uuidv4()}} {{=sprig.uuidv4()}}", {}, allow_unresolved=False, seed="s").split()
    assert first != second


@given(st.text(alphabet="{}=a.b '\"+?#|()[]1,\\ ", max_size=60), st.booleans())
def test_no_text_makes_it_fall_over(given_text: str, allow: bool) -> None:
    try:
        made = substitute(given_text, {"a": "1", "a.b": "2", "b": None}, allow_unresolved=allow)
    except ExpressionError:
        return
    assert isinstance(made, str)


@given(st.text(max_size=50))
def test_a_value_goes_in_as_it_is(value: str) -> None:
    assert substitute("<{{v}}>", {"v": value}, allow_unresolved=False) == f"<{value}>"
    assert substitute("<{{=v}}>", {"v": value}, allow_unresolved=False) == f"<{value}>"
