"""Whatever is handed in: it is refused with the place and the reason, nothing starts, and the services live on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from exeunt.client import interceptors
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from tests.e2e.cluster import Cluster

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

HEAD = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {generateName: bad-}\n"
ECHO = "    container: {image: none, command: [echo], args: [hello]}\n"


def spec(templates: str, more: str = "") -> str:
    return f"{HEAD}spec:\n  entrypoint: main\n{more}  templates:\n{templates}"


def steps(*names: str, template: str = "say", when: str = "true") -> str:
    return "".join(f"      - - {{name: {n}, template: {template}, when: '{when}'}}\n" for n in names)


SAY = f"  - name: say\n{ECHO}"
MAIN = f"  - name: main\n{ECHO}"
DEEP = "[" * 100_000 + "]" * 100_000
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
LOOP = """\
  - name: main
    dag:
      tasks:
      - {name: a, template: say, depends: c}
      - {name: b, template: say, depends: a}
      - {name: c, template: say, depends: b}
"""

# name → the manifest, the line that is named, and what has to stand in the message
BAD: dict[str, tuple[str, int, str]] = {
    "no yaml": (f"{HEAD}spec: {{entrypoint: main\n", 5, "not readable as YAML"),
    "a tab": (f"{HEAD}spec:\n\tentrypoint: main\n", 5, "tab"),
    "no mapping": ("just words\n", 1, ""),
    "an unknown field": (spec(MAIN, "  entrypiont: main\n"), 6, "spec.entrypiont"),
    "an unknown field deep inside": (spec(f"{MAIN}    retryStrategy: {{limt: 3}}\n"), 9, "retryStrategy.limt"),
    "an unknown kind": (HEAD.replace("Workflow", "Workfow") + "spec: {}\n", 2, "Workfow"),
    "a field twice": (spec(MAIN, "  entrypoint: main\n"), 6, "entrypoint"),
    "a wrong type": (spec(MAIN, "  parallelism: many\n"), 6, "spec.parallelism"),
    "a list for a mapping": (f"{HEAD}spec: [a, b]\n", 4, "spec"),
    "no entrypoint of that name": (spec(SAY), 5, "spec.entrypoint"),
    "no template of that name": (spec(f"  - name: main\n    steps:\n{steps('a', template='gone')}"), 9, "gone"),
    "two templates of one name": (spec(MAIN + MAIN), 9, "main"),
    "two steps of one name": (spec(f"  - name: main\n    steps:\n{steps('a', 'a')}{SAY}"), 10, "a"),
    "a circle of tasks": (spec(LOOP + SAY), 10, "a"),
    "an unknown variable": (spec(MAIN.replace("hello", '"{{inputs.parameters.x}}"')), 8, "inputs.parameters.x"),
    "an unknown step's output": (
        spec(f"  - name: main\n    steps:\n{steps('a', when='{{steps.no.exitCode}} == 0')}{SAY}"),
        9,
        "steps.no",
    ),
    "an exit handler that is not there": (spec(MAIN, "  onExit: gone\n"), 6, "spec.onExit"),
    "a hook that is not there": (spec(MAIN, "  hooks: {exit: {template: gone}}\n"), 6, "spec.hooks.exit"),
    "nesting without end": (HEAD + f"spec: {DEEP}\n", 4, "deep"),
    "aliases of aliases": (LAUGHS, 0, "alias"),
    "ten megabytes": (spec(MAIN) + "# " + "x" * 10_000_000 + "\n", 0, ""),
    "a zero byte": (spec(MAIN.replace("hello", "he\0llo")), 8, ""),
}


@pytest.fixture(scope="module", autouse=True)
def unharmed(cluster: Cluster) -> Iterator[None]:
    """After all of it the same processes answer, and nothing was started."""
    before = {s: cluster.pids(s) for s in ("scheduler", "exithandler", "executor", "nats")}
    yield
    assert {s: cluster.pids(s) for s in before} == before, "a service died of it"
    listed = cluster.call("list", "-A", "-o", "name")
    assert listed.returncode == 0
    assert not [name for name in listed.stdout.split() if name.startswith("bad-")]


def is_said(told: str, file: Path, what: str) -> bool:
    _, line, said = BAD[what]
    place = f"{file}:{line}:" if line else f"{file}:"
    return any(one.startswith(place) and said in one for one in told.splitlines())


@pytest.mark.parametrize("what", BAD)
def test_submit_says_file_line_and_field(cluster: Cluster, tmp_path: Path, what: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD[what][0])
    done = cluster.call("submit", str(file))
    told = done.stdout + done.stderr
    assert done.returncode == 2, told[-2000:]
    assert is_said(told, file, what), told[-2000:]
    assert "Traceback" not in told
    assert len(told) < 10_000, "a bad manifest is not printed back"


def test_lint_says_it_of_all_files_at_once(cluster: Cluster, tmp_path: Path) -> None:
    files = {what: tmp_path / f"{number}.yaml" for number, what in enumerate(BAD) if what != "ten megabytes"}
    for what, file in files.items():
        file.write_text(BAD[what][0])
    done = cluster.call("lint", str(tmp_path))
    told = done.stdout + done.stderr
    assert done.returncode == 2
    assert [what for what, file in files.items() if not is_said(told, file, what)] == []


@pytest.mark.parametrize("what", BAD)
async def test_a_call_is_refused_with_the_fields_that_are_wrong(cluster: Cluster, what: str) -> None:
    text, line, said = BAD[what]
    error = await refused(cluster, pb.SubmitWorkflowRequest(documents=[pb.Document(file="bad.yaml", text=text)]))
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and len(text) > 4_000_000:
        return  # gRPC's own limit of a message
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()
    fields = violations(error)
    assert fields, "google.rpc.BadRequest says which fields"
    assert any(said in f"{f.field} {f.description}" for f in fields), fields
    if line:
        assert any(f"bad.yaml:{line}" in f"{f.field} {f.description}" for f in fields), fields


async def refused(cluster: Cluster, request: Any) -> grpc.aio.AioRpcError:
    options = [("grpc.max_send_message_length", -1)]
    facts = cluster.facts()
    address, sending = facts["scheduler"]["address"], interceptors(facts["token"])
    async with grpc.aio.insecure_channel(address, options=options, interceptors=sending) as channel:
        stub = rpc.WorkflowServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.SubmitWorkflow(request, timeout=30)
    error: grpc.aio.AioRpcError = caught.value
    return error


def violations(error: grpc.aio.AioRpcError) -> list[error_details_pb2.BadRequest.FieldViolation]:
    """What google.rpc.BadRequest in the error's details says."""
    trailing = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    found: list[error_details_pb2.BadRequest.FieldViolation] = []
    for detail in status.details:
        request = error_details_pb2.BadRequest()
        if detail.Unpack(request):
            found += request.field_violations
    return found


