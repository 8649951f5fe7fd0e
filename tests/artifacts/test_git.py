"""Artifacts from git: real repositories, over files and over HTTP with a password."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import encode_basic_auth, web
from aiohttp.test_utils import TestServer

from exeunt.artifacts.registry import store_for
from exeunt.artifacts.stores import Store, StoreAccess, StoreError, from_mapping
from exeunt.language.places import place_of

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
SECRETS = {"git": {"user": "bot", "word": "pass-4711-word", "wrong": "another-word"}}


def git(*arguments: str, at: Path) -> str:
    who = {f"GIT_{role}_{what}": "t@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", **who}
    options = ("-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always")
    done = subprocess.run(["git", *options, *arguments], cwd=at, env=path, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(at: Path, text: str) -> str:
    (at / "file").write_text(text)
    git("add", ".", at=at)
    git("commit", "-qm", text, at=at)
    return git("rev-parse", "HEAD", at=at)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`main.git` with branches main and other, a tag, and a submodule `sub` (`sub.git`); and `empty.git`."""
    root = tmp_path_factory.mktemp("git")
    for name in ("sub", "work"):
        (root / name).mkdir()
        git("init", "-q", at=root / name)
    commit(root / "sub", "inner")
    git("clone", "-q", "--bare", "sub", "sub.git", at=root)
    work = root / "work"
    commit(work, "first")
    git("tag", "v1", at=work)
    commit(work, "second")
    git("checkout", "-qb", "other", at=work)
    commit(work, "on other")
    git("checkout", "-q", "main", at=work)
    git("submodule", "--quiet", "add", "../sub.git", "sub", at=work)
    (work / ".gitmodules").write_text('[submodule "sub"]\n\tpath = sub\n\turl = ../sub.git\n')
    commit(work, "third")
    git("clone", "-q", "--bare", "work", "main.git", at=root)
    git("init", "-q", "--bare", "empty.git", at=root)
    git("config", "http.receivepack", "false", at=root / "main.git")
    return root


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[str]:
    """The folder by git's own HTTP backend, for one user."""
    backend = Path(git("--exec-path", at=folder)) / "git-http-backend"
    if not backend.exists():
        pytest.skip("git http-backend is not installed")
    wanted = encode_basic_auth("bot", "pass-4711-word")

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != wanted:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        body = await request.read()
        variables = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        run = partial(subprocess.run, [backend], input=body, env=variables, capture_output=True, check=False)
        done = await asyncio.to_thread(run)
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        return web.Response(status=int(headers.pop("Status", "200")[:3]), headers=headers, body=rest)

    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as made:
        yield f"http://127.0.0.1:{made.port}"


def store(repo: str | Path, **more: Any) -> Store:
    access = StoreAccess(secret=from_mapping(SECRETS), artifact="src", local_repositories=True)
    return store_for(place_of({"git": {"repo": str(repo), **more}}), access)


def names(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


def holding(folder: Path, word: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and word in path.read_bytes()]


def selector(key: str) -> dict[str, str]:
    return {"name": "git", "key": key}


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "src"


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "third"),
        ({"revision": "v1"}, "first"),
        ({"revision": "other"}, "on other"),
        ({"revision": "main"}, "third"),
        ({"revision": "v1", "depth": 1}, "first"),
        ({"depth": 1}, "third"),
        ({"singleBranch": True, "branch": "other"}, "on other"),
        ({"fetch": ["refs/tags/*:refs/tags/*"], "revision": "v1", "depth": 1}, "first"),
    ],
)
async def test_a_revision_is_checked_out(folder: Path, into: Path, more: dict[str, Any], text: str) -> None:
    await store(f"file://{folder}/main.git", **more).check_out(into)
    assert (into / "file").read_text() == text
    assert (into / "sub" / "file").exists() is (text == "third")


