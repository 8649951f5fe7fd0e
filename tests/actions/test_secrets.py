"""Values that stand in secrets: sent where they are meant for, named when they are missing, and never shown."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from exeunt.actions import ActionSettings, Toolbox, open_toolbox, perform
from exeunt.engine.facts.work import HttpWork, PluginWork, SecretRef
from exeunt.language.secret import SecretMissing, SecretUnreadable
from tests.actions.conftest import World, context_of

VALUE = "g'heim & lang/=/ü"
STORED = {
    "api/token": VALUE,
    "api/line": f"Bearer {VALUE}\n",
    "api/two": "line-one-of-a-long-and-secret-key\nline-two-of-a-long-and-secret-key",
}


async def look_up(namespace: str, name: str, key: str) -> str:
    if name == "sealed":
        raise SecretUnreadable("the secret 'sealed' was sealed with another key")
    if (found := STORED.get(f"{name}/{key}")) is None or namespace != "ns":
        raise SecretMissing(f"the secret '{name}' has no key '{key}'")
    return found


@pytest.fixture
async def tools() -> AsyncIterator[Toolbox]:
    async with open_toolbox(ActionSettings(allow_loopback=True, slack_token="the-setting"), secret=look_up) as tools:
        yield tools


def request(world: World, *refs: SecretRef, **more: Any) -> HttpWork:
    headers = [(f"X-{at}", "") for at in range(len(refs))]
    return HttpWork(url=world.url, headers=headers, header_secrets=dict(enumerate(refs)), **more)


async def test_a_header_may_stand_in_a_secret(world: World, tools: Toolbox) -> None:
    outcome = await perform(request(world, SecretRef(name="api", key="line")), context_of(tools))
    assert outcome.phase == "Succeeded", outcome.message
    sent = world.requests[0]["headers"]["X-0"]
    assert sent.encode("utf-8", "surrogateescape").decode() == f"Bearer {VALUE}"


async def test_whatever_the_world_answers_is_masked(world: World, tools: Toolbox) -> None:
    forms = [VALUE, quote(VALUE, safe=""), json.dumps(VALUE), base64.b64encode(VALUE.encode()).decode()]
    world.reply(500, " ".join(forms), {"X-Echo": base64.b64encode(VALUE.encode()).decode()})
    work = request(world, SecretRef(name="api", key="token"), SecretRef(name="api", key="line"))
    outcome = await perform(work, context_of(tools))
    assert (outcome.phase, outcome.result) == ("Failed", '*** *** "***" ***')
    told = msgspec.json.encode(outcome).decode() + repr(outcome)
    assert not [form for form in (*forms, "heim &") if form in told]


async def test_each_line_of_a_long_secret_is_masked(world: World, tools: Toolbox) -> None:
    world.reply(200, "first line-one-of-a-long-and-secret-key then 'line-two-of-a-long-and-secret-key'")
    outcome = await perform(PluginWork(name="webhook", arguments=hook(world, "two")), context_of(tools))
    assert outcome.phase == "Succeeded", outcome.message
    assert "of-a-long" not in msgspec.json.encode(outcome).decode()


def hook(world: World, key: str, **more: Any) -> dict[str, Any]:
    key_of = {"secretKeyRef": {"name": "api", "key": key, **more}}
    return {"url": world.url, "secretFrom": key_of}


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        (SecretRef(name="api", key="nope"), "http.headers[0] (X-0): the secret 'api' has no key 'nope'"),
        (SecretRef(name="sealed", key="a", optional=True), "(X-0): the secret 'sealed' was sealed with another key"),
    ],
)
async def test_what_cannot_be_had_is_an_error_and_nothing_is_sent(
    world: World, tools: Toolbox, ref: SecretRef, words: str
) -> None:
    outcome = await perform(request(world, ref), context_of(tools))
    assert outcome.phase == "Error"
    assert words in outcome.message
    assert world.requests == []


async def test_secrets_of_other_namespaces_are_not_there(world: World, tools: Toolbox) -> None:
    outcome = await perform(request(world, SecretRef(name="api", key="token")), context_of(tools, namespace="other"))
    assert outcome.phase == "Error"


async def test_what_may_be_missing_is_left_out(world: World, tools: Toolbox) -> None:
    work = request(world, SecretRef(name="none", key="a", optional=True), SecretRef(name="api", key="two"))
    outcome = await perform(
        msgspec.structs.replace(work, header_secrets={0: work.header_secrets[0]}), context_of(tools)
    )
    assert outcome.phase == "Succeeded"
    assert "X-0" not in world.requests[0]["headers"]


async def test_the_setting_stands_in_for_what_may_be_missing(world: World) -> None:
    settings = ActionSettings(allow_loopback=True, slack_token="xoxb-the-setting", slack_api=world.url)
    world.reply(200, '{"ok": true}')
    arguments = {"to": "#ops", "tokenFrom": {"secretKeyRef": {"name": "none", "key": "a", "optional": True}}}
    async with open_toolbox(settings, secret=look_up) as tools:
        outcome = await perform(PluginWork(name="slack", arguments=arguments), context_of(tools))
    assert outcome.phase == "Succeeded", outcome.message
    assert world.requests[0]["headers"]["Authorization"] == "Bearer xoxb-the-setting"


SOURCE = {"secretKeyRef": {"name": "api", "key": "nope"}}
ARGUMENTS: Mapping[str, Any] = {
    "cleanup": {"http": [{"url": "http://h/", "tokenFrom": SOURCE}]},
    "cleanup.nats": {"nats": [{"url": "nats://127.0.0.1:9", "streams": ["a"], "credentialsFrom": SOURCE}]},
    "cleanup.objects": {"objects": [{"url": "s3://bucket/prefix", "optionsFrom": {"access_key_id": SOURCE}}]},
    "cleanup.databases": {"databases": [{"urlFrom": SOURCE, "prefix": "run_", "tables": ["run_1"]}]},
    "email": {"to": "a@b.c", "from": "a@b.c", "server": "smtp://u@h:25", "passwordFrom": SOURCE},
    "grafana": {"url": "http://h", "tokenFrom": SOURCE},
    "notify": {"targets": [{"urlFrom": SOURCE}]},
    "pushgateway": {"url": "http://h", "job": "j", "tokenFrom": SOURCE},
    "slack": {"to": "#a", "webhookFrom": SOURCE},
    "webhook": {"urlFrom": SOURCE},
}


@pytest.mark.parametrize("action", ARGUMENTS)
async def test_every_action_names_the_secret_that_it_misses(tools: Toolbox, action: str) -> None:
    work = PluginWork(name=action.partition(".")[0], arguments=ARGUMENTS[action])
    outcome = await perform(work, context_of(tools))
    assert outcome.phase == "Error"
    assert "the secret 'api' has no key 'nope'" in outcome.message
