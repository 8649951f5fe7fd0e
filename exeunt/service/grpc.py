"""The gRPC server of a service: health, reflection, sizes, keepalive, errors, deadlines, traces and counts."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from exeunt.service import telemetry
from exeunt.service.bounds import check_fields
from exeunt.service.errors import Code, RpcError, abort_with, invalid
from exeunt.service.health import HealthServicer
from exeunt.service.metrics import Counter, Histogram
from exeunt.service.program import ProgramError
from exeunt.service.settings import join_address, split_address
from exeunt.service.streams import Streams, stopping
from exeunt.service.tokens import TokenGuard
from exeunt.visible import quoted

log = logging.getLogger(__name__)

MESSAGE_BYTES = 32 * 1024 * 1024
"""Largest message either way. Manifests are bounded by their own limit; a large workflow's JSON needs the room."""

KEEPALIVE = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)
"""What clients of ours send."""
PING_SECONDS = 10
"""How often any client may send a ping, also without a call; one that does more often is cut off with its calls."""

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    *KEEPALIVE,
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.http2.min_ping_interval_without_data_ms", PING_SECONDS * 500),  # pings do not arrive as evenly as sent
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),  # two servers must never share a port by accident
)

deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline", default=None)
"""When the call that is being answered ends, on the monotonic clock; calls made from within end a little earlier."""

calls = Counter("rpc.server.calls", "Calls that have ended, by method and status code", "{call}")
refusals = Counter("exeunt.rpc.refused", "Calls that were not answered for want of the right token", "{call}")
durations = Histogram("rpc.server.call.duration", "How long unary calls took")

