"""A client of Exeunt on generated code alone, as another language would have it: submit, watch, exit records, stop.

It needs grpcio, grpcio-status and, for the generated code (generate.sh), grpcio-tools. EXEUNT_SERVER and
EXEUNT_EXIT_SERVER say HOST:PORT, EXEUNT_TOKEN the token. In Python `exeunt.client` does all of this for you.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from exeunt.v1 import (
    exit_service_pb2,
    exit_service_pb2_grpc,
    phase_pb2,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)

PATIENCE = 30.0  # seconds for which a call is repeated while a service is away
OPTIONS = (("grpc.max_receive_message_length", 32 << 20), ("grpc.keepalive_time_ms", 30_000))
NIGHTLY = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: nightly-}
spec:
  entrypoint: backup
  onExit: tell
  templates:
    - name: backup
      container: {image: debian, command: [sh, -c], args: ["echo saving; sleep 3; echo saved"]}
    - name: tell
      container: {image: debian, command: [echo, "{{workflow.status}}"]}
"""
WAITING = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: waiting-}
spec:
  entrypoint: wait
  templates: [{name: wait, suspend: {}}]
"""

token = os.environ.get("EXEUNT_TOKEN", "")
METADATA = (("authorization", f"Bearer {token}"),) if token else ()
workflows = workflow_service_pb2_grpc.WorkflowServiceStub(
    grpc.insecure_channel(os.environ["EXEUNT_SERVER"], options=OPTIONS)
)
exits = exit_service_pb2_grpc.ExitServiceStub(grpc.insecure_channel(os.environ["EXEUNT_EXIT_SERVER"], options=OPTIONS))


def main() -> None:
    """One workflow to its end, and one that is stopped."""
    first = submit(NIGHTLY)
    print(f"submitted {first.name}")
    last = watch(first.uid)
    ended = phase_pb2.Finalization.Name(last.finalization)
    print(f"{last.name} is {phase_pb2.Phase.Name(last.phase)}: its handlers {ended}")
    show_exits(first.uid)

    second = submit(WAITING)
    # Name and uid have to fit, so this is never another workflow that has taken the name. Somebody else may have
    # changed it: then it is for us to look again, which the revision asks for.
    refused(grpc.StatusCode.ABORTED, lambda: stop(second, revision=second.revision + 1000))
    stop(second)
    last = watch(second.uid)
    print(f"{last.name} is {phase_pb2.Phase.Name(last.phase)}: {last.message}")
    refused(grpc.StatusCode.FAILED_PRECONDITION, lambda: stop(second))


def call(method: Any, request: Any) -> Any:
    """Repeats what UNAVAILABLE has answered, with the same request, for as long as patience lasts."""
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            return method(request, timeout=30, metadata=METADATA)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > ends:
                raise
            time.sleep(pause(error))


def pause(error: Any) -> float:
    """How long a service asks to wait, in seconds."""
    for detail in details(error):
        if isinstance(detail, error_details_pb2.RetryInfo):
            return detail.retry_delay.ToNanoseconds() / 1e9
    return 0.2


def details(error: Any) -> list[Any]:
    """What an error says beside its code: messages of google.rpc."""
    status = rpc_status.from_call(error)
    found = []
    for packed in status.details if status is not None else ():
        detail = getattr(error_details_pb2, packed.TypeName().removeprefix("google.rpc."))()
        packed.Unpack(detail)
        found.append(detail)
    return found


def submit(manifest: str) -> Any:
    """The same request id again gives the same workflow: whoever does not know whether a call arrived repeats it."""
    request = workflow_service_pb2.SubmitWorkflowRequest(
        request_id=str(uuid.uuid4()), documents=[workflow_service_pb2.Document(text=manifest)]
    )
    [workflow] = call(workflows.SubmitWorkflow, request).workflows
    [again] = call(workflows.SubmitWorkflow, request).workflows
    assert again.uid == workflow.uid
    return workflow


def stop(workflow: Any, revision: int = 0) -> Any:
    """Ends the main run of this workflow and no other; at any revision when 0."""
    request = workflow_service_pb2.StopWorkflowRequest(
        request_id=str(uuid.uuid4()),
        name=workflow.name,
        uid=workflow.uid,
        revision=revision,
        by="example",
        message="not needed any more",
    )
    return call(workflows.StopWorkflow, request)


def watch(uid: str) -> Any:
    """Shows each node as it changes, and gives the workflow as it is at its end.

    A stream that breaks is opened again at the last position: what is known stays, unless `reset` says that it goes.
    """
    position = ""
    nodes: dict[str, str] = {}
    ends = time.monotonic() + PATIENCE
    while True:
        request = workflow_service_pb2.WatchWorkflowRequest(uid=uid, position=position)
        try:
            for change in workflows.WatchWorkflow(request, metadata=METADATA):
                ends = time.monotonic() + PATIENCE
                if change.reset:
                    print("  all of it:", flush=True)
                    nodes.clear()
                for id, node in json.loads(change.workflow.json)["status"].get("nodes", {}).items():
                    if nodes.get(id) != node["phase"]:
                        nodes[id] = node["phase"]
                        print(f"  {node['name']} {node['phase']}", flush=True)
                position = change.position
                if change.final:
                    return change.workflow
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > ends:
                raise
            print("  a break: UNAVAILABLE", flush=True)
            time.sleep(pause(error))


def show_exits(uid: str) -> None:
    """What the exit handlers of a workflow did, from the ledger."""
    request = exit_service_pb2.ListExitsRequest(uid=uid)
    while True:
        page = call(exits.ListExits, request)
        for one in page.exits:
            print(
                f"handler {one.hook}: {exit_service_pb2.Exit.State.Name(one.state)} after {one.attempt_count} attempts"
            )
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def refused(expected: grpc.StatusCode, do: Callable[[], Any]) -> None:
    """Shows what an error says beside its code."""
    try:
        do()
    except grpc.RpcError as error:
        if error.code() is not expected:
            raise
        print(error.details())
        for detail in details(error):
            if isinstance(detail, error_details_pb2.ErrorInfo):
                print(f"  {expected.name} {detail.reason} ({detail.domain})")
            elif isinstance(detail, error_details_pb2.PreconditionFailure):
                for violation in detail.violations:
                    print(f"  {violation.subject}: {violation.description}")
            elif isinstance(detail, error_details_pb2.ResourceInfo):
                print(f"  it is about the {detail.resource_type} {detail.resource_name}")
    else:
        raise SystemExit(f"{expected} was expected")


if __name__ == "__main__":
    main()
