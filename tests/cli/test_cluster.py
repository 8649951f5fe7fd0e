"""The local cluster: what stands in cluster.json, what is started again, what is left when it ends."""

import asyncio
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from exeunt.cli import state
from exeunt.cli.child import Spec, start
from exeunt.cli.cluster import Cluster, ClusterOptions, start_cluster
from exeunt.cli.failure import UNREACHABLE, CommandError
from exeunt.cli.state import AlreadyRunningError
from exeunt.cli.supervisor import FREE_RESTARTS, LONGEST_PAUSE, pause_after
from exeunt.journal.keyring import read_keys
from exeunt.local import read_facts

pytestmark = pytest.mark.services
STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def options(tmp_path: Path) -> ClusterOptions:
    return ClusterOptions(tmp_path / "cluster", executors=2, serve=STAND_IN)


@pytest.fixture
async def cluster(options: ClusterOptions) -> AsyncIterator[Cluster]:
    async with start_cluster(options, kept=True) as running:
        yield running


def facts(options: ClusterOptions) -> dict:
    found = read_facts(options.data_dir)
    assert found is not None
    return found


async def restarted(cluster: Cluster, name: str, pid: int) -> int:
    """The pid of the child that took the place of another, once it is ready."""
    place = cluster.nats if name == "nats" else cluster.services[name]
    assert place is not None
    while place.pid == pid or place.child is None or not await place.child.ready():  # noqa: ASYNC110 (looks from outside, as any other process would)
        await asyncio.sleep(0.01)
    return place.pid


async def test_cluster_json_says_what_runs_where(cluster: Cluster, options: ClusterOptions) -> None:
    found = facts(options)
    assert set(found) >= {"nats", "scheduler", "exithandler", "executors"}
    assert re.fullmatch(r"nats://exeunt:[0-9a-f]{64}@127\.0\.0\.1:\d+", found["nats"]["url"])
    assert found["scheduler"]["metrics"] is None
    assert [e["id"] for e in found["executors"]] == ["executor-1", "executor-2"]
    pids = [found[name]["pid"] for name in ("nats", "scheduler", "exithandler")]
    assert all(psutil.pid_exists(pid) for pid in [*pids, *(e["pid"] for e in found["executors"])])


@pytest.mark.parametrize("name", ["nats", "scheduler", "exithandler"])
async def test_what_is_killed_is_started_again_on_its_port(
    cluster: Cluster, options: ClusterOptions, name: str
) -> None:
    before = facts(options)
    os.kill(before[name]["pid"], signal.SIGKILL)
    pid = await restarted(cluster, name, before[name]["pid"])
    after = facts(options)
    assert after[name] == {**before[name], "pid": pid}


async def test_one_that_is_killed_again_and_again_is_started_at_once_each_time(cluster: Cluster) -> None:
    place = cluster.services["scheduler"]
    for _ in range(FREE_RESTARTS + 3):
        pid = place.pid
        os.kill(pid, signal.SIGKILL)
        await restarted(cluster, "scheduler", pid)
    assert place.restarts == FREE_RESTARTS + 3


def test_one_that_ends_by_itself_is_started_with_growing_pauses() -> None:
    pauses = [pause_after(n) for n in range(20)]
    assert pauses[: FREE_RESTARTS + 1] == [0.0] * (FREE_RESTARTS + 1)
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


async def test_everything_is_ended_in_order_and_nothing_is_left(options: ClusterOptions) -> None:
    async with start_cluster(options, kept=False) as cluster:
        pids = [one.pid for one in (cluster.nats, *cluster.services.values(), *cluster.executors) if one]
    ends = (options.data_dir / "ends").read_text().split()
    assert ends == ["executor", "executor", "exithandler", "scheduler"]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not state.is_locked(options.data_dir)


async def test_the_same_ports_are_taken_again(options: ClusterOptions) -> None:
    async with start_cluster(options, kept=True) as first:
        addresses = (first.nats_url, first.scheduler, first.exithandler)
    async with start_cluster(options, kept=True) as second:
        assert (second.nats_url, second.scheduler, second.exithandler) == addresses


async def test_variables_hold_where_no_flag_says_otherwise(options: ClusterOptions) -> None:
    said = {"EXEUNT_SLOTS": "3", "EXEUNT_EXIT_SLOTS": "1", "EXEUNT_LOG_LEVEL": "warning", "EXEUNT_LOG_FORMAT": "text"}
    environ = {**os.environ, **said}
    async with start_cluster(replace(options, environ=environ), kept=True):
        for one in facts(options)["executors"]:
            assert psutil.Process(one["pid"]).environ().items() >= said.items()
    async with start_cluster(replace(options, environ=environ, slots=5, log_level="debug"), kept=True):
        one = facts(options)["executors"][0]
        wins = {**said, "EXEUNT_SLOTS": "5", "EXEUNT_LOG_LEVEL": "debug"}
        assert psutil.Process(one["pid"]).environ().items() >= wins.items()


