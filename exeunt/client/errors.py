"""What the Python client raises: a gRPC error with its google.rpc details, as one error with words for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2


class ClientError(Exception):
    """A call that was refused or could not be made."""

    def __init__(self, code: str, reason: str, text: str, problems: Sequence[str] = (), pause: float = 0.0) -> None:
        """`code` is the gRPC code's name, `reason` the stable one; `problems` has a line each; `pause` in seconds."""
        super().__init__("\n".join([text, *(p for p in problems if p != text)]))
        self.code = code
        self.reason = reason
        self.text = text
        self.problems = list(problems)
        self.pause = pause

    @property
    def unreachable(self) -> bool:
        """True when the service could not be reached or could not answer now, and asking again may help."""
        return self.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def error_of(error: grpc.aio.AioRpcError) -> ClientError:
    """A gRPC error with its google.rpc details, as a ClientError."""
    code = error.code().name
    reason, problems, pause = code, [], 0.0
    for detail in _details(error):
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        failure, retry = error_details_pb2.PreconditionFailure(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            problems += [_line(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(failure):
            problems += [v.description for v in failure.violations]
        elif detail.Unpack(retry):
            pause = retry.retry_delay.ToNanoseconds() / 1e9
    return ClientError(code, reason, error.details() or code, problems, pause)


def _details(error: grpc.aio.AioRpcError) -> Iterable[Any]:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                return list(status_pb2.Status.FromString(value).details)
            except ValueError:
                return ()
    return ()


def _line(field: str, description: str) -> str:
    """A violation for people: of a document the description says the place, by file and line."""
    told = not field or field.startswith("documents[") or field in description
    return description if told else f"{field}: {description}"
