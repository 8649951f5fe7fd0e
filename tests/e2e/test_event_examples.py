"""The example subscribers of examples/events hear what happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exeunt import cloudevents
from tests.e2e.cluster import ROOT, Cluster
from tests.e2e.test_operators import manifest, sh

pytestmark = [pytest.mark.services, pytest.mark.timeout(90)]

FOLDER = ROOT / "examples" / "events"
NAMESPACE = "hears"


def failed(cluster: Cluster) -> str:
    """A workflow that failed, and whose handler failed."""
    text = manifest(sh("main", "exit 3"), sh("bye", "exit 4"), prefix="bad-", onExit="bye")
    [found] = cluster.run(text, "-n", NAMESPACE)
    return str(found["metadata"]["name"])


def hear(cluster: Cluster, count: int) -> list[list[str]]:
    """The first lines that subscriber.py prints, in words; then it is interrupted."""
    url = cluster.facts()["nats"]["url"]
    command = [sys.executable, str(FOLDER / "subscriber.py"), url, NAMESPACE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().split() for _ in range(count)]
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=20)
    assert (process.returncode, rest, said) == (0, "", "")
    return lines


def test_the_one_in_python_hears_each_failure_once_also_over_a_restart(cluster: Cluster) -> None:
    first = failed(cluster)
    heard = hear(cluster, 2)
    second = failed(cluster)
    heard += hear(cluster, 2)
    assert [line[2:4] for line in heard] == [
        words
        for name in (first, second)
        for words in (["exit.failed", f"{NAMESPACE}/{name}.onExit"], ["workflow.failed", f"{NAMESPACE}/{name}"])
    ]
    assert all("exit code 3" in " ".join(line) for line in heard[1::2])


def test_the_one_of_the_command_line_asks_for_what_there_is(tmp_path: Path) -> None:
    stand_in = tmp_path / "nats"
    stand_in.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    stand_in.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for given, url, namespace in ((["nats://a", "b", "--x"], "nats://a", "b"), ([], "nats://127.0.0.1:4222", "*")):
        done = subprocess.run(
            [FOLDER / "subscribe.sh", *given], env=environ, capture_output=True, text=True, check=True, cwd=tmp_path
        )
        subject = cloudevents.subject(namespace, "*", "workflow.failed")
        wanted = ["--server", url, "sub", subject, "--stream", cloudevents.STREAM, "--since", "1h", *given[2:]]
        assert done.stdout.split() == wanted


@pytest.mark.skipif(not shutil.which("nats"), reason="the NATS command line is not here")
def test_the_one_of_the_command_line_hears(cluster: Cluster) -> None:
    name = failed(cluster)
    done = subprocess.run(
        [FOLDER / "subscribe.sh", cluster.facts()["nats"]["url"], NAMESPACE, "--raw", "--count", "1"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1])["metadata"]["name"].startswith("bad-"), name
