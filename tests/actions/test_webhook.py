"""Signed CloudEvents, checked as a receiver checks them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from exeunt.actions import ActionSettings, open_toolbox, perform
from exeunt.actions.webhook import sign
from exeunt.engine.facts.work import PluginWork, StepOutcome
from tests.actions.conftest import World, context_of

KEY = b"a key of twenty-four byte"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
FACTS = {"workflow.status": "Failed", "phase": "Failed", "reason": "Stopped", "workflow.duration": "2.5", "due": "17.0"}


async def call(world: World, arguments: dict[str, Any], **settings: Any) -> StepOutcome:
    facts = {"allow_loopback": True, "webhook_secret": SECRET, **settings}
    async with open_toolbox(ActionSettings(**facts)) as tools:
        work = PluginWork(name="webhook", arguments={"url": f"{world.url}/hook", **arguments})
        return await perform(work, context_of(tools, facts=FACTS))


def signed(request: dict[str, Any], key: bytes) -> str:
    """The signature that a receiver expects."""
    text = f"{request['headers']['webhook-id']}.{request['headers']['webhook-timestamp']}.{request['body']}"
    return f"v1,{base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()}"


def test_the_signature_of_the_standards_own_example() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_structured_event_with_a_good_signature(world: World) -> None:
    outcome = await call(world, {})
    assert outcome.phase == "Succeeded"
    request, event = world.requests[0], world.json()
    assert request["headers"]["webhook-id"] == "key-1"
    assert request["headers"]["webhook-signature"] == signed(request, KEY)
    assert request["headers"]["Content-Type"].startswith("application/cloudevents+json")
    assert (event["id"], event["specversion"], event["source"]) == ("key-1", "1.0", "/namespaces/ns/workflows/wf")
    assert event["time"] == "1970-01-01T00:00:17.000Z"
    assert event["data"]["phase"] == "Failed"
    assert event["data"]["reason"] == "Stopped"
    assert event["data"]["durationSeconds"] == 2.5


async def test_a_binary_event(world: World) -> None:
    await call(world, {"mode": "binary", "data": {"a": 1}, "type": "org.example.done", "subject": "wörk 1"})
    headers = world.requests[0]["headers"]
    assert world.json() == {"a": 1}
    assert (headers["ce-type"], headers["ce-subject"]) == ("org.example.done", "w%C3%B6rk%201")
    assert headers["Content-Type"] == "application/json"
    assert headers["webhook-signature"] == signed(world.requests[0], KEY)


async def test_while_secrets_change_both_sign(world: World) -> None:
    other = b"another key of many bytes"
    await call(world, {}, webhook_secret=f"{SECRET} whsec_{base64.b64encode(other).decode()}")
    request = world.requests[0]
    assert request["headers"]["webhook-signature"].split() == [signed(request, KEY), signed(request, other)]


async def test_what_the_receiver_says_is_kept_and_the_secret_is_not(world: World) -> None:
    world.reply(503, f"busy {SECRET}", {"Retry-After": "5"})
    outcome = await call(world, {})
    assert outcome.phase == "Failed"
    assert "answered 503; it asks to wait 5 s" in outcome.message
    assert SECRET not in json.dumps(outcome.answer)


async def test_a_redirect_is_no_delivery(world: World) -> None:
    world.reply(302, headers={"Location": f"{world.url}/elsewhere"})
    outcome = await call(world, {})
    assert outcome.phase == "Failed"
    assert "a redirect" in outcome.message
    assert len(world.requests) == 1


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        ({"mode": "other"}, {}, "structured or binary"),
        ({"headers": {"Webhook-Id": "x"}}, {}, "is set by the action itself"),
        ({"secret": "x"}, {}, "did you mean secretFrom"),
        ({}, {"webhook_secret": "whsec_!"}, "base64 is expected"),
        ({}, {"webhook_secret": "short"}, "too short"),
    ],
)
async def test_wrong_arguments_are_named(world: World, arguments: Any, settings: Any, words: str) -> None:
    outcome = await call(world, arguments, **settings)
    assert (outcome.phase, world.requests) == ("Error", [])
    assert words in outcome.message
