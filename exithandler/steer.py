"""What operators do to exit runs that are under way: nodes that wait are resumed or set, a run is ended for good."""

from __future__ import annotations

import asyncio

from exeunt.engine import decide
from exeunt.engine.commands import Cancel, Rejected, ResumeRun, SetNodes
from exeunt.exithandler.exit_runs import ExitRuns
from exeunt.exithandler.record import CANCELLED, ENDED, ExitRecord
from exeunt.journal.errors import NotOwner


async def steer(runs: ExitRuns, uid: str, command: ResumeRun | SetNodes) -> int:
    """Resumes or sets nodes in each exit run of the workflow that has such; answers how many had, when it is durable.

    Raises Rejected, NotOwner.
    """
    drivers = [run.driver for run in runs.of_uid(uid) if run.driver is not None]
    asked = [driver.ask(command) for driver in drivers if _concerns(driver.run, command)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    done = 0
    for answer in answers:
        if isinstance(answer, Rejected) and answer.reason in ("NO_SUCH_NODE", "WORKFLOW_FINISHED"):
            continue  # it went on by itself meanwhile
        if isinstance(answer, BaseException):
            raise answer
        done += 1
    return done


def _concerns(run: decide.Run, command: ResumeRun | SetNodes) -> bool:
    return command.request_id in run.state.requests or bool(decide.waiting(run, command.selector))


async def cancel(runs: ExitRuns, record: ExitRecord, request_id: str, by: str, message: str) -> ExitRecord:
    """Ends the run; answers when that is durable. Raises Rejected when it has ended, NotOwner when it is not ours."""
    if record.state == CANCELLED:
        return record
    if record.state in ENDED:
        raise Rejected("EXIT_ENDED", f"the exit run {record.id} has ended: it is {record.state}")
    run = runs.runs.get(record.id)
    if run is None or run.driver is None:
        raise NotOwner("the exit run has not begun here yet")
    why = f"cancelled by {by}" if by else "cancelled"
    await run.driver.ask(Cancel(f"{why}: {message}" if message else why, strategy="", request_id=request_id))
    return run.record
