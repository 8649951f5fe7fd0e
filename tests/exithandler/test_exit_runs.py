"""What is owed is done: obligations in the log become exit runs, through kills, bad manifests and cancellations."""

from __future__ import annotations

import json
import time

import pytest

from exeunt.cloudevents import STREAM
from exeunt.engine import decide
from exeunt.engine.commands.inputs import AttemptEnded, Input
from exeunt.engine.facts import commit
from exeunt.engine.facts.events import Event, HookCancelled, HookDue, HookSkipped, Reopened
from exeunt.exithandler.ledger import ExitFilter
from exeunt.journal.subjects import commit_subject
from exeunt.journal.wire import connect
from tests.exithandler.conftest import Handlers, Main, World, obligation_of
from tests.nats_server import NatsServer


def workflow(*templates: str) -> str:
    """A manifest with these templates, each a line of YAML flow."""
    lines = "\n".join(f"    - {t}" for t in templates)
    return (
        "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {generateName: wf-}\n"
        f"spec:\n  entrypoint: main\n  onExit: bye\n  templates:\n    - {{name: main, suspend: {{}}}}\n{lines}\n"
    )


def call(url: str, name: str = "bye", body: str = "{{workflow.name}} {{workflow.status}}") -> str:
    """A template that posts something."""
    return f'{{name: {name}, http: {{url: "{url}", method: POST, body: "{body}"}}}}'


async def test_a_handler_that_is_owed_is_done_and_told(main: Main, handlers: Handlers, world: World) -> None:
    handler = await handlers.start()
    owed = await main.owe(workflow(call(f"{world.url}/bye")))
    outcome = await main.result(owed)
    assert (outcome.state, outcome.phase) == ("succeeded", "Succeeded")
    assert [r["body"] for r in world.requests] == [f"{owed.name} Failed"]
    record = await handler.ledger.get(owed.hook_id)
    assert (record.state, record.error, record.workflow, record.hook) == ("succeeded", "", owed.name, "exit")
    assert [(a.phase, a.error) for a in record.attempts] == [("Succeeded", "")]
    assert record.attempts[0].answer["status"] == 200


async def test_what_was_owed_before_the_start_is_done(main: Main, handlers: Handlers, world: World) -> None:
    owed = [await main.owe(workflow(call(world.url))) for _ in range(5)]
    await handlers.start()
    for obligation in owed:
        assert (await main.result(obligation)).state == "succeeded"
    assert len(world.requests) == 5


async def test_a_handler_in_the_middle_goes_on_after_a_kill_with_the_same_key(
    main: Main, handlers: Handlers, world: World
) -> None:
    steps = "{name: bye, steps: [[{name: a, template: one}], [{name: b, template: two}]]}"
    text = workflow(steps, call(f"{world.url}/one", "one"), call(f"{world.url}/two", "two"))
    first = await handlers.start()
    world.reply(200, "done")
    world.reply_never()
    owed = await main.owe(text)
    await world.arrived(2)
    await handlers.kill(first)
    second = await handlers.start()
    assert (await main.result(owed)).state == "succeeded"
    assert [r["path"] for r in world.requests] == ["/one", "/two", "/two"]
    keys = [r["headers"]["Idempotency-Key"] for r in world.requests]
    assert keys[1] == keys[2] != keys[0]
    record = await second.ledger.get(owed.hook_id)
    assert record is not None
    assert [(a.node, a.phase) for a in record.attempts] == [("a", "Succeeded"), ("b", "Error"), ("b", "Succeeded")]
    assert record.attempts[1].error.startswith("lost with who did it"), "what may have been done is told of"


async def test_a_closed_handler_is_not_done_again_after_a_restart(main: Main, handlers: Handlers, world: World) -> None:
    first = await handlers.start()
    owed = await main.owe(workflow(call(world.url)))
    await main.result(owed)
    await handlers.kill(first)
    await handlers.start()
    again = await main.owe(workflow(call(world.url)))
    await main.result(again)
    assert len(main.results[owed.hook_id]) == 1
    assert len(world.requests) == 2


async def test_a_failing_handler_is_tried_as_often_as_it_says_and_then_failed(
    main: Main, handlers: Handlers, world: World
) -> None:
    handler = await handlers.start()
    for _ in range(2):
        world.reply(503)
    retried = call(world.url).replace("{name: bye,", '{name: bye, retryStrategy: {limit: "1"},')
    owed = await main.owe(workflow(retried))
    outcome = await main.result(owed)
    assert (outcome.state, outcome.phase) == ("failed", "Failed")
    record = await handler.ledger.get(owed.hook_id)
    assert record is not None
    assert [a.error for a in record.attempts] == ["received non-2xx response code: 503"] * 2
    assert "503" in record.error


