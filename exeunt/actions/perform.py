"""Does one piece of work and says how it went. Nothing that goes wrong in here reaches the caller as an exception."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from exeunt.actions import cleanup, email, grafana, http, notify, plugin, pushgateway, slack, trigger, webhook
from exeunt.actions.context import Context
from exeunt.engine.facts import HttpWork, PluginWork, ResourceWork, StepOutcome, Work
from exeunt.utf8 import valid, valid_tree

log = logging.getLogger(__name__)

_PLUGINS: dict[str, Callable[[Any, Context], Awaitable[StepOutcome]]] = {
    "cleanup": cleanup.perform,
    "email": email.perform,
    "grafana": grafana.perform,
    "notify": notify.perform,
    "pushgateway": pushgateway.perform,
    "slack": slack.perform,
    "trigger": trigger.perform,
    "webhook": webhook.perform,
}


def can_perform(work: Work) -> bool:
    """True for work that is done by `perform`: everything but containers and scripts."""
    return isinstance(work, HttpWork | PluginWork | ResourceWork)


async def perform(work: HttpWork | PluginWork | ResourceWork, context: Context) -> StepOutcome:
    """Does the work and answers how it ended: Succeeded, Failed (the world said no, or nothing), or Error.

    Error is what another try cannot mend: fields that are wrong, a secret that is missing, a forbidden address.

    Never raises but for cancellation. Secrets are masked in everything that comes back, and all text in it is valid.
    """
    started = time.time()
    limit = context.timeout_seconds or None
    try:
        async with asyncio.timeout(limit):
            outcome = await _perform(work, context)
    except TimeoutError:
        outcome = StepOutcome(phase="Failed", message=f"Step exceeded its deadline of {limit or 0:g} s")
    except Exception as error:  # noqa: BLE001 - the promise of this function; it is logged, without secrets
        trace = "".join(traceback.format_exception(error))
        log.debug("an action failed in an unforeseen way: %s", context.masker.text(trace))
        outcome = StepOutcome(phase="Error", message=f"{type(error).__name__}: {error}")
    mask = context.masker

    def shown(text: str) -> str:
        return mask.text(valid(text))

    return msgspec.structs.replace(
        outcome,
        message=shown(outcome.message),
        result=None if outcome.result is None else shown(outcome.result),
        parameters={valid(name): shown(value) for name, value in outcome.parameters.items()},
        log_tail=[shown(line) for line in outcome.log_tail],
        answer=mask.tree(valid_tree(outcome.answer)),
        started_at=started,
        finished_at=max(started, time.time()),
    )


async def _perform(work: HttpWork | PluginWork | ResourceWork, context: Context) -> StepOutcome:
    if isinstance(work, HttpWork):
        return await http.perform(work, context)
    if isinstance(work, ResourceWork):
        return await trigger.perform_resource(work, context)
    if work.name in context.settings.plugins:  # what the operator configured comes before what we bring along
        return await plugin.perform(work, context)
    action = _PLUGINS.get(work.name)
    if action is not None:
        return await action(work.arguments, context)
    return await plugin.perform(work, context)
