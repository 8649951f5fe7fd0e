"""What the Python client raises: a gRPC error with its google.rpc details, as one error with words for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from exeunt import local

CONNECTING = "failed to connect to all addresses"
NOT_FOUND = "Method not found!"
NAMED = ("Submit", "Resubmit", "Retry", "Replay")
"""Calls whose commands can be given a request's id."""
_REASON = "Failed to connect to remote host: "


class ClientError(Exception):
    """A call that was refused or could not be made."""

    def __init__(self, code: str, reason: str, text: str, problems: Sequence[str] = (), pause: float = 0.0) -> None:
        """`code` is the gRPC code's name, `reason` the stable one; `problems` has a line each; `pause` in seconds."""
        super().__init__("\n".join([text, *(p for p in problems if not text.endswith(p))]))
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


def unanswered(failure: ClientError, server: str, seconds: float | None = None, request: object = None) -> ClientError:
    """The same in words, where it is gRPC's own: what was called has not said anything.

    `seconds`, `request`: of a call that has one answer.
    """
    if failure.code == "UNIMPLEMENTED" and failure.text == NOT_FOUND:
        text = (
            f"{server} does not know this call: it is another service, or another version. Workflows are asked of "
            "a scheduler (--server, EXEUNT_SERVER), exit runs of an exit handler (--exit-server, EXEUNT_EXIT_SERVER)"
        )
        return ClientError(failure.code, failure.reason, text)
    if failure.reason != failure.code or failure.code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        return failure
    connecting = failure.text.startswith(CONNECTING)
    if failure.code == "DEADLINE_EXCEEDED" and seconds is not None:
        text = f"{server} did not answer within {seconds:g} s"
    elif connecting:
        text = f"no connection to {server}: {failure.text.rpartition(_REASON)[2]}"
    else:
        text = f"the connection to {server} broke: {failure.text}"
    id = getattr(request, "request_id", "")
    if id and not connecting:
        how = f"ask again with --request-id {id}, which does it once"
        if not type(request).__name__.startswith(NAMED):
            how = "look before you ask again"
        text = f"{text}; it is not known whether this was taken: {how}"
    logs = next((data_dir / "logs" for data_dir, _ in local.clusters_at(server)), None)
    if logs is not None:
        text = f"{text}; the logs of this local cluster are in {logs}"
    return ClientError(failure.code, failure.reason, text, failure.problems, failure.pause)


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
