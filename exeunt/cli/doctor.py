"""`exeunt doctor`: says what works on this machine, and what to do where something does not."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from exeunt.cli import state
from exeunt.cli.failure import SUCCEEDED, WORK_FAILED, CommandError
from exeunt.cli.visible import echo
from exeunt.local import state_home

PROBE_SECONDS = 10
LEAST_FREE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """What was found. `needed`: without it nothing runs."""

    name: str
    works: bool
    said: str
    needed: bool = False


@click.command("doctor")
def doctor_command() -> int:
    """Looks at this machine. Exit code 1 when something is missing without which nothing runs."""
    findings = [check() for check in CHECKS]
    for found in findings:
        symbol = "✔" if found.works else "✖" if found.needed else "–"
        echo(f"{symbol} {found.name + ':':<18}{found.said}")
    return SUCCEEDED if all(found.works for found in findings if found.needed) else WORK_FAILED


def _python() -> Finding:
    enough = sys.version_info >= (3, 11)
    said = f"{platform.python_version()} at {sys.executable}" + ("" if enough else "; 3.11 or newer is needed")
    return Finding("Python", enough, said, needed=True)


def _system() -> Finding:
    works = sys.platform == "linux" and hasattr(os, "pidfd_open")
    said = f"{platform.system()} {platform.release()}" + ("" if works else "; Linux 5.3 or newer is needed")
    return Finding("system", works, said, needed=True)


def _nats() -> Finding:
    from exeunt.cli.cluster import nats_server

    try:
        path = nats_server()
    except CommandError as error:
        return Finding("nats-server", works=False, said=str(error), needed=True)
    version = _run([path, "--version"])
    return Finding("nats-server", bool(version), version or f"{path} does not run", needed=True)


def _disk() -> Finding:
    folder = state_home()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    writable = os.access(folder, os.W_OK)
    said = f"{free / 1024**3:.1f} GB free for {state_home()}"
    if not writable:
        said = f"{folder} cannot be written; set XDG_STATE_HOME or use --data-dir"
    elif free < LEAST_FREE_BYTES:
        said += "; that is little: the log refuses new work when it is full"
    return Finding("disk", writable, said, needed=True)


def _shell() -> Finding:
    path = shutil.which("sh")
    return Finding("process runtime", bool(path), f"steps run as processes; sh at {path}" if path else "no sh on PATH")


def _sandbox() -> Finding:
    from exeunt.executor.runtime.sandbox.probe import probe

    folder = state_home()
    while not os.access(folder, os.W_OK) and folder != folder.parent:
        folder = folder.parent
    found = probe(str(folder) if os.access(folder, os.W_OK) else None)
    if found.problem:
        said = f"{found.problem}; steps need --runtime process, where absolute paths are the machine's own"
        return Finding("sandbox", works=False, said=said)
    limits = f"limits of {', '.join(found.limits)}" if found.limits else "no limits: control groups cannot be written"
    who = "as administrator" if found.mode == "root" else "in a user namespace"
    return Finding("sandbox", works=True, said=f"--runtime sandbox works {who}; {limits}")


def _containers() -> Finding:
    for name in ("podman", "docker"):
        path = shutil.which(name)
        if path:
            answer = _run(
                [path, "info", "--format", "{{.Host.OCIRuntime.Name}}" if name == "podman" else "{{.ServerVersion}}"]
            )
            if answer is not None:
                return Finding("containers", works=True, said=f"{name} works ({answer}); its runtime is still to come")
            return Finding("containers", works=False, said=f"{path} is there, but `{name} info` fails")
    return Finding("containers", works=False, said="neither podman nor docker is on the PATH")


def _kubernetes() -> Finding:
    inside = bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    config = Path(os.environ.get("KUBECONFIG", "").partition(":")[0] or Path.home() / ".kube" / "config")
    if inside:
        return Finding("Kubernetes", works=True, said="this is a pod of a cluster; its runtime is still to come")
    if config.exists():
        return Finding("Kubernetes", works=True, said=f"configured by {config}; its runtime is still to come")
    return Finding("Kubernetes", works=False, said=f"no cluster is configured ({config} is missing)")


def _clusters() -> Finding:
    running = state.known_clusters()
    if not running:
        return Finding("local cluster", works=False, said="none runs; `exeunt up` starts one")
    shown = ", ".join(f"{known.scheduler} ({known.data_dir})" for known in running)
    return Finding("local cluster", works=True, said=shown)


CHECKS: tuple[Callable[[], Finding], ...] = (
    _system,
    _python,
    _nats,
    _disk,
    _shell,
    _sandbox,
    _containers,
    _kubernetes,
    _clusters,
)


def _run(command: list[str]) -> str | None:
    """The output of a command; None when it fails or takes too long."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(  # noqa: S603 (programs named above)
                command, capture_output=True, text=True, timeout=PROBE_SECONDS, cwd=folder, check=False
            )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
