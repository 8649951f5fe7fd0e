"""What Prometheus reads of a scheduler and an exit handler at work."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from exeunt.client import Client
from exeunt.internal.v1 import step_pb2
from exeunt.service import telemetry
from exeunt.service.metrics import all_numbers
from tests.exithandler.conftest import handler_at
from tests.nats_server import NatsServer, nats_server
from tests.scheduler.rig import final, hands, scheduling
from tests.telemetry.cluster import cluster, run

__all__ = ["nats_server"]

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"

MANIFEST = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: nightly-}
spec:
  entrypoint: main
  onExit: bye
  templates:
    - {name: main, container: {image: none, command: [run], args: [exit, "1"]}}
    - {name: bye, container: {image: none, command: [run], args: [hold]}}
"""


@pytest.fixture
def metrics() -> Iterator[None]:
    """Metrics are on."""
    telemetry.start("test", "t-1", "127.0.0.1:0", {})
    telemetry.current.serve_metrics()
    assert telemetry.current._starting is not None
    telemetry.current._starting.join()
    yield
    telemetry.current.close()


def _page() -> str:
    with urllib.request.urlopen(f"http://{telemetry.current.metrics_address}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


async def numbers() -> dict[str, float]:
    """Every number by its name and its labels but those that say who tells it."""
    found = {}
    for line in (await asyncio.to_thread(_page)).splitlines():
        if line.startswith(("exeunt_", "cicd_")):
            series, _, value = line.rpartition(" ")
            series = re.sub(r'otel_scope_\w+="[^"]*",?', "", series).replace(",}", "}").replace("{}", "")
            found[series] = float(value)
    return found


@pytest.mark.usefixtures("metrics")
async def test_a_handler_that_is_owed_is_counted_until_it_has_run(nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        scheduling(nats_server.url, tmp_path) as parts,
        handler_at(nats_server.url, "x1", parts.address),
        hands(parts) as executor,
        Client(parts.address) as client,
    ):
        before = await numbers()
        assert before["exeunt_workflows_open"] == 0
        assert before['exeunt_exits_open{state="running"}'] == 0
        [started] = (await client.submit([("-", MANIFEST)])).workflows
        [step] = await executor.until_running()
        async with asyncio.timeout(20):  # a scheduler that was not heard of for a second loads its runs anew
            while (during := await numbers())["exeunt_workflows_open"] != 1:
                pass
        assert during['cicd_pipeline_run_active{cicd_pipeline_run_state="finalizing"}'] == 1
        assert during['cicd_pipeline_run_active{cicd_pipeline_run_state="executing"}'] == 0
        assert during['exeunt_exits_open{state="running"}'] == 1
        assert during["exeunt_exits_oldest_seconds"] > 0
        assert during["exeunt_exits_steps"] == 1
        assert during["exeunt_steps_dispatched"] == 1
        assert during["exeunt_steps_sent_total"] == 2
        assert during["exeunt_executors"] == 1
        assert during["exeunt_log_distance"] > 0
        assert 0 <= during["exeunt_log_fullness"] < 1
        await executor.end(step.id, step_pb2.StepResult(phase="Succeeded", exit_code=0))
        await final(client, started.name)
        await parts.archiver.drained()
        after = await numbers()
    assert after["exeunt_workflows_open"] == 0
    assert after["exeunt_commits_total"] > before["exeunt_commits_total"]
    assert after["exeunt_exits_oldest_seconds"] == 0
    closed = 'exeunt_exits_closed_total{state="succeeded"}'
    assert after[closed] == before.get(closed, 0) + 1
    took = 'cicd_pipeline_run_duration_seconds_count{cicd_pipeline_name="nightly",cicd_pipeline_result="failure"}'
    assert after[took] == 1


async def test_the_page_names_every_number(nats_server: NatsServer, tmp_path: Path) -> None:
    known = re.findall(r"^\| `([a-z._]+)` \|", PAGE.read_text(), re.MULTILINE)
    async with cluster(nats_server.url, tmp_path) as parts:
        await run(parts)
        made = {number.name for number in all_numbers()}
    assert sorted(known) == sorted(name for name in made if not name.startswith("exeunt.test."))
