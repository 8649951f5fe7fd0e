"""Stands in for a service: says that it is ready, as services do, and lives until it is ended.

Run as `stand_in.py SERVICE`. Ends at once when a file SERVICE.broken lies beside its data directory; ignores SIGTERM
when SERVICE.stubborn does. Writes how it ended into `ends`.
"""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

from exeunt.service.program import Program, ProgramError, run

NAME = sys.argv[1]
FOLDER = Path(os.environ["EXEUNT_DATA_DIR"]).parent


async def setup(program: Program) -> None:
    """Listens where it was told to."""
    if (FOLDER / f"{NAME}.broken").exists():
        raise ProgramError(f"{NAME} has no wish to live")

    async def end() -> None:
        with (FOLDER / "ends").open("a") as ends:
            ends.write(f"{NAME}\n")

    if NAME != "executor":
        server = socket.create_server(("127.0.0.1", int(os.environ["EXEUNT_LISTEN"].rpartition(":")[2])))
        program.finish(end)
        program.at_stop(lambda: asyncio.to_thread(server.close))
    else:
        program.finish(end)
    if (FOLDER / f"{NAME}.stubborn").exists():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
    program.ready(address=os.environ.get("EXEUNT_LISTEN"))


try:
    asyncio.run(run(setup))
except ProgramError as error:
    sys.exit(str(error))
