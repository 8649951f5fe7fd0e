"""The notify action: one message to any number of targets, by Apprise URLs (apprise's wiki lists the services)."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from exeunt.actions.arguments import BadArguments, read
from exeunt.actions.context import Context
from exeunt.actions.guard import AddressRefused
from exeunt.actions.masking import MASK, Masker
from exeunt.actions.message import summary_of
from exeunt.actions.secrets import secret
from exeunt.actions.watched import Watch, guarded, overheard
from exeunt.engine.facts import StepOutcome
from exeunt.language.actions import Notify, Target

KEY_HEADER = "Idempotency-Key"
LOCAL = frozenset({"dbus", "glib", "qt", "kde", "gnome", "macosx", "windows", "syslog"})  # would notify our own machine
FILE_FIELDS = frozenset(
    {"keyfile", "pgpkey", "template", "subfile", "include", "cert", "key_file"}
)  # would read its files


class Notification(NamedTuple):
    """The message for all targets; `kind` is Apprise's type of it, `key` the idempotency key."""

    title: str
    body: str
    kind: str
    format: str
    key: str


class Delivery(NamedTuple):
    """What became of one target; `error` is empty when it took the message."""

    target: str
    error: str


async def perform(arguments: Any, context: Context) -> StepOutcome:
    """Sends the message. Failed when a target did not take it; a retry sends to all targets again."""
    wanted = read("notify", arguments, Notify)
    urls = await _urls(wanted, context)
    kind = _type(wanted, context)
    usual = summary_of(context)
    message = Notification(
        wanted.title or usual.title,
        wanted.body or usual.text,
        kind,
        wanted.format,
        context.idempotency_key,
    )
    loop = asyncio.get_running_loop()
    tools = context.tools
    watches = [Watch(tools.guard, context.settings.answer_bytes) for _ in urls]
    jobs = [
        loop.run_in_executor(tools.threads, deliver, url, message, watch)
        for url, watch in zip(urls, watches, strict=True)
    ]
    try:
        done, late = await asyncio.wait(jobs, timeout=context.settings.notify_timeout)
    finally:
        for watch in watches:
            watch.end()  # who is late, or not wanted any more, lets go of its thread
    deliveries = [
        job.result()
        if job in done
        else Delivery(_scheme(url), f"no answer within {context.settings.notify_timeout:g} s")
        for job, url in zip(jobs, urls, strict=True)
    ]
    for job in late:
        job.cancel()
    return _outcome(deliveries)


async def _urls(wanted: Notify, context: Context) -> list[str]:
    urls: list[str] = []
    for i, given in enumerate(wanted.targets):
        target = Target(url=given) if isinstance(given, str) else given
        if target.tags and not set(target.tags) & set(wanted.tags):
            continue
        if bool(target.url) == (target.url_from is not None):
            raise BadArguments(f"plugin.notify.targets[{i}]: either url or urlFrom is expected")
        url = target.url
        if target.url_from is not None:
            url = await secret(target.url_from, f"plugin.notify.targets[{i}].urlFrom", context)
        hide(url, context.masker)
        urls.append(url.strip())
    if not urls:
        raise BadArguments(
            "plugin.notify.targets: no target is left to send to; name one, or give tags that a target has"
        )
    return urls


def _type(wanted: Notify, context: Context) -> str:
    if wanted.format not in {"text", "markdown", "html"}:
        raise BadArguments(f"plugin.notify.format: text, markdown or html is expected, not {wanted.format!r}")
    if wanted.type not in {"", "info", "success", "warning", "failure"}:
        raise BadArguments(f"plugin.notify.type: info, success, warning or failure is expected, not {wanted.type!r}")
    usual_status = context.facts.get("phase") or context.facts.get("workflow.status", "")
    by_status = {"Succeeded": "success", "Failed": "failure", "Error": "failure"}
    return wanted.type or by_status.get(usual_status, "info")


def hide(url: str, masker: Masker) -> None:
    """Adds to the masker what must not be shown of a target: the URL, its user, password, path and query values."""
    masker.add(url)
    try:
        parts = urlsplit(url)
        pieces = [parts.username or "", parts.password or "", *parts.path.split("/")]
        pieces += [value for _, value in parse_qsl(parts.query)]
    except ValueError:
        return
    for piece in pieces:
        masker.add(piece)
        masker.add(unquote(piece))


def deliver(url: str, message: Notification, watch: Watch) -> Delivery:
    """Sends to one target. Blocking; never raises."""
    name = _scheme(url)
    try:
        import apprise

        _refuse(url)
        asset = apprise.AppriseAsset(
            app_id="Exeunt",
            app_desc="Exeunt",
            app_url="",
            secure_logging=True,
            allow_templates=False,
            storage_mode="memory",
        )
        with overheard() as said, guarded(watch):
            target = apprise.Apprise.instantiate(url, asset=asset)
            if target is None:
                return Delivery(
                    name, f"this is no target that can be used: {said.last() or 'unknown service or parts missing'}"
                )
            name = _shown(target)
            watch.allow(str(target.host or ""))
            headers = getattr(target, "headers", None)
            if isinstance(headers, dict) and message.key:
                headers.setdefault(KEY_HEADER, message.key)
            taken = target.notify(
                body=message.body, title=message.title, notify_type=message.kind, body_format=message.format
            )
        return Delivery(name, "" if taken else watch.refusal or said.last() or "it did not take the message")
    except Exception as error:  # noqa: BLE001 - a hundred services' code runs in here; one target must not harm the others
        return Delivery(name, str(error) or type(error).__name__)


def _refuse(url: str) -> None:
    if _scheme(url) in LOCAL:
        raise AddressRefused(f"{_scheme(url)}:// would notify the exit handler's own machine")
    for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name.lower() in FILE_FIELDS:
            raise AddressRefused(f"{name}= would read a file of the exit handler's machine")


def _scheme(url: str) -> str:
    return url.partition(":")[0].strip().lower() if ":" in url else "target"


def _shown(target: Any) -> str:
    """A target as people may see it: its service, and its host when that is one of the user's own."""
    scheme = str(target.schema)
    if "host" in type(target).template_tokens and target.host and not target.user:
        port = f":{target.port}" if target.port else ""
        return f"{scheme}://{target.host}{port}"
    return f"{scheme}://{MASK}"


def _outcome(deliveries: list[Delivery]) -> StepOutcome:
    errors = [d for d in deliveries if d.error]
    taken = len(deliveries) - len(errors)
    answer = {"targets": [{"target": d.target, "delivered": not d.error, "error": d.error} for d in deliveries]}
    if errors:
        told = "; ".join(f"{d.target}: {d.error}" for d in errors)
        return StepOutcome(
            phase="Failed", message=f"{taken} of {len(deliveries)} targets took the message; {told}", answer=answer
        )
    return StepOutcome(phase="Succeeded", message=f"sent to {taken} target{'s' if taken != 1 else ''}", answer=answer)
