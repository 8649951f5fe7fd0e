"""The grafana action: an annotation on dashboards, over the time that the workflow took.

Grafana: HTTP API, "Annotations". Each annotation carries the idempotency key as a tag, by which another try finds it.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

import msgspec

from exeunt.actions.arguments import BadArguments, read
from exeunt.actions.context import Context, NotTaken
from exeunt.actions.http import HttpAnswer, Unanswered, request, retry_after, shown
from exeunt.actions.masking import shown_url
from exeunt.actions.message import summary_of
from exeunt.actions.secrets import secret_or
from exeunt.engine.facts import StepOutcome
from exeunt.language.actions import Grafana


async def perform(arguments: Any, context: Context) -> StepOutcome:
    """Makes the annotation unless an earlier try has made it."""
    wanted = read("grafana", arguments, Grafana)
    base = (wanted.url or context.settings.grafana_url).rstrip("/")
    if not base:
        raise BadArguments("plugin.grafana.url: name the server, or set grafana-url")
    default = "" if wanted.url else context.settings.grafana_token  # never to another server than the setting's
    token = await secret_or(wanted.token_from, default, "plugin.grafana.tokenFrom", context)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token.strip()}"} if token else {})}
    where = shown_url(base)
    key = f"exeunt-key:{context.idempotency_key}"
    trusted = not wanted.url
    try:
        query = urlencode({"tags": key, "limit": 1})
        found = await request("GET", f"{base}/api/annotations?{query}", context, headers=headers, trusted=trusted)
        if isinstance(there := _read(found), list) and there and isinstance(there[0], dict):
            return _made(there[0].get("id"), "the annotation was there already", found)
        body = msgspec.json.encode(annotation(wanted, context, key))
        answer = await request("POST", f"{base}/api/annotations", context, headers=headers, body=body, trusted=trusted)
        said = _read(answer)
    except Unanswered as error:
        return StepOutcome(phase=error.phase, message=f"grafana {where}: {error}")
    except NotTaken as error:
        return StepOutcome(phase="Failed", message=f"grafana {where}: {error}")
    return _made(said.get("id") if isinstance(said, dict) else None, "the annotation is made", answer)


def annotation(wanted: Grafana, context: Context, key: str) -> dict[str, Any]:
    """What is posted: times in milliseconds, from the start of the workflow until the handler became due."""
    message = summary_of(context)
    end = _number(context.facts.get("due", "")) or time.time()
    took = _number(context.facts.get("workflow.duration", "")) or 0.0
    told: dict[str, Any] = {
        "time": int((end - took) * 1000),
        "timeEnd": int(end * 1000),
        "tags": [*(wanted.tags or [t for t in ("exeunt", context.namespace, message.status) if t]), key],
        "text": wanted.text or message.text,
    }
    if wanted.dashboard_uid:
        told["dashboardUID"] = wanted.dashboard_uid
    if wanted.panel_id:
        told["panelId"] = wanted.panel_id
    return told


def _read(answer: HttpAnswer) -> Any:
    if answer.status in {401, 403}:
        raise NotTaken(f"it answered {answer.status}; the token needs the right to read and write annotations")
    if not 200 <= answer.status < 300:
        when = retry_after(answer)
        said = " ".join(answer.body.split())[:300]
        raise NotTaken(f"it answered {answer.status}{f': {said}' if said else ''}{f'; {when}' if when else ''}")
    try:
        return msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeError):
        raise NotTaken("its answer is no JSON; is this the address of a Grafana?") from None


def _made(id: Any, message: str, answer: HttpAnswer) -> StepOutcome:
    return StepOutcome(
        phase="Succeeded",
        message=message,
        parameters={"id": str(id)} if id is not None else {},
        answer={**shown(answer), "id": id},
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
