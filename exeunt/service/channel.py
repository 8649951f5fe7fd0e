"""Channels to other services: one retry layer, deadlines passed on, sizes and keepalive as the servers expect."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc

from exeunt.service import telemetry
from exeunt.service.grpc import KEEPALIVE, MESSAGE_BYTES, deadline
from exeunt.service.tokens import bearer

MARGIN = 0.1
"""Seconds that a call made while answering another ends before that one, so that the answer can still be sent."""

_RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


def open_channel(
    address: str, *, timeout: float | None = 10.0, retries: bool = True, apart: bool = False
) -> grpc.aio.Channel:
    """A channel to HOST:PORT; close it. Unary calls end after `timeout` seconds unless the caller says otherwise.

    With `retries` a call that fails UNAVAILABLE is made up to three times more: every mutating call has a request id.
    With `apart` it has a connection of its own: large transfers do not delay what other channels to there send.
    """
    options: list[tuple[str, Any]] = [
        *KEEPALIVE,
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.enable_retries", int(retries)),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
    if apart:
        options.append(("grpc.use_local_subchannel_pool", 1))
    if retries:
        options.append(("grpc.service_config", json.dumps(_RETRIES)))
    interceptors: Sequence[grpc.aio.ClientInterceptor] = [_Deadlines(timeout)]
    return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)


_known_by: tuple[tuple[str, str], ...] = ()


def known_by(tokens: Iterable[str]) -> None:
    """From now on all calls of this process send the first of these tokens."""
    global _known_by  # noqa: PLW0603 - one process, one service
    _known_by = bearer(tokens)


def metadata() -> tuple[tuple[str, str], ...]:
    """Metadata for streams: this service's token and the current trace context. Unary calls get it by themselves."""
    return (*_known_by, *telemetry.current.headers().items())


class _Deadlines(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        details = client_call_details
        limits = [details.timeout if details.timeout is not None else self._timeout]
        ends = deadline.get()
        if ends is not None:
            limits.append(max(0.0, ends - time.monotonic() - MARGIN))
        known = [limit for limit in limits if limit is not None]
        sent = details.metadata
        present = {key for key, _ in sent or ()}
        if carried := [pair for pair in metadata() if pair[0] not in present]:
            sent = grpc.aio.Metadata(*(sent or ()), *carried)
        changed = grpc.aio.ClientCallDetails(
            details.method, min(known) if known else None, sent, details.credentials, details.wait_for_ready
        )
        return await continuation(changed, request)
