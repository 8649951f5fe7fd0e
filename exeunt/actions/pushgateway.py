"""The pushgateway action: metrics of a run for Prometheus, since a run ends before anybody scrapes it.

Prometheus: "Exposition formats" (text format 0.0.4); Pushgateway's README (PUT takes the place of the whole group).
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from exeunt.actions.arguments import BadArguments, read
from exeunt.actions.context import Context
from exeunt.actions.http import Unanswered, request, shown
from exeunt.actions.masking import shown_url
from exeunt.actions.secrets import secret_or
from exeunt.engine.facts import StepOutcome
from exeunt.language.actions import Metric, Pushgateway

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_TYPES = ("gauge", "counter", "untyped")
MOST = 1000  # metrics in one push


async def perform(arguments: Any, context: Context) -> StepOutcome:
    """Pushes the metrics. A second push changes nothing. Failed when the gateway refuses them or does not answer."""
    wanted = read("pushgateway", arguments, Pushgateway)
    base = wanted.url or context.settings.pushgateway_url
    if not base:
        raise BadArguments("plugin.pushgateway.url: name the gateway, or set pushgateway-url")
    url = f"{base.rstrip('/')}/metrics/{group(wanted)}"
    method = wanted.method.upper()
    if method not in {"PUT", "POST", "DELETE"}:
        raise BadArguments(f"plugin.pushgateway.method: put, post or delete is expected, not {wanted.method!r}")
    body = b"" if method == "DELETE" else exposition(wanted.metrics or usual(context)).encode()
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8", **await _credentials(wanted, context)}
    where = shown_url(base)
    try:
        answer = await request(method, url, context, headers=headers, body=body, trusted=not wanted.url)
    except Unanswered as error:
        return StepOutcome(phase=error.phase, message=f"pushgateway {where}: {error}")
    if 200 <= answer.status < 300:
        verb = "removed the group" if method == "DELETE" else f"pushed {len(wanted.metrics or usual(context))} metrics"
        return StepOutcome(phase="Succeeded", message=f"{verb} of job {wanted.job}", answer=shown(answer))
    said = " ".join(answer.body.split())[:300]
    message = f"pushgateway {where} answered {answer.status}{f': {said}' if said else ''}"
    return StepOutcome(phase="Failed", message=message, answer=shown(answer))


def group(wanted: Pushgateway) -> str:
    """The group in the gateway's path: `job/nightly/namespace/default`. Raises BadArguments."""
    if not wanted.job:
        raise BadArguments("plugin.pushgateway.job: a name is expected")
    parts = [_pair("job", wanted.job)]
    for name, value in sorted(wanted.grouping.items()):
        if name == "job" or not _LABEL.fullmatch(name):
            raise BadArguments(f"plugin.pushgateway.grouping: {name!r} cannot be a label here")
        parts.append(_pair(name, value))
    return "/".join(parts)


def _pair(name: str, value: str) -> str:
    if value and "/" not in value:
        return f"{name}/{quote(value, safe='')}"
    coded = base64.urlsafe_b64encode(value.encode()).decode().rstrip("=") or "="
    return f"{name}@base64/{coded}"


def usual(context: Context) -> list[Metric]:
    """What is pushed when the manifest names no metrics."""
    facts = context.facts
    status = facts.get("phase") or facts.get("workflow.status", "")
    metrics = [
        Metric(
            "exeunt_workflow_succeeded", 1.0 if status == "Succeeded" else 0.0, help="1 when the last run succeeded."
        )
    ]
    for name, fact, text in (
        ("exeunt_workflow_duration_seconds", "workflow.duration", "How long the last run took."),
        ("exeunt_workflow_end_timestamp_seconds", "due", "When the last run ended."),
    ):
        try:
            metrics.append(Metric(name, float(facts.get(fact, "")), help=text))
        except ValueError:
            continue
    return metrics


def exposition(metrics: Sequence[Metric]) -> str:
    """The text format; the samples of one metric stand together. Raises BadArguments."""
    if len(metrics) > MOST:
        raise BadArguments(f"plugin.pushgateway.metrics: {len(metrics)} are more than {MOST}")
    families: dict[str, list[Metric]] = {}
    for at, metric in enumerate(metrics):
        where = f"plugin.pushgateway.metrics[{at}]"
        if not _NAME.fullmatch(metric.name):
            raise BadArguments(f"{where}.name: {metric.name!r} is no name of a metric")
        if metric.type not in _TYPES:
            raise BadArguments(f"{where}.type: {', '.join(_TYPES)} is expected, not {metric.type!r}")
        wrong = next((label for label in metric.labels if not _LABEL.fullmatch(label)), None)
        if wrong is not None:
            raise BadArguments(f"{where}.labels: {wrong!r} is no name of a label")
        family = families.setdefault(metric.name, [])
        if family and family[0].type != metric.type:
            raise BadArguments(f"{where}.type: {metric.name} has been a {family[0].type} above")
        family.append(metric)
    lines: list[str] = []
    for name, family in families.items():
        text = next((m.help for m in family if m.help), "")
        if text:
            lines.append(f"# HELP {name} {_escaped(text, quotes=False)}")
        lines.append(f"# TYPE {name} {family[0].type}")
        lines += [f"{name}{_labels(metric)} {_number(metric.value)}" for metric in family]
    return "\n".join([*lines, ""])


def _labels(metric: Metric) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(metric.labels.items()))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


async def _credentials(wanted: Pushgateway, context: Context) -> dict[str, str]:
    token = await secret_or(wanted.token_from, "", "plugin.pushgateway.tokenFrom", context)
    if token:
        return {"Authorization": f"Bearer {token.strip()}"}
    password = await secret_or(wanted.password_from, "", "plugin.pushgateway.passwordFrom", context)
    if not wanted.username:
        return {}
    pair = base64.b64encode(f"{wanted.username}:{password}".encode()).decode()
    context.masker.add(pair)
    return {"Authorization": f"Basic {pair}"}