async def test_what_cannot_be_carried_out_is_parked_and_holds_up_nobody(
    main: Main, handlers: Handlers, world: World
) -> None:
    handler = await handlers.start()
    text = workflow(call(world.url))
    missing = await main.owe(text, template="nowhere")
    gone = obligation_of(1000, "0" * 32)
    await main.write(gone.uid, [HookDue(obligation=gone)])
    await main.write("uid-broken", [], data=b"\xc1 this is no commit")
    good = await main.owe(text)
    assert (await main.result(good)).state == "succeeded"
    assert (await main.result(missing)).state == "parked"
    lost = await main.result(gone)
    assert (lost.state, lost.phase) == ("parked", "Error")
    assert "manifest is gone" in lost.message
    states = {}
    async with handler.ledger.watching(ExitFilter()) as records:
        async for told in records:
            if told.record is not None:
                states[told.record.uid] = told.record.state
            if len(states) == 4 and "running" not in states.values():
                break
    assert states == {good.uid: "succeeded", missing.uid: "parked", gone.uid: "parked", "uid-broken": "parked"}


async def test_an_event_that_may_not_follow_parks_its_run_and_no_other(
    main: Main, handlers: Handlers, world: World, nats_server: NatsServer
) -> None:
    """Met while an exit handler reads the log (`exeunt.engine.facts.transitions`)."""
    first = await handlers.start()
    world.reply_never()
    spoilt = await main.owe(workflow(call(world.url)))
    await world.arrived()
    world.reply_never()
    sound = await main.owe(workflow(call(world.url)))
    await world.arrived(2)
    run = first.runs.runs[spoilt.hook_id]
    assert run.driver is not None
    await run.driver.settled()
    number = run.commits.durable + 1
    await handlers.kill(first)
    illegal = commit.encode(time.time(), [Reopened(replay=1)])  # of a run that is under way
    nc = await connect(nats_server.url, "test")
    subject = commit_subject(run.family, "c")
    await nc.jetstream().publish(subject, illegal, headers={"Exeunt-Commit": str(number)})
    await nc.close()
    second = await handlers.start()
    assert (await main.result(sound)).state == "succeeded"
    record = await second.ledger.get(spoilt.hook_id)
    assert record is not None
    assert record.state == "parked"
    assert record.error == "its commits cannot be read: exit run: Reopened cannot follow running"


async def test_a_cancelled_handler_closes_as_cancelled(main: Main, handlers: Handlers, world: World) -> None:
    await handlers.start()
    world.reply_never()
    owed = await main.owe(workflow(call(world.url)))
    await world.arrived()
    await main.write(owed.uid, [HookCancelled(hook_id=owed.hook_id, reason="the workflow was terminated")])
    assert (await main.result(owed)).state == "cancelled"


async def test_a_handler_cancelled_while_nobody_was_there_is_never_started(
    main: Main, handlers: Handlers, world: World
) -> None:
    owed = await main.owe(workflow(call(world.url)))
    await main.write(owed.uid, [HookCancelled(hook_id=owed.hook_id, reason="terminated")])
    await handlers.start()
    assert (await main.result(owed)).state == "cancelled"
    assert world.requests == []


async def test_a_skipped_handler_stands_in_the_ledger_with_the_reason(main: Main, handlers: Handlers) -> None:
    handler = await handlers.start()
    skipped = obligation_of(77, "0" * 32)
    await main.write(skipped.uid, [HookSkipped(obligation=skipped, why="its condition was false")])
    async with handler.ledger.watching(ExitFilter(namespace="ns", workflow=skipped.name)) as records:
        record = await anext(told.record async for told in records if told.record is not None)
    assert (record.state, record.error) == ("skipped", "its condition was false")


async def test_slow_handlers_hold_up_nobody(main: Main, handlers: Handlers, world: World) -> None:
    await handlers.start()
    for _ in range(30):
        world.reply_never()
    for _ in range(30):
        await main.owe(workflow(call(world.url)))
    await world.arrived(30)
    quick = await main.owe(workflow(call(world.url)))
    assert (await main.result(quick)).state == "succeeded"


