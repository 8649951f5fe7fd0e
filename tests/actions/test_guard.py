"""Actions reach the world, not the machine that they run on nor a cloud's metadata."""

from __future__ import annotations

import pytest

from exeunt.actions import ActionSettings, open_toolbox, perform
from exeunt.actions.guard import AddressGuard
from exeunt.engine.facts.work import HttpWork, PluginWork
from tests.actions.conftest import World, context_of

FORBIDDEN = [
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "::ffff:127.0.0.1",
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "100.100.100.200",
    "168.63.129.16",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "255.255.255.255",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_addresses_that_are_refused(address: str) -> None:
    assert AddressGuard().why_not("some.host", address) is not None


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "10.1.2.3", "192.168.0.9"]
)
def test_addresses_that_are_let_through(address: str) -> None:
    assert AddressGuard().why_not("some.host", address) is None


def test_private_addresses_can_be_refused() -> None:
    assert AddressGuard(allow_private=False).why_not("db", "10.1.2.3") is not None


def test_a_local_cluster_allows_loopback_but_no_metadata() -> None:
    guard = AddressGuard(allow_loopback=True)
    assert guard.why_not("localhost", "127.0.0.1") is None
    assert guard.why_not("x", "169.254.169.254") is not None


def test_named_hosts_are_let_through() -> None:
    guard = AddressGuard(allow_hosts={"Proxy.internal", "169.254.1.1"})
    assert guard.why_not("proxy.internal", "127.0.0.1") is None
    assert guard.why_not("x", "169.254.1.1") is None


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]"]
)
async def test_no_spelling_of_loopback_gets_through(world: World, host: str) -> None:
    port = world.url.rpartition(":")[2]
    async with open_toolbox(ActionSettings()) as tools:
        outcome = await perform(HttpWork(url=f"http://{host}:{port}/"), context_of(tools))
    assert outcome.phase == "Error"
    assert world.requests == []


async def test_a_redirect_to_a_forbidden_place_is_not_followed(world: World) -> None:
    port = world.url.rpartition(":")[2]
    world.reply(302, headers={"Location": "http://169.254.169.254/latest/meta-data/"})
    async with open_toolbox(ActionSettings(allow_hosts=frozenset({"localhost"}))) as tools:
        outcome = await perform(HttpWork(url=f"http://localhost:{port}/"), context_of(tools))
    assert outcome.phase == "Error"
    assert "link-local" in outcome.message


async def test_a_notification_to_loopback_is_refused_too(world: World) -> None:
    port = world.url.rpartition(":")[2]
    async with open_toolbox(ActionSettings()) as tools:
        work = PluginWork(name="notify", arguments={"targets": [f"json://localhost:{port}/"], "body": "x"})
        outcome = await perform(work, context_of(tools))
    assert outcome.phase == "Failed"
    assert "loopback" in outcome.message
    assert world.requests == []


async def test_a_notification_does_not_follow_a_redirect_to_a_forbidden_place(world: World) -> None:
    port = world.url.rpartition(":")[2]
    world.reply(302, headers={"Location": "http://169.254.169.254/inner"})
    async with open_toolbox(ActionSettings(allow_hosts=frozenset({"localhost"}))) as tools:
        work = PluginWork(name="notify", arguments={"targets": [f"json://localhost:{port}/"], "body": "x"})
        outcome = await perform(work, context_of(tools))
    assert outcome.phase == "Failed"
    assert [r["path"] for r in world.requests] == ["/"]
