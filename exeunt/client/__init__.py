"""The Python client: workflows and exit ledger over gRPC, with one kind of error that says what is wrong.

    async with Client("127.0.0.1:7600") as client:
        [workflow] = (await client.submit([("hello.yaml", text)])).workflows
        async for state in client.follow(workflow.name):
            print(state.object["status"]["phase"])

Mutating calls carry a request id, so that a repeated one is the same one; calls that find a service away are repeated
for a while. It needs little of this package but exeunt.v1; `exeunt.words` has Argo's words for the enums in there. What
happens is heard from `exeunt.client.events`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from exeunt.client.artifacts import Artifacts
from exeunt.client.errors import ClientError, error_of
from exeunt.client.exits import Exits
from exeunt.client.request_ids import new_request_id
from exeunt.client.token import find_token, interceptors
from exeunt.client.workflows import Followed, Workflows

__all__ = ["Client", "ClientError", "Followed", "error_of", "find_token", "interceptors", "new_request_id", "trace_in"]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Client(Workflows, Artifacts, Exits):
    """Calls a cluster. Use it as an async context manager, in one event loop."""


def trace_in(environ: Mapping[str, str]) -> dict[str, str]:
    """The trace context of this process, as TRACEPARENT and TRACESTATE name it to programs; empty without one."""
    found = {name: environ.get(name.upper(), "") for name in ("traceparent", "tracestate")}
    if not _TRACEPARENT.fullmatch(found["traceparent"]):
        return {}
    return {name: text for name, text in found.items() if text and text.isascii() and text.isprintable()}
