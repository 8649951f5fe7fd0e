"""Messages to Slack, at a server that answers as Slack does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exeunt.actions import ActionSettings, open_toolbox, perform
from exeunt.engine.facts.work import PluginWork, StepOutcome
from tests.actions.conftest import World, context_of

FAILURE = {"displayName": "load", "templateName": "loader", "phase": "Failed", "message": "<!channel> disk & all"}
FACTS = {
    "workflow.status": "Failed",
    "workflow.duration": "12.0",
    "workflow.failures": json.dumps(json.dumps([FAILURE])),
}
TOKEN = "xoxb-1234567890-token"


async def say(world: World, arguments: Any, *, secret: str = "", **settings: Any) -> StepOutcome:
    async def lookup(namespace: str, name: str, key: str) -> str:
        return secret

    facts = {"allow_loopback": True, "slack_api": world.url, **settings}
    async with open_toolbox(ActionSettings(**facts), secret=lookup) as tools:
        return await perform(PluginWork(name="slack", arguments=arguments), context_of(tools, facts=FACTS))


async def test_a_channel_alone_gets_a_useful_message(world: World) -> None:
    world.reply(200, '{"ok": true, "channel": "C1", "ts": "17.1"}')
    link = "https://argo.example.org/{namespace}/{name}"
    outcome = await say(world, {"to": "#ops"}, slack_token=TOKEN, workflow_link=link)
    assert (outcome.phase, outcome.message) == ("Succeeded", "sent to #ops")
    assert outcome.answer["sent"] == [{"channel": "#ops", "id": "C1", "ts": "17.1"}]
    request = world.requests[0]
    assert request["path"] == "/chat.postMessage"
    assert request["headers"]["Authorization"] == f"Bearer {TOKEN}"
    sent = world.json()
    assert sent["channel"] == "#ops"
    assert sent["text"] == ":x: Workflow ns/wf ended: Failed"
    told = json.dumps(sent["blocks"])
    assert "took 12.0 s" in told
    assert "&lt;!channel&gt; disk &amp; all" in told
    assert "<https://argo.example.org/ns/wf|Look at the workflow>" in told


async def test_a_repeat_has_the_same_id(world: World) -> None:
    for _ in range(2):
        world.reply(200, '{"ok": true}')
        await say(world, {"to": "#ops", "text": "x"}, slack_token=TOKEN)
    assert world.json(0)["client_msg_id"] == world.json(1)["client_msg_id"]


async def test_a_webhook_from_a_secret(world: World) -> None:
    url = f"{world.url}/services/T0/B0/s3cretpath"
    source = {"secretKeyRef": {"name": "slack", "key": "url"}}
    outcome = await say(world, {"webhookFrom": source, "text": "done"}, secret=url)
    assert outcome.phase == "Succeeded"
    assert world.requests[0]["path"] == "/services/T0/B0/s3cretpath"
    assert world.json() == {"text": "done"}


async def test_a_refusal_hides_the_webhook(world: World) -> None:
    world.reply(403, "invalid_token at s3cretpath")
    url = f"{world.url}/services/T0/B0/s3cretpath"
    outcome = await say(world, {"to": "#ops", "webhook": url, "text": "x"})
    assert outcome.phase == "Failed"
    assert "it answered 403" in outcome.message
    assert "s3cretpath" not in repr(outcome)


async def test_too_many_messages_says_when(world: World) -> None:
    world.reply(429, headers={"Retry-After": "30"})
    outcome = await say(world, {"to": "#ops", "text": "x"}, slack_token=TOKEN)
    assert outcome.phase == "Failed"
    assert "too many messages; it asks to wait 30 s, until 20" in outcome.message


async def test_what_slack_says_is_explained(world: World) -> None:
    world.reply(200, '{"ok": false, "error": "not_in_channel"}')
    world.reply(200, '{"ok": true}')
    outcome = await say(world, {"to": ["#a", "#b"], "text": "x"}, slack_token=TOKEN)
    assert outcome.phase == "Failed"
    assert outcome.message == "slack: #a: not_in_channel: the bot is not in that channel; invite it with /invite"
    assert [one["channel"] for one in outcome.answer["sent"]] == ["#b"]


async def test_blocks_of_ones_own(world: World) -> None:
    world.reply(200, '{"ok": true}')
    blocks = [{"type": "divider"}]
    await say(world, {"to": "#ops", "blocks": blocks, "thread": "17.1"}, slack_token=TOKEN)
    assert (world.json()["blocks"], world.json()["thread_ts"]) == (blocks, "17.1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "name a channel"),
        ({"chanel": "#ops"}, "there is no field 'chanel'"),
        ({"to": "#ops", "webhook": "https://x", "webhookFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}, "one of"),
    ],
)
async def test_wrong_arguments_are_named(world: World, arguments: Any, words: str) -> None:
    outcome = await say(world, arguments, slack_token=TOKEN)
    assert (outcome.phase, world.requests) == ("Error", [])
    assert words in outcome.message


async def test_without_a_way_to_slack_it_says_what_to_do(world: World) -> None:
    outcome = await say(world, {"to": "#ops"})
    assert outcome.phase == "Error"
    assert "slack-webhook or slack-token" in outcome.message
