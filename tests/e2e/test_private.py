"""One cluster among several users of one machine: who has neither its files nor its tokens is refused everywhere."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import nats
import pytest

from exeunt.client import Client, ClientError, interceptors
from exeunt.internal.v1 import executor_service_pb2_grpc, step_service_pb2_grpc
from tests.e2e.cluster import Cluster
from tests.e2e.test_operators import manifest, sh

pytestmark = [pytest.mark.services, pytest.mark.xdist_group("e2e")]
STRANGER = Path(__file__).with_name("stranger.py")


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """A cluster below a directory that everybody may enter, as /tmp is; the umask is generous, too."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    cluster = Cluster(folder / "data")
    before = os.umask(0)
    try:
        cluster.up()
        yield cluster
    finally:
        os.umask(before)
        cluster.down()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_of_the_machine_is_refused_everywhere(shared: Cluster) -> None:
    facts = shared.facts()
    shared.run(manifest(sh("main", "true"), sh("bye", "true"), onExit="bye"))
    open_to_all = {
        name: {"address": facts[name]["address"], "internal": facts[name]["internal"]}
        for name in ("scheduler", "exithandler")
    }
    where = json.dumps({**open_to_all, "nats": "nats://" + facts["nats"]["url"].rpartition("@")[2]})
    environ = {**os.environ, "XDG_STATE_HOME": str(shared.data_dir.parent / "state")}
    environ.pop("EXEUNT_TOKEN", None)
    command = [sys.executable, str(STRANGER), where, str(shared.data_dir)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, str] = json.loads(done.stdout)
    for what, answer in told.items():
        refused = ("PermissionError",) if what.startswith("read") else ("UNAUTHENTICATED", "NoServersError", "Error")
        assert answer in refused, json.dumps(told)
    assert len(told) == 13


def test_what_is_written_is_for_its_owner_alone(shared: Cluster) -> None:
    assert stat.S_IMODE(shared.data_dir.stat().st_mode) == 0o700
    for name in ("cluster.json", "credentials.json", "nats.conf", "secret.key"):
        assert stat.S_IMODE((shared.data_dir / name).stat().st_mode) == 0o600, name
    for pid in [pid for service in ("nats", "scheduler", "exithandler", "executor") for pid in shared.pids(service)]:
        line = Path(f"/proc/{pid}/cmdline").read_text()
        assert shared.facts()["token"] not in line
        assert shared.facts()["nats"]["url"] not in line


async def test_whoever_may_use_the_cluster_is_no_executor_of_it(shared: Cluster) -> None:
    facts = shared.facts()
    shared.run(manifest(sh("main", "true")))  # its own executor is connected
    sending = interceptors(facts["token"])
    async with grpc.aio.insecure_channel(facts["scheduler"]["internal"], interceptors=sending) as channel:
        call: Any = executor_service_pb2_grpc.ExecutorServiceStub(channel).Session()  # grpc calls a write INTERNAL
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "only by their token, and another one was sent" in await call.details()
    async with Client(facts["scheduler"]["address"], token=facts["token"]) as client:
        assert [one.id for one in await client.executors()] == ["executor-1"]


async def test_nobody_without_the_token_asks_for_a_step_of_an_exit_handler(shared: Cluster) -> None:
    async with grpc.aio.insecure_channel(shared.facts()["scheduler"]["internal"]) as channel:
        call: Any = step_service_pb2_grpc.StepServiceStub(channel).Run()
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("user", ["", "exeunt:wrong@", "exeunt@", "other:password@"])
async def test_a_rogue_nats_client_is_refused(shared: Cluster, user: str) -> None:
    address = shared.facts()["nats"]["url"].rpartition("@")[2]
    told: list[str] = []

    async def on_error(error: Exception) -> None:
        told.append(str(error))

    with pytest.raises(Exception, match=r"(?i)no servers available|authorization"):
        await nats.connect(f"nats://{user}{address}", error_cb=on_error, allow_reconnect=False)
    assert "authorization violation" in " ".join(told).lower()


async def test_a_wrong_token_is_named_as_that(shared: Cluster) -> None:
    address = shared.facts()["scheduler"]["address"]
    for token, said in (("", "none was sent: set EXEUNT_TOKEN"), ("another", "another one was sent")):
        async with Client(address, token=token, patience=0) as client:
            with pytest.raises(ClientError, match=said) as refused:
                await client.list_workflows()
        assert (refused.value.code, refused.value.reason) == ("UNAUTHENTICATED", "TOKEN")


def test_the_command_line_finds_the_token_or_is_told_it(shared: Cluster, tmp_path: Path) -> None:
    assert shared.call("list").returncode == 0
    elsewhere = {**shared.environ, "XDG_STATE_HOME": str(tmp_path)}
    (tmp_path / "token").write_text(shared.facts()["token"] + "\n")
    for token, code in (("", 4), (shared.facts()["token"], 0), (f"file:{tmp_path / 'token'}", 0)):
        command = [sys.executable, "-m", "exeunt.cli.main", "list"]
        done = subprocess.run(command, env={**elsewhere, "EXEUNT_TOKEN": token}, capture_output=True, check=False)
        assert done.returncode == code, done.stderr


def test_a_directory_of_other_things_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)
    (tmp_path / "mine" / "notes.txt").touch()
    done = Cluster(tmp_path / "mine").call("up", "--detach", "--data-dir", str(tmp_path / "mine"), server=False)
    assert done.returncode == 4
    assert "holds files of other things: name a directory of its own" in done.stderr
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o755
