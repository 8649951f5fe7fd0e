"""Two clusters: one as it is, and one with small decisions, in which few workflows are open or descend from one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    yield from _cluster(tmp_path_factory, {})


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    yield from _cluster(
        tmp_path_factory,
        {"EXEUNT_COMMIT_BYTES": str(1024**2), "EXEUNT_OPEN_WORKFLOWS": "20", "EXEUNT_CHAIN_DESCENDANTS": "10"},
    )


def _cluster(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("sizes") / "data", arguments=["--slots", "32"], environ=environ)
    cluster.up()
    try:
        yield cluster
    finally:
        cluster.down()
