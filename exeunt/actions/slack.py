"""The slack action: a message by an incoming webhook, or by a bot's token with `chat.postMessage`.

Slack: "Sending messages using incoming webhooks", "chat.postMessage", "Rate limits". Mattermost, Rocket.Chat and others
that take Slack's webhooks work too.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from exeunt.actions.arguments import BadArguments, listed, read
from exeunt.actions.context import Context, NotTaken
from exeunt.actions.http import HttpAnswer, Unanswered, request, retry_after
from exeunt.actions.message import ExitSummary, full_summary
from exeunt.actions.notify import hide
from exeunt.actions.secrets import secret, secret_or
from exeunt.engine.facts import StepOutcome
from exeunt.language.actions import Slack

_SIGNS = {"Succeeded": ":white_check_mark:", "Failed": ":x:", "Error": ":warning:"}
SECTION_CHARACTERS = 2900  # characters; Slack takes 3,000 in a section
MOST_BLOCKS = 50
_HINTS = {
    "channel_not_found": "there is no such channel, or the bot cannot see it; invite it or use the channel's id",
    "not_in_channel": "the bot is not in that channel; invite it with /invite",
    "is_archived": "the channel is archived",
    "invalid_auth": "the token is wrong",
    "not_authed": "the token is empty",
    "token_revoked": "the token was revoked",
    "token_expired": "the token has expired",
    "missing_scope": "the token lacks the scope chat:write (or chat:write.public)",
    "msg_too_long": "the text is too long",
    "invalid_blocks": "Slack does not understand the blocks",
}
_ALREADY = {"message_already_exists", "duplicate_message"}


async def perform(arguments: Any, context: Context) -> StepOutcome:
    """Sends to each channel. Failed when one did not take it; a retry sends to all again."""
    wanted = read("slack", arguments, Slack)
    webhook, token, trusted = await _road(wanted, context)
    channels = listed(wanted.to)
    if not webhook and not channels:
        raise BadArguments('plugin.slack.to: name a channel ("#ops") or a channel\'s id')
    if len(wanted.blocks) > MOST_BLOCKS:
        raise BadArguments(f"plugin.slack.blocks: {len(wanted.blocks)} are more than {MOST_BLOCKS}")
    payload = await _payload(wanted, context)
    sent: list[dict[str, Any]] = []
    errors: list[str] = []
    phase = "Failed"
    for channel in channels or [""]:
        body = {**payload, **({"channel": channel} if channel else {})}
        try:
            if webhook:
                await _by_webhook(webhook, body, context, trusted)
                sent.append({"channel": channel})
            else:
                sent.append(await _by_token(token, body, context))
        except NotTaken as error:
            errors.append(f"{channel or 'webhook'}: {error}")
        except Unanswered as error:
            phase = error.phase
            errors.append(f"{channel or 'webhook'}: {error}")
    answer = {"sent": sent, "errors": errors}
    if errors:
        return StepOutcome(phase=phase, message=f"slack: {'; '.join(errors)}", answer=answer)
    return StepOutcome(
        phase="Succeeded", message=f"sent to {', '.join(channels) or 'the channel of the webhook'}", answer=answer
    )


async def _road(wanted: Slack, context: Context) -> tuple[str, str, bool]:
    """The webhook's URL or else the token, and whether it is the operator's own."""
    given = [wanted.webhook, wanted.webhook_from, wanted.token_from]
    if sum(1 for one in given if one) > 1:
        raise BadArguments("plugin.slack: one of webhook, webhookFrom and tokenFrom is expected")
    settings = context.settings
    webhook, trusted = wanted.webhook, False
    if wanted.webhook_from is not None:
        webhook = (await secret(wanted.webhook_from, "plugin.slack.webhookFrom", context)).strip()
    token = await secret_or(wanted.token_from, "", "plugin.slack.tokenFrom", context)
    if not webhook and not token:
        trusted = True
        token = "" if settings.slack_webhook and not (wanted.to and settings.slack_token) else settings.slack_token
        webhook = "" if token else settings.slack_webhook
        if token:
            context.masker.add(token)
    if not webhook and not token:
        raise BadArguments(
            "plugin.slack: name webhookFrom or tokenFrom (a secret), or give the service slack-webhook or slack-token"
        )
    if webhook:
        hide(webhook, context.masker)
    return webhook, token.strip(), trusted


async def _payload(wanted: Slack, context: Context) -> dict[str, Any]:
    payload: dict[str, Any] = {"text": wanted.text}
    if wanted.blocks:
        payload["blocks"] = wanted.blocks
    if not wanted.text:
        message = await full_summary(context)
        payload["text"] = plain(message)
        if not wanted.blocks:
            payload["blocks"] = blocks_of(message)
    if wanted.thread:
        payload["thread_ts"] = wanted.thread
    if wanted.username:
        payload["username"] = wanted.username
    if wanted.icon:
        payload["icon_url" if "://" in wanted.icon else "icon_emoji"] = wanted.icon
    return payload


def plain(message: ExitSummary) -> str:
    """The message as plain text, for notifications and screen readers."""
    return f"{_SIGNS.get(message.status, '')} {escaped(message.headline)}".strip()


def blocks_of(message: ExitSummary) -> list[dict[str, Any]]:
    """The default message: what ended and how, how long it took, what failed, a link."""
    head = f"{_SIGNS.get(message.status, '')} *{escaped(message.title)}*\n{escaped(message.headline)}".strip()
    blocks = [_section(head)]
    facts = [f"took {message.duration}"] if message.duration else []
    if message.steps:
        failed = sum(1 for s in message.steps if s.phase in {"Failed", "Error"})
        facts.append(f"{len(message.steps)} steps, {failed} failed")
    if facts:
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": escaped(" · ".join(facts))}]})
    if message.failures:
        lines = [
            f"• *{escaped(f.name)}* {escaped(f.phase)}{f': {escaped(f.message[:300])}' if f.message else ''}"
            for f in message.failures
        ]
        if message.more_failures:
            lines.append(f"• and {message.more_failures} more")
        blocks.append(_section("\n".join(lines)))
    if message.link:
        blocks.append(_section(f"<{escaped(message.link)}|Look at the workflow>"))
    return blocks


def escaped(text: str) -> str:
    """The text with Slack's markup escaped, so that no step can mention @channel or fake a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:SECTION_CHARACTERS]}}


