"""The webhook action: a signed CloudEvent.

CloudEvents 1.0 over HTTP (structured or binary mode), Standard Webhooks 1.0 (`webhook-id`, `-timestamp`, `-signature`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from exeunt.actions.arguments import BadArguments, read
from exeunt.actions.context import Context
from exeunt.actions.http import Unanswered, request, retry_after, shown
from exeunt.actions.masking import shown_url
from exeunt.actions.message import failures_of
from exeunt.actions.notify import hide
from exeunt.actions.secrets import secret, secret_or
from exeunt.engine.facts import StepOutcome
from exeunt.language.actions import Webhook

PREFIX = "whsec_"
SHORTEST_KEY_BYTES = 16  # bytes; Standard Webhooks asks for 24 to 64, older receivers use less
_OWN = ("webhook-", "ce-", "content-length", "content-type", "host")


async def perform(arguments: Any, context: Context) -> StepOutcome:
    """Sends the event. Succeeded when the receiver answers 2xx, Failed for any other answer and without one."""
    wanted = read("webhook", arguments, Webhook)
    url = await _url(wanted, context)
    given = await secret_or(wanted.secret_from, context.settings.webhook_secret, "plugin.webhook.secretFrom", context)
    keys = keys_of(given)
    for text in given.split():
        context.masker.add(text)
    headers, body = event(wanted, context)
    stamp = int(time.time())
    headers["webhook-id"] = context.idempotency_key
    headers["webhook-timestamp"] = str(stamp)
    if keys:
        headers["webhook-signature"] = " ".join(sign(key, context.idempotency_key, stamp, body) for key in keys)
    where = shown_url(url)
    try:
        answer = await request("POST", url, context, headers=headers, body=body, seconds=wanted.timeout_seconds)
    except Unanswered as error:
        return StepOutcome(phase=error.phase, message=f"webhook {where}: {error}")
    if 200 <= answer.status < 300:
        return StepOutcome(phase="Succeeded", message=f"{where} answered {answer.status}", answer=shown(answer))
    said = f"webhook {where} answered {answer.status}"
    if answer.status == 410:
        said += ": the receiver is gone for good; remove this webhook"
    elif 300 <= answer.status < 400:
        said += ", a redirect; name the new address (webhooks are not sent on)"
    elif when := retry_after(answer):
        said += f"; {when}"
    return StepOutcome(phase="Failed", message=said, answer=shown(answer))


def sign(key: bytes, id: str, stamp: int, body: bytes) -> str:
    """One signature as Standard Webhooks 1.0 has it."""
    signed = hmac.new(key, f"{id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def keys_of(secret: str) -> list[bytes]:
    """The keys of a secret, each `whsec_BASE64` or plain text; several, with blanks between, while they are changed.

    Raises BadArguments.
    """
    keys: list[bytes] = []
    for text in secret.split():
        if not text.startswith(PREFIX):
            key = text.encode()
        else:
            try:
                key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
            except (binascii.Error, ValueError):
                raise BadArguments("the webhook's secret: behind whsec_ base64 is expected") from None
        if len(key) < SHORTEST_KEY_BYTES:
            raise BadArguments(f"the webhook's secret: {len(key)} bytes are too short; 24 to 64 are usual")
        keys.append(key)
    return keys


def event(wanted: Webhook, context: Context) -> tuple[dict[str, str], bytes]:
    """Headers and body of the event. Its id is the idempotency key, so that receivers recognize a repeat.

    Raises BadArguments.
    """
    if wanted.mode not in {"structured", "binary"}:
        raise BadArguments(f"plugin.webhook.mode: structured or binary is expected, not {wanted.mode!r}")
    attributes = {
        "specversion": "1.0",
        "id": context.idempotency_key,
        "source": f"/namespaces/{quote(context.namespace)}/workflows/{quote(context.workflow)}",
        "type": wanted.type,
        "subject": wanted.subject or context.facts.get("node", "") or context.workflow,
        "time": _time(context),
        "datacontenttype": "application/json",
    }
    headers = dict(wanted.headers)
    for name in headers:
        if name.lower().startswith(_OWN):
            raise BadArguments(f"plugin.webhook.headers: {name!r} is set by the action itself")
    data = wanted.data if wanted.data is not None else summary(context)
    if wanted.mode == "structured":
        headers["Content-Type"] = "application/cloudevents+json; charset=utf-8"
        return headers, msgspec.json.encode({**attributes, "data": data})
    headers["Content-Type"] = attributes.pop("datacontenttype")
    headers.update({f"ce-{name}": quote(value, safe=_PLAIN) for name, value in attributes.items()})
    return headers, msgspec.json.encode(data)


_PLAIN = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"%')
"""What stands as it is in a header (CloudEvents HTTP binding §3.1.3.2)."""


def summary(context: Context) -> dict[str, Any]:
    """What ended and how: the data of an event for which the manifest gives none."""
    facts = context.facts
    duration = facts.get("workflow.duration", "")
    return {
        "workflow": {"name": context.workflow, "namespace": context.namespace, "uid": context.uid},
        "node": facts.get("node", ""),
        "hook": facts.get("hook", ""),
        "phase": facts.get("phase") or facts.get("workflow.status", ""),
        "reason": facts.get("reason", ""),
        "durationSeconds": float(duration) if duration.replace(".", "", 1).isdecimal() else None,
        "failures": [failure._asdict() for failure in failures_of(facts)],
    }


def _time(context: Context) -> str:
    """When the handler became due: the same for each attempt."""
    try:
        at = float(context.facts.get("due", ""))
    except ValueError:
        at = time.time()
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _url(wanted: Webhook, context: Context) -> str:
    if bool(wanted.url) == (wanted.url_from is not None):
        raise BadArguments("plugin.webhook: either url or urlFrom is expected")
    if wanted.url_from is None:
        return wanted.url
    url = (await secret(wanted.url_from, "plugin.webhook.urlFrom", context)).strip()
    hide(url, context.masker)
    return url
