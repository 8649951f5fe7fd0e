"""Prints every workflow that ended badly and every exit handler that failed, also what came while this did not run.

Usage: python examples/events/subscriber.py [NATS_URL [NAMESPACE]]

Of a local cluster the address is `nats.url` in its cluster.json (docs/events.md, "Where NATS listens").
"""

import asyncio
import contextlib
import sys

from exeunt.client import ClientError, events


async def main(nats_url: str = "nats://127.0.0.1:4222", namespace: str = "") -> None:
    """NATS keeps under the name `failures` how far this came."""
    found = events.subscribe(
        nats_url,
        namespace=namespace,
        types=["workflow.failed", "workflow.error", "exit.failed"],
        since=events.ALL_KEPT,
        durable="failures",
    )
    async for event in found:
        why = event.data["error" if event.type == "exit.failed" else "message"]
        print(f"{event.time:%Y-%m-%d %H:%M:%S}  {event.type:15}  {event.namespace}/{event.subject}  {why}", flush=True)


if __name__ == "__main__":
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(main(*sys.argv[1:]))
    except ClientError as error:
        sys.exit(str(error))
