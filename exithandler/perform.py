"""The steps of exit runs: actions are done here, containers and scripts are asked of the scheduler.

What the driver asks for is already in the log. An action starts only while this process is certainly the owner of its
partition (docs/log.md §2); one that cannot start for that reason waits until it is certain again or the run is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from exeunt import traces
from exeunt.actions import Context, Toolbox, can_perform, perform
from exeunt.actions.context import ExitChain, StartedWorkflow, Unavailable
from exeunt.driver.driver import Driver
from exeunt.engine.commands import (
    AttemptEnded,
    AttemptLost,
    AttemptProgressed,
    AttemptReady,
    ChildStarting,
    Placed,
    Rejected,
)
from exeunt.engine.facts import Obligation, StepDue, StepOutcome
from exeunt.exithandler.described import name_of
from exeunt.exithandler.start import Tell
from exeunt.exithandler.steps_client import StepsClient
from exeunt.internal.v1 import step_pb2
from exeunt.journal.log import Log
from exeunt.journal.subjects import Family
from exeunt.service.metrics import Counter
from exeunt.steps import AttemptKey, outcome_of, to_proto

log = logging.getLogger(__name__)

SHOWN_FACTS = ("workflow.status", "workflow.duration", "workflow.failures")
actions = Counter("exeunt.actions", "Attempts of actions, by action and phase", "{attempt}")
UNSURE_PAUSE = 0.1  # ownership is confirmed every 0.3 s; nothing tells of it


@dataclass(slots=True)
class _Wanted:
    """A step at the scheduler, and whose it is (`steps_client.Waiting`)."""

    driver: Driver
    node: str
    attempt: int

    def placed(self, executor: str) -> None:
        self.driver.feed(Placed(self.node, self.attempt, executor))

    def ready(self, address: str) -> None:
        self.driver.feed(AttemptReady(self.node, self.attempt, address))

    def progressed(self, progress: str) -> None:
        self.driver.feed(AttemptProgressed(self.node, self.attempt, progress))

    def ended(self, result: step_pb2.StepResult) -> None:
        self.driver.feed(AttemptEnded(self.node, self.attempt, outcome_of(result)))

    def lost(self) -> None:
        self.driver.feed(AttemptLost(self.node, self.attempt))


class ExitSteps:
    """The port between drivers and what does their steps (`exeunt.driver.ports.Steps`). `run()` holds the actions."""

    def __init__(
        self,
        replica: str,
        journal: Log,
        *,
        tools: Toolbox,
        client: StepsClient,
        starter: Callable[[Family, Obligation, Tell], ExitChain],
        obligation_of: Callable[[Driver], Obligation],
    ) -> None:
        self._replica = replica
        self._journal = journal
        self._tools = tools
        self._client = client
        self._starter = starter
        self._obligation_of = obligation_of
        self._group: asyncio.TaskGroup | None = None
        self._actions: dict[Driver, dict[tuple[str, int], asyncio.Task[None]]] = {}
        self._remote: dict[Driver, set[str]] = {}

    async def run(self) -> None:
        """Holds the tasks of the actions; when it is cancelled they are too, and come again from the log."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    async def idle(self) -> None:
        """Waits until no action is under way."""
        while tasks := [task for tasks in self._actions.values() for task in tasks.values()]:
            await asyncio.wait(tasks)

    @property
    def busy(self) -> int:
        """How many actions are under way."""
        return sum(len(tasks) for tasks in self._actions.values())

    # --- what drivers ask ---------------------------------------------------------------------------------------------

    def place(self, driver: Driver, due: StepDue) -> str | None:
        """Actions are done here, at once; everything else waits for an executor."""
        return self._replica if can_perform(due.step.work) else None

    def wait(self, driver: Driver, due: StepDue) -> None:
        """Asks the scheduler for a place."""
        self._want(driver, due, "")

    def dispatch(self, driver: Driver, due: StepDue, executor: str, again: bool) -> None:
        """Does the action, or has the step sent. `again`: whoever did the action before may have done it already."""
        if can_perform(due.step.work):
            if again:  # it may have been done: what is done now is another attempt, and both are told of
                lost = AttemptLost(due.node, due.attempt, "who did it has ended")
                asyncio.get_running_loop().call_soon(driver.feed, lost)
            else:
                self._start(driver, due)
        elif again:
            self._want(driver, due, executor)
        else:
            self._client.confirm(_id(driver, due.node, due.attempt), executor)

    def cancel(self, driver: Driver, node: str, attempt: int) -> None:
        """Ends the action or the step. Each says when it is over: its run closes only then."""

        def over(_: object = None) -> None:
            if not driver.dropped:
                driver.feed(AttemptEnded(node, attempt, StepOutcome(phase="Failed")))

        task = self._actions.get(driver, {}).get((node, attempt))
        if task is not None:
            task.add_done_callback(over)
            task.cancel()
            return
        step = driver.run.nodes[driver.run.by_id[node]].step
        if step is not None and can_perform(step.work):  # whoever did it has ended before
            asyncio.get_running_loop().call_soon(over)
            return
        id = _id(driver, node, attempt)
        self._remote.setdefault(driver, set()).add(id)
        executor = driver.run.nodes[driver.run.by_id[node]].executor
        if executor:
            self._client.end(id, driver.family.partition, executor, _Wanted(driver, node, attempt))
        else:
            self._client.cancel(id, driver.family.partition)

    def recorded(self, driver: Driver, node: str, attempt: int) -> None:
        """The result is durable."""
        id = _id(driver, node, attempt)
        known = self._remote.get(driver)
        if known is not None and id in known:
            known.discard(id)
            self._client.acknowledge(id)

    def drop(self, driver: Driver) -> None:
        """The run is over, or somebody else's now: stop acting for it."""
        for task in self._actions.pop(driver, {}).values():
            task.cancel()
        for id in self._remote.pop(driver, set()):
            self._client.forget(id)

    def close(self, driver: Driver) -> None:
        """The run is over and that is durable: results are acknowledged, what is still cancelled stays so."""
        for id in self._remote.pop(driver, set()):
            self._client.acknowledge(id)
        self.drop(driver)

    # --- containers and scripts ---------------------------------------------------------------------------------------

    def _want(self, driver: Driver, due: StepDue, executor: str) -> None:
        run, family = driver.run, driver.family
        obligation = self._obligation_of(driver)
        attempt = AttemptKey(family.uid, due.node, due.attempt, family.hook_id)
        step = to_proto(
            due.step,
            attempt,
            namespace=run.namespace,
            workflow=obligation.name,
            node_name=due.step.template or due.node,
            partition=family.partition,
            exit=True,
            trace_context=traces.of_attempt(obligation.trace, attempt.id, run.state.replay),
            config_maps=run.bundle.config_maps,
            claims=run.claims,
        )
        self._remote.setdefault(driver, set()).add(attempt.id)
        self._client.want(step, executor, _Wanted(driver, due.node, due.attempt))

    # --- actions ------------------------------------------------------------------------------------------------------

    def _start(self, driver: Driver, due: StepDue) -> None:
        if self._group is None:  # the service is ending: the action comes again from the log
            return
        key = (due.node, due.attempt)
        tasks = self._actions.setdefault(driver, {})
        if key in tasks:
            return
        task = tasks[key] = self._group.create_task(self._act(driver, due))
        task.add_done_callback(lambda done: self._over(driver, key, done))

    async def _act(self, driver: Driver, due: StepDue) -> None:
        partition = driver.family.partition
        while not self._journal.fresh(partition):
            if driver.dropped or not self._journal.owns(partition):
                return
            await asyncio.sleep(UNSURE_PAUSE)
        try:
            await self._perform(driver, due)
        except Exception as error:
            log.exception("an action of %s failed in an unforeseen way", driver.run.uid)
            outcome = StepOutcome(phase="Error", message=f"{type(error).__name__}: {error}")
            driver.feed(AttemptEnded(due.node, due.attempt, outcome))

    async def _perform(self, driver: Driver, due: StepDue) -> None:
        obligation = self._obligation_of(driver)
        step = due.step
        id = _id(driver, due.node, due.attempt)
        context = Context(
            self._tools,
            step.idempotency_key or id,
            namespace=obligation.namespace,
            uid=obligation.uid,
            workflow=obligation.name,
            node=due.node,
            node_name=step.template,
            attempt=due.attempt,
            timeout_seconds=step.timeout_seconds,
            trace=traces.of_attempt(obligation.trace, id, driver.run.state.replay),
            facts=_facts(obligation),
            chain=self._starter(driver.family, obligation, partial(_tell, driver, due)),
        )
        outcome = await perform(step.work, context)
        actions.add(1, (("action", name_of(step.work)), ("phase", outcome.phase)))
        driver.feed(AttemptEnded(due.node, due.attempt, outcome))

    def _over(self, driver: Driver, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        tasks = self._actions.get(driver)
        if tasks is not None and tasks.get(key) is task:
            del tasks[key]


async def _tell(driver: Driver, due: StepDue, child: StartedWorkflow) -> None:
    """The attempt is about to start a child: that stands in the log before it does."""
    try:
        await driver.ask(ChildStarting(due.node, due.attempt, child._asdict()))
    except Rejected as error:
        raise Unavailable(str(error)) from None


def _facts(obligation: Obligation) -> dict[str, str]:
    """What a message says by itself (`exeunt.actions.message`): of the node that ended, or of the workflow."""
    facts = {name: str(obligation.scope[name]) for name in SHOWN_FACTS if name in obligation.scope}
    facts |= {"node": obligation.node_name, "hook": obligation.hook, "reason": obligation.reason}
    return facts | {"phase": obligation.phase, "due": repr(obligation.due_at)}


def _id(driver: Driver, node: str, attempt: int) -> str:
    return AttemptKey(driver.family.uid, node, attempt, driver.family.hook_id).id
