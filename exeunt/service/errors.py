"""Errors of gRPC calls: a code, a stable reason, a text for people and google.rpc details, on both ends of a call.

Code deep inside a service raises `RpcError`; the server's interceptor makes the status of it. Rules as in AIP-193:
every error has one ErrorInfo whose reason never changes once published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from exeunt.visible import begun, visible

DOMAIN = "exeunt.dev"
Code = grpc.StatusCode
TEXT_BYTES = 600
"""Of a text or a name that goes into an error: what callers sent may be long, and clients take 8 KB of trailers."""
VIOLATION_BYTES = 2_000


class Violation(NamedTuple):
    """One thing wrong with a request: the field's path, and what is wrong."""

    field: str
    description: str


class RpcError(Exception):
    """A call that is refused, with all that the caller is told."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        text: str,
        *,
        violations: Iterable[tuple[str, str]] = (),
        retry_after: float | None = None,
        resource: tuple[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """`reason` is UPPER_SNAKE; `retry_after` in seconds; `resource` is (type, name).

        `violations` become a BadRequest with INVALID_ARGUMENT, else a PreconditionFailure.
        """
        text = _short(text)
        super().__init__(text)
        self.code = code
        self.reason = reason
        self.text = text
        self.violations = [Violation(_short(field), _short(said, VIOLATION_BYTES)) for field, said in violations]
        self.retry_after = retry_after
        self.resource = (_short(resource[0]), _short(resource[1])) if resource is not None else None
        self.metadata = dict(metadata or {})

    def status(self) -> status_pb2.Status:
        """The google.rpc.Status that goes over the wire."""
        details = [_any(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata))]
        if self.code is Code.INVALID_ARGUMENT and self.violations:
            request = error_details_pb2.BadRequest()
            for violation in self.violations:
                request.field_violations.add(field=violation.field, description=violation.description)
            details.append(_any(request))
        elif self.code is Code.FAILED_PRECONDITION:
            failure = error_details_pb2.PreconditionFailure()
            subject = "/".join(self.resource) if self.resource else ""
            for violation in self.violations or [Violation(subject, self.text)]:
                failure.violations.add(type=self.reason, subject=violation.field, description=violation.description)
            details.append(_any(failure))
        if self.resource is not None:
            kind, name = self.resource
            details.append(_any(error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name)))
        if self.retry_after is not None:
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(int(self.retry_after * 1e9))
            details.append(_any(error_details_pb2.RetryInfo(retry_delay=delay)))
        return status_pb2.Status(code=self.code.value[0], message=self.text, details=details)


def not_found(kind: str, name: str) -> RpcError:
    """The error for a thing that does not exist, as in not_found("workflow", "default/nightly")."""
    reason = f"{kind.upper().replace(' ', '_')}_NOT_FOUND"
    return RpcError(Code.NOT_FOUND, reason, f"{kind} {begun(name)} does not exist", resource=(kind, name))


def invalid(text: str, violations: Iterable[tuple[str, str]], reason: str = "INVALID_REQUEST") -> RpcError:
    """The error for a request whose fields are wrong."""
    return RpcError(Code.INVALID_ARGUMENT, reason, text, violations=violations)


def wrong_state(reason: str, text: str, resource: tuple[str, str] | None = None) -> RpcError:
    """The error for what cannot be done in the state that something is in."""
    return RpcError(Code.FAILED_PRECONDITION, reason, text, resource=resource)


def unavailable(reason: str, text: str, retry_after: float = 0.5) -> RpcError:
    """The error for what can be done in a moment: loading, no owner yet, NATS away. `retry_after` in seconds."""
    return RpcError(Code.UNAVAILABLE, reason, text, retry_after=retry_after)


async def abort(
    context: grpc.aio.ServicerContext[Any, Any],
    code: grpc.StatusCode,
    reason: str,
    text: str,
    *,
    violations: Iterable[tuple[str, str]] = (),
    retry_after: float | None = None,
    resource: tuple[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> NoReturn:
    """Ends a call with an error and its details. Raise `RpcError` where no context is at hand."""
    error = RpcError(
        code, reason, text, violations=violations, retry_after=retry_after, resource=resource, metadata=metadata
    )
    await abort_with(context, error)


async def abort_with(context: grpc.aio.ServicerContext[Any, Any], error: RpcError) -> NoReturn:
    """Ends a call with the given error."""
    status = rpc_status.to_status(error.status())
    await context.abort(status.code, status.details, status.trailing_metadata)
    raise AssertionError("abort returned")


def received(error: grpc.aio.AioRpcError) -> RpcError:
    """What a caller learns from a failed call. Errors that are not ours have the reason UNKNOWN or that of the code."""
    code = error.code()
    text = error.details() or code.name
    status = _status(error)
    if status is None:
        return RpcError(code, code.name, text)
    found = RpcError(code, code.name, text)
    for detail in status.details:
        _read(found, detail)
    return found


def _read(found: RpcError, detail: any_pb2.Any) -> None:
    info, bad, failure = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.PreconditionFailure(),
    )
    retry, resource = error_details_pb2.RetryInfo(), error_details_pb2.ResourceInfo()
    if detail.Unpack(info):
        found.reason, found.metadata = info.reason, dict(info.metadata)
    elif detail.Unpack(bad):
        found.violations = [Violation(v.field, v.description) for v in bad.field_violations]
    elif detail.Unpack(failure):
        found.violations = [Violation(v.subject, v.description) for v in failure.violations]
    elif detail.Unpack(retry):
        found.retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    elif detail.Unpack(resource):
        found.resource = (resource.resource_type, resource.resource_name)


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            try:
                status = status_pb2.Status.FromString(value if isinstance(value, bytes) else value.encode())
            except ValueError:
                return None
            return status if status.code != code_pb2.OK else None
    return None


def _short(text: str, most: int = TEXT_BYTES) -> str:
    """A text as far as an error can carry it, with nothing invisible in it."""
    text = visible(text[: most + 1])
    content = text.encode(errors="replace")
    return text if len(content) <= most else content[: most - 3].decode(errors="ignore") + "…"


def _any(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