async def test_subscribers_hear_of_it_before_the_main_run_does(main: Main, handlers: Handlers, world: World) -> None:
    await handlers.start()
    owed = await main.owe(workflow(call(world.url)))
    await main.result(owed)
    js = main.journal.wire.nc.jetstream()
    info = await js.stream_info(STREAM)
    events = [await js.get_msg(STREAM, i) for i in range(1, info.state.messages + 1)]
    seen = [(e.subject, (e.headers or {})["ce-id"]) for e in events]
    assert seen == [
        (f"exeunt.events.ns.{owed.uid}.exit.started", f"{owed.uid}.{owed.hook_id}.1"),
        (f"exeunt.events.ns.{owed.uid}.exit.succeeded", f"{owed.uid}.{owed.hook_id}.2"),
    ]
    body = json.loads(events[1].data or b"")
    assert (body["id"], body["hook"], body["state"]) == (owed.hook_id, "exit", "succeeded")


async def test_nats_going_away_in_the_middle_loses_nothing(
    main: Main, handlers: Handlers, world: World, nats_server: NatsServer
) -> None:
    await handlers.start()
    owed = [await main.owe(workflow(call(world.url))) for _ in range(20)]
    await nats_server.restart()
    for obligation in owed:
        assert (await main.result(obligation)).state == "succeeded"
    assert {len(r) for r in main.results.values()} == {1}


async def test_a_paused_former_owner_writes_nothing_more(main: Main, handlers: Handlers, world: World) -> None:
    first = await handlers.start()
    world.reply_never()
    owed = await main.owe(workflow(call(world.url)))
    await world.arrived()
    await handlers.start()
    assert (await main.result(owed)).state == "succeeded"
    assert first.runs.runs == {}
    assert len(main.results[owed.hook_id]) == 1


async def test_the_duration_of_an_exit_run_is_its_own(main: Main, handlers: Handlers, world: World) -> None:
    handler = await handlers.start()
    owed = await main.owe(workflow(call(world.url)), due_at=time.time() - 3600)
    await main.result(owed)
    record = await handler.ledger.get(owed.hook_id)
    assert record is not None
    assert record.due_at == owed.due_at
    assert record.due_at < record.started_at <= record.finished_at


async def test_a_fault_in_the_engine_parks_one_run_and_no_other(
    main: Main, handlers: Handlers, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = await handlers.start()
    world.reply(418)
    sound = decide.decide

    def faulty(run: decide.Run, given: Input, now: float) -> list[Event]:
        if isinstance(given, AttemptEnded) and given.outcome.phase == "Failed":
            raise RuntimeError("a fault")
        return sound(run, given, now)

    monkeypatch.setattr(decide, "decide", faulty)
    owed = await main.owe(workflow(call(world.url)))
    outcome = await main.result(owed)
    assert (outcome.state, outcome.message) == ("parked", "RuntimeError: a fault")
    other = await main.owe(workflow(call(world.url)))
    assert (await main.result(other)).state == "succeeded"
    monkeypatch.undo()
    record = await handler.ledger.get(owed.hook_id)
    assert record is not None
    await handler.replayer.replay(record, "r1", again=False)
    assert (await main.result(owed, 2)).state == "succeeded"


async def test_a_run_goes_on_from_its_snapshot_with_all_its_attempts(
    main: Main, handlers: Handlers, world: World
) -> None:
    steps = "{name: bye, steps: [[{name: a, template: one}], [{name: b, template: two}]]}"
    text = workflow(steps, call(f"{world.url}/one", "one"), call(f"{world.url}/two", "two"))
    first = await handlers.start()
    world.reply(200)
    world.reply_never()
    owed = await main.owe(text)
    await world.arrived(2)
    run = first.runs.runs[owed.hook_id]
    assert run.driver is not None
    first.runs.snapshot([run.family])
    await run.driver.settled()
    await first.ledger.close()
    await handlers.kill(first)
    second = await handlers.start()
    assert second.runs.runs[owed.hook_id].record.commits > 2
    assert (await main.result(owed)).state == "succeeded"
    assert [r["path"] for r in world.requests] == ["/one", "/two", "/two"]
    record = await second.ledger.get(owed.hook_id)
    assert record is not None
    assert [(a.node, a.phase) for a in record.attempts] == [("a", "Succeeded"), ("b", "Error"), ("b", "Succeeded")]
    assert record.attempts[1].error.startswith("lost with who did it"), "what may have been done is told of"
