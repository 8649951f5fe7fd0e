"""Replays: a closed exit run runs again with its inputs, whatever is left of it, and never twice for one request."""

from __future__ import annotations

import json

import pytest

from exeunt.chains import ROOT_LABEL
from exeunt.cloudevents import STREAM
from exeunt.engine.commands.inputs import Rejected
from exeunt.engine.facts.events import HookSkipped
from exeunt.exithandler.ledger import ExitFilter
from exeunt.exithandler.parts import ExitHandler
from exeunt.exithandler.record import ExitRecord
from exeunt.launch import START, read_start_message
from exeunt.replayed import REPLAYED, decode_replayed
from tests.exithandler.conftest import Handlers, Main, World, obligation_of
from tests.exithandler.test_exit_runs import call, workflow


async def record_of(handler: ExitHandler, id: str) -> ExitRecord:
    record = await handler.ledger.get(id)
    assert record is not None
    return record


async def test_a_failed_handler_succeeds_when_it_is_replayed(main: Main, handlers: Handlers, world: World) -> None:
    handler = await handlers.start()
    world.reply(500)
    owed = await main.owe(workflow(call(world.url)))
    assert (await main.result(owed)).state == "failed"
    await handler.replayer.replay(await record_of(handler, owed.hook_id), "r1", again=False)
    assert (await main.result(owed, 2)).state == "succeeded"
    record = await record_of(handler, owed.hook_id)
    assert (record.state, record.replays, record.error) == ("succeeded", 1, "")
    assert [(a.phase, a.replay) for a in record.attempts] == [("Failed", 0), ("Succeeded", 1)]
    assert [r["body"] for r in world.requests] == [f"{owed.name} Failed"] * 2
    keys = [r["headers"]["Idempotency-Key"] for r in world.requests]
    assert keys[0] == keys[1]


async def test_again_makes_new_keys_each_time(main: Main, handlers: Handlers, world: World) -> None:
    handler = await handlers.start()
    owed = await main.owe(workflow(call(world.url)))
    await main.result(owed)
    for i in range(2):
        await handler.replayer.replay(await record_of(handler, owed.hook_id), f"r{i}", again=True)
        await main.result(owed, i + 2)
    keys = {r["headers"]["Idempotency-Key"] for r in world.requests}
    assert len(keys) == 3
    assert (await record_of(handler, owed.hook_id)).requests == ["r0", "r1"]


async def test_a_replay_after_a_restart_and_one_that_is_interrupted(
    main: Main, handlers: Handlers, world: World
) -> None:
    first = await handlers.start()
    world.reply(500)
    owed = await main.owe(workflow(call(world.url)))
    await main.result(owed)
    await handlers.kill(first)
    second = await handlers.start()
    world.reply_never()
    await second.replayer.replay(await record_of(second, owed.hook_id), "r1", again=False)
    await world.arrived(2)
    await handlers.kill(second)
    third = await handlers.start()
    assert (await main.result(owed, 2)).state == "succeeded"
    record = await record_of(third, owed.hook_id)
    assert (record.state, record.replays, record.requests) == ("succeeded", 1, ["r1"])
    await handlers.kill(third)
    await handlers.start()
    other = await main.owe(workflow(call(world.url)))
    await main.result(other)
    assert len(main.results[owed.hook_id]) == 2


async def test_a_parked_handler_is_refused_while_its_cause_stands(main: Main, handlers: Handlers) -> None:
    handler = await handlers.start()
    gone = await main.owe(workflow("{name: other, suspend: {}}"), bundle="0" * 32)
    await main.result(gone)
    with pytest.raises(Rejected, match="manifest is gone"):
        await handler.replayer.replay(await record_of(handler, gone.hook_id), "r1", again=False)


async def test_a_running_or_skipped_handler_is_not_replayed(main: Main, handlers: Handlers, world: World) -> None:
    handler = await handlers.start()
    world.reply_never()
    owed = await main.owe(workflow(call(world.url)))
    await world.arrived()
    with pytest.raises(Rejected, match="is running"):
        await handler.replayer.replay(await record_of(handler, owed.hook_id), "r1", again=False)
    skipped = obligation_of(78, "0" * 32)
    await main.write(skipped.uid, [HookSkipped(obligation=skipped, why="its condition was false")])
    async with handler.ledger.watching(ExitFilter(workflow=skipped.name)) as records:
        record = await anext(told.record async for told in records if told.record is not None)
    assert isinstance(record, ExitRecord)
    with pytest.raises(Rejected, match="its condition was false"):
        await handler.replayer.replay(record, "r2", again=False)


