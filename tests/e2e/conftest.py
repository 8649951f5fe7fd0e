"""One cluster for each test process: workflows do not disturb each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster

IMAGES = """\
images:
  argoproj/argosay:v1: {entrypoint: [cowsay]}
  argoproj/argosay:v2: {entrypoint: [argosay]}
  docker/whalesay: {entrypoint: [cowsay]}
  docker/whalesay:latest: {entrypoint: [cowsay]}
"""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    base = tmp_path_factory.mktemp("cluster")
    images: Path = base / "images.yaml"
    images.write_text(IMAGES)
    cluster = Cluster(base / "data", arguments=["--images", str(images), "--slots", "32"])
    cluster.up()
    try:
        yield cluster
    finally:
        cluster.down()