async def test_every_service_tells_its_numbers_where_cluster_json_says(options: ClusterOptions) -> None:
    measured = replace(options, metrics=True)
    told = []
    for _ in range(2):
        async with start_cluster(measured, kept=True):
            found = facts(options)
            services = [found["scheduler"], found["exithandler"], *found["executors"]]
            told.append([one["metrics"] for one in services])
            assert [psutil.Process(one["pid"]).environ()["EXEUNT_METRICS"] for one in services] == told[-1]
    assert len(set(told[0])) == len(services)
    assert told[0] == told[1]


async def test_two_supervisors_never_share_a_data_directory(cluster: Cluster, options: ClusterOptions) -> None:
    with pytest.raises(AlreadyRunningError, match="a cluster runs on"):
        async with start_cluster(options, kept=True):
            pass


async def test_a_service_that_cannot_start_is_named_with_its_last_words(options: ClusterOptions) -> None:
    options.data_dir.mkdir(mode=0o700)
    (options.data_dir / "exithandler.broken").touch()
    with pytest.raises(CommandError, match="exithandler did not start") as caught:
        async with start_cluster(options, kept=True):
            pass
    assert caught.value.code == UNREACHABLE
    assert "exithandler has no wish to live" in str(caught.value)
    assert not state.is_locked(options.data_dir)


async def test_others_find_a_cluster_while_it_runs(options: ClusterOptions, tmp_path: Path) -> None:
    assert state.known_clusters() == []
    private = replace(options, data_dir=tmp_path / "private")
    async with start_cluster(options, kept=True) as kept, start_cluster(private, kept=False) as running:
        found = [known.scheduler for known in state.known_clusters()]
        assert found == [kept.scheduler, running.scheduler]
    assert state.known_clusters() == []


async def test_a_child_dies_with_its_supervisor(tmp_path: Path) -> None:
    program = """
import asyncio, os, sys
from pathlib import Path
from exeunt.cli.child import Spec, start

async def main():
    child = start(Spec("sleep", lambda: ["/bin/sleep", "600"], dict(os.environ), Path(sys.argv[1]), lambda line: True))
    print(child.pid, flush=True)
    await child.ended()

asyncio.run(main())
"""
    command = [sys.executable, "-c", program, str(tmp_path / "log")]
    supervisor = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: ASYNC220 (nothing else is waiting here)
    assert supervisor.stdout is not None
    child = psutil.Process(int(supervisor.stdout.readline()))
    while child.name() != "sleep":  # noqa: ASYNC110 (a process says nothing when it becomes another)
        await asyncio.sleep(0.01)
    supervisor.kill()
    supervisor.wait()
    gone, _ = psutil.wait_procs([child], timeout=10)
    assert gone or child.status() == psutil.STATUS_ZOMBIE


async def test_a_child_that_ignores_the_end_is_killed(options: ClusterOptions) -> None:
    options.data_dir.mkdir(mode=0o700)
    (options.data_dir / "x.stubborn").touch()
    environ = {**os.environ, "EXEUNT_DATA_DIR": str(options.data_dir / "x"), "EXEUNT_LISTEN": "127.0.0.1:0"}
    child = start(Spec("x", lambda: [*STAND_IN, "x"], environ, options.data_dir / "log", grace=0.05))
    assert await child.ready()
    await child.end()
    assert await child.ended() == -signal.SIGKILL


def given_keys(cluster: Cluster) -> dict[str, str]:
    """What each process has in its environment, as the system tells it."""
    pids = {name: one.pid for name, one in [*cluster.services.items(), *((e.spec.name, e) for e in cluster.executors)]}
    return {name: psutil.Process(pid).environ().get("EXEUNT_SECRET_KEY", "") for name, pid in pids.items()}


async def test_a_key_for_secrets_is_made_once_and_handed_to_those_who_read_them(options: ClusterOptions) -> None:
    file = options.data_dir / "secret.key"
    async with start_cluster(options, kept=True) as first:
        setting, content = f"file:{file}", file.read_text()
        services = {"scheduler": setting, "exithandler": setting}
        assert given_keys(first) == {**services, "executor-1": "", "executor-2": ""}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_keys(setting).first
    async with start_cluster(options, kept=True):
        assert file.read_text() == content


async def test_a_key_of_the_users_own_is_taken(options: ClusterOptions) -> None:
    own = replace(options, environ={**os.environ, "EXEUNT_SECRET_KEY": "mine"})
    async with start_cluster(own, kept=True) as cluster:
        found = given_keys(cluster)
    assert found == {"scheduler": "mine", "exithandler": "mine", "executor-1": "", "executor-2": ""}
    assert not (options.data_dir / "secret.key").exists()
