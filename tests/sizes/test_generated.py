"""Some workflows at the limits, each service killed once; `python -m tests.sizes --runs N` plays more of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.sizes.play import play

pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(600)]


def test_nothing_at_a_limit_harms_another(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data", arguments=["--slots", "32"])
    cluster.up()
    try:
        assert play(cluster, runs=10, seed=1) == []
    finally:
        cluster.down()
