"""An HTTP server that answers at once, in a process of its own: what the http steps of W3 call."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
from multiprocessing.connection import Connection

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"


class _Answer(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        self.rest += data
        while b"\r\n\r\n" in self.rest:  # requests without a body
            _, self.rest = self.rest.split(b"\r\n\r\n", 1)
            self.transport.write(ANSWER)


def _serve(pipe: Connection) -> None:
    async def main() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        pipe.send(listening.getsockname()[1])
        server = await asyncio.get_running_loop().create_server(_Answer, sock=listening)
        await server.serve_forever()

    asyncio.run(main())


class Echo:
    """`with Echo() as url`."""

    def __enter__(self) -> str:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        return f"http://127.0.0.1:{ours.recv()}/"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()
