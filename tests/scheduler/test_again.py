"""A retry comes back from the archive, and a join's arrivals find its run: also when the scheduler dies in between."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from exeunt.client import Client, ClientError
from exeunt.driver.driver import Driver
from exeunt.engine.commands.inputs import Input, RetryRun
from exeunt.engine.facts.events import RunStarted
from exeunt.internal.v1 import step_pb2
from exeunt.join import ARRIVE, FORMAT, Arrival, JoinRequest, arrival_id, encode_arrival, manifest, uid_of_join
from exeunt.journal.blobs import digest
from exeunt.journal.subjects import MailboxMessage, partition_of
from exeunt.language.decode import decode
from exeunt.language.load import Document
from exeunt.language.manifest import Bundle, Workflow
from exeunt.launch import START, encode_bundle, start_message
from exeunt.scheduler.parts import Scheduler
from exeunt.words import finalizations, phases
from tests.nats_server import NatsServer
from tests.scheduler.rig import Outcome, final, hands, scheduling, succeeds
from tests.scheduler.test_service import submit

pytestmark = pytest.mark.services

BAD = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: bad}
spec:
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {name: a, template: good}
    - - {name: b, template: bad}
  - {name: good, container: {image: alpine, command: [do], args: [good]}}
  - {name: bad, container: {image: alpine, command: [do], args: [exit, "3"]}}
"""


def mended(seen: list[str]) -> Outcome:
    """Everything succeeds; what is done is written down."""

    def outcome(step: step_pb2.Step) -> step_pb2.StepResult | None:
        seen.append(step.container.args[0])
        del step.container.args[:]
        return succeeds(step)

    return outcome


async def failed(parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        await submit(client, BAD)
        assert (await final(client, "bad"))["status"]["phase"] == "Failed"
        await parts.archiver.drained()


async def test_two_retries_at_once_are_one_and_a_refusal(parts: Scheduler, client: Client) -> None:
    await failed(parts, client)
    answers = await asyncio.gather(
        *(client.retry("bad", request_id=id) for id in ("one", "two", "one")), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, ClientError)]
    assert {error.reason for error in refused} == {"WORKFLOW_RUNNING"}
    assert 1 <= len(refused) <= 2
    seen: list[str] = []
    async with hands(parts, mended(seen)):
        tree = await final(client, "bad")
    assert (tree["status"]["phase"], tree["status"]["runAttempt"], seen) == ("Succeeded", 1, ["exit"])


async def test_a_retry_at_the_very_end_waits_for_the_archive(parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        await submit(client, BAD)
        async for change in client.watch("bad"):
            if phases.word(change.workflow.phase) == "Failed":
                break
        await client.retry("bad")
        tree = await final(client, "bad")
    assert (tree["status"]["phase"], tree["status"]["runAttempt"]) == ("Failed", 1)
    assert [w.name for w in await client.list_workflows()] == ["bad"]


@pytest.mark.parametrize("when", ["before it is opened", "once it is open"])
async def test_a_scheduler_that_dies_over_a_retry(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    asked, ask = asyncio.Event(), Driver.ask

    def dies(self: Driver, command: Input) -> asyncio.Future[None]:
        if isinstance(command, RetryRun):
            asked.set()
            return asyncio.get_running_loop().create_future()
        return ask(self, command)

    async with scheduling(nats_server.url, tmp_path) as first, Client(first.address) as client:
        await failed(first, client)
        if when == "before it is opened":
            monkeypatch.setattr(Driver, "ask", dies)
            retrying = asyncio.create_task(client.retry("bad", request_id="r"))
            await asked.wait()
            retrying.cancel()
            monkeypatch.undo()
        else:
            await client.retry("bad", request_id="r")
    async with scheduling(nats_server.url, tmp_path) as second, Client(second.address) as client:
        if when == "before it is opened":
            assert phases.word((await client.get("bad")).phase) == "Failed", "as if nobody had asked"
            await second.archiver.drained()
        seen: list[str] = []
        async with hands(second, mended(seen)):
            await client.retry("bad", request_id="r")
            tree = await final(client, "bad")
            await second.archiver.drained()
        assert (tree["status"]["phase"], tree["status"]["runAttempt"], seen) == ("Succeeded", 1, ["exit"])
        assert [(w.name, phases.word(w.phase)) for w in await client.list_workflows()] == [("bad", "Succeeded")]


async def test_what_was_retried_can_be_deleted_and_its_name_is_free(parts: Scheduler, client: Client) -> None:
    await failed(parts, client)
    async with hands(parts):
        await client.retry("bad")
        await final(client, "bad")
        assert await client.delete("bad")
        await submit(client, BAD)
        await final(client, "bad")


class Joining:
    """The exit handler's side of a join: messages as they come out of the mailbox of the join's partition."""

    def __init__(self, parts: Scheduler) -> None:
        self.uid = uid_of_join("default", "k")
        self._core = parts

    async def start(self) -> None:
        request = JoinRequest("k", ["a1", "a2"], trigger={"template": "none"})
        workflow = decode(Document("-", manifest(request, "default"), 0))
        assert isinstance(workflow, Workflow)
        content = encode_bundle(Bundle(workflow=workflow))
        await self._core.projections.blobs.put(content)
        begun = RunStarted(self.uid, "join-k", "default", digest(content))
        await self._core.runs._message(self.message(START, self.uid, start_message(begun, time.time())))

    async def arrive(self, member: str) -> None:
        arrival = Arrival(FORMAT, self.uid, member, '{"p": "1"}', "default/w")
        await self._core.runs._message(self.message(ARRIVE, arrival_id(arrival), encode_arrival(arrival)))

    def message(self, to: str, id: str, data: bytes) -> MailboxMessage:
        return MailboxMessage(1, partition_of(self.uid), "m", to, id, data)


async def test_arrivals_end_their_own_nodes_once_and_in_any_order(
    parts: Scheduler, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    joining = Joining(parts)
    finished: list[str] = []
    monkeypatch.setattr(parts.journal, "finish", lambda what: finished.append(what.id))
    await joining.arrive("a2")
    assert finished == [], "its run is not there yet: the message keeps its place in the log"
    await joining.start()
    for member in ("a2", "a2", "a3"):
        await joining.arrive(member)
    assert len(finished) == 4, "what comes again, or is no member, is done with"
    tree = await client.get("join-k")
    assert phases.word(tree.phase) == "Running"
    await joining.arrive("a1")
    tree = await client.get("join-k")
    assert (phases.word(tree.outcome), finalizations.word(tree.finalization)) == ("Succeeded", "Running"), (
        "its handler, which starts the child, is owed"
    )
    [owed] = parts.runs.by_uid[joining.uid].run.state.hooks
    assert owed.obligation is not None
    given = [owed.obligation.scope[f"workflow.outputs.parameters.{name}"] for name in ("a1", "a2")]
    assert given == ['{"p": "1"}'] * 2
