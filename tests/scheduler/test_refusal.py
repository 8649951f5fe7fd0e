"""What is wrong with a submission is told in terms of the request."""

from __future__ import annotations

from typing import Any

import pytest

from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from tests.scheduler.test_codes import said
from tests.scheduler.test_service import HELLO

pytestmark = pytest.mark.services

GOOD = HELLO.replace("generateName: hello-", "name: good")
BAD = GOOD.replace("name: good", "name: bad").replace("entrypoint: main", "entrypoint: nowhere")


@pytest.mark.parametrize(
    ("more", "fields"),
    [
        ({"documents": [("a", GOOD), ("b", BAD)]}, ["documents[1].spec.entrypoint"]),
        ({"documents": [("a", BAD), ("a", GOOD)]}, ["documents[0].spec.entrypoint"]),
        ({"documents": [("", GOOD), ("", BAD)]}, ["documents[1].spec.entrypoint"]),
        ({"documents": [("a", GOOD), ("b", "a: [")]}, ["documents[1].text"]),
        ({"documents": [("a", GOOD)], "name": "No Name"}, ["name"]),
        ({"documents": [("a", GOOD)], "generate_name": "No Name"}, ["generate_name"]),
        ({"documents": [("a", GOOD)], "entrypoint": "nowhere"}, ["entrypoint"]),
        ({"documents": [("a", GOOD)], "labels": {"a b": "c"}}, ["labels"]),
        ({"documents": []}, ["documents"]),
    ],
)
async def test_a_violation_names_the_field_of_the_request(
    stub: rpc.WorkflowServiceAsyncStub, more: dict[str, Any], fields: list[str]
) -> None:
    documents = [pb.Document(file=file, text=text) for file, text in more.pop("documents")]
    code, told, _ = await said(stub.SubmitWorkflow(pb.SubmitWorkflowRequest(documents=documents, **more)))
    assert (code, told) == ("INVALID_ARGUMENT", fields)


async def test_a_problem_of_lint_names_its_document(stub: rpc.WorkflowServiceAsyncStub) -> None:
    documents = [pb.Document(file="same", text=text) for text in (GOOD, BAD)]
    [problem] = (await stub.LintWorkflow(pb.LintWorkflowRequest(documents=documents))).problems
    assert (problem.document, problem.path) == (1, "spec.entrypoint")
