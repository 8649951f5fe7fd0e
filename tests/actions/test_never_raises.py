"""Whatever a manifest says, an action answers with an outcome; secrets are masked wherever they stand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.actions import ActionSettings, open_toolbox, perform
from exeunt.actions.context import StartRefused
from exeunt.actions.masking import MASK, Masker, shown_url
from exeunt.engine.facts.work import HttpWork, PluginWork, ResourceWork, StepOutcome
from exeunt.steps import result_to_proto
from tests.actions.conftest import context_of

texts = st.text(max_size=30) | st.sampled_from(["http://127.0.0.1:1/", "json://127.0.0.1:1", "/nowhere/x", "a: b"])
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
fields = ["targets", "title", "body", "tags", "paths", "workflow", "template", "parameters", "wait", "format", "spec"]
arguments = trees | st.dictionaries(st.sampled_from(fields), trees, max_size=4)
works = (
    st.builds(
        HttpWork,
        method=texts | st.just("GET"),
        url=texts,
        headers=st.lists(st.tuples(texts, texts), max_size=2),
        body=texts,
        success_condition=texts,
        timeout_seconds=st.just(1.0),
    )
    | st.builds(PluginWork, name=st.sampled_from(["notify", "cleanup", "trigger", "x"]) | texts, arguments=arguments)
    | st.builds(ResourceWork, action=st.just("create") | texts, manifest=texts | trees.map(json.dumps))
)


@given(works)
@settings(max_examples=150, deadline=None)
def test_perform_never_raises(work: Any) -> None:
    async def do() -> StepOutcome:
        async with open_toolbox(ActionSettings(notify_timeout=2)) as tools:
            return await perform(work, context_of(tools))

    outcome = asyncio.run(do())
    assert outcome.phase in {"Succeeded", "Failed", "Error"}
    assert outcome.phase == "Succeeded" or outcome.message


async def test_not_even_a_fault_of_our_own_gets_out() -> None:
    async def broken(*_: Any) -> Any:
        raise RuntimeError("a fault")

    async with open_toolbox(ActionSettings(), start_workflow=broken) as tools:
        outcome = await perform(PluginWork(name="trigger", arguments={"template": "x"}), context_of(tools))
    assert (outcome.phase, outcome.message) == ("Error", "RuntimeError: a fault")


async def test_all_that_comes_back_can_be_written() -> None:
    async def odd(*_: Any) -> Any:
        raise StartRefused("half a character: \ud800")

    async with open_toolbox(ActionSettings(), start_workflow=odd) as tools:
        outcome = await perform(PluginWork(name="trigger", arguments={"template": "x"}), context_of(tools))
    assert "half a character: \N{REPLACEMENT CHARACTER}" in result_to_proto(outcome).message


@given(st.text(min_size=6, max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_known_secret_is_masked_wherever_it_stands(secret: str, before: str, after: str) -> None:
    masker = Masker()
    masker.add(secret)
    tree = masker.tree({"a": [before + secret + after], secret: 1})
    if secret not in MASK * 3 and secret not in before + MASK + after:
        assert secret not in "".join([*tree, tree["a"][0]])


def test_short_texts_are_not_taken_for_secrets() -> None:
    masker = Masker()
    masker.add("true")
    assert masker.text("this is true") == "this is true"


def test_shown_addresses_hold_no_secrets() -> None:
    assert shown_url("https://u:pw@host:8443/services/T01/abcdefghij0123456789xyz?token=1#f") == (
        "https://host:8443/services/T01/***"
    )
    assert shown_url("http://[::1]:80/x") == "http://[::1]:80/x"
