"""The http template: one request, judged as Argo judges it, with an idempotency key, bounds and a guard.

Argo: docs/http-template.md. An answer is good when the template's `successCondition` holds for it, or without one
when its status is 2xx.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec
from multidict import CIMultiDict

from exeunt.actions.context import Context
from exeunt.actions.guard import AddressRefused, asked_for
from exeunt.actions.masking import sensitive_name, shown_url
from exeunt.actions.secrets import look_up
from exeunt.engine.facts import HttpWork, StepOutcome
from exeunt.language.actions import SecretKey
from exeunt.language.expression import ExpressionError, evaluate_bool

KEY_HEADER = "Idempotency-Key"
DEFAULT_TIMEOUT_SECONDS = 30.0
SHOWN_BODY_CHARACTERS = 2048  # characters of an answer that the ledger keeps
_REDIRECTS = {301, 302, 303, 307, 308}


class HttpAnswer(NamedTuple):
    """The response to a request; `size` is the length of its body in bytes."""

    status: int
    headers: dict[str, list[str]]  # names as Go writes them: Content-Type
    body: str
    size: int


class Unanswered(Exception):  # noqa: N818 - it is an answer
    """The request got no usable answer; another try may get one. The text is for people."""

    phase = "Failed"


class Unsent(Unanswered):
    """The request cannot be sent: its address is not valid, or forbidden. Another try would end the same way."""

    phase = "Error"


async def perform(work: HttpWork, context: Context) -> StepOutcome:
    """Sends the request. Failed when there is no good answer, Error when it cannot be sent."""
    method = (work.method or "GET").upper()
    headers = _headers(await _with_secrets(work, context), context)
    try:
        road = _Road(work.body.encode(), context.settings.redirects)
        answer = await _send(method, headers, work, context, road)
    except Unanswered as error:
        return StepOutcome(phase=error.phase, message=f"{method} {shown_url(work.url)}: {error}")
    phase, message = "Succeeded", ""
    if work.success_condition:
        try:
            good = evaluate_bool(work.success_condition, _environment(method, headers, work, answer))
        except ExpressionError as error:
            return StepOutcome(phase="Failed", message=f"successCondition: {error}", answer=shown(answer))
        if not good:
            phase, message = "Failed", f"successCondition '{work.success_condition}' evaluated false"
    elif not 200 <= answer.status < 300:
        phase, message = "Failed", f"received non-2xx response code: {answer.status}"
    result: str | None = answer.body
    if answer.size > context.settings.result_bytes:
        result = None
        most = f"{context.settings.result_bytes} bytes, EXEUNT_RESULT_BYTES"
        left_out = f"the answer of {answer.size} bytes is too large for a result ({most}) and was left out"
        message = f"{message}; {left_out}" if message else left_out
    return StepOutcome(phase=phase, message=message, result=result, answer=shown(answer))


async def _with_secrets(work: HttpWork, context: Context) -> HttpWork:
    """The work with the values of headers that stand in secrets. A header whose optional secret is missing is left out.

    Raises BadArguments.
    """
    headers: list[tuple[str, str]] = []
    for at, (name, value) in enumerate(work.headers):
        ref = work.header_secrets.get(at)
        if ref is None:
            headers.append((name, value))
            continue
        key = SecretKey(ref.name, ref.key, ref.optional)
        found = await look_up(key, f"http.headers[{at}] ({name})", context)
        if found:
            headers.append((name, found))
    return msgspec.structs.replace(work, headers=headers, header_secrets={})


def _headers(work: HttpWork, context: Context) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in work.headers:
        headers.add(name, value)
        if sensitive_name(name):
            context.masker.add(value)
    if context.idempotency_key and KEY_HEADER not in headers:
        headers[KEY_HEADER] = context.idempotency_key
    for name, value in context.trace.items():
        headers.setdefault(name, value)
    return headers


async def request(
    method: str,
    url: str,
    context: Context,
    *,
    headers: Mapping[str, str],
    body: bytes = b"",
    seconds: float = DEFAULT_TIMEOUT_SECONDS,
    trusted: bool = False,
) -> HttpAnswer:
    """One request of another action, bounded and with the idempotency key.

    `trusted` is for a URL that the operator's settings name: the guard is not asked. Redirects are followed for GET
    only, since with any other method what is sent would be lost on the way. Raises Unanswered.
    """
    work = HttpWork(method=method, url=url, headers=list(headers.items()), timeout_seconds=seconds)
    road = _Road(body, context.settings.redirects if method == "GET" else 0, trusted)
    return await _send(method, _headers(work, context), work, context, road)


def retry_after(answer: HttpAnswer) -> str:
    """When a busy server wants the next try (Retry-After, RFC 9110 §10.2.3), in words; empty when it does not say."""
    value = (answer.headers.get("Retry-After") or [""])[0].strip()
    if value.isdecimal() and len(value) < 8:
        at = datetime.fromtimestamp(time.time() + int(value), UTC)
        return f"it asks to wait {value} s, until {at:%Y-%m-%d %H:%M:%S} UTC"
    return f"it asks to wait until {value[:40]}" if value else ""


class _Road(NamedTuple):
    """The body that is sent, how many redirects may follow, and whether the operator's settings name the address."""

    body: bytes
    redirects: int
    trusted: bool = False