async def _by_webhook(url: str, body: dict[str, Any], context: Context, trusted: bool) -> None:
    answer = await _post(url, body, context, {}, trusted)
    _limited(answer)
    if not 200 <= answer.status < 300:
        said = answer.body.strip()[:200]
        raise NotTaken(f"it answered {answer.status}{f', {_hint(said)}' if said else ''}")


async def _by_token(token: str, body: dict[str, Any], context: Context) -> dict[str, Any]:
    # The id lets Slack drop a repeat within its window; it knows UUIDs only.
    body["client_msg_id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{context.idempotency_key}/{body['channel']}"))
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{context.settings.slack_api.rstrip('/')}/chat.postMessage"
    answer = await _post(url, body, context, headers, True)
    _limited(answer)
    try:
        said = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeError):
        said = None
    if not isinstance(said, dict):
        raise NotTaken(f"it answered {answer.status}, and nothing that Slack says")
    if said.get("ok") is not True and said.get("error") not in _ALREADY:
        raise NotTaken(_hint(str(said.get("error", f"it answered {answer.status}"))))
    return {"channel": body["channel"], "id": said.get("channel"), "ts": said.get("ts")}


async def _post(url: str, body: dict[str, Any], context: Context, headers: dict[str, str], trusted: bool) -> HttpAnswer:
    sent = {"Content-Type": "application/json; charset=utf-8", **headers}
    return await request("POST", url, context, headers=sent, body=msgspec.json.encode(body), trusted=trusted)


def _limited(answer: HttpAnswer) -> None:
    if answer.status == 429:
        when = retry_after(answer)
        raise NotTaken(
            f"too many messages{f'; {when}' if when else ''} (give the template a retryStrategy with backoff)"
        )


def _hint(code: str) -> str:
    hint = _HINTS.get(code.replace("invalid_token", "invalid_auth"))
    return f"{code}: {hint}" if hint else code
