"""The cleanup action: removes what a workflow left behind, of any kind, and says what it removed.

Each kind of thing is removed as far as possible, whatever becomes of the others. What is gone already is no error, so a
retry goes on where the last try ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from exeunt.actions.arguments import BadArguments, read
from exeunt.actions.cleanup_databases import databases
from exeunt.actions.cleanup_http import deletions
from exeunt.actions.cleanup_nats import nats_things
from exeunt.actions.cleanup_objects import objects
from exeunt.actions.cleanup_paths import remove_all
from exeunt.actions.cleanup_report import CleanupReport
from exeunt.actions.context import Context
from exeunt.engine.facts import StepOutcome
from exeunt.language.actions import Cleanup


async def perform(arguments: Any, context: Context) -> StepOutcome:
    """Removes everything named. Failed when something could not be removed; the rest is removed all the same."""
    wanted = read("cleanup", arguments, Cleanup)
    if not any((wanted.paths, wanted.http, wanted.nats, wanted.objects, wanted.databases)):
        raise BadArguments("plugin.cleanup: name at least one thing to remove (paths, http, nats, objects, databases)")
    report = CleanupReport()
    jobs: list[Awaitable[CleanupReport]] = []
    if wanted.paths:
        loop = asyncio.get_running_loop()
        jobs.append(
            loop.run_in_executor(context.tools.threads, remove_all, wanted.paths, context.settings.cleanup_roots)
        )
    jobs += [deletions(wanted.http, context)] if wanted.http else []
    jobs += [nats_things(at, one, context) for at, one in enumerate(wanted.nats)]
    jobs += [objects(at, one, context) for at, one in enumerate(wanted.objects)]
    jobs += [databases(at, one, context) for at, one in enumerate(wanted.databases)]
    names = [*(["paths"] if wanted.paths else []), *(["http"] if wanted.http else [])]
    names += [f"nats[{at}]" for at in range(len(wanted.nats))]
    names += [f"objects[{at}]" for at in range(len(wanted.objects))]
    names += [f"databases[{at}]" for at in range(len(wanted.databases))]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_bounded(name, job, context)) for name, job in zip(names, jobs, strict=True)]
    for task in tasks:
        report.add(task.result())
    phase = "Succeeded" if not report.errors else "Error" if report.unsent else "Failed"
    return StepOutcome(phase=phase, message=report.message, answer=report.answer)


async def _bounded(name: str, job: Awaitable[CleanupReport], context: Context) -> CleanupReport:
    """The report of one kind of thing, also when it fails as a whole or takes too long."""
    report = CleanupReport()
    seconds = context.settings.cleanup_timeout
    try:
        async with asyncio.timeout(seconds):
            return await job
    except TimeoutError:
        report.wrong(f"plugin.cleanup.{name}", f"not done within {seconds:g} s")
    except BadArguments as error:
        report.unsent = True
        report.errors.append(str(error))
    return report
