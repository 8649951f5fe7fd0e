"""`exeunt artifacts`: lists what steps have kept, and gets it."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from exeunt.cli.connect import with_client
from exeunt.cli.failure import SUCCEEDED, WORK_FAILED, CommandError
from exeunt.cli.output import note, output_option, print_json, print_table, print_yaml
from exeunt.cli.show import namespace_option
from exeunt.cli.visible import echo

if TYPE_CHECKING:
    from exeunt.client import Client
    from exeunt.v1 import workflow_service_pb2 as pb


@click.group("artifacts")
def artifacts_command() -> None:
    """What steps have kept: list, get, cat."""


@artifacts_command.command("list")
@click.argument("name", metavar="WORKFLOW")
@click.argument("node", default="", metavar="[NODE]")
@namespace_option
@output_option
def list_command(*, name: str, node: str, namespace: str, output: str | None) -> None:
    """Lists the artifacts of a workflow's nodes, or of one NODE (id, name or display name)."""
    found = with_client(lambda client: client.artifacts(name, namespace, node=node))
    trees = [{"node": one.node, "displayName": one.display_name, **json.loads(one.artifact_json)} for one in found]
    if output == "json":
        print_json(trees)
    elif output == "yaml":
        print_yaml(trees)
    elif output == "name":
        echo("\n".join(one.name for one in found))
    elif not found:
        note("no artifacts")
    else:
        print_table(("NODE", "NAME", "STORE", "PATH"), [(a.display_name, a.name, a.store, a.path) for a in found])


@artifacts_command.command("get")
@click.argument("name", metavar="WORKFLOW")
@click.argument("words", nargs=-1, required=True, metavar="[NODE] NAME")
@namespace_option
@click.option("-o", "--output", "into", type=click.Path(path_type=Path), help="Where to.  [default: ./NAME]")
@click.option("--packed", is_flag=True, help="Leave an archive as it was kept.")
def get_command(*, name: str, words: tuple[str, ...], namespace: str, into: Path | None, packed: bool) -> int:
    """Gets an artifact: the file or directory that it was in the step. NODE where several have one of that NAME."""
    node, artifact = _node_and_name(words)
    target = into or Path(artifact)

    async def work(client: Client) -> int:
        await _fetch(client.artifact(name, namespace, artifact=artifact, node=node), target, packed=packed)
        note(f"{target}")
        return SUCCEEDED

    return with_client(work)


@artifacts_command.command("cat")
@click.argument("name", metavar="WORKFLOW")
@click.argument("words", nargs=-1, required=True, metavar="[NODE] NAME")
@namespace_option
def cat_command(*, name: str, words: tuple[str, ...], namespace: str) -> int:
    """Prints an artifact that is a file. NODE where several have one of that NAME."""
    node, artifact = _node_and_name(words)

    async def work(client: Client) -> int:
        with tempfile.TemporaryDirectory(prefix="exeunt-") as folder:
            target = Path(folder, "artifact")
            await _fetch(client.artifact(name, namespace, artifact=artifact, node=node), target)
            _print(target, artifact)
        return SUCCEEDED

    return with_client(work)


def _print(file: Path, artifact: str) -> None:
    if file.is_dir():
        raise CommandError(f"{artifact} is a directory: exeunt artifacts get", code=WORK_FAILED)
    with file.open("rb") as content:
        shutil.copyfileobj(content, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _node_and_name(words: tuple[str, ...]) -> tuple[str, str]:
    if len(words) > 2:
        raise click.UsageError("one NODE at most, and the artifact's NAME are expected")
    return (words[0] if len(words) == 2 else ""), words[-1]


async def _fetch(pieces: AsyncIterator[pb.GetArtifactResponse], target: Path, *, packed: bool = False) -> None:
    """Makes the file or directory of an artifact; in the place of a file, never of a directory with something in it."""
    from exeunt.artifacts.archive import ArchiveError, unpack

    try:
        first = await anext(pieces)
        second = await anext(pieces, None)
        if second is not None and second.file:
            await _fetch_files(second, pieces, target)
            return

        async def content() -> AsyncIterator[bytes]:
            if second is not None:
                yield second.chunk
                async for piece in pieces:
                    yield piece.chunk

        kept = json.loads(first.artifact.artifact_json).get("archive") or {}
        kind = "none" if packed or "none" in kept else "zip" if "zip" in kept else ""
        await unpack(content(), target, kind)  # type: ignore[arg-type]
    except (ArchiveError, OSError) as error:
        raise CommandError(str(error), code=WORK_FAILED) from error


async def _fetch_files(
    begin: pb.GetArtifactResponse, pieces: AsyncIterator[pb.GetArtifactResponse], target: Path
) -> None:
    with _Directory(target) as directory:
        directory.begin(begin.file)
        async for piece in pieces:
            if piece.file:
                directory.begin(piece.file)
            directory.write(piece.chunk)
        directory.finish()


class _Directory:
    """A directory that is there when all of its files are."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._scratch = target.with_name(f".{target.name}.part")
        self._file: BinaryIO | None = None

    def __enter__(self) -> _Directory:
        if self._target.exists():
            raise CommandError(f"{self._target} is there already; name another place with -o", code=WORK_FAILED)
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        return self

    def __exit__(self, *_error: object) -> None:
        self._close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def begin(self, name: str) -> None:
        """A file follows. Raises CommandError for a name that leads out."""
        self._close()
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in name:
            raise CommandError(f"{name!r} is no name of a file in a directory", code=WORK_FAILED)
        path = self._scratch.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("xb")

    def write(self, data: bytes) -> None:
        """Bytes of the file that began last."""
        assert self._file is not None
        self._file.write(data)

    def finish(self) -> None:
        """All are there."""
        self._close()
        self._scratch.rename(self._target)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