async def test_a_commit_and_no_submodules(folder: Path, into: Path) -> None:
    first = git("rev-parse", "v1", at=folder / "main.git")
    await store(folder / "main.git", revision=first, disableSubmodules=True).check_out(into)
    assert git("rev-parse", "HEAD", at=into) == first
    await store(folder / "main.git", disableSubmodules=True).check_out(into.with_name("again"))
    assert names(into.with_name("again") / "sub") == []


async def test_an_empty_repository_is_an_empty_directory(folder: Path, into: Path) -> None:
    await store(folder / "empty.git", revision="main").check_out(into)
    assert names(into) == [".git"]


async def test_a_password_opens_it_and_its_submodules_and_is_left_nowhere(server: str, into: Path) -> None:
    secrets = {"usernameSecret": selector("user"), "passwordSecret": selector("word")}
    await store(f"{server}/main.git", **secrets).check_out(into)
    assert (into / "sub" / "file").read_text() == "inner"
    assert holding(into, b"pass-4711-word") == []


async def test_a_password_in_the_address_is_taken_out_of_it(server: str, into: Path) -> None:
    await store(f"{server.replace('//', '//bot:pass-4711-word@')}/main.git").check_out(into)
    assert "4711" not in (into / ".git" / "config").read_text()


async def test_errors_say_what_to_do_and_no_secret(server: str, folder: Path, into: Path) -> None:
    wrong = {"usernameSecret": selector("user"), "passwordSecret": selector("wrong")}
    with pytest.raises(StoreError, match=r"artifact src, git http://.*access denied .*look at the secrets") as denied:
        await store(f"{server}/main.git", **wrong).check_out(into)
    assert "another-word" not in str(denied.value)
    assert not denied.value.temporary
    with pytest.raises(StoreError, match=r"git\.revision: there is no 'v9' in it"):
        await store(folder / "main.git", revision="v9").check_out(into)
    with pytest.raises(StoreError) as gone:
        await store("http://127.0.0.1:1/main.git").check_out(into.with_name("gone"))
    assert gone.value.temporary
    with pytest.raises(StoreError, match="cannot be written; keep it in s3"):
        await store(folder / "main.git").save("", gone)  # type: ignore[arg-type]


def test_disks_of_this_machine_are_not_read_unless_that_is_allowed(folder: Path) -> None:
    access = StoreAccess(secret=from_mapping({}))
    for repo in (f"file://{folder}/main.git", f"{folder}/main.git", "../x:y", "main.git"):
        with pytest.raises(StoreError, match="own disks"):
            store_for(place_of({"git": {"repo": repo}}), access)
    store_for(place_of({"git": {"repo": "git@github.com:argoproj/argo-workflows.git"}}), access)


async def test_a_key_for_ssh_is_in_a_file_for_its_length_only(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = into.with_name("seen")
    program = into.with_name("bin") / "ssh"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >{seen}\n'
        f'for a; do case "$a" in -oIdentityFile=*) cat "${{a#*=}}" >>{seen};; esac; done\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    access = StoreAccess(secret=from_mapping({"k": {"k": "PRIVATE"}}))
    place = {"repo": "git@example.com:r.git", "sshPrivateKeySecret": {"name": "k", "key": "k"}}
    with pytest.raises(StoreError):
        await store_for(place_of({"git": {**place, "insecureIgnoreHostKey": True}}), access).check_out(into)
    said = seen.read_text()
    assert "PRIVATE\n" in said
    assert "StrictHostKeyChecking=no" in said
    assert not os.path.exists(said.partition("IdentityFile=")[2].split()[0])  # noqa: ASYNC240


async def test_git_ends_when_it_is_given_up(into: Path) -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()  # to the end of the connection: until git is gone
        ended.set()
        writer.close()

    ended = asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        checking_out = asyncio.create_task(store(f"http://127.0.0.1:{port}/x.git").check_out(into))
        await asked.wait()
        checking_out.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checking_out
        await asyncio.wait_for(ended.wait(), 10)
