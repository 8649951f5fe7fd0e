"""Whether a program is ready, as Kubernetes' readiness probes ask: a command, a request, or a connection."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import Awaitable, Callable

from exeunt.executor.runtime.base import NotStarted, ProgramSpec, Runtime
from exeunt.internal.v1 import step_pb2 as pb

HERE = "127.0.0.1"
HEAD_BYTES = 16 * 1024
"""The most of an answer that is read for its status."""


async def until_ready(probe: pb.Probe, runtime: Runtime, spec: ProgramSpec) -> None:
    """Waits until the program `spec` is ready: so many good answers in a row."""
    ask: Callable[[], Awaitable[bool]]
    if probe.command:
        command = dataclasses.replace(spec, id=f"{spec.id}/probe", command=list(probe.command), args=[], source=None)
        ask = lambda: _command_succeeds(runtime, command)  # noqa: E731 - one of three
    elif probe.HasField("path"):
        ask = lambda: _answers(probe)  # noqa: E731
    else:
        ask = lambda: _listens(probe)  # noqa: E731
    await asyncio.sleep(probe.delay_seconds)
    good = 0
    while True:
        good = good + 1 if await _in_time(ask, probe.timeout_seconds) else 0
        if good >= max(1, probe.successes):
            return
        await asyncio.sleep(probe.period_seconds)


async def _in_time(ask: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await ask()
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
        return False


async def _listens(probe: pb.Probe) -> bool:
    _, writer = await asyncio.open_connection(probe.host or HERE, probe.port)
    writer.close()
    return True


async def _answers(probe: pb.Probe) -> bool:
    """Whether a GET is answered with a status from 200 to 399."""
    context = ssl.create_default_context() if probe.https else None
    if context is not None:  # as the kubelet does: whether it answers is the question, not who it is
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    host = probe.host or HERE
    reader, writer = await asyncio.open_connection(host, probe.port, ssl=context, limit=HEAD_BYTES)
    try:
        fields = {"Host": f"{host}:{probe.port}", "User-Agent": "exeunt-probe", "Connection": "close"}
        fields |= {one.name: one.value for one in probe.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"GET {probe.path} HTTP/1.1\r\n{head}\r\n".encode())
        await writer.drain()
        _, _, rest = (await reader.readline()).partition(b" ")
        return 200 <= int(rest[:3]) < 400
    finally:
        writer.close()


async def _command_succeeds(runtime: Runtime, spec: ProgramSpec) -> bool:
    try:
        program = await runtime.start(spec, lambda data, stdout: None)
    except NotStarted:
        return False
    try:
        return (await program.wait()).exit_code == 0
    except asyncio.CancelledError:  # it takes too long
        program.kill()
        raise
    finally:
        program.release()
