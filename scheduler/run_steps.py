"""The steps of main runs: what the driver asks of whoever runs steps, answered by `dispatch`."""

from __future__ import annotations

from collections.abc import Callable

from exeunt import traces
from exeunt.chains import depth_of, root_of
from exeunt.driver.driver import Driver
from exeunt.engine.commands import AttemptEnded, AttemptLost, AttemptProgressed, AttemptReady, Placed
from exeunt.engine.decide import Run
from exeunt.engine.facts import ContainerWork, StepDue, StepSpec, kind_of_work, uses_claims
from exeunt.internal.v1 import step_pb2
from exeunt.scheduler.attempts import Flight
from exeunt.scheduler.dispatch import Dispatch
from exeunt.steps import AttemptKey, outcome_of, to_proto
from exeunt.wire_work import may_name_secrets

NAME_CHARACTERS = 1000


class RunSteps:
    """The port between drivers and the dispatch (`exeunt.driver.ports.Steps`), and the owner of their attempts."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._groups: dict[Driver, dict[str, Flight]] = {}
        self._resuming: Driver | None = None

    def resume(self, driver: Driver) -> None:
        """Has a run that was read from the log take up what was in flight."""
        self._resuming = driver
        if driver.run.claims.executor:
            self._dispatch.homes.learn(driver.run.uid, driver.run.claims.executor)
        try:
            driver.resume()
        finally:
            self._resuming = None

    # --- what drivers ask ---------------------------------------------------------------------------------------------

    def place(self, driver: Driver, due: StepDue) -> str | None:
        """Takes a slot for the step, if there is one."""
        return self._dispatch.place(self._flight(driver, due.node, due.attempt, due.step))

    def wait(self, driver: Driver, due: StepDue) -> None:
        """Puts the step in line."""
        self._dispatch.wait(self._flight(driver, due.node, due.attempt, due.step))

    def dispatch(self, driver: Driver, due: StepDue, executor: str, again: bool) -> None:
        """Sends the step, or takes up what was sent in an earlier life."""
        if again:
            self._dispatch.expect(self._flight(driver, due.node, due.attempt, due.step), executor)
        else:
            self._dispatch.send(_id(driver, due.node, due.attempt), executor)

    def cancel(self, driver: Driver, node: str, attempt: int) -> None:
        """Ends the step."""
        id = _id(driver, node, attempt)
        if id in self._dispatch.flights:
            self._dispatch.cancel(id)
            if id not in self._dispatch.flights:  # it never went out: nobody else will say that it is over
                driver.feed(AttemptLost(node, attempt, "it was cancelled before it began"))
        elif self._resuming is driver:
            self._dispatch.expect_cancelled(self._flight(driver, node, attempt, None))

    def recorded(self, driver: Driver, node: str, attempt: int) -> None:
        """The step's result is durable."""
        self._dispatch.acknowledge(_id(driver, node, attempt))

    def keep(self, driver: Driver) -> None:
        """Lets go of attempts that the run does not know: they were decided, but never came into the log."""
        group = self._groups.get(driver, {})
        known = {_id(driver, node, attempt) for node, attempt in driver.attempts}
        stray = {id: flight for id, flight in group.items() if id not in known and not flight.cancelled}
        self._dispatch.drop(stray)
        for id in stray:
            group.pop(id, None)

    def drop(self, driver: Driver) -> None:
        """The run is somebody else's now."""
        self._dispatch.drop(self._groups.pop(driver, {}))
        self._dispatch.homes.forget(driver.run.uid)

    def close(self, driver: Driver) -> None:
        """The run is over: nobody will ask for its steps any more."""
        self._dispatch.close(self._groups.pop(driver, {}))
        self._dispatch.homes.forget(driver.run.uid)

    # --- what the dispatch tells --------------------------------------------------------------------------------------

    def placed(self, flights: list[Flight]) -> None:
        """Slots were found: each run hears of all of its own at once."""
        by_driver: dict[Driver, list[Placed]] = {}
        for flight in flights:
            driver, node, attempt = flight.key
            by_driver.setdefault(driver, []).append(Placed(node, attempt, flight.executor))
        for driver, inputs in by_driver.items():
            driver.feed(*inputs)

    def ready(self, flight: Flight, address: str) -> None:
        """Tells the run of a daemon that is ready."""
        driver, node, attempt = flight.key
        driver.feed(AttemptReady(node, attempt, address))

    def progressed(self, flight: Flight, progress: str) -> None:
        """Tells the run how far an attempt has come."""
        driver, node, attempt = flight.key
        driver.feed(AttemptProgressed(node, attempt, progress))

    def ended(self, flight: Flight, result: step_pb2.StepResult) -> None:
        """Gives the run a result. That of a cancelled attempt is acknowledged even if it changes nothing."""
        driver, node, attempt = flight.key
        ended = AttemptEnded(node, attempt, outcome_of(result))
        if not flight.cancelled:
            driver.feed(ended)
            return

        def settled(answer: object) -> None:
            if asked.cancelled() or asked.exception() is None:
                self._dispatch.acknowledge(flight.id)

        asked = driver.ask(ended)
        asked.add_done_callback(settled)

    def lost(self, flight: Flight, message: str) -> None:
        """The executor is gone."""
        driver, node, attempt = flight.key
        driver.feed(AttemptLost(node, attempt, message))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _flight(self, driver: Driver, node: str, attempt: int, step: StepSpec | None) -> Flight:
        group = self._groups.get(driver)
        if group is None:
            group = self._groups[driver] = {}
        run = driver.run
        return Flight(
            _id(driver, node, attempt),
            kind=kind_of_work(step.work) if step else "",
            exit=False,
            namespace=run.namespace,
            uid=run.uid,
            where=lambda: f"{run.namespace}/{run.name}/{_name(run, node)}",
            owner=self,
            group=group,
            key=(driver, node, attempt),
            make=_maker(driver, node, attempt, step),
            secretive=step is not None and may_name_secrets(step),
            claims=uses_claims(step),
            home=run.claims.executor,
        )


def _id(driver: Driver, node: str, attempt: int) -> str:
    return AttemptKey(driver.run.uid, node, attempt).id


def _name(run: Run, node: str) -> str:
    """The node's full name, for people; in a deep nest only its end."""
    key = run.by_id.get(node)
    return node if key is None else run.names.full(run.nodes[key])[-NAME_CHARACTERS:]


def _maker(driver: Driver, node: str, attempt: int, step: StepSpec | None) -> Callable[[], step_pb2.Step]:
    def make() -> step_pb2.Step:
        run = driver.run
        made = to_proto(
            step or StepSpec(work=ContainerWork()),
            AttemptKey(run.uid, node, attempt),
            namespace=run.namespace,
            workflow=run.name,
            node_name=_name(run, node),
            partition=driver.family.partition,
            trace_context=traces.of_attempt(run.state.started.trace, _id(driver, node, attempt)),
            config_maps=run.bundle.config_maps,
            claims=run.claims,
        )
        labels = run.state.started.labels
        made.chain_depth, made.chain_root = depth_of(labels), root_of(labels, run.uid)
        return made

    return make
