"""Notifications over Apprise, to a real server by its json:// target."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from exeunt.actions import ActionSettings, Toolbox, open_toolbox, perform
from exeunt.engine.facts.work import PluginWork, StepOutcome
from tests.actions.conftest import World, context_of


async def notify(tools: Toolbox, arguments: object, **more: object) -> StepOutcome:
    return await perform(PluginWork(name="notify", arguments=arguments), context_of(tools, **more))


def target(world: World, path: str = "") -> str:
    return world.url.replace("http://", "json://") + path


async def test_a_message_arrives(world: World, tools: Toolbox) -> None:
    outcome = await notify(tools, {"targets": [target(world)], "title": "Night run", "body": "all is well"})
    assert (outcome.phase, outcome.message) == ("Succeeded", "sent to 1 target")
    assert (world.json()["title"], world.json()["message"]) == ("Night run", "all is well")
    assert world.requests[0]["headers"]["Idempotency-Key"] == "key-1"


async def test_without_words_it_says_what_ended_and_how(world: World, tools: Toolbox) -> None:
    facts = {"workflow.status": "Failed", "workflow.duration": "12.345"}
    await notify(tools, {"targets": [target(world)]}, facts=facts)
    sent = world.json()
    assert sent["title"] == "wf: Failed"
    assert sent["message"] == "Workflow ns/wf ended: Failed\nIt took 12.3 s."
    assert sent["type"] == "failure"


async def test_one_target_that_refuses_does_not_keep_the_others_from_hearing(world: World, tools: Toolbox) -> None:
    world.reply(500)
    targets = [target(world, "/a"), "nonsense://x", target(world, "/b")]
    outcome = await notify(tools, {"targets": targets, "body": "x"})
    assert outcome.phase == "Failed"
    assert outcome.message.startswith("1 of 3 targets took the message; ")
    assert "nonsense" in outcome.message
    assert len(world.requests) == 2
    assert [t["delivered"] for t in outcome.answer["targets"]].count(True) == 1


async def test_tags_choose_targets(world: World, tools: Toolbox) -> None:
    targets = [
        {"url": target(world, "/ops"), "tags": ["ops"]},
        {"url": target(world, "/dev"), "tags": ["dev"]},
        target(world, "/all"),
    ]
    await notify(tools, {"targets": targets, "tags": ["ops"], "body": "x"})
    assert sorted(r["path"] for r in world.requests) == ["/all", "/ops"]


async def test_a_target_may_stand_in_a_secret(world: World) -> None:
    async def secret(namespace: str, name: str, key: str) -> str:
        assert (namespace, name, key) == ("ns", "chat", "url")
        return target(world, "/hidden")

    async with open_toolbox(ActionSettings(allow_loopback=True), secret=secret) as tools:
        outcome = await notify(tools, {"targets": [{"urlFrom": {"secretKeyRef": {"name": "chat", "key": "url"}}}]})
    assert outcome.phase == "Succeeded"
    assert world.requests[0]["path"] == "/hidden"


async def test_secrets_of_targets_are_never_shown(world: World, tools: Toolbox) -> None:
    world.reply(401, "who are you?")
    url = target(world, "/T0KENinthepath?+X-Key=v3rysecret").replace("json://", "json://alice:p4ssw0rd@")
    outcome = await notify(
        tools, {"targets": [url, "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ!!"], "body": "x"}
    )
    assert outcome.phase == "Failed"
    for secret in ("T0KENinthepath", "v3rysecret", "p4ssw0rd", "TIiajkdnlazkcOXrIdevi7FQ"):
        assert secret not in repr(outcome)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (None, "targets"),
        ("hello", "fields are expected"),
        ({"targets": []}, "no target"),
        ({"targets": [{}]}, "either url or urlFrom"),
        ({"targets": ["json://x"], "boddy": "x"}, "did you mean body"),
        ({"targets": ["json://x"], "format": "pdf"}, "markdown"),
        ({"targets": ["json://x"], "type": "loud"}, "warning"),
        ({"targets": [{"urlFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]}, "no store of secrets"),
    ],
)
async def test_wrong_arguments_are_named(tools: Toolbox, arguments: object, words: str) -> None:
    outcome = await notify(tools, arguments)
    assert outcome.phase == "Error"
    assert words in outcome.message


@pytest.mark.parametrize(
    "url", ["syslog://", "dbus://", "fcm://p/x?keyfile=/etc/passwd", "mailto://a:b@x.org?pgpkey=/etc/k"]
)
async def test_a_target_cannot_touch_our_own_machine(tools: Toolbox, url: str) -> None:
    outcome = await notify(tools, {"targets": [url], "body": "x"})
    assert outcome.phase == "Failed"
    assert "exit handler's" in outcome.message


async def test_a_silent_target_ends_at_the_bound(world: World) -> None:
    world.reply_never()
    async with open_toolbox(ActionSettings(allow_loopback=True, notify_timeout=0.2)) as tools:
        outcome = await notify(tools, {"targets": [target(world)], "body": "x"})
    assert outcome.phase == "Failed"
    assert "no answer within 0.2 s" in outcome.message


async def test_a_target_that_drips_does_not_keep_its_thread(world: World) -> None:
    """Byte by byte no timeout of a socket ever comes; with one thread, the next message would wait for it."""
    released = asyncio.Event()

    async def drip(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b".")
                await asyncio.sleep(0.02)
        finally:
            released.set()

    world.replies.append(drip)
    async with open_toolbox(ActionSettings(allow_loopback=True, notify_timeout=0.5, threads=1)) as tools:
        late = await notify(tools, {"targets": [target(world)], "body": "x"})
        async with asyncio.timeout(20):
            await released.wait()
        following = await notify(tools, {"targets": [target(world)], "body": "y"})
    assert (late.phase, following.phase) == ("Failed", "Succeeded"), following.message


async def test_an_answer_beyond_the_bound_is_not_read(world: World) -> None:
    world.reply(200, "x" * 100_000)
    async with open_toolbox(ActionSettings(allow_loopback=True, answer_bytes=50_000)) as tools:
        outcome = await notify(tools, {"targets": [target(world)], "body": "x"})
    assert outcome.phase == "Failed"
    assert "its answer is larger than 50000 bytes" in outcome.message


async def test_redirects_that_go_round_come_to_an_end(world: World) -> None:
    for _ in range(40):
        world.reply(302, headers={"Location": "/again"})
    async with open_toolbox(ActionSettings(allow_loopback=True)) as tools:
        outcome = await notify(tools, {"targets": [target(world)], "body": "x"})
    assert outcome.phase == "Failed"
    assert len(world.requests) < 35


async def test_many_at_once_hear_each_their_own_fault(world: World, tools: Toolbox) -> None:
    good = [notify(tools, {"targets": [target(world)], "body": str(i)}) for i in range(10)]
    bad = [notify(tools, {"targets": ["nonsense://x"], "body": str(i)}) for i in range(10)]
    outcomes = await asyncio.gather(*good, *bad)
    assert [o.phase for o in outcomes] == ["Succeeded"] * 10 + ["Failed"] * 10
