"""One TCP address before several, as a Service of Kubernetes is."""

from __future__ import annotations

import asyncio
import contextlib
import itertools


class Balancer:
    """Each connection goes to the next of the addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.address = ""
        self._turn = itertools.count()
        self._passing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Balancer:
        self._server = await asyncio.start_server(self._took, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Nothing is there any more, and what went through it breaks."""
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _took(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self.addresses[next(self._turn) % len(self.addresses)].split(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:  # nobody is there yet
            writer.close()
            return
        for one, other in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(_pass(one, other))
            self._passing.add(task)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
