"""Argo executor plugins, spoken to as Argo's agent does."""

from __future__ import annotations

import json

import pytest

from exeunt.actions import ActionSettings, open_toolbox, perform
from exeunt.engine.facts.work import PluginWork, StepOutcome
from tests.actions.conftest import World, context_of


async def call(world: World, name: str = "hello", **settings: object) -> StepOutcome:
    facts = {"plugins": {"hello": f"{world.url}/"}, **settings}
    async with open_toolbox(ActionSettings(**facts)) as tools:  # type: ignore[arg-type]  # a table of settings
        template = {"name": "t", "plugin": {"hello": {"to": "you"}}, "inputs": {}}
        return await perform(PluginWork(name=name, arguments={"to": "you"}, template=template), context_of(tools))


async def test_the_template_is_handed_over_and_the_node_comes_back(world: World) -> None:
    parameters = [{"name": "foo", "value": "bar"}, {"name": "n", "value": 3}]
    node = {"phase": "Succeeded", "message": "Hello template!", "outputs": {"parameters": parameters, "result": "r"}}
    world.reply(200, json.dumps({"node": node}))
    outcome = await call(world)
    assert (outcome.phase, outcome.message, outcome.result) == ("Succeeded", "Hello template!", "r")
    assert outcome.parameters == {"foo": "bar", "n": "3"}
    request = world.requests[0]
    assert (request["method"], request["path"]) == ("POST", "/api/v1/template.execute")
    assert world.json()["template"]["plugin"] == {"hello": {"to": "you"}}
    assert world.json()["workflow"]["metadata"] == {"name": "wf", "namespace": "ns", "uid": "u-1"}
    assert request["headers"]["Idempotency-Key"] == "key-1"


async def test_it_is_asked_again_when_it_says_so(world: World) -> None:
    world.reply(200, json.dumps({"node": {"phase": "Running"}, "requeue": "1s"}))
    world.reply(200, json.dumps({"node": {"phase": "Failed", "message": "no"}}))
    outcome = await call(world)
    assert (outcome.phase, outcome.message, len(world.requests)) == ("Failed", "no", 2)


async def test_its_token_is_sent_and_never_shown(world: World) -> None:
    world.reply(403, "Bearer t0ken-of-plugin is wrong")
    outcome = await call(world, plugin_tokens={"hello": "t0ken-of-plugin"})
    assert world.requests[0]["headers"]["Authorization"] == "Bearer t0ken-of-plugin"
    assert outcome.phase == "Failed"
    assert "t0ken" not in repr(outcome)


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (404, "", "received status 404"),
        (200, "<html>", "no JSON"),
        (200, "[1]", "no JSON object"),
        (200, '{"node": 3}', "no node"),
        (200, '"' + "x" * 2000 + '"', "larger than 1000 bytes"),
    ],
)
async def test_what_is_no_result_is_a_failure(world: World, status: int, text: str, words: str) -> None:
    world.reply(status, text)
    outcome = await call(world, answer_bytes=1000)
    assert outcome.phase == "Failed"
    assert words in outcome.message


@pytest.mark.parametrize("text", ["", "{}"])
async def test_a_template_that_it_does_not_take_is_an_error(world: World, text: str) -> None:
    world.reply(200, text)
    outcome = await call(world)
    assert (outcome.phase, outcome.message) == ("Error", "the plugin 'hello' does not take this template")


async def test_an_unknown_name_is_an_error_that_lists_the_known_ones(world: World) -> None:
    outcome = await call(world, name="helo")
    assert outcome.phase == "Error"
    known = "cleanup, email, grafana, hello, notify, pushgateway, slack, trigger, webhook"
    assert outcome.message == f"there is no action or plugin 'helo'; there are {known}"


async def test_a_plugin_of_the_operators_comes_before_an_action_of_its_name(world: World) -> None:
    world.reply(200, json.dumps({"node": {"phase": "Succeeded", "message": "mine"}}))
    assert (await call(world, name="slack", plugins={"slack": world.url})).message == "mine"
