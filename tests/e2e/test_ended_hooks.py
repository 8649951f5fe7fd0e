"""A stop ends a hook where it runs, and its own end is told, whatever dies meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, nodes
from tests.e2e.test_children import answers
from tests.e2e.test_operators import do, manifest, sh, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]


@pytest.mark.parametrize("service", ["exithandler", "scheduler"])
def test_the_end_of_a_hook_that_a_stop_ends_is_told_through_a_kill(
    cluster: Cluster, tmp_path: Path, service: str
) -> None:
    trapped, go = tmp_path / "trapped", tmp_path / "go"
    last = f"touch {trapped}; while ! [ -e {go} ]; do sleep 0.1; done; exit 7"
    trap = sh("trap", f"trap '{last}' TERM; touch {tmp_path}/runs; sleep 100 & wait")
    hooks = {"run": {"template": "trap", "expression": "steps.a.status == 'Running'"}, "exit": {"template": "bye"}}
    main = {"name": "main", "steps": [[{"name": "a", "template": "slow", "hooks": hooks}]]}
    [name] = cluster.submit(manifest(main, sh("slow", "sleep 100"), trap, sh("bye", "true"), onExit="bye"))
    until(cluster, name, lambda _: (tmp_path / "runs").exists())
    do(cluster, "stop", name)
    until(cluster, name, lambda _: trapped.exists())
    cluster.signal(service)
    answers(cluster)
    go.touch()
    found = cluster.wait(name)
    hook = nodes(found)["[0].a.hooks.run"]
    assert (hook["phase"], hook["message"]) == ("Failed", "main: Error (exit code 7)")
    assert sorted((one["hook"], one["state"]) for one in cluster.exits("--workflow", name)) == [
        ("exit", "succeeded"),
        ("exit", "succeeded"),
        ("run", "cancelled"),
    ]
