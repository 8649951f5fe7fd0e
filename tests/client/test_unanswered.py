"""A call that is not answered says so in words: where it went, how long it waited, and what is not known."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exeunt.client import Client, ClientError
from exeunt.v1 import workflow_service_pb2_grpc as rpc


class Silent(rpc.WorkflowServiceServicer):
    """Never answers."""

    async def SubmitWorkflow(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name is that of the call
        await asyncio.Event().wait()

    TerminateWorkflow = ListWorkflows = SubmitWorkflow


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    server = grpc.aio.server()
    rpc.add_WorkflowServiceServicer_to_server(Silent(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with Client(f"127.0.0.1:{port}", token="", timeout=0.2, patience=0.2) as calls:
        yield calls
    await server.stop(None)


async def test_a_submission_may_have_been_taken(client: Client) -> None:
    with pytest.raises(ClientError) as raised:
        await client.submit([("f", "")], request_id="mine")
    assert str(raised.value) == (
        f"{client.server} did not answer within 0.2 s; it is not known whether this was taken: "
        "ask again with --request-id mine, which does it once"
    )


async def test_so_may_a_verb_and_what_only_reads_says_no_more(client: Client) -> None:
    with pytest.raises(ClientError, match=r"whether this was taken: look before you ask again$"):
        await client.terminate("w")
    with pytest.raises(ClientError, match=r"did not answer within 0\.2 s$"):
        await client.list_workflows()


async def test_the_wrong_service_is_named_with_the_right_one(client: Client) -> None:
    told = f"^{client.server} does not know this call: .* of an exit handler \\(--exit-server, EXEUNT_EXIT_SERVER\\)$"
    with pytest.raises(ClientError, match=told):
        await client.list_exits()
    with pytest.raises(ClientError, match=told):
        await anext(client.watch_exits())


async def test_where_nothing_listens_a_local_cluster_has_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with Client("127.0.0.1:1", token="", patience=0.2) as calls:
        with pytest.raises(ClientError, match=r"^no connection to 127\.0\.0\.1:1: .*Connection refused"):
            await calls.submit([("f", "")])
        known = tmp_path / "exeunt" / "clusters"
        known.mkdir(parents=True)
        entry = {"data_dir": str(tmp_path), "kept": True, "started": 1.0}
        (known / "one.json").write_text(json.dumps(entry))
        (tmp_path / "cluster.json").write_text(json.dumps({"scheduler": {"address": "127.0.0.1:1"}}))
        with pytest.raises(ClientError, match=rf"; the logs of this local cluster are in {tmp_path}/logs$"):
            await calls.list_workflows()
