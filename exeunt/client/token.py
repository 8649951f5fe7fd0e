"""Where a client finds the token that a cluster wants: in the local cluster's cluster.json, else in EXEUNT_TOKEN."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from exeunt import local

HEADER = "authorization"
VARIABLE = "EXEUNT_TOKEN"


def find_token(server: str) -> str:
    """The token for the services at an address; empty where none is known.

    A cluster of this user that says it listens there knows best; else it is EXEUNT_TOKEN, which may be `file:PATH`.
    Raises OSError when that file cannot be read.
    """
    for _, facts in local.clusters_at(server):
        if facts.get("token"):
            return str(facts["token"])
    text = os.environ.get(VARIABLE, "").strip()
    if text.startswith("file:"):
        text = Path(text.removeprefix("file:")).read_text()
    return text.replace("\n", ",").split(",")[0].strip()


def interceptors(token: str) -> list[grpc.aio.ClientInterceptor]:
    """For a channel of your own (`grpc.aio.insecure_channel(…, interceptors=…)`): each call sends the token."""
    return [kind(token) for kind in (_Unary, _ServerStream, _ClientStream, _BothStream)] if token else []


class _Sending:
    def __init__(self, token: str) -> None:
        self._value = f"Bearer {token}"

    async def _call(self, made: Callable[..., Any], details: grpc.aio.ClientCallDetails, sent: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), (HEADER, self._value))
        changed = grpc.aio.ClientCallDetails(
            details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
        )
        return await made(changed, sent)


class _Unary(_Sending, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._call(continuation, client_call_details, request)


class _ServerStream(_Sending, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._call(continuation, client_call_details, request)


class _ClientStream(_Sending, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._call(continuation, client_call_details, request_iterator)


class _BothStream(_Sending, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._call(continuation, client_call_details, request_iterator)
