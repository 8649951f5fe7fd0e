"""A member in a process of its own, for tests to stop and kill. `member.py URL ROLE REPLICA`"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import cast

from exeunt.journal.ownership import ClusterMember, Membership
from exeunt.journal.subjects import Role
from exeunt.journal.wire import connect


async def main(url: str, role: Role, replica: str) -> None:
    nc = await connect(url, replica)
    membership = await Membership.open(nc, ClusterMember(role, replica, f"{replica}:1"))
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(membership.run())
        await told.wait()
        await membership.leave()
        running.cancel()
    await nc.close()


asyncio.run(main(sys.argv[1], cast("Role", sys.argv[2]), sys.argv[3]))