def test_one_bad_document_keeps_all_of_them_from_starting(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "both.yaml"
    file.write_text(f"{spec(MAIN)}---\n{spec(SAY)}")
    done = cluster.call("submit", str(file))
    assert done.returncode == 2, done.stderr
    assert f"{file}:14:" in done.stderr


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", "x" * 129),
        ("name", "Not A Name"),
        ("name", "x" * 300),
        ("namespace", "a.b"),
        ("entrypoint", "no"),
    ],
)
async def test_wrong_fields_of_a_call_are_named(cluster: Cluster, field: str, value: str) -> None:
    request = pb.SubmitWorkflowRequest(documents=[pb.Document(file="bad.yaml", text=spec(MAIN))])
    setattr(request, field, value)
    error = await refused(cluster, request)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violations(error)


def test_json_with_a_parameter_that_is_too_large_is_refused(cluster: Cluster) -> None:
    text = json.dumps(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"generateName": "bad-"},
            "spec": {
                "entrypoint": "main",
                "arguments": {"parameters": [{"name": "large", "value": "x" * 300_000}]},
                "templates": [{"name": "main", "container": {"image": "none", "command": ["true"]}}],
            },
        }
    )
    done = cluster.call("submit", "-", stdin=text)
    assert done.returncode == 2, done.stdout
    assert "spec.arguments.parameters[0]" in done.stderr
    assert "262,144" in done.stderr, done.stderr
