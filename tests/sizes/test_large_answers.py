"""Workflows larger than any message: got, watched, listed, steered and deleted, by the client and by the command."""

from __future__ import annotations

import json

import grpc
import pytest

from exeunt.client import Client, interceptors
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.v1.workflow_service_pb2 import WORKFLOW_VIEW_OBJECT as OBJECT
from exeunt.words import finalizations, phases
from tests.e2e.cluster import Cluster
from tests.sizes.manifests import BYE, Tree, canary, sh, steps, text, workflow

pytestmark = [pytest.mark.services, pytest.mark.timeout(280)]

COUNT = 10_000
MESSAGE = 32 * 1024 * 1024


def fan_out() -> str:
    """A loop that is not to run, with a long condition; then a step that waits, so that it can be looked at."""
    never = f"'{'x' * 3_600}' == '{{{{item}}}}'"
    each = {"name": "s", "template": "s", "when": never, "withSequence": {"count": str(COUNT)}}
    wait = {"name": "wait", "template": "wait"}
    main = steps("main", each, wait)
    return text(workflow("large", main, sh("s", "true"), {"name": "wait", "suspend": {}}, BYE, onExit="bye"))


def client(cluster: Cluster) -> Client:
    facts = cluster.facts()
    return Client(
        facts["scheduler"]["address"], exit_server=facts["exithandler"]["address"], token=facts["token"], timeout=100
    )


def skipped(found: Tree) -> int:
    return sum(node["phase"] == "Skipped" for node in found["status"]["nodes"].values())


async def test_a_workflow_of_more_than_a_message_is_seen_steered_and_deleted(cluster: Cluster) -> None:
    [name] = cluster.submit(fan_out())
    [beside] = cluster.submit(text(canary()))
    async with client(cluster) as at:
        async for state in at.follow(name):
            waits = [n for n in state.object["status"]["nodes"].values() if n["displayName"] == "wait"]
            if waits:
                break
        assert skipped(state.object) == COUNT
        assert len(json.dumps(state.object)) > MESSAGE
        summary, whole = await at.read(name)
        assert (phases.word(summary.phase), skipped(whole)) == ("Running", COUNT)
        assert json.loads((await at.get(name)).json) == whole
        [listed] = [one for one in await at.list_workflows(view=OBJECT) if one.name == name]
        assert "nodes" not in json.loads(listed.json)["status"]
        resumed = await at.resume(name)
        assert json.loads(resumed.json)["truncated"] == ["status.nodes"]
        async for state in at.follow(name):
            last = state
        assert last.final
        assert finalizations.word(last.summary.finalization) == "Succeeded"
        assert skipped(last.object) == COUNT
        assert skipped((await at.read(name))[1]) == COUNT, "from the archive"
    assert cluster.wait(beside)["status"]["finalization"] == "Succeeded"
    await told_what_to_call_instead(cluster, name)
    for command in (["get", name, "-o", "json"], ["watch", name, "-o", "json"]):
        done = cluster.call(*command)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert skipped(found[0] if isinstance(found, list) else found) == COUNT
    for command in (["get", name], ["list"], ["logs", name]):
        assert cluster.call(*command).returncode == 0
    again = cluster.call("resubmit", name, "-o", "name")
    assert again.returncode == 0, again.stderr
    for one in (name, again.stdout.strip()):
        assert cluster.call("delete", one).returncode == 0


async def told_what_to_call_instead(cluster: Cluster, name: str) -> None:
    """Clients that want it in one message."""
    facts = cluster.facts()
    address, sending = facts["scheduler"]["address"], interceptors(facts["token"])
    async with grpc.aio.insecure_channel(address, interceptors=sending) as channel:
        stub = rpc.WorkflowServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError, match="ReadWorkflow gives it in parts"):
            await stub.GetWorkflow(pb.GetWorkflowRequest(name=name))
        with pytest.raises(grpc.aio.AioRpcError, match="ask for parts"):
            async for _ in stub.WatchWorkflow(pb.WatchWorkflowRequest(name=name)):
                pass


async def test_a_page_holds_as_many_workflows_as_a_message(cluster: Cluster) -> None:
    """Forty with a manifest of 200 KB each, and one whose manifest a list leaves out."""
    large = [sh("t", "z" * 200_000)]
    names = cluster.submit(text(*[workflow("page", {"name": "main", "suspend": {}}, *large)] * 15))
    names += cluster.submit(text(*[workflow("page", {"name": "main", "suspend": {}}, *large)] * 15))
    names += cluster.submit(text(workflow("page", {"name": "main", "suspend": {}}, sh("t", "z" * 300_000))))
    async with client(cluster) as at:
        found = {one.name: json.loads(one.json) for one in await at.list_workflows(view=OBJECT) if one.name in names}
        assert found.keys() == set(names)
        assert found[names[-1]]["truncated"] == ["spec"]
        assert not any("truncated" in found[name] for name in names[:-1])
        some = await at.list_workflows(limit=25, view=OBJECT)
        assert len(some) == 25
    assert cluster.call("delete", *names).returncode == 0
