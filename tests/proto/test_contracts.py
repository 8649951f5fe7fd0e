"""The rules that our contracts follow: AIP's and Buf's, as far as they can be checked from the descriptors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import grpc_tools
import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

ROOT = Path(__file__).parents[2]
UPPER = re.compile(r"[A-Z][A-Z0-9_]*")
LOWER = re.compile(r"[a-z][a-z0-9_]*")
CAMEL = re.compile(r"[A-Z][A-Za-z0-9]*")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[descriptor_pb2.FileDescriptorProto]:
    out = tmp_path_factory.mktemp("proto") / "set.pb"
    names = sorted(str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto").rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    code = protoc.main(
        ["protoc", f"-I{ROOT / 'proto'}", f"-I{well_known}", "--include_source_info", f"-o{out}", *names]
    )
    assert code == 0
    return list(descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file)


def comments(file: descriptor_pb2.FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {tuple(loc.path): loc.leading_comments.strip() for loc in file.source_code_info.location}


def messages(
    file: descriptor_pb2.FileDescriptorProto,
) -> Iterator[tuple[tuple[int, ...], descriptor_pb2.DescriptorProto]]:
    todo = [((4, i), m) for i, m in enumerate(file.message_type)]
    while todo:
        path, message = todo.pop()
        yield path, message
        todo += [((*path, 3, i), m) for i, m in enumerate(message.nested_type) if not m.options.map_entry]


def test_everything_has_a_comment(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    missing = []
    for file in files:
        said = comments(file)
        for i, service in enumerate(file.service):
            wanted = {(6, i): service.name}
            wanted |= {(6, i, 2, j): f"{service.name}.{m.name}" for j, m in enumerate(service.method)}
            missing += [name for path, name in wanted.items() if not said.get(path)]
        for path, message in messages(file):
            wanted = {path: message.name}
            wanted |= {(*path, 2, j): f"{message.name}.{f.name}" for j, f in enumerate(message.field)}
            for j, enum in enumerate(message.enum_type):
                wanted[*path, 4, j] = enum.name
                wanted |= {(*path, 4, j, 2, k): v.name for k, v in enumerate(enum.value)}
            missing += [name for p, name in wanted.items() if not said.get(p)]
    assert not missing


def test_names_follow_the_style(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    wrong = []
    for file in files:
        assert file.package in ("exeunt.v1", "exeunt.internal.v1")
        assert file.name.startswith(file.package.replace(".", "/") + "/")
        assert LOWER.fullmatch(Path(file.name).stem)
        wrong += [s.name for s in file.service if not s.name.endswith("Service")]
        for _, message in messages(file):
            wrong += [] if CAMEL.fullmatch(message.name) else [message.name]
            wrong += [f"{message.name}.{f.name}" for f in message.field if not LOWER.fullmatch(f.name)]
            for enum in message.enum_type:
                wrong += [v.name for v in enum.value if not UPPER.fullmatch(v.name)]
                first = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper()
                wrong += [] if enum.value[0].name == f"{first}_UNSPECIFIED" else [enum.name]
    assert not wrong


def test_requests_are_of_their_method_alone(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    requests = [(f".{f.package}.{m.name}Request", m.input_type) for f in files for s in f.service for m in s.method]
    assert [name for name, given in requests if given != name] == []
    assert len({given for _, given in requests}) == len(requests)


def test_what_changes_something_can_be_repeated(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    """AIP-155: a mutating request carries a request_id."""
    mutating = re.compile(r"(Submit|Stop|Terminate|Suspend|Resume|Set|Delete|Replay|Retry|Resubmit|Apply|Create)")
    fields = {m.name: {f.name for f in m.field} for file in files for _, m in messages(file)}
    lacking = [
        m.name
        for file in files
        for s in file.service
        for m in s.method
        if mutating.match(m.name) and "request_id" not in fields[f"{m.name}Request"]
    ]
    assert not lacking


def test_lists_are_paged(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    """AIP-158."""
    fields = {m.name: {f.name for f in m.field} for file in files for _, m in messages(file)}
    for name in [m.name for f in files for s in f.service for m in s.method if m.name.startswith("List")]:
        assert {"page_size", "page_token"} <= fields[f"{name}Request"]
        assert "next_page_token" in fields[f"{name}Response"]
