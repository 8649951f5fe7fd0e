"""Removes what URLs name, with a DELETE each. What is not there (404, 410) is no error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from exeunt.actions.cleanup_report import CleanupReport
from exeunt.actions.context import Context
from exeunt.actions.http import Unanswered, Unsent, request, retry_after
from exeunt.actions.masking import shown_url
from exeunt.actions.secrets import secret
from exeunt.language.actions import Deletion

AT_ONCE = 8


async def deletions(wanted: Sequence[str | Deletion], context: Context) -> CleanupReport:
    """Deletes each; says what became of it. Raises BadArguments."""
    report = CleanupReport()
    free = asyncio.Semaphore(AT_ONCE)
    found = [Deletion(url=one) if isinstance(one, str) else one for one in wanted]
    headers = [await _headers(at, one, context) for at, one in enumerate(found)]

    async def delete(one: Deletion, sent: dict[str, str]) -> None:
        name = shown_url(one.url)
        async with free:
            try:
                answer = await request("DELETE", one.url, context, headers=sent)
            except Unanswered as error:
                report.unsent |= isinstance(error, Unsent)
                report.wrong(name, str(error))
                return
        if 200 <= answer.status < 300 or answer.status in {404, 410}:
            report.note(name, answer.status < 300)
        else:
            when = retry_after(answer)
            report.wrong(name, f"it answered {answer.status}{f'; {when}' if when else ''}")

    async with asyncio.TaskGroup() as group:
        for one, sent in zip(found, headers, strict=True):
            group.create_task(delete(one, sent))
    return report


async def _headers(at: int, one: Deletion, context: Context) -> dict[str, str]:
    headers = dict(one.headers)
    if one.token_from is not None:
        token = await secret(one.token_from, f"plugin.cleanup.http[{at}].tokenFrom", context)
        headers["Authorization"] = f"Bearer {token.strip()}"
    # One key for all would make a receiver that knows keys take the second deletion for the first.
    headers["Idempotency-Key"] = f"{context.idempotency_key}/{at}"
    return headers
