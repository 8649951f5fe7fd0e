"""Each dimension below and above its limit on real services, beside a small workflow, while services are killed."""

from __future__ import annotations

import pytest

from tests.e2e.cluster import Cluster
from tests.sizes.generated import DIMENSIONS
from tests.sizes.play import play

pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(400)]

SEED = 1


async def test_workflows_at_their_limits_end_as_they_should_and_hold_up_nobody(cluster: Cluster) -> None:
    assert not await play(cluster, 2 * len(DIMENSIONS), SEED)
