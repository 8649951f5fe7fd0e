"""A member of a join arrives in two writes, of which either may be the last before the exit handler dies."""

from __future__ import annotations

import asyncio
import json

import pytest

from exeunt.exithandler.start import ChildStarter
from exeunt.join import ARRIVE, decode_arrival, uid_of_join
from exeunt.launch import START, read_start_message
from tests.exithandler.conftest import Handlers, Main, World
from tests.exithandler.test_exit_runs import workflow

KEY = "report of monday"


def joining(member: str = "") -> str:
    """A workflow whose handler joins."""
    join = {"key": KEY, "of": ["a1", "a2"], **({"as": member} if member else {})}
    trigger = {"template": "b", "join": join, "parameters": {"day": "monday", "who": member}}
    return workflow(f"{{name: bye, plugin: {{trigger: {json.dumps(trigger)}}}}}")


def told(main: Main) -> list[tuple[str, str]]:
    return [(message.to, message.id) for message in main.messages]


@pytest.mark.parametrize("done", [0, 1], ids=["before anything is said", "between the two"])
async def test_what_dies_in_the_middle_is_said_again_under_the_same_names(
    main: Main, handlers: Handlers, world: World, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    reached = asyncio.Event()

    async def never(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(ChildStarter, "arrive" if done else "begin", never)
        first = await handlers.start()
        owed = await main.owe(joining("a2"))
        async with asyncio.timeout(10):
            await reached.wait()
        await main.until(lambda: len(main.messages) == done)
        await handlers.kill(first)
    await handlers.start()
    outcome = await main.result(owed)
    assert outcome.state == "succeeded"
    uid = uid_of_join("ns", KEY)
    assert json.loads(str(outcome.outputs["result"]))["uid"] == uid
    assert len({known_by for to, known_by in told(main) if to == START}) == 1
    assert len({known_by for to, known_by in told(main) if to == ARRIVE}) == 1
    arrival = decode_arrival(main.messages[-1].data)
    assert (arrival.uid, arrival.member) == (uid, "a2")
    assert json.loads(arrival.parameters) == {"day": "monday", "who": "a2"}


async def test_all_members_say_the_same_of_the_run_and_each_its_own(main: Main, handlers: Handlers) -> None:
    await handlers.start()
    for member in ("a1", "a2"):
        assert (await main.result(await main.owe(joining(member)))).state == "succeeded"
    starts = [read_start_message(m.data) for m in main.messages if m.to == START]
    assert {(one.uid, one.name) for one in starts} == {(uid_of_join("ns", KEY), starts[0].name)}
    assert len({known_by for to, known_by in told(main) if to == ARRIVE}) == 2


async def test_a_member_is_known_by_its_name(main: Main, handlers: Handlers) -> None:
    await handlers.start()
    outcome = await main.result(await main.owe(joining(), name="a2"))
    assert (outcome.state, decode_arrival(main.messages[-1].data).member) == ("succeeded", "a2")
    other = await main.result(await main.owe(joining(), name="a3"))
    assert (other.state, "is none of the join's members a1, a2" in other.message) == ("failed", True)
