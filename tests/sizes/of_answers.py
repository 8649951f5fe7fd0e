"""The rows of answers: what one message, one part and one page hold."""

from __future__ import annotations

import json
from typing import Any

from exeunt.exithandler import api as exits
from exeunt.exithandler.record import ExitRecord
from exeunt.scheduler import view
from exeunt.scheduler.lists import Line, Page
from exeunt.scheduler.view import WorkflowView
from exeunt.service.bounds import LISTED_BYTES
from exeunt.service.errors import RpcError
from exeunt.v1 import workflow_service_pb2 as pb
from tests.sizes.walk import Services, row


def _seen(size: int) -> WorkflowView:
    """A workflow whose JSON has so many bytes, half of them in a node."""
    head: dict[str, Any] = {"metadata": {}, "spec": {}, "status": {"message": ""}}
    node = b'"' + b"x" * (size // 2) + b'"'
    found = WorkflowView(head, {"n": node}, 1)
    head["status"]["message"] = "m" * (size - len(view.text_of(found)))
    return found


def _record(size: int) -> ExitRecord:
    record = ExitRecord("id", error="")
    record.error = "e" * ((size - exits.message(record, exits.text_of(record), []).ByteSize()) // 2)
    return record


@row("A workflow, or a record of the ledger, in one message")
async def one_message(most: int, services: Services) -> None:
    assert len(view.whole(_seen(most)).json) == most
    assert _refused(lambda: view.whole(_seen(most + 1))) == "WORKFLOW_TOO_LARGE"
    assert "truncated" not in json.loads(view.fitted(_seen(most), most).json)
    cut = view.fitted(_seen(most + 1), most)
    assert json.loads(cut.json)["truncated"]
    assert len(cut.json) <= most
    assert exits.whole(_record(most - 100)).ByteSize() <= most
    assert _refused(lambda: exits.whole(_record(most + 100))) == "EXIT_TOO_LARGE"


def _refused(call: Any) -> str:
    try:
        call()
    except RpcError as error:
        return error.reason
    return ""


@row("A part of a workflow or record")
async def part(most: int, services: Services) -> None:
    for size, count in ((most, 1), (most + 1, 2)):
        node = json.dumps("x" * (size - 8)).encode()  # {"n":"…"}
        sent = [one for one in view.parts({}, [("n", node)], 1) if one.nodes_json]
        assert len(sent) == count
        assert [one.unfinished for one in sent] == [True] * (count - 1) + [False]


@row("A workflow, or a record of the ledger, in a list")
async def line(most: int, services: Services) -> None:
    for size, cut in ((most, False), (most + 1, True)):
        tree = {"spec": {"a": "x" * (size - 17)}}  # {"spec":{"a":"…"}}
        assert ("truncated" in json.loads(view.listed(tree, 1, pb.WORKFLOW_VIEW_OBJECT).json)) == cut
    assert "truncated" not in json.loads(exits.listed(ExitRecord("id", error="e" * (most - 1000))).json)
    assert json.loads(exits.listed(ExitRecord("id", error="e" * (most + 1))).json)["truncated"] == ["error"]


@row("A page of a list")
async def page(most: int, services: Services) -> None:
    half = pb.Workflow(json="x" * (most // 2 - 5))
    half.json += "x" * (most // 2 - half.ByteSize())
    for more, taken in (("", True), ("x", False)):
        found = Page(1000)
        assert found.take(Line((1, ""), half))
        assert found.take(Line((0, ""), pb.Workflow(json=half.json + more))) == taken
    one = Page(1)
    assert [one.take(Line((0, ""), pb.Workflow())) for _ in range(2)] == [True, False]
    assert Page(5).take(Line((0, ""), pb.Workflow(json="x" * (most + 1)))), "one at least"
    assert most + 4 * LISTED_BYTES <= 4 * 2**20, "what clients take by default, with a last record"
