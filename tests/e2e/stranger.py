"""Becomes the user `nobody` and tries everything on a cluster of somebody else. Prints what came of each, as JSON.

Run as `stranger.py ADDRESSES FOLDER`, by root.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import nats

from exeunt.client import Client, ClientError
from exeunt.internal.v1 import executor_service_pb2 as pb
from exeunt.internal.v1 import executor_service_pb2_grpc as rpc

NOBODY = 65534
FILES = ("", "cluster.json", "credentials.json", "nats.conf", "secret.key", "logs", "nats")

facts, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
os.setgroups([])
os.setgid(NOBODY)
os.setuid(NOBODY)
told: dict[str, str] = {}


async def attempt(what: str, work: Callable[[], Awaitable[Any]]) -> None:
    try:
        told[what] = "allowed: " + repr(await work())
    except ClientError as error:
        told[what] = error.code
    except grpc.aio.AioRpcError as error:
        told[what] = error.code().name
    except Exception as error:  # noqa: BLE001 - it is what is asked for
        told[what] = type(error).__name__


async def read(name: str) -> Any:
    path = folder / name
    return path.read_text() if path.suffix else list(path.iterdir())


async def session() -> Any:
    async with grpc.aio.insecure_channel(facts["scheduler"]["internal"]) as channel:
        call: Any = rpc.ExecutorServiceStub(channel).Session()
        with contextlib.suppress(TimeoutError):  # what is written while the answer comes makes gRPC forget its code
            async with asyncio.timeout(5):
                raise grpc.aio.AioRpcError(await call.code(), None, None)  # type: ignore[arg-type]  # the code counts
        await call.write(pb.SessionRequest(hello=pb.Hello(id="rogue", slots=9), credits=9))
        return await call.read()


async def streams() -> Any:
    nc = await nats.connect(facts["nats"], max_reconnect_attempts=0, allow_reconnect=False)
    return await nc.jetstream().streams_info()


async def main() -> None:
    for name in FILES:
        await attempt(f"read {name}", partial(read, name))
    server, exits = facts["scheduler"]["address"], facts["exithandler"]["address"]
    async with Client(server, exit_server=exits, patience=0) as client:
        await attempt("list", client.list_workflows)
        await attempt("submit", lambda: client.submit([("x", "kind: Workflow")]))
        await attempt("executors", client.executors)
        await attempt("exits", client.list_exits)
    await attempt("session", session)
    await attempt("nats", streams)


asyncio.run(main())
print(json.dumps(told))
