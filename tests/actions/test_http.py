"""The http template, against a real server."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from exeunt.actions import ActionSettings, Toolbox, open_toolbox, perform
from exeunt.engine.facts.work import HttpWork
from tests.actions.conftest import World, context_of


async def test_the_answer_becomes_the_result(world: World, tools: Toolbox) -> None:
    world.reply(200, "done, thank you")
    outcome = await perform(
        HttpWork(method="POST", url=f"{world.url}/hook", headers=[("X-Colour", "blue")], body="hello"),
        context_of(tools),
    )
    assert (outcome.phase, outcome.message, outcome.result) == ("Succeeded", "", "done, thank you")
    request = world.requests[0]
    assert (request["method"], request["path"], request["body"]) == ("POST", "/hook", "hello")
    assert request["headers"]["X-Colour"] == "blue"
    assert outcome.answer["status"] == 200
    assert 0 < outcome.started_at <= outcome.finished_at


async def test_without_a_method_it_is_a_get(world: World, tools: Toolbox) -> None:
    await perform(HttpWork(method="", url=world.url), context_of(tools))
    assert world.requests[0]["method"] == "GET"


async def test_each_attempt_carries_the_same_idempotency_key(world: World, tools: Toolbox) -> None:
    for attempt in range(2):
        await perform(HttpWork(url=world.url), context_of(tools, idempotency_key="exit-7", attempt=attempt))
    assert [r["headers"]["Idempotency-Key"] for r in world.requests] == ["exit-7", "exit-7"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_one_attempt_is_one_request(tools: Toolbox, method: str) -> None:
    came = 0

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        await reader.readuntil(b"\r\n\r\n")
        came += 1
        writer.close()

    async with await asyncio.start_server(drop, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        outcome = await perform(HttpWork(method=method, url=url), context_of(tools))
    assert (outcome.phase, came) == ("Failed", 1)


async def test_an_own_idempotency_key_is_kept(world: World, tools: Toolbox) -> None:
    await perform(HttpWork(url=world.url, headers=[("idempotency-key", "mine")]), context_of(tools))
    assert world.requests[0]["headers"]["idempotency-key"] == "mine"


async def test_any_status_but_2xx_is_a_failure_in_argos_words(world: World, tools: Toolbox) -> None:
    world.reply(503, "later")
    outcome = await perform(HttpWork(url=world.url), context_of(tools))
    assert (outcome.phase, outcome.message) == ("Failed", "received non-2xx response code: 503")
    assert outcome.result == "later"


@pytest.mark.parametrize(
    ("condition", "phase"),
    [
        ("response.statusCode == 404", "Succeeded"),
        ("response.statusCode == 200", "Failed"),
        ('response.body contains "gone"', "Succeeded"),
        ('response.headers["X-Kind"][0] == "odd"', "Succeeded"),
        ('request.method == "GET" && request.url endsWith "/x"', "Succeeded"),
        ("response.nothing.there", "unreadable"),
        ("1 +", "unreadable"),
        ("response.statusCode", "unreadable"),
    ],
)
async def test_the_success_condition_decides(world: World, tools: Toolbox, condition: str, phase: str) -> None:
    world.reply(404, "it is gone", {"x-kind": "odd"})
    outcome = await perform(HttpWork(url=f"{world.url}/x", success_condition=condition), context_of(tools))
    assert outcome.phase == ("Failed" if phase == "unreadable" else phase), outcome.message
    if phase == "Failed":
        assert outcome.message == f"successCondition '{condition}' evaluated false"
    if phase == "unreadable":
        assert outcome.message.startswith("successCondition: ")


async def test_no_answer_in_time_is_a_failure(world: World, tools: Toolbox) -> None:
    world.reply_never()
    outcome = await perform(HttpWork(url=f"{world.url}/slow", timeout_seconds=0.1), context_of(tools))
    assert (outcome.phase, outcome.message) == ("Failed", f"GET {world.url}/slow: no answer within 0.1 s")


async def test_the_steps_own_deadline_ends_it(world: World, tools: Toolbox) -> None:
    world.reply_never()
    outcome = await perform(HttpWork(url=world.url), context_of(tools, timeout_seconds=0.1))
    assert outcome.phase == "Failed"
    assert "deadline" in outcome.message


async def test_nobody_listens(tools: Toolbox) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outcome = await perform(HttpWork(url=f"http://127.0.0.1:{port}/"), context_of(tools))
    assert outcome.phase == "Failed"
    assert "cannot connect" in outcome.message


@pytest.mark.parametrize(
    "url", ["", "ftp://example.org/x", "http://", "file:///etc/passwd", "//x", "http://[::1", "\0"]
)
async def test_what_is_no_web_address_is_refused(tools: Toolbox, url: str) -> None:
    assert (await perform(HttpWork(url=url), context_of(tools))).phase == "Error"


async def test_redirects_are_followed(world: World, tools: Toolbox) -> None:
    world.reply(307, headers={"Location": "/there"})
    world.reply(302, headers={"Location": f"{world.url}/finally"})
    world.reply(200, "arrived")
    work = HttpWork(method="POST", url=world.url, body="load", headers=[("Authorization", "Bearer abcdefgh")])
    outcome = await perform(work, context_of(tools))
    assert outcome.result == "arrived"
    assert [(r["method"], r["path"], r["body"]) for r in world.requests] == [
        ("POST", "/", "load"),
        ("POST", "/there", "load"),
        ("GET", "/finally", ""),
    ]
    assert world.requests[-1]["headers"]["Authorization"] == "Bearer abcdefgh"


async def test_redirects_have_a_bound(world: World, tools: Toolbox) -> None:
    for _ in range(6):
        world.reply(302, headers={"Location": "/again"})
    outcome = await perform(HttpWork(url=world.url), context_of(tools))
    assert (outcome.phase, len(world.requests)) == ("Failed", 6)
    assert "stopped after 5 redirects" in outcome.message


async def test_credentials_stay_where_they_belong(world: World, tools: Toolbox) -> None:
    elsewhere = world.url.replace("127.0.0.1", "localhost")
    world.reply(302, headers={"Location": f"{elsewhere}/other"})
    work = HttpWork(url=world.url, headers=[("Authorization", "Bearer abcdefgh"), ("X-Plain", "1")])
    outcome = await perform(work, context_of(tools))
    assert outcome.phase == "Succeeded"
    assert "Authorization" not in world.requests[1]["headers"]
    assert world.requests[1]["headers"]["X-Plain"] == "1"


async def test_an_answer_beyond_the_bound_is_a_failure(world: World) -> None:
    async with open_toolbox(ActionSettings(allow_loopback=True, answer_bytes=1000)) as tools:
        world.reply(200, "x" * 1001)
        outcome = await perform(HttpWork(url=world.url), context_of(tools))
    assert outcome.phase == "Failed"
    assert "larger than 1000 bytes" in outcome.message


async def test_an_answer_too_large_for_a_result_is_left_out_and_says_so(world: World) -> None:
    async with open_toolbox(ActionSettings(allow_loopback=True, result_bytes=100)) as tools:
        world.reply(200, "x" * 101)
        outcome = await perform(HttpWork(url=world.url), context_of(tools))
    assert (outcome.phase, outcome.result) == ("Succeeded", None)
    assert "too large for a result" in outcome.message


async def test_secrets_do_not_come_back(world: World, tools: Toolbox) -> None:
    world.reply(200, 'you sent "s3cr3t-token-1"', {"Set-Cookie": "session=hush"})
    work = HttpWork(url=world.url, headers=[("Authorization", "Bearer s3cr3t-token-1")])
    outcome = await perform(work, context_of(tools))
    assert "s3cr3t" not in repr(outcome)
    assert "hush" not in repr(outcome)
    assert outcome.result == 'you sent "***"'


async def test_bytes_that_are_no_text_become_text(world: World, tools: Toolbox) -> None:
    from aiohttp import web

    async def binary(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\xff\xfe\x00", content_type="application/octet-stream")

    world.replies.append(binary)
    outcome: Any = await perform(HttpWork(url=world.url), context_of(tools))
    assert outcome.phase == "Succeeded"
    assert isinstance(outcome.result, str)
