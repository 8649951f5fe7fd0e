"""A walk along the table of limits in docs/settings.md, against the services: each row holds as it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exeunt.cli.limits import Limit, limits
from tests.e2e.cluster import Cluster
from tests.executor.conftest import Scheduler
from tests.sizes import of_answers, of_runs, of_steps, of_submissions, of_writing
from tests.sizes.walk import CASES, Services, amount

pytestmark = [pytest.mark.services, pytest.mark.timeout(240)]

ROWS = limits()
FILES = [of_answers, of_submissions, of_runs, of_steps, of_writing]


@pytest.fixture
async def services(
    cluster: Cluster, narrow: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Services]:
    alone = Scheduler()
    await alone.start()
    yield Services(cluster, narrow, alone, tmp_path, monkeypatch)
    await alone.stop()


def test_every_row_has_its_case() -> None:
    assert sorted(limit.what for limit in ROWS) == sorted(CASES)


@pytest.mark.parametrize("limit", ROWS, ids=[limit.what for limit in ROWS])
async def test_a_hair_below_and_a_hair_above(services: Services, limit: Limit) -> None:
    await CASES[limit.what](amount(limit.amount), services)
