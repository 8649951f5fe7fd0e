"""The disk under JetStream is full: nothing new is taken, nobody falls over, and all goes on when there is room."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from exeunt.service.errors import Code
from tests.e2e.cluster import Cluster
from tests.faults.load import load
from tests.faults.replicas import eventually

pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(240), pytest.mark.xdist_group("faults")]

COUNT = 40
SERVICES = ("scheduler", "exithandler", "executor")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MB where a local cluster has its JetStream."""
    folder = tmp_path / "data" / "nats"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o700)  # what is not empty has to be private before it is used
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(64 * 1024))
    return ballast


async def test_a_full_disk_is_waited_out(small_disk: Path, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data")
    await asyncio.to_thread(cluster.up)
    try:
        facts = cluster.facts()
        addresses = facts["scheduler"]["address"], facts["exithandler"]["address"]
        async with load(*addresses, tmp_path, COUNT, token=facts["token"]) as work:
            before = {service: cluster.pids(service) for service in SERVICES}
            async with asyncio.TaskGroup() as group:
                group.create_task(work.submit(pace=0.1))
                await eventually(lambda: len(work.marks.read_text().split("\n")) > 3)  # handlers are at work
                ballast = fill(small_disk)
                await work.until(serving=False)
                refused = await work.submission_refused()
                assert refused.code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED)
                assert refused.retry_after, "a client is told when to come again"
                assert refused.reason == "NO_WRITES"
                await work.answered()
                assert {service: cluster.pids(service) for service in SERVICES} == before
                ballast.unlink()
            await work.until(serving=True)
            await work.ended()
            await work.judged()
            assert {service: cluster.pids(service) for service in SERVICES} == before, "nobody had to be started again"
    finally:
        await asyncio.to_thread(cluster.down)
