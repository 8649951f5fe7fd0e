"""A cluster whose NATS is emptied under it, or between two starts: it says so, stops, and goes on only when told to."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from pathlib import Path

import nats
import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.test_alerts import page
from tests.e2e.test_operators import manifest, sh

pytestmark = [pytest.mark.services, pytest.mark.timeout(300), pytest.mark.xdist_group("log lost")]
WORK = manifest(sh("main", "true"), sh("bye", "true"), onExit="bye")


def said(cluster: Cluster, service: str) -> str:
    """The last that a service said of what is critical."""
    lines = (cluster.data_dir / "logs" / f"{service}.log").read_text().splitlines()
    found = [
        line for line in map(json.loads, filter(lambda x: x.startswith("{"), lines)) if line["level"] == "critical"
    ]
    return str(found[-1]["message"]) if found else ""


def until(cluster: Cluster, service: str, words: str) -> None:
    """Waits until it has said so."""
    deadline = time.monotonic() + 60
    while words not in said(cluster, service):
        assert time.monotonic() < deadline, said(cluster, service)
        time.sleep(0.1)


async def test_a_stream_that_is_deleted_stops_the_services_and_says_so(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data")
    cluster.up()
    try:
        cluster.run(WORK)
        facts = cluster.facts()
        page(facts["scheduler"]["metrics"])  # from here on they are served
        page(facts["exithandler"]["metrics"])
        nc = await nats.connect(facts["nats"]["url"])
        await nc.jetstream().delete_stream("EXEUNT_NAMES")
        await nc.close()
        for service in ("scheduler", "exithandler"):
            until(cluster, service, "EXEUNT_NAMES: NATS does not have a stream any more")
            assert re.search(r"^exeunt_log_lost(\{.*\})? 1.0$", page(facts[service]["metrics"]), re.MULTILINE)
        for service in ("scheduler", "exithandler"):  # the new one refuses to begin
            until(cluster, service, "start the services once with EXEUNT_ANEW=EXEUNT_NAMES")
        assert cluster.call("submit", "-", stdin=WORK).returncode == 4
    finally:
        cluster.down()


async def test_the_services_end_at_once_where_nobody_reads_their_numbers(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data")
    cluster.up()
    try:
        before = {service: cluster.pids(service) for service in ("scheduler", "exithandler")}
        nc = await nats.connect(cluster.facts()["nats"]["url"])
        await nc.jetstream().delete_stream("EXEUNT_LEDGER")
        await nc.close()
        for service in before:
            until(cluster, service, "EXEUNT_LEDGER: NATS does not have a stream any more")
        deadline = time.monotonic() + 10
        while any(set(cluster.pids(service)) & set(pids) for service, pids in before.items()):
            assert time.monotonic() < deadline, "they wait for what cannot be finished"
            await asyncio.sleep(0.1)
    finally:
        cluster.down()


def test_an_emptied_nats_is_no_fresh_installation(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data")
    cluster.up()
    [before] = cluster.run(WORK)
    name = before["metadata"]["name"]
    cluster.down()
    shutil.move(cluster.data_dir / "nats", tmp_path / "backup")
    up = ("up", "--detach", "--data-dir", str(cluster.data_dir))
    refused = cluster.call(*up, server=False)
    assert refused.returncode == 4
    assert "NATS does not have streams any more that it had before" in refused.stderr
    assert "restore its streams from a backup" in refused.stderr

    shutil.rmtree(cluster.data_dir / "nats")
    shutil.copytree(tmp_path / "backup", cluster.data_dir / "nats")
    cluster.up()
    assert cluster.get(name)["status"]["phase"] == "Succeeded", "a restored backup is the log of before"
    cluster.down()

    shutil.rmtree(cluster.data_dir / "nats")
    cluster.environ["EXEUNT_ANEW"] = "all"
    cluster.up()
    try:
        assert cluster.call("list", "-o", "name").stdout == ""
        cluster.run(WORK)
    finally:
        cluster.down()
