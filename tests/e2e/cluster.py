"""A real local cluster for tests, as a user starts it: `exeunt up`, with its processes known by pid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

EXEUNT = [sys.executable, "-m", "exeunt.cli.main"]
ROOT = Path(__file__).parents[2]
ARGO = ROOT.parent / "shared" / "argo"
SECONDS_TO_START = 60


class Cluster:
    """One `exeunt up` on its own data directory."""

    def __init__(
        self, data_dir: Path, *, arguments: Sequence[str] = (), environ: Mapping[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.arguments = list(arguments)
        self.environ = {**os.environ, "XDG_STATE_HOME": str(data_dir.parent / "state"), **(environ or {})}
        if (ARGO / "bin").is_dir():
            self.environ["PATH"] = f"{ARGO / 'bin'}{os.pathsep}{self.environ['PATH']}"
        self.environ.pop("EXEUNT_SERVER", None)

    def up(self) -> None:
        """Starts it and waits until it is ready."""
        done = self.call("up", "--detach", "--data-dir", str(self.data_dir), *self.arguments, server=False)
        assert done.returncode == 0, done.stderr
        self.environ["EXEUNT_SERVER"] = self.facts()["scheduler"]["address"]

    def down(self) -> None:
        """Stops it in good order."""
        self.call("down", "--data-dir", str(self.data_dir), server=False)

    def facts(self) -> dict[str, Any]:
        """cluster.json as it is now."""
        found: dict[str, Any] = json.loads((self.data_dir / "cluster.json").read_text())
        return found

    def pids(self, service: str) -> list[int]:
        """The processes of `nats`, `scheduler`, `exithandler` or `executor`; none while one is being started again."""
        facts = self.facts()
        found = [e["pid"] for e in facts["executors"]] if service == "executor" else [facts[service]["pid"]]
        return [pid for pid in found if pid]

    def signal(self, service: str, number: int = signal.SIGKILL) -> None:
        """Sends a signal to every process of a service."""
        for pid in self.pids(service):
            os.kill(pid, number)

    def call(
        self, *arguments: str, server: bool = True, timeout: float = 120, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Runs one command of the command line against it."""
        environ = dict(self.environ)
        if not server:
            environ.pop("EXEUNT_SERVER", None)
        return subprocess.run(
            [*EXEUNT, *arguments],
            env=environ,
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def run(self, manifest: str, *arguments: str, timeout: float = 110) -> list[dict[str, Any]]:
        """Submits a manifest's text, waits for everything to end, and gives the workflows in Argo's shape."""
        done = self.call("submit", "-", "--wait", "-o", "json", *arguments, stdin=manifest, timeout=timeout)
        assert done.returncode in (0, 1), f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def submit(self, manifest: str, *arguments: str) -> list[str]:
        """Submits a manifest's text and gives the names."""
        done = self.call("submit", "-", "-o", "name", *arguments, stdin=manifest)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def get(self, name: str) -> dict[str, Any]:
        """One workflow in Argo's shape."""
        done = self.call("get", name, "-o", "json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        return found[0] if isinstance(found, list) else found

    def wait(
        self, name: str, phases: Sequence[str] = ("Succeeded", "Failed", "Error"), seconds: float = 60
    ) -> dict[str, Any]:
        """Waits until a workflow has one of the phases; asks again since a test has many things to look at."""
        deadline = time.monotonic() + seconds
        while True:
            workflow = self.get(name)
            if workflow["status"]["phase"] in phases:
                return workflow
            assert time.monotonic() < deadline, f"{name} is still {workflow['status']['phase']}"
            time.sleep(0.1)

    def exits(self, *arguments: str) -> list[dict[str, Any]]:
        """The ledger."""
        done = self.call("exits", "list", "-o", "json", *arguments)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found


def nodes(workflow: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The nodes of a workflow by name, without the workflow's own prefix."""
    name = workflow["metadata"]["name"]
    return {n["name"].removeprefix(name) or "": n for n in workflow["status"]["nodes"].values()}
