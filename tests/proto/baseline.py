"""exeunt.v1 as it was released, in proto/v1.json: `python -m tests.proto.baseline` (`make baseline`) writes it anew.

It is an image as buf has them, without comments, so that `buf breaking` reads it, too. It is written anew at a release
and never between: what it has is promised.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc_tools
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

PROTO = Path(__file__).parents[2] / "proto"
BASELINE = PROTO / "v1.json"
PUBLIC = "exeunt/v1"

Facts = dict[str, object]
"""What may not change, by what it is about, as in `exeunt.v1.Workflow.3`."""


def compiled(folder: Path = PROTO) -> FileDescriptorSet:
    """The public package as it is now, with what it imports."""
    names = sorted(str(path.relative_to(folder)) for path in (folder / PUBLIC).glob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as made:
        out = Path(made) / "set.pb"
        if protoc.main(["protoc", f"-I{folder}", f"-I{well_known}", "--include_imports", f"-o{out}", *names]):
            raise SystemExit(f"{folder} cannot be compiled")
        return FileDescriptorSet.FromString(out.read_bytes())


def released() -> FileDescriptorSet:
    """The public package as it was released."""
    return json_format.Parse(BASELINE.read_text(), FileDescriptorSet(), ignore_unknown_fields=True)


def image(files: FileDescriptorSet) -> str:
    """The text of the baseline. buf leaves alone what is marked as an import."""
    found = json_format.MessageToDict(files)
    for file in found["file"]:
        file["bufExtension"] = {"isImport": not file["name"].startswith(PUBLIC)}
    return json.dumps(found, indent=1) + "\n"


def facts(files: FileDescriptorSet) -> Facts:
    """All that generated code, and what travels, rests on."""
    return dict(fact for file in files.file if file.name.startswith(PUBLIC) for fact in _of_file(file))


def broken(before: Facts, now: Facts) -> list[str]:
    """What has changed or gone since; what came is none of it."""
    return [
        f"{what}: {was} is gone" if what not in now else f"{what}: {was} is {now[what]} now"
        for what, was in before.items()
        if now.get(what) != was
    ]


def _of_file(file: FileDescriptorProto) -> Iterator[tuple[str, object]]:
    yield f"{file.name} package", file.package
    yield f"{file.name} go_package", file.options.go_package
    yield f"{file.name} java_package", (file.options.java_package, file.options.java_multiple_files)
    yield from _of_messages(f"{file.name} {file.package}", file.message_type)
    yield from _of_enums(f"{file.name} {file.package}", file.enum_type)
    for service in file.service:
        yield f"{file.name} {file.package}.{service.name}", "service"
        for method in service.method:
            shape = (method.input_type, method.client_streaming, method.output_type, method.server_streaming)
            yield f"{file.name} {file.package}.{service.name}/{method.name}", shape


def _of_messages(where: str, messages: Iterable[DescriptorProto]) -> Iterator[tuple[str, object]]:
    for message in messages:
        name = f"{where}.{message.name}"
        yield name, "message"
        for field in message.field:
            yield f"{name}.{field.number}", _shape(field, message)
        yield from _of_messages(name, message.nested_type)
        yield from _of_enums(name, message.enum_type)


def _shape(field: FieldDescriptorProto, message: DescriptorProto) -> tuple[object, ...]:
    label, kind = FieldDescriptorProto.Label.Name(field.label), FieldDescriptorProto.Type.Name(field.type)
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
    return field.name, field.json_name, label, kind, field.type_name, oneof


def _of_enums(where: str, enums: Iterable[EnumDescriptorProto]) -> Iterator[tuple[str, object]]:
    for enum in enums:
        yield f"{where}.{enum.name}", "enum"
        for value in enum.value:
            yield f"{where}.{enum.name}.{value.number}", value.name


if __name__ == "__main__":
    BASELINE.write_text(image(compiled()))
    sys.stdout.write(f"{BASELINE.relative_to(PROTO.parent)}: {len(facts(released()))} promises\n")
