"""Does one piece of work and answers how it ended, whatever goes wrong."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

import msgspec

from exeunt.actions import http, plugin, trigger
from exeunt.actions.arguments import BadArguments
from exeunt.actions.context import Context
from exeunt.engine.facts import PluginWork, StepOutcome, Work, kind_of_work
from exeunt.language.actions import ACTIONS
from exeunt.utf8 import valid, valid_tree

log = logging.getLogger(__name__)

Perform = Callable[[Any, Context], Awaitable[StepOutcome]]
"""Does one piece of work and answers how it ended. BadArguments says what is wrong with it: that is its Error."""

ACTIONS_DONE_HERE: dict[str, Perform] = {name: import_module(f"exeunt.actions.{name}").perform for name in ACTIONS}
"""An action is done by the module of its name, which gets what stands under that name."""


def can_perform(work: Work) -> bool:
    """True for work that is done by `perform`: everything but containers and scripts."""
    return kind_of_work(work) in WORK_DONE_HERE


async def perform(work: Work, context: Context) -> StepOutcome:
    """Does the work and answers how it ended: Succeeded, Failed or Error.

    Failed is what another try may mend: a server that refused, or did not answer. Error is what it cannot mend: wrong
    fields, a missing secret, a forbidden address. Raises nothing but a cancellation. Secrets are masked in everything
    that comes back, and all text in it is valid.
    """
    started = time.time()
    limit = context.timeout_seconds or None
    try:
        async with asyncio.timeout(limit):
            outcome = await WORK_DONE_HERE[kind_of_work(work)](work, context)
    except BadArguments as error:
        outcome = StepOutcome(phase="Error", message=str(error))
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


async def _plugin(work: PluginWork, context: Context) -> StepOutcome:
    """Does one of our own actions, or calls a plugin: one that the operator configured comes first."""
    action = ACTIONS_DONE_HERE.get(work.name)
    if action is not None and work.name not in context.settings.plugins:
        return await action(work.arguments, context)
    return await plugin.perform(work, context)


WORK_DONE_HERE: dict[str, Perform] = {
    "http": http.perform,
    "plugin": _plugin,
    "resource": trigger.perform_resource,
}
"""By the names of kinds (`exeunt.engine.facts.work`); what is not here needs a runtime."""
