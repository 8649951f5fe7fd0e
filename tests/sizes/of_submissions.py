"""The rows of what is submitted and asked for: a hair below is taken, a hair above is refused with the limit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from exeunt.client import Client, ClientError
from exeunt.scheduler import checks
from exeunt.scheduler.checks import Wishes
from exeunt.scheduler.submit import SubmissionChecker
from exeunt.service.errors import RpcError
from exeunt.service.worker import Workers
from exeunt.v1 import exit_service_pb2 as exits
from exeunt.v1 import workflow_service_pb2 as pb
from tests.sizes.calls import client, ended, run, submit, until
from tests.sizes.manifests import BYE, Tree, sh, steps, text, values, workflow
from tests.sizes.walk import Services, row

WAITS = {"name": "main", "suspend": {}}


def small(**more: Any) -> str:
    return text(workflow("small", sh("main", "true"), **more))


def with_items(items: str) -> str:
    """YAML with these items of a loop."""
    loop = steps("main", {"name": "x", "template": "bye", "withItems": "ITEMS"})
    return text(workflow("items", loop, BYE)).replace('"ITEMS"', items)


@row("A manifest")
async def manifest(most: int, services: Services) -> None:
    empty = small() + "\n# "
    assert not await services.refused(empty + "x" * (most - len(empty)))
    assert f"may have {most:,}" in await services.refused(empty + "x" * (most - len(empty) + 1))


@row("How deep a manifest is nested")
async def nesting(most: int, services: Services) -> None:
    around = 7  # the manifest, spec, templates, main, its steps, their group, the step
    below, above = (with_items("[" * (n - around) + "]" * (n - around)) for n in (most, most + 1))
    assert not await services.refused(below)
    assert f"deeper than {most} levels" in await services.refused(above)


@row("Aliases in a manifest")
async def aliases(most: int, services: Services) -> None:
    assert not await services.refused(with_items("[&a x" + ", *a" * most + "]"))
    assert f"more than {most:,} aliases" in await services.refused(with_items("[&a x" + ", *a" * (most + 1) + "]"))


@row("A value of a workflow's parameter")
async def parameter(most: int, services: Services) -> None:
    assert not await services.refused(small(arguments=values(1, most)))
    assert f"at most {most:,}" in await services.refused(small(arguments=values(1, most + 1)))


@row("All labels of a workflow together")
async def labels(most: int, services: Services) -> None:
    await _together("labels", most, services)


@row("All annotations of a workflow together")
async def annotations(most: int, services: Services) -> None:
    await _together("annotations", most, services)


async def _together(field: str, most: int, services: Services) -> None:
    assert not await services.refused(small(metadata={field: {"a": "x" * (most - 1)}}))
    assert f"{most:,} are allowed" in await services.refused(small(metadata={field: {"a": "x" * most}}))


@row("Documents in one submission")
async def documents(most: int, services: Services) -> None:
    assert not await services.refused("\n---\n".join([small()] * most))
    said = await services.refused("\n---\n".join([small()] * (most + 1)))
    assert f"{most + 1} workflows in one submission; at most {most}" in said


@row("Workflows that are not finished")
async def open_workflows(_: int, services: Services) -> None:
    most, narrow = int(services.narrow.environ["EXEUNT_OPEN_WORKFLOWS"]), services.narrow
    waiting = workflow("waits", WAITS)
    async with client(narrow) as calls:
        taken = (await calls.submit([("f", text(*[waiting] * most))])).workflows
        with pytest.raises(ClientError, match=f"{most} workflows are open and the limit is {most}"):
            await submit(calls, text(waiting))
        for one in taken:
            await calls.terminate(one.name)
        for one in taken:
            await ended(calls, one.uid)
        assert await submit(calls, small())


@row("How many workflows may start each other in a chain")
async def chain(most: int, services: Services) -> None:
    assert not await services.refused(small(), labels={"exeunt.dev/depth": str(most)})
    said = await services.refused(small(), labels={"exeunt.dev/depth": str(most + 1)})
    assert f"the bound is {most}" in said
    assert "CHAIN_TOO_DEEP" in said


@row("How many descendants of one workflow a service starts within an hour")
async def descendants(_: int, services: Services) -> None:
    most = int(services.narrow.environ["EXEUNT_CHAIN_DESCENDANTS"])
    child = workflow("child", sh("main", "true"))
    own = {"name": "main", "plugin": {"trigger": {"workflow": child}}}
    loop = steps("main", {"name": "t", "template": "own", "withSequence": {"count": str(most + 2)}})
    root = workflow("root", loop, {**own, "name": "own"}, {**own, "name": "bye"}, onExit="bye")
    found = await run(services.narrow, root)
    tried = [node for node in found["status"]["nodes"].values() if node.get("templateName") == "own"]
    tried = [node for node in tried if node["type"] != "StepGroup"]
    refused = [node for node in tried if node["phase"] != "Succeeded"]
    assert (len(tried), len(refused)) == (most + 2, 2)
    assert all(f"the bound is {most}" in node["message"] for node in refused)
    assert found["status"]["finalization"] == "Succeeded", "an exit handler counts what it starts itself"


@row("A name, and a namespace")
async def names(most: int, services: Services) -> None:
    for field in ("name", "namespace"):
        assert not await services.refused(small(metadata={field: "x" * most}))
        assert f"{most} are allowed" in await services.refused(small(metadata={field: "x" * (most + 1)}))


@row("A `generateName`")
async def generate_name(most: int, services: Services) -> None:
    assert not await services.refused(small(metadata={"generateName": "x" * most}))
    assert f"at most {most} " in await services.refused(small(metadata={"generateName": "x" * (most + 1)}))


@row("All values of a Secret together")
async def secret(most: int, services: Services) -> None:
    below, above = (
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "large"}, "stringData": {"k": "x" * size}}
        for size in (most, most + 1)
    )
    assert not await services.refused(json.dumps(below))
    assert f"{most:,}" in await services.refused(json.dumps(above))


@row("How deep stored templates refer to each other")
async def references(most: int, services: Services) -> None:
    def template(number: int, last: int) -> Tree:
        ref = {"name": "s", "templateRef": {"name": f"link-{last}-{number + 1}", "template": "t"}}
        held = {"name": "t", "steps": [[ref]]} if number < last else sh("t", "true")
        made = workflow("link", held)
        del made["spec"]["entrypoint"]
        return {**made, "kind": "WorkflowTemplate", "metadata": {"name": f"link-{last}-{number}"}}

    for depth, deep in ((most, False), (most + 1, True)):
        async with client(services.cluster) as calls:
            await submit(calls, text(*(template(number, depth) for number in range(1, depth + 1))))
        ref = {"name": "s", "templateRef": {"name": f"link-{depth}-1", "template": "t"}}
        said = await services.refused(text(workflow("refers", steps("main", ref))))
        assert ("deep" in said) == deep, said
        assert deep or not said


@row("Reading and checking one submission")
async def checking(_: int, services: Services) -> None:
    """With less time and less memory: what takes so much would take them from the tests beside it too."""
    large = text(workflow("large", sh("main", "true"), *(sh(f"t{i}", "true") for i in range(8000))))
    assert not await _checked(small(), seconds=15.0, memory=1024**3)
    assert "longer than 0.2 s of processor time" in await _checked(large, seconds=0.2, memory=1024**3)
    assert "TOO_LARGE_TO_CHECK" in await _checked(large, seconds=15.0, memory=80 * 1024**2)


async def _checked(document: str, *, seconds: float, memory: int) -> str:
    """What a checker with these bounds says against a document."""
    store: Any = None  # nothing that is stored is asked for
    workers = Workers(checks.__name__, count=1, seconds=seconds, memory=memory)
    try:
        await SubmissionChecker(store, workers).check([("f", document)], Wishes())
    except RpcError as error:
        return f"{error.reason} {error}" if error.reason == "TOO_LARGE_TO_CHECK" else ""
    finally:
        await workers.close()
    return ""


@row("A request's id")
async def request_id(most: int, services: Services) -> None:
    assert not await services.refused(small(), request_id="x" * most)
    assert f"at most {most}" in await services.refused(small(), request_id="x" * (most + 1))


@row("The reason that an operator gives (`--message`)")
async def message(most: int, services: Services) -> None:
    for method, kind, chosen in (
        ("SetNodes", pb.SetNodesRequest, {"node_field_selector": "displayName=wait"}),
        ("StopWorkflow", pb.StopWorkflowRequest, {"node_field_selector": "displayName=wait"}),
        ("StopWorkflow", pb.StopWorkflowRequest, {}),
        ("SuspendWorkflow", pb.SuspendWorkflowRequest, {}),
        ("ResumeWorkflow", pb.ResumeWorkflowRequest, {}),
        ("TerminateWorkflow", pb.TerminateWorkflowRequest, {}),
        ("DeleteWorkflow", pb.DeleteWorkflowRequest, {}),
    ):
        async with _waits(services) as (_, name):
            request = kind(name=name, message="x" * (most + 1), **chosen)
            assert f"at most {most:,}" in await services.says(method, request)
            assert "at most" not in await services.says(method, kind(name=name, message="x" * most, **chosen))


@row("A parameter's value of `node set` and `retry`")
async def set_value(most: int, services: Services) -> None:
    def given(size: int) -> list[pb.ParameterValue]:
        return [pb.ParameterValue(name="p", value="x" * size)]

    async with _waits(services) as (calls, name):
        chosen = {"name": name, "node_field_selector": "displayName=wait"}
        said = await services.says("SetNodes", pb.SetNodesRequest(output_parameters=given(most + 1), **chosen))
        assert f"at most {most:,}" in said
        assert not await services.says("SetNodes", pb.SetNodesRequest(output_parameters=given(most), **chosen))
        again = await calls.terminate(name)
        await ended(calls, again.uid)
        said = await services.says("RetryWorkflow", pb.RetryWorkflowRequest(name=name, parameters=given(most + 1)))
        assert f"at most {most:,}" in said
        assert not await services.says("RetryWorkflow", pb.RetryWorkflowRequest(name=name, parameters=given(most)))


@asynccontextmanager
async def _waits(services: Services) -> AsyncIterator[tuple[Client, str]]:
    """The name of a workflow with a node that waits, and a client; in the end it is terminated."""
    supplied = {"parameters": [{"name": "p", "valueFrom": {"supplied": {}, "default": "none"}}]}
    wait = {"name": "wait", "suspend": {}, "outputs": supplied}
    made = workflow("waits", steps("main", {"name": "wait", "template": "wait"}), wait)
    async with client(services.cluster) as calls:
        [taken] = (await calls.submit([("f", text(made))])).workflows
        await until(calls, taken.uid, _is_waiting)
        yield calls, taken.name
        with suppress(ClientError):  # it may have ended
            await calls.terminate(taken.name)


def _is_waiting(found: Tree) -> bool:
    return any(node["type"] == "Suspend" and node["phase"] == "Running" for node in found["status"]["nodes"].values())


@row("The message of `exits cancel`")
async def cancel_message(most: int, services: Services) -> None:
    await _cancel(services, "message", most)


@row("Who it is that asks (`--by`)")
async def cancel_by(most: int, services: Services) -> None:
    await _cancel(services, "by", most)


async def _cancel(services: Services, field: str, most: int) -> None:
    for size, said in ((most, "NOT_FOUND"), (most + 1, f"at most {most:,} may be")):
        request: Any = exits.CancelExitRequest(id="nobody", **{field: "x" * size})  # type: ignore[arg-type]
        assert said in await services.exits_say("CancelExit", request)


@row("A selector of labels or nodes, and the name of a node")
async def selector(most: int, services: Services) -> None:
    """One that is as long as can be holds up nobody, as one far above the limit does not."""
    for size, said in ((most, ""), (most + 1, f"selector has {most + 1:,} characters"), (2**20, "selector has")):
        request = pb.ListWorkflowsRequest(selector=("a," * size)[: size - 1] + "a")
        assert said in await services.says("ListWorkflows", request)
    for method, request in (
        ("ResumeWorkflow", pb.ResumeWorkflowRequest(name="nobody", node_field_selector="=" * (most + 1))),
        ("GetLogs", pb.GetLogsRequest(name="nobody", node="x" * (most + 1))),
    ):
        assert f"at most {most:,} may be" in await services.says(method, request)


@row("Any other name, id, page token or position in a request")
async def words(most: int, services: Services) -> None:
    for size, said in ((most, "NOT_FOUND"), (most + 1, f"at most {most:,} may be")):
        assert said in await services.says("GetWorkflow", pb.GetWorkflowRequest(name="x" * size))
        assert said in await services.exits_say("GetExit", exits.GetExitRequest(id="x" * size))
    long = "x" * (most + 1)
    for request in (pb.ListWorkflowsRequest(page_token=long), pb.ListExecutorsRequest(page_token=long)):
        method = type(request).__name__.removesuffix("Request")
        assert "page_token has" in await services.says(method, request)