async def _send(method: str, headers: CIMultiDict[str], work: HttpWork, context: Context, road: _Road) -> HttpAnswer:
    seconds = work.timeout_seconds or DEFAULT_TIMEOUT_SECONDS
    try:
        async with asyncio.timeout(seconds):
            return await _follow(method, headers, work, context, road)
    except TimeoutError:
        raise Unanswered(f"no answer within {seconds:g} s") from None
    except AddressRefused as error:
        raise Unsent(str(error)) from None
    except aiohttp.InvalidURL:
        raise Unsent("this is no address; http:// or https:// with a host is expected") from None
    except aiohttp.ClientConnectorError as error:
        cause = error.os_error
        if isinstance(cause, AddressRefused):
            raise Unsent(str(cause)) from None
        raise Unanswered(f"cannot connect: {_words(error)}") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unanswered(_words(error)) from None


async def _follow(method: str, headers: CIMultiDict[str], work: HttpWork, context: Context, road: _Road) -> HttpAnswer:
    """Sends the request and follows redirects, as many as are allowed; the guard checks each address."""
    url, body = work.url, road.body or None
    verify: ssl.SSLContext | bool = not work.insecure_skip_verify
    session = context.tools.trusted if road.trusted else context.tools.session
    for _ in range(road.redirects + 1):
        _check(url, context, road.trusted)
        async with session.request(
            method, url, headers=headers, data=body, allow_redirects=False, ssl=verify, timeout=aiohttp.ClientTimeout()
        ) as response:
            target = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not target or not road.redirects:
                return await _read(response, context.settings.answer_bytes)
            following = urljoin(url, target)
            if response.status in {301, 302, 303} and method not in {"GET", "HEAD"}:
                method, body = "GET", None
            headers = _headers_after(headers, url, following, body is None)
            url = following
    raise Unanswered(f"stopped after {road.redirects} redirects")


def _check(url: str, context: Context, trusted: bool) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Unsent(str(error)) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Unsent("only http:// and https:// addresses with a host can be called")
    if parts.password:
        context.masker.add(parts.password)
    if not trusted:
        asked_for.set(parts.hostname)
        context.tools.guard.check_literal(parts.hostname)


def _headers_after(headers: CIMultiDict[str], old: str, new: str, without_body: bool) -> CIMultiDict[str]:
    """Headers for the next hop: credentials stay at the origin that they were meant for (RFC 9110 §15.4)."""
    a, b = urlsplit(old), urlsplit(new)
    elsewhere = (a.scheme, a.netloc) != (b.scheme, b.netloc)
    kept: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        low = name.lower()
        if elsewhere and (sensitive_name(name) or low == "host"):
            continue
        if without_body and low in {"content-type", "content-length", "content-encoding"}:
            continue
        kept.add(name, value)
    return kept


async def _read(response: aiohttp.ClientResponse, most: int) -> HttpAnswer:
    data = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        data += chunk
        if len(data) > most:
            raise Unanswered(f"the answer is larger than {most} bytes (EXEUNT_ANSWER_BYTES)")
    headers: dict[str, list[str]] = {}
    for name, value in response.headers.items():
        headers.setdefault("-".join(p.capitalize() for p in name.split("-")), []).append(value)
    return HttpAnswer(response.status, headers, _decoded(bytes(data), response.charset), len(data))


def _decoded(data: bytes, charset: str | None) -> str:
    try:
        return data.decode(charset or "utf-8", "replace")
    except LookupError:  # a charset that nobody knows
        return data.decode("utf-8", "replace")


def _environment(method: str, headers: CIMultiDict[str], work: HttpWork, answer: HttpAnswer) -> dict[str, Any]:
    sent: dict[str, list[str]] = {}
    for name, value in headers.items():
        sent.setdefault("-".join(p.capitalize() for p in name.split("-")), []).append(value)
    return {
        "request": {"method": method, "url": work.url, "body": work.body, "headers": sent},
        "response": {"statusCode": answer.status, "body": answer.body, "headers": answer.headers},
    }


def shown(answer: HttpAnswer) -> dict[str, Any]:
    """An answer as the ledger keeps it."""
    body = answer.body if len(answer.body) <= SHOWN_BODY_CHARACTERS else answer.body[:SHOWN_BODY_CHARACTERS] + "…"
    headers = {n: "***" if sensitive_name(n) else ", ".join(v) for n, v in answer.headers.items()}
    return {"status": answer.status, "headers": headers, "body": body, "bytes": answer.size}


def _words(error: BaseException) -> str:
    inner = getattr(error, "os_error", None) or error
    if isinstance(inner, OSError) and inner.strerror and not isinstance(inner, ssl.SSLError):
        return inner.strerror
    return str(inner) or type(inner).__name__
