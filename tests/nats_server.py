"""A real nats-server for tests: `sync_interval: always`, its own store, killed and restarted on the same port."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

BINARY = Path(sysconfig.get_path("scripts")) / "nats-server"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()


class NatsServer:
    """One server. `url` for clients, `monitor` for its HTTP side.

    `more` goes into its configuration.

    `within`: a command that runs it elsewhere, as `ip netns exec NAME` does; `host` is where it listens there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "n1",
        sync: str = "always",
        cluster_port: int = 0,
        routes: list[int] | None = None,
        store_limit: str = "",
        host: str = "127.0.0.1",
        within: Sequence[str] = (),
        max_payload: str = "1MB",
        more: str = "",
    ) -> None:
        self.folder = folder
        self.port, self.monitor_port = free_ports(2)
        self.host = host
        self.url = f"nats://{host}:{self.port}"
        self.monitor = f"http://{host}:{self.monitor_port}"
        self._command = [*within, str(BINARY)]
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._conf = folder / "nats.conf"
        limit = f"max_file_store: {store_limit}\n" if store_limit else ""
        cluster = ""
        if cluster_port:
            urls = ", ".join(f'"nats://127.0.0.1:{p}"' for p in routes or [])
            cluster = f'cluster {{ name: "c", listen: "127.0.0.1:{cluster_port}", routes: [{urls}] }}\n'
        self._conf.write_text(
            f'server_name: "{name}"\nlisten: "{host}:{self.port}"\nhttp: "{host}:{self.monitor_port}"\n'
            f"max_payload: {max_payload}\n{cluster}"
            f'jetstream {{\n  store_dir: "{folder}/store"\n  sync_interval: {sync}\n{limit}}}\n{more}'
        )

    def start(self) -> None:
        """Starts it (again), without waiting for it."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*self._command, "-c", str(self._conf)], stderr=log, stdout=log)

    async def ready(self) -> None:
        """Waits until it takes connections."""
        async with asyncio.timeout(30):
            while True:
                try:
                    _, writer = await asyncio.open_connection(self.host, self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    async def begin(self) -> None:
        """Starts it and waits until it takes connections."""
        self.start()
        await self.ready()

    async def kill(self) -> None:
        """SIGKILL, and waits for its end."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, and waits for its end. Doing so twice is fine."""
        await self._end(signal.SIGTERM)

    async def restart(self) -> None:
        """SIGKILL and start."""
        await self.kill()
        await self.begin()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nobody, from here on: the signal alone may take a while."""
        assert self._process is not None
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    async def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        await asyncio.to_thread(process.wait, 20)


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A running server with JetStream; gone after the test."""
    server = NatsServer(tmp_path / "nats")
    await server.begin()
    yield server
    await server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
async def nats_cluster(tmp_path: Path) -> AsyncIterator[list[NatsServer]]:
    """Three servers with JetStream that are one cluster; gone after the test."""
    routes = free_ports(3)
    servers = [
        NatsServer(tmp_path / f"nats{i}", name=f"n{i}", cluster_port=port, routes=routes)
        for i, port in enumerate(routes)
    ]
    for server in servers:
        server.start()
    for server in servers:
        await server.ready()
    yield servers
    for server in servers:
        await server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)
