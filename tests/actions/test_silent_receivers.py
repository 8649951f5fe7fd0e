"""A receiver that takes the connection and then says nothing: every action ends at its bound, and says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from exeunt.actions import ActionSettings, open_toolbox, perform
from exeunt.engine.facts.work import HttpWork, PluginWork
from tests.actions.conftest import context_of

SOURCE = {"secretKeyRef": {"name": "a", "key": "b"}}
BOUNDS: dict[str, Any] = {"smtp_timeout": 0.3, "notify_timeout": 0.3, "plugin_timeout": 0.3, "cleanup_timeout": 0.3}


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """HOST:PORT of one."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    yield f"{host}:{port}"
    server.close()


def works(address: str) -> dict[str, HttpWork | PluginWork]:
    """Each action with this address as its receiver."""
    url = f"http://{address}/"
    objects = {"endpoint": url, "region": "us-east-1", "access_key_id": "AK1"}
    clean = {
        "http": [url],
        "nats": [{"url": f"nats://{address}", "streams": ["a"]}],
        "objects": [{"url": "s3://bucket/p", "options": objects, "optionsFrom": {"secret_access_key": SOURCE}}],
        "databases": [{"url": f"mysql://bot@{address}/a", "prefix": "run_", "tables": ["run_1"]}],
    }
    found: dict[str, HttpWork | PluginWork] = {"http": HttpWork(url=url, timeout_seconds=0.3)}
    found |= {f"cleanup.{name}": PluginWork(name="cleanup", arguments={name: what}) for name, what in clean.items()}
    arguments = {
        "email": {"to": "a@b.c", "from": "a@b.c", "subject": "s", "body": "b", "server": f"smtp://{address}"},
        "notify": {"targets": [f"json://{address}"], "body": "x"},
        "webhook": {"url": url, "timeoutSeconds": 0.3},
        "slack": {"webhook": url, "text": "x"},
        "pushgateway": {"url": url, "job": "j"},
        "grafana": {"url": url},
        "hello": {},
    }
    return found | {name: PluginWork(name=name, arguments=what) for name, what in arguments.items()}


OWN_BOUND = [name for name in works("h:1") if name not in {"slack", "pushgateway", "grafana"}]


@pytest.mark.parametrize("name", OWN_BOUND)
async def test_an_action_ends_at_its_own_bound(silent: str, name: str) -> None:
    outcome = await act(silent, name)
    assert outcome.phase == "Failed"  # which a retryStrategy tries again
    words = ("within 0.3 s", "does not answer", "timed out")
    assert any(word in outcome.message for word in words), outcome.message


@pytest.mark.parametrize("name", works("h:1"))
async def test_the_deadline_of_a_step_ends_every_action(silent: str, name: str) -> None:
    outcome = await act(silent, name, timeout_seconds=0.1)
    assert outcome.phase == "Failed"
    assert outcome.message == "Step exceeded its deadline of 0.1 s"


async def act(address: str, name: str, **facts: Any) -> Any:
    async def look_up(*_: str) -> str:
        return "s3cret-of-store"

    host = address.partition(":")[0]
    settings = ActionSettings(
        allow_loopback=True, allow_hosts=frozenset({host}), plugins={"hello": f"http://{address}"}, **BOUNDS
    )
    async with asyncio.timeout(20), open_toolbox(settings, secret=look_up) as tools:
        return await perform(works(address)[name], context_of(tools, **facts))
