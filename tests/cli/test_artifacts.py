"""`exeunt artifacts`: files come back as they were in the step, and nothing else is touched."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from exeunt.artifacts.archive import Strategy, pack
from exeunt.cli.main import call
from exeunt.v1 import workflow_service_pb2 as pb
from tests.cli.fake import Cluster, workflow
from tests.cli.test_commands import Exeunt, cluster, exeunt

__all__ = ["cluster", "exeunt"]


def packed(path: Path, strategy: Strategy) -> list[bytes]:
    async def pieces() -> list[bytes]:
        return [piece async for piece in pack(path, strategy)]

    return asyncio.run(pieces())


def put(cluster: Cluster, name: str, *rest: pb.GetArtifactResponse, **tree: Any) -> None:
    kept = pb.KeptArtifact(
        node="w-1",
        display_name="a",
        name=name,
        path=f"/tmp/{name}",
        store="nats",
        artifact_json=json.dumps({"name": name, "nats": {"key": "k"}, **tree}),
    )
    cluster.artifacts[name] = [pb.GetArtifactResponse(artifact=kept), *rest]


@pytest.fixture(autouse=True)
def kept(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.add(workflow("w"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src" / "d").mkdir(parents=True)
    (tmp_path / "src" / "d" / "f").write_text("in a directory")
    (tmp_path / "file").write_text("a file")
    chunks = {
        "report": packed(tmp_path / "file", Strategy()),
        "site": packed(tmp_path / "src", Strategy()),
        "zipped": packed(tmp_path / "file", Strategy("zip")),
    }
    for name, pieces in chunks.items():
        archive = {"archive": {"zip": {}}} if name == "zipped" else {}
        put(cluster, name, *(pb.GetArtifactResponse(chunk=piece) for piece in pieces), **archive)
    put(cluster, "empty", archive={"none": {}})
    files = [pb.GetArtifactResponse(file="x/y"), pb.GetArtifactResponse(chunk=b"1"), pb.GetArtifactResponse(file="z")]
    put(cluster, "files", *files, archive={"none": {}})


def test_list(exeunt: Exeunt) -> None:
    result = exeunt("artifacts", "list", "w")
    assert result.out.splitlines()[0].split() == ["NODE", "NAME", "STORE", "PATH"]
    assert result.out.splitlines()[1].split() == ["a", "report", "nats", "/tmp/report"]
    assert json.loads(exeunt("artifacts", "list", "w", "-o", "json").out)[0]["nats"] == {"key": "k"}


def test_get_makes_what_there_was(exeunt: Exeunt, tmp_path: Path) -> None:
    for name in ("report", "zipped"):
        assert exeunt("artifacts", "get", "w", name).code == 0
        assert (tmp_path / name).read_text() == "a file"
    assert exeunt("artifacts", "get", "w", "a", "site", "-o", "out").code == 0
    assert (tmp_path / "out" / "d" / "f").read_text() == "in a directory"
    assert exeunt("artifacts", "get", "w", "empty").code == 0
    assert (tmp_path / "empty").read_bytes() == b""
    assert exeunt("artifacts", "get", "w", "files").code == 0
    assert ((tmp_path / "files/x/y").read_text(), (tmp_path / "files/z").read_text()) == ("1", "")
    assert exeunt("artifacts", "get", "w", "report", "--packed", "-o", "r.tgz").code == 0
    assert (tmp_path / "r.tgz").read_bytes()[:2] == b"\x1f\x8b"


def test_get_leaves_what_is_there(cluster: Cluster, exeunt: Exeunt, tmp_path: Path) -> None:
    result = exeunt("artifacts", "get", "w", "files", "-o", "src")
    assert (result.code, "src is there already" in result.err) == (1, True)
    assert (tmp_path / "src" / "d" / "f").exists()
    put(cluster, "hostile", pb.GetArtifactResponse(file="../x"), pb.GetArtifactResponse(chunk=b"1"))
    result = exeunt("artifacts", "get", "w", "hostile")
    assert (result.code, "'../x' is no name of a file" in result.err) == (1, True)
    assert not (tmp_path / "hostile").exists()
    assert not list(tmp_path.glob(".hostile*"))


def test_cat(capfdbinary: pytest.CaptureFixture[bytes], cluster: Cluster) -> None:
    assert call(["artifacts", "cat", "w", "report"]) == 0
    assert capfdbinary.readouterr().out == b"a file"
    assert call(["artifacts", "cat", "w", "site"]) == 1
    assert b"site is a directory: exeunt artifacts get" in capfdbinary.readouterr().err