_FORMS = {
    "namespace": (re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"), "at most 63 lower case letters, digits and '-'"),
    "uid": (re.compile(r"[A-Za-z0-9-]{1,64}"), "at most 64 letters, digits and '-'"),
}
"""Fields whose values become part of subjects and keys, wherever they stand in a request."""

REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"

Register = Callable[[grpc.aio.Server], None]


class GrpcServer:
    """A running server. Its health has two sides: the service named "" is SERVING for as long as the process lives and
    answers, the named ones only while `ready` says so. So a probe of "" restarts what hangs, and nothing else."""

    def __init__(
        self, server: grpc.aio.Server, health: HealthServicer, names: tuple[str, ...], address: str, streams: Streams
    ) -> None:
        self.address = address
        self._server = server
        self._health = health
        self._names = names
        self._streams = streams
        self._stopped = False

    async def ready(self, serving: bool = True, *names: str) -> None:
        """Sets the health of the named services, or of all of them."""
        for name in names or self._names:
            self._health.set(name, serving=serving)

    async def leave(self) -> None:
        """The service begins to stop: NOT_SERVING, and streams that would go on end. Other calls are answered still."""
        await self.ready(False)
        self._health.end()
        await self._streams.end()

    async def stop(self, grace: float = 5.0) -> None:
        """NOT_SERVING first; then no new calls; those under way have `grace` seconds."""
        if not self._stopped:
            self._stopped = True
            await self.ready(False, "")
            await self.leave()
            await self._server.stop(grace)


@contextlib.asynccontextmanager
async def serve_grpc(
    listen: str,
    services: Mapping[str, Register],
    *,
    health_of: Sequence[str] = (),
    grace: float = 5.0,
    guard: TokenGuard | None = None,
) -> AsyncIterator[GrpcServer]:
    """Serves until the block is left. `services` maps full names to what registers them:

        {"exeunt.v1.ExitService": partial(add_ExitServiceServicer_to_server, servicer)}

    `health_of`: further names whose health is told, of what is served to somebody by other ways. `guard`: who may call.
    Raises ProgramError when the address cannot be taken.
    """
    streams = Streams()
    server = grpc.aio.server(interceptors=[_Interceptor(guard or TokenGuard(), streams)], options=SERVER_OPTIONS)
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for register in services.values():
        register(server)
    names = tuple(services)
    _reflect((*names, "grpc.health.v1.HealthServicer", reflection.SERVICE_NAME), server)
    host, _ = split_address(listen)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise ProgramError(f"cannot listen on {listen}: {error}; is something else there?") from error
    if port == 0:
        raise ProgramError(f"cannot listen on {listen}; is something else there?")
    address = join_address(host, port)
    running = GrpcServer(server, health, (*names, *health_of), address, streams)
    await running.ready(True, "")
    await running.ready(False)
    await server.start()
    try:
        yield running
    finally:
        await running.stop(grace)


def _reflect(names: tuple[str, ...], server: grpc.aio.Server) -> None:
    """Serves reflection as v1alpha, and as v1: the messages are the same, only the service is named otherwise."""
    servicer = reflection.aio.ReflectionServicer(names)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": method}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(REFLECTION_V1, methods)])


class _Interceptor(grpc.aio.ServerInterceptor):
    """Wraps every call of ours: errors get details, deadlines are kept, calls are counted and traced."""

    def __init__(self, guard: TokenGuard, streams: Streams) -> None:
        self._guard = guard
        self._streams = streams
        self._made: dict[Any, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        method: Any = handler_call_details.method
        name = method.lstrip("/") if isinstance(method, str) else method.decode().lstrip("/")
        refusal = self._guard.refusal(name, handler_call_details.invocation_metadata or ())
        if refusal is not None:
            return _refusing(refusal)
        known = self._made.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        ours = not name.startswith("grpc.")
        made: grpc.RpcMethodHandler[Any, Any]
        if handler.response_streaming:
            inner = handler.unary_stream or handler.stream_stream
            factory: Any = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            read = _reader(handler.request_deserializer)
            # sessions, which go both ways, are ended by those who hold them, and health ends with its last word;
            # what is read in parts comes to an end by itself
            ends = name.startswith("grpc.health.") or name.rpartition("/")[2].startswith("Read")
            held = ours != handler.request_streaming and not ends
            streams = self._streams if held else None
            made = factory(_streaming(name, inner, streams, counted=ours), read, handler.response_serializer)
        else:
            inner = handler.unary_unary or handler.stream_unary
            factory = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
            read = _reader(handler.request_deserializer)
            made = factory((_unary if ours else _plain)(name, inner), read, handler.response_serializer)
        self._made[method] = made  # only of methods that are served, so their number is bounded
        return made


def _refusing(refusal: RpcError) -> grpc.RpcMethodHandler[Any, Any]:
    """Answers any call, of whatever kind, without reading what it sends."""

    async def call(_requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        refusals.add(1)
        await abort_with(context, refusal)

    return grpc.stream_stream_rpc_method_handler(call)


def _unary(name: str, inner: Any) -> Any:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        started = time.monotonic()
        with telemetry.current.span(
            name, "server", _metadata(context), rpc__system__name="grpc", rpc__method=name
        ) as span:
            try:
                await _keep_deadline(context)
                return await inner(_proper(request), context)
            except Exception as error:  # noqa: BLE001 (no input may take the service down)
                await _answer(context, name, error)
            finally:
                code = _count(name, context)
                if span is not None:
                    span.set_attribute("rpc.status_code", code)
                durations.record(time.monotonic() - started, (("method", name),))

    return call


def _plain(name: str, inner: Any) -> Any:
    """A call of gRPC's own services, which probes make all the time: not counted, and no span of a trace."""

    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await inner(_proper(request), context)
        except Exception as error:  # noqa: BLE001 (no input may take the service down)
            await _answer(context, name, error)

    return call


def _streaming(name: str, inner: Any, streams: Streams | None, *, counted: bool) -> Any:
    """`streams`: those that end when the service stops, where this is one of them."""

    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        try:
            with Streams().held() if streams is None else streams.held() as held:
                await _keep_deadline(context)
                answers = inner(_proper(request), context)
                if not hasattr(answers, "__aiter__"):
                    await answers
                    return
                async with _closing(answers):  # what it holds goes at once where the caller is gone
                    async for answer in answers:
                        held.sending = True
                        yield answer
                        held.sending = False
                        if streams is not None and streams.leaving:
                            raise stopping()
        except asyncio.CancelledError:
            if streams is not None:
                await streams.told(context)
            raise
        except Exception as error:  # noqa: BLE001 (no input may take the service down)
            await _answer(context, name, error)
        finally:
            if counted:
                _count(name, context)

    return call


def _closing(answers: Any) -> contextlib.AbstractAsyncContextManager[Any]:
    return contextlib.aclosing(answers) if hasattr(answers, "aclose") else contextlib.nullcontext()


class _Unreadable:
    """Bytes that are no message of the method's kind."""

    def __init__(self, why: str) -> None:
        self.why = why


def _reader(read: Any) -> Any:
    """Reads requests; what cannot be read is for the call to refuse: gRPC itself would say INTERNAL, or UNKNOWN."""

    def reader(data: bytes) -> Any:
        try:
            return read(data)
        except Exception as error:  # noqa: BLE001 (protobuf raises of its own)
            log.debug("%s", error)
            return _Unreadable("its bytes are no protobuf, or another message's")

    return reader


PUBLIC = "exeunt.v1."
"""What people and their programs send."""
ALL = "*"
"""Every namespace: what lists, and a watch of them, may ask for."""
_OF_ALL = frozenset({"ListWorkflowsRequest", "WatchWorkflowsRequest", "ListExitsRequest", "WatchExitsRequest"})


def _proper(request: Any) -> Any:
    """The request, when it can be read and the texts in it are in order; of a stream each frame. Raises RpcError."""
    if hasattr(request, "__aiter__"):
        return _each_proper(request)
    if isinstance(request, _Unreadable):
        text = f"the request cannot be read: {request.why}; it has to be a message of the kind that this method takes"
        raise invalid(text, [("", text)], reason="UNREADABLE_REQUEST")
    for field, (form, words) in _FORMS.items():
        value = getattr(request, field, "")
        if value == ALL and field == "namespace" and request.DESCRIPTOR.name in _OF_ALL:
            continue
        if isinstance(value, str) and value and not form.fullmatch(value):
            text = f"{field}: {quoted(value)} is none; {words} are expected"
            raise invalid(text, [(field, text)])
    if request.DESCRIPTOR.full_name.startswith(PUBLIC):
        check_fields(request)
    return request


async def _each_proper(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _proper(request)


async def _keep_deadline(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    remaining = context.time_remaining()
    if remaining is None or remaining > 1e8:  # gRPC says "for ever" as a very large number
        deadline.set(None)
        return
    if remaining <= 0:
        raise RpcError(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "the deadline had passed before work began")
    deadline.set(time.monotonic() + remaining)


async def _answer(context: grpc.aio.ServicerContext[Any, Any], name: str, error: Exception) -> None:
    if isinstance(error, RpcError):
        await abort_with(context, error)
    if isinstance(error, grpc.aio.AbortError):  # the servicer ended the call itself
        raise error
    if isinstance(error, NotImplementedError) and context.code() is Code.UNIMPLEMENTED:
        text = f"{name} is not served here"
        await abort_with(context, RpcError(Code.UNIMPLEMENTED, "UNIMPLEMENTED", text))
    mark = secrets.token_hex(4)
    log.error("%s failed (%s)", name, mark, exc_info=error)
    text = f"something is wrong inside this service, not with your request; its log says more at {mark}"
    await abort_with(context, RpcError(Code.INTERNAL, "INTERNAL", text, metadata={"mark": mark}))


def _count(name: str, context: grpc.aio.ServicerContext[Any, Any]) -> str:
    code: Any = context.code()
    shown = "OK" if not code else code.name if isinstance(code, grpc.StatusCode) else str(code)
    calls.add(1, (("method", name), ("code", shown)))
    return shown


def _metadata(context: grpc.aio.ServicerContext[Any, Any]) -> dict[str, str]:
    found = telemetry.context_in((str(key), value) for key, value in context.invocation_metadata() or ())
    if found and telemetry.current.tracer is None:
        telemetry.received.set(found)
    return found
