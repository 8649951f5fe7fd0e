"""Every road out, and every spelling of a place that actions must not reach: nobody connects there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from exeunt.actions import ActionSettings, open_toolbox, perform
from exeunt.engine.facts.work import HttpWork, PluginWork
from tests.actions.conftest import context_of

LOOPBACK = [
    "127.0.0.1", "127.1", "127.0.1", "127.8.8.8", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0.0.1", "0177.0.0.1",
    "017700000001", "0177.1", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "[::1]", "[0:0:0:0:0:0:0:1]",
    "[::0001]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]", "[::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "１２７.０.０.１", "１２７.1", "①②⑦.0.0.1", "127。0。0。1", "127．0．0．1",
    "127｡0｡0｡1", "ｌｏｃａｌｈｏｓｔ", "ⓛocalhost", "loc\u00adalhost", "0", "0.0.0.0", "[::]", "0x0", "00",
    "%31%32%37.0.0.1", "127%2e0%2e0%2e1",
]  # fmt: skip
METADATA = [
    "169.254.169.254", "169.254.43518", "2852039166", "0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376",
    "169.254.169.254.", "１６９.254.169.254", "169。254。169。254", "①⑥⑨.254.169.254", "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "[fe80::a9fe:a9fe]", "[fd00:ec2::254]",
    "[fd20:ce::254]", "100.100.100.200", "168.63.129.16", "192.0.0.192", "169.254.170.2", "255.255.255.255",
    "224.0.0.1",
]  # fmt: skip


def http(host: str) -> Any:
    return HttpWork(url=f"http://{host}/", timeout_seconds=10)


def of(name: str, **arguments: Any) -> Any:
    return PluginWork(name=name, arguments=arguments)


def database(kind: str, host: str) -> Any:
    wanted = {"url": f"{kind}://u:p@{host}/d", "prefix": "tmp_", "tables": ["tmp_a"]}
    return of("cleanup", databases=[wanted])


MAIL = {"to": ["a@example.com"], "from": "b@example.com", "subject": "x", "body": "x"}
KEY = {"access_key_id": "x"}
BUCKET = {
    "url": "s3://bucket/scratch",
    "optionsFrom": {"secret_access_key": {"secretKeyRef": {"name": "s", "key": "k"}}},
}
ROADS = {
    "http": http,
    "webhook": lambda host: of("webhook", url=f"http://{host}/"),
    "slack": lambda host: of("slack", webhook=f"http://{host}/services/x", text="x"),
    "notify": lambda host: of("notify", targets=[f"json://{host}/"], body="x"),
    "email": lambda host: PluginWork(name="email", arguments=MAIL | {"server": f"smtp://{host}"}),
    "pushgateway": lambda host: of("pushgateway", url=f"http://{host}", job="x", metrics=[{"name": "a", "value": 1}]),
    "grafana": lambda host: of("grafana", url=f"http://{host}", text="x"),
    "cleanup http": lambda host: of("cleanup", http=[{"url": f"http://{host}/"}]),
    "cleanup nats": lambda host: of("cleanup", nats=[{"url": f"nats://{host}", "streams": ["x"]}]),
    "cleanup mysql": lambda host: database("mysql", host),
    "cleanup postgresql": lambda host: database("postgresql", host),
    "cleanup objects": lambda host: of("cleanup", objects=[BUCKET | {"options": KEY | {"endpoint": f"http://{host}"}}]),
}


async def secret(namespace: str, name: str, key: str) -> str:
    return "x"


@pytest.fixture
async def doors() -> AsyncIterator[tuple[int, list[Any]]]:
    """A port that is open on both loopback addresses; who comes in is noted."""
    came: list[Any] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer.get_extra_info("sockname"))
        writer.close()

    servers = [await asyncio.start_server(note, "127.0.0.1", 0)]
    port = servers[0].sockets[0].getsockname()[1]
    servers.append(await asyncio.start_server(note, "::1", port))
    yield port, came
    for server in servers:
        server.close()


def test_there_are_sixty_spellings() -> None:
    assert len({*LOOPBACK, *METADATA}) >= 60


@pytest.mark.parametrize("road", ROADS)
async def test_no_road_leads_to_a_forbidden_place(road: str, doors: tuple[int, list[Any]]) -> None:
    port, came = doors
    reached: list[str] = []
    async with open_toolbox(ActionSettings(), secret=secret) as tools:
        for host in (*LOOPBACK, *METADATA):
            async with asyncio.timeout(20):
                outcome = await perform(ROADS[road](f"{host}:{port}"), context_of(tools))
            tried = "onnect call failed" in outcome.message or "refused the conn" in outcome.message
            if outcome.phase == "Succeeded" or tried:
                reached.append(f"{host}: {outcome.phase} {outcome.message}")
    assert reached == []
    assert came == []


@pytest.mark.parametrize("road", ROADS)
async def test_each_road_leads_there_when_it_is_allowed(road: str, doors: tuple[int, list[Any]]) -> None:
    """So that the test above can fail."""
    port, came = doors
    async with open_toolbox(ActionSettings(allow_loopback=True), secret=secret) as tools:
        await perform(ROADS[road](f"127.0.0.1:{port}"), context_of(tools))
    assert came
