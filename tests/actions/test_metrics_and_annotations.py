"""Metrics for a Pushgateway and annotations for Grafana."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exeunt.actions import ActionSettings, open_toolbox, perform
from exeunt.engine.facts.work import PluginWork, StepOutcome
from tests.actions.conftest import World, context_of

FACTS = {"workflow.status": "Succeeded", "workflow.duration": "12.5", "due": "1000.5"}


async def do(world: World, name: str, arguments: Any, **settings: Any) -> StepOutcome:
    urls = {"pushgateway_url": world.url, "grafana_url": world.url, "grafana_token": "glsa_0123456789"}
    async with open_toolbox(ActionSettings(**{**urls, **settings})) as tools:
        return await perform(PluginWork(name=name, arguments=arguments), context_of(tools, facts=FACTS))


async def test_a_job_alone_pushes_how_the_workflow_ended(world: World) -> None:
    outcome = await do(world, "pushgateway", {"job": "nightly", "grouping": {"team": "data", "path": "a/b"}})
    assert (outcome.phase, outcome.message) == ("Succeeded", "pushed 3 metrics of job nightly")
    request = world.requests[0]
    assert (request["method"], request["path"]) == ("PUT", "/metrics/job/nightly/path@base64/YS9i/team/data")
    assert "exeunt_workflow_succeeded 1.0\n" in request["body"]
    assert "exeunt_workflow_duration_seconds 12.5\n" in request["body"]
    assert "exeunt_workflow_end_timestamp_seconds 1000.5\n" in request["body"]


async def test_metrics_of_ones_own_in_the_text_format(world: World) -> None:
    metrics = [
        {"name": "rows", "value": "3", "type": "counter", "help": "Rows\nread.", "labels": {"table": 'a"b\\c'}},
        {"name": "rows", "value": 4, "type": "counter"},
    ]
    await do(world, "pushgateway", {"job": "x", "metrics": metrics})
    assert world.requests[0]["body"] == (
        '# HELP rows Rows\\nread.\n# TYPE rows counter\nrows{table="a\\"b\\\\c"} 3.0\nrows 4.0\n'
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "the field 'job' is missing"),
        ({"job": "x", "metrics": [{"name": "a b", "value": 1}]}, "metrics[0].name: 'a b' is no name"),
        ({"job": "x", "metrics": [{"name": "a", "value": "many"}]}, "a number is expected"),
        ({"job": "x", "grouping": {"job": "y"}}, "'job' cannot be a label"),
        ({"job": "x", "method": "patch"}, "put, post or delete"),
    ],
)
async def test_wrong_metrics_are_named(world: World, arguments: Any, words: str) -> None:
    outcome = await do(world, "pushgateway", arguments)
    assert (outcome.phase, world.requests) == ("Error", [])
    assert words in outcome.message


async def test_what_the_gateway_refuses(world: World) -> None:
    world.reply(400, "pushed metrics are invalid")
    outcome = await do(world, "pushgateway", {"job": "x"})
    assert outcome.phase == "Failed"
    assert "answered 400: pushed metrics are invalid" in outcome.message


async def test_an_annotation_spans_the_workflow(world: World) -> None:
    world.reply(200, "[]")
    world.reply(200, '{"id": 7, "message": "Annotation added"}')
    outcome = await do(world, "grafana", {"tags": ["deploy"], "dashboardUID": "d1", "panelId": 2})
    assert (outcome.phase, outcome.parameters) == ("Succeeded", {"id": "7"})
    sent = world.json()
    assert (sent["time"], sent["timeEnd"]) == (988000, 1000500)
    assert (sent["tags"], sent["dashboardUID"], sent["panelId"]) == (["deploy", "exeunt-key:key-1"], "d1", 2)
    assert world.requests[1]["headers"]["Authorization"] == "Bearer glsa_0123456789"


async def test_a_second_try_finds_the_annotation(world: World) -> None:
    world.reply(200, json.dumps([{"id": 7}]))
    outcome = await do(world, "grafana", {})
    assert (outcome.phase, outcome.message, outcome.parameters["id"]) == (
        "Succeeded",
        "the annotation was there already",
        "7",
    )
    assert [r["method"] for r in world.requests] == ["GET"]


async def test_the_operators_token_goes_to_the_operators_server_only(world: World) -> None:
    world.reply(401, "no")
    outcome = await do(world, "grafana", {"url": world.url}, allow_loopback=True)
    assert outcome.phase == "Failed"
    assert "Authorization" not in world.requests[0]["headers"]
    assert "the token needs the right" in outcome.message