async def test_events_of_a_replay_have_ids_of_their_own(main: Main, handlers: Handlers, world: World) -> None:
    handler = await handlers.start()
    owed = await main.owe(workflow(call(world.url)))
    await main.result(owed)
    await handler.replayer.replay(await record_of(handler, owed.hook_id), "r1", again=False)
    await main.result(owed, 2)
    js = main.journal.wire.nc.jetstream()
    count = (await js.stream_info(STREAM)).state.messages
    ids = [((await js.get_msg(STREAM, i)).headers or {})["ce-id"] for i in range(1, count + 1)]
    assert ids == [f"{owed.uid}.{owed.hook_id}.{n}" for n in (1, 2, 3, 4)]


async def test_a_trigger_starts_its_child_once(main: Main, handlers: Handlers) -> None:
    child = {
        "metadata": {"generateName": "child-", "labels": {"team": "a"}},
        "spec": {"entrypoint": "m", "templates": [{"name": "m", "suspend": {}}]},
    }
    trigger = f"{{name: bye, plugin: {{trigger: {{workflow: {json.dumps(child)}}}}}}}"
    handler = await handlers.start()
    owed = await main.owe(workflow(trigger))
    outcome = await main.result(owed)
    assert outcome.state == "succeeded", outcome.message
    record = await record_of(handler, owed.hook_id)
    await handler.replayer.replay(record, "r1", again=False)
    await main.result(owed, 2)
    await main.until(lambda: bool(main.messages))
    started = [read_start_message(m.data) for m in main.messages if m.to == START]
    assert len({s.uid for s in started}) == 1
    assert started[0].name.startswith("child-")
    assert (started[0].namespace, started[0].parent, started[0].depth) == ("ns", owed.uid, 1)
    assert record.children == [{"name": started[0].name, "uid": started[0].uid, "namespace": "ns"}]
    assert {m.id for m in main.messages if m.to == START} == {started[0].uid}
    told = [decode_replayed(m.data) for m in main.messages if m.to == REPLAYED]
    assert [(one.hook_id, one.replay, one.phase, one.handler) for one in told] == [(owed.hook_id, 1, "Succeeded", True)]


async def test_a_chain_of_triggers_has_an_end(main: Main, handlers: Handlers) -> None:
    spec = "{entrypoint: m, templates: [{name: m, suspend: {}}]}"
    trigger = f"{{name: bye, plugin: {{trigger: {{workflow: {{metadata: {{generateName: c-}}, spec: {spec}}}}}}}}}"
    await handlers.start(chain_depth=3)
    owed = await main.owe(workflow(trigger), labels={"exeunt.dev/depth": "3"})
    outcome = await main.result(owed)
    assert outcome.state == "failed"
    assert "the bound is 3" in outcome.message


async def test_what_descends_from_one_is_bounded_in_its_breadth(main: Main, handlers: Handlers) -> None:
    spec = "{entrypoint: m, templates: [{name: m, suspend: {}}]}"
    trigger = f"{{plugin: {{trigger: {{workflow: {{metadata: {{generateName: c-}}, spec: {spec}}}}}}}}}"
    await handlers.start(chain_descendants=2)
    outcomes = []
    for _ in range(3):
        owed = await main.owe(workflow(trigger.replace("{plugin", "{name: bye, plugin", 1)), labels={ROOT_LABEL: "r"})
        outcomes.append(await main.result(owed))
    assert [outcome.state for outcome in outcomes] == ["succeeded", "succeeded", "failed"]
    assert "2 workflows that descend from r have been started within an hour; the bound is 2" in outcomes[-1].message


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("{entrypoint: nowhere, templates: [{name: m, suspend: {}}]}", "nowhere"),
        ("{entrypont: m}", "entrypont"),
        ("{workflowTemplateRef: {name: missing}}", "missing"),
    ],
)
async def test_a_child_that_cannot_run_is_a_failure_that_says_why(
    main: Main, handlers: Handlers, spec: str, words: str
) -> None:
    await handlers.start()
    trigger = f"{{name: bye, plugin: {{trigger: {{workflow: {{metadata: {{generateName: c-}}, spec: {spec}}}}}}}}}"
    owed = await main.owe(workflow(trigger))
    outcome = await main.result(owed)
    assert outcome.state == "failed"
    assert words in outcome.message
    assert main.messages == []
