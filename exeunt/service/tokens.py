"""Tokens: what callers send to be answered. One is for whoever uses the API, another may be for executors alone."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from pathlib import Path

from exeunt.service.errors import Code, RpcError
from exeunt.service.settings import SettingsError

HEADER = "authorization"
SHORTEST = 16
EXECUTORS = frozenset({"exeunt.internal.v1.ExecutorService", "exeunt.internal.v1.ArtifactService"})
"""What only executors call."""
OPEN = "grpc.health.v1.Health"
"""What probes ask: whether the service is well, and nothing else."""

MISSING = (
    "this cluster answers only to its token, and none was sent: set EXEUNT_TOKEN, or send the metadata "
    "`authorization: Bearer TOKEN`; for a local cluster it stands in cluster.json, which its owner can read"
)
WRONG = "this cluster answers only to its token, and another one was sent: look at EXEUNT_TOKEN"
NO_EXECUTOR = (
    "this scheduler takes executors only by their token, and {}: give executor and schedulers the same "
    "EXEUNT_EXECUTOR_TOKEN (or EXEUNT_TOKEN, where there is none for executors alone)"
)


def read_tokens(setting: str, name: str = "token") -> tuple[str, ...]:
    """The tokens that a setting holds or names a file of; none when it is empty. Raises SettingsError."""
    text = setting.strip()
    if text.startswith("file:"):
        try:
            text = Path(text.removeprefix("file:")).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError([f"{name}: {text} cannot be read: {error}"]) from error
        if not text.strip():
            raise SettingsError([f"{name}: the file {setting.strip().removeprefix('file:')} is empty"])
    found = tuple(filter(None, (one.strip() for one in text.replace("\n", ",").split(","))))
    for one in found:
        if len(one) < SHORTEST or not one.isascii() or not one.isprintable() or " " in one:
            said = f"it needs {SHORTEST} or more printable ASCII characters without spaces (openssl rand -hex 32)"
            raise SettingsError([f"{name}: {said}"])
    return found


def bearer(tokens: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The metadata that sends the first of the tokens; none without one."""
    return tuple((HEADER, f"Bearer {token}") for token in list(tokens)[:1])


class TokenGuard:
    """Who may call what. Without tokens everybody may."""

    def __init__(self, tokens: Iterable[str] = (), executors: Iterable[str] = ()) -> None:
        self._tokens = tuple(tokens)
        self._executors = tuple(executors) or self._tokens

    def refusal(self, method: str, sent: Iterable[tuple[str, str | bytes]]) -> RpcError | None:
        """Why a call of `package.Service/Method` with that metadata is not answered; None when it is."""
        service = method.partition("/")[0]
        wanted = self._executors if service in EXECUTORS else self._tokens
        if not wanted or service == OPEN:
            return None
        given = [_token_of(value) for key, value in sent if key == HEADER]
        if any(hmac.compare_digest(one, token.encode()) for one in given for token in wanted):
            return None
        if service in EXECUTORS:
            text = NO_EXECUTOR.format("another one was sent" if given else "none was sent")
        else:
            text = WRONG if given else MISSING
        return RpcError(Code.UNAUTHENTICATED, "TOKEN", text)


def _token_of(sent: str | bytes) -> bytes:
    """The token of a header; empty, as no token is, for another scheme. Schemes have no case (RFC 9110)."""
    scheme, _, token = (sent.encode() if isinstance(sent, str) else sent).partition(b" ")
    return token.lstrip(b" ") if scheme.lower() == b"bearer" else b""
