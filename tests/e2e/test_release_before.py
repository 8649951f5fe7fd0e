"""The data of releases before are read by this one: their log, archive and ledger, and what still ran in them.

Each archive in recorded/ is the data directory of a local cluster, stopped in good order: `ended` (with a handler that
was replayed), `failed` (retried once), `waits` (at a suspend step), and the stored template `stored`.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, nodes
from tests.e2e.test_operators import do

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.tar.xz"))


@pytest.mark.parametrize("archive", RECORDED, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_it_is_gone_on_from(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    cluster = Cluster(tmp_path / "data")
    cluster.up()
    try:
        assert set(do(cluster, "list", "-o", "name").split()) == {"ended", "failed", "waits"}
        ended = cluster.get("ended")
        assert (ended["status"]["phase"], ended["status"]["finalization"]) == ("Succeeded", "Succeeded")
        assert {node["phase"] for node in nodes(ended).values()} == {"Succeeded", "Skipped"}
        assert cluster.get("failed")["status"]["runAttempt"] == 1
        assert "a" in do(cluster, "logs", "ended")
        assert len(do(cluster, "exits", "list", "-o", "name").split()) == 5
        do(cluster, "resume", "waits")
        waits = cluster.wait("waits")
        assert (waits["status"]["phase"], waits["status"]["finalization"]) == ("Succeeded", "Succeeded")
        assert len(do(cluster, "exits", "list", "-o", "name").split()) == 7
        do(cluster, "retry", "failed")
        assert cluster.wait("failed")["status"]["runAttempt"] == 2
        [handler] = do(cluster, "exits", "list", "--workflow", "waits", "--hook", "exit", "-o", "name").split()[:1]
        do(cluster, "exits", "replay", handler)
    finally:
        cluster.down()
