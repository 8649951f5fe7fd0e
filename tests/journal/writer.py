"""Owns everything and writes until it is dismissed: a process for tests to stop and kill. `writer.py URL NAME`"""

from __future__ import annotations

import asyncio
import sys

from exeunt.journal.errors import NotOwner
from exeunt.journal.log import Log
from exeunt.journal.subjects import family_of
from exeunt.journal.wire import connect


async def main(url: str, name: str) -> None:
    nc = await connect(url, name)
    log = await Log.open(nc, "m", name)
    await log.take(range(64))
    stored = 0

    async def run(i: int) -> None:
        nonlocal stored
        number = 0
        while True:
            number += 1
            try:
                await log.append(family_of(f"{name}-{i}"), number, "c", f"{name} {number}".encode())
            except NotOwner:
                return
            stored += 1
            if stored == 500:
                print("writing", flush=True)

    async with asyncio.TaskGroup() as group:
        for i in range(40):
            group.create_task(run(i))
    print(f"dismissed after {stored}", flush=True)
    await log.close()
    await nc.close()


asyncio.run(main(sys.argv[1], sys.argv[2]))
