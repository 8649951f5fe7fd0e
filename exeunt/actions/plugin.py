"""Argo executor plugins at configured addresses: the `template.execute` call.

Argo: docs/executor_plugins.md, docs/executor_swagger.md.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import aiohttp
import msgspec

from exeunt.actions.context import Context
from exeunt.actions.masking import shown_url
from exeunt.engine.facts import PluginWork, StepOutcome
from exeunt.language.actions import ACTIONS
from exeunt.language.variables import text

FINAL = {"Succeeded", "Failed", "Error"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class BadAnswer(Exception):  # noqa: N818 - it is an answer
    """The plugin answered with something that is no result. The text is for people."""


async def perform(work: PluginWork, context: Context) -> StepOutcome:
    """Calls the plugin until it reports an end, at the intervals that it asks for (`requeue`)."""
    address = context.settings.plugins.get(work.name)
    if address is None:
        known = sorted({*ACTIONS, *context.settings.plugins})
        return StepOutcome(
            phase="Error", message=f"there is no action or plugin {work.name!r}; there are {', '.join(known)}"
        )
    url = f"{address.rstrip('/')}/api/v1/template.execute"
    while True:
        try:
            reply = await _call(url, work, context)
            node = reply.get("node")
            if node is None:
                return StepOutcome(phase="Error", message=f"the plugin {work.name!r} does not take this template")
            if not isinstance(node, dict):
                raise BadAnswer("its answer holds no node")
            if node.get("phase") in FINAL:
                return _outcome(node, context)
            wait = _seconds(reply.get("requeue"))
        except BadAnswer as error:
            return StepOutcome(phase="Failed", message=f"plugin {work.name!r} at {shown_url(address)}: {error}")
        await asyncio.sleep(wait)  # the plugin's own word: there is no event to wait for


async def _call(url: str, work: PluginWork, context: Context) -> dict[str, Any]:
    body = {
        "workflow": {"metadata": {"name": context.workflow, "namespace": context.namespace, "uid": context.uid}},
        "template": work.template or {"plugin": {work.name: work.arguments}},
    }
    headers = {"Content-Type": "application/json", "Idempotency-Key": context.idempotency_key, **context.trace}
    token = context.settings.plugin_tokens.get(work.name)
    if token:
        context.masker.add(token)
        headers["Authorization"] = f"Bearer {token}"
    most = context.settings.answer_bytes
    try:
        async with asyncio.timeout(context.settings.plugin_timeout):
            async with context.tools.trusted.post(
                url,
                data=msgspec.json.encode(body),
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(),
            ) as response:
                data = bytearray()
                async for chunk in response.content.iter_chunked(64 * 1024):
                    data += chunk
                    if len(data) > most:
                        raise BadAnswer(f"its answer is larger than {most} bytes (EXEUNT_ANSWER_BYTES)")
    except TimeoutError:
        raise BadAnswer(f"no answer within {context.settings.plugin_timeout:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise BadAnswer(str(error) or type(error).__name__) from None
    if response.status != 200:
        raise BadAnswer(f"received status {response.status}: {data[:200].decode(errors='replace')}")
    try:
        reply = msgspec.json.decode(data or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswer(f"its answer is no JSON: {error}") from None
    if not isinstance(reply, dict):
        raise BadAnswer("its answer is no JSON object")
    return reply


def _outcome(node: dict[str, Any], context: Context) -> StepOutcome:
    outputs = node.get("outputs")
    outputs = outputs if isinstance(outputs, dict) else {}
    listed = outputs.get("parameters")
    parameters = {
        str(p["name"]): text(p["value"])
        for p in (listed if isinstance(listed, list) else [])
        if isinstance(p, dict) and "name" in p and p.get("value") is not None
    }
    result = outputs.get("result")
    for value in [result, *parameters.values()]:
        if isinstance(value, str) and len(value.encode()) > context.settings.result_bytes:
            raise BadAnswer(f"an output is larger than {context.settings.result_bytes} bytes (EXEUNT_RESULT_BYTES)")
    return StepOutcome(
        phase=str(node["phase"]),
        message=str(node.get("message") or ""),
        result=None if result is None else text(result),
        parameters=parameters,
        answer={"phase": node["phase"], "outputs": outputs} if outputs else None,
    )


def _seconds(requeue: Any) -> float:
    """The seconds of a duration as Go writes it: at least 1, and 10 when there is none or it cannot be read."""
    if not isinstance(requeue, str):
        return 10.0
    found = _DURATION.findall(requeue)
    if not found or "".join(n + u for n, u in found) != requeue:
        return 10.0
    return max(1.0, sum(float(n) * _UNITS[u] for n, u in found))
