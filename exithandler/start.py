"""Starts the workflows that exit runs trigger: checked and stored here, started by a message in the log.

The message (docs/log.md §7) is written under this process's fence and safe to repeat: the child's uid follows from the
node's idempotency key. So a trigger is durable at once, scheduler or not, and there is exactly one child.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from exeunt import traces
from exeunt.actions import StartedWorkflow, StartRefused
from exeunt.actions.context import Unavailable
from exeunt.bundles import Bundles
from exeunt.chains import DEPTH_LABEL, ROOT_LABEL, ChainRefused, Chains, depth_of, root_of
from exeunt.engine.facts import Obligation, RunStarted
from exeunt.join import ARRIVE, FORMAT, Arrival, JoinRequest, arrival_id, encode_arrival, manifest, uid_of_join
from exeunt.journal.errors import LogClosed, LogFull, NotOwner
from exeunt.journal.log import Log
from exeunt.journal.names import NameTaken
from exeunt.journal.projections import Projections
from exeunt.journal.repeat import NATS_AWAY, Repeat, once
from exeunt.journal.subjects import Address, Family, partition_of
from exeunt.language.decode import decode
from exeunt.language.handlers import Defaults
from exeunt.language.load import Document
from exeunt.language.manifest import Bundle, Workflow
from exeunt.language.problems import ManifestError
from exeunt.language.validate import validate
from exeunt.launch import (
    EMBEDDED,
    START,
    STARTED_BY,
    bundle_of,
    encode_bundle,
    name_of,
    names_for,
    repository_for,
    resubmission,
    start_message,
    uid_of_trigger,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS = 1.0


Tell = Callable[[StartedWorkflow], Awaitable[None]]
"""Has the ledger know a child; answers when that is durable. Raises Unavailable when the action is over."""


class Beginning(NamedTuple):
    """A workflow that is to be started, under this uid, in this namespace unless it names its own."""

    manifest: dict[str, Any]
    namespace: str
    uid: str
    join: bool = False


class RunChain:
    """What one exit run can start (`exeunt.actions.context.ExitChain`)."""

    def __init__(self, starter: ChildStarter, family: Family, obligation: Obligation, tell: Tell) -> None:
        self._starter = starter
        self._family = family
        self._obligation = obligation
        self._tell = tell

    async def start(self, manifest: dict[str, Any], namespace: str, key: str) -> StartedWorkflow:
        """Starts the workflow of the manifest, once for each key."""
        wanted = Beginning(manifest, namespace, uid_of_trigger(key))
        return await self._starter.begin(wanted, self._family, self._obligation, self._tell)

    async def origin(self) -> dict[str, Any]:
        """The workflow that ended, as it would be submitted once more, with the arguments that it had."""
        owed = self._obligation
        tree = msgspec.to_builtins((await self._starter.bundle(owed)).workflow)
        metadata = {**tree.get("metadata", {}), "name": owed.name, "namespace": owed.namespace, "labels": owed.labels}
        made = resubmission({**tree, "metadata": metadata})
        arguments = made["spec"].get("arguments") or {}
        had = {name: value for name, value in owed.scope.items() if name.startswith("workflow.parameters.")}
        given = [
            {"name": p["name"], "value": had[f"workflow.parameters.{p['name']}"]}
            if f"workflow.parameters.{p['name']}" in had
            else p
            for p in arguments.get("parameters") or []
        ]
        return {**made, "spec": {**made["spec"], "arguments": {**arguments, "parameters": given}}}

    async def join(self, request: JoinRequest) -> StartedWorkflow:
        """Starts the run of the join unless another member has, and arrives there."""
        owed = self._obligation
        member = await self._member(request)
        uid = uid_of_join(owed.namespace, request.key)
        wanted = Beginning(manifest(request, owed.namespace), owed.namespace, uid, join=True)
        child = await self._starter.begin(wanted, self._family, owed, self._tell)
        parameters = json.dumps(dict(request.parameters), ensure_ascii=False)
        arrival = Arrival(FORMAT, uid, member, parameters, f"{owed.namespace}/{owed.name}")
        await self._starter.arrive(arrival, self._family, owed)
        return child

    async def _member(self, request: JoinRequest) -> str:
        """Which of the members this workflow is: as it says itself, or by its name, generateName or template."""
        workflow = (await self._starter.bundle(self._obligation)).workflow
        reference = workflow.spec.workflow_template_ref
        names = [
            self._obligation.name,
            workflow.metadata.generate_name.rstrip("-"),
            reference.name if reference else "",
        ]
        for name in [request.member] if request.member else names:
            if name in request.of:
                return name
        told = request.member or " or ".join(repr(name) for name in names if name)
        raise StartRefused(
            f"{told} is none of the join's members {', '.join(request.of)}; `as` says which of them this one is"
        )


class ChildStarter:
    """Starts children. One for each process."""

    def __init__(
        self,
        journal: Log,
        projections: Projections,
        bundles: Bundles,
        chains: Chains,
        *,
        repeat: Repeat | None = None,
        handlers: Defaults | None = None,
        repository: Mapping[str, Any] = EMBEDDED,
    ) -> None:
        """`repeat` makes calls again that were cut off with the connection to NATS (`exeunt.journal.repeat`).

        `handlers` are the exit handlers that every workflow gets, `repository` is where its artifacts go unless it says
        something else.
        """
        self._repository = repository
        self._handlers = handlers or Defaults()
        self._journal = journal
        self._projections = projections
        self._bundles = bundles
        self._chains = chains
        self._repeat: Repeat = repeat or once

    def for_run(self, family: Family, obligation: Obligation, tell: Tell) -> RunChain:
        """The port of one action of an exit run."""
        return RunChain(self, family, obligation, tell)

    async def begin(self, wanted: Beginning, family: Family, obligation: Obligation, tell: Tell) -> StartedWorkflow:
        """Starts a workflow, or finds that it was; `tell` hears of it before. Raises StartRefused, Unavailable."""
        depth = depth_of(obligation.labels) + 1
        above = {DEPTH_LABEL: str(depth), ROOT_LABEL: root_of(obligation.labels, obligation.uid)}
        now = asyncio.get_running_loop().time()
        try:
            self._chains.check(above, wanted.uid, now)
        except ChainRefused as error:
            raise StartRefused(str(error)) from None
        self._chains.note(above, wanted.uid, now)
        return await self._until_written(lambda: self._started(wanted, family, obligation, above, tell), obligation)

    async def arrive(self, arrival: Arrival, family: Family, obligation: Obligation) -> None:
        """Says in the log that a member of a join, whose run is started, has arrived."""
        to = Address(partition_of(arrival.uid), "m", ARRIVE)
        data, known_by = encode_arrival(arrival), arrival_id(arrival)
        await self._until_written(lambda: self._journal.send(family.partition, to, known_by, data), obligation)

    async def bundle(self, obligation: Obligation) -> Bundle:
        """The manifests of the workflow that ended."""
        return await self._bundles.get(obligation.bundle)

    async def _until_written(self, write: Callable[[], Awaitable[T]], obligation: Obligation) -> T:
        while True:
            try:
                return await write()
            except NotOwner:
                raise Unavailable("this exit handler does not own the workflow any more") from None
            except LogClosed as error:
                raise Unavailable(f"the log cannot be written: {error}") from None
            except (LogFull, *NATS_AWAY) as error:
                # the handler has not failed: NATS is away, and the start is tried until it is back or somebody ends it
                log.warning("%s cannot start a workflow yet: %s", obligation.name, str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _started(
        self, wanted: Beginning, family: Family, obligation: Obligation, above: dict[str, str], tell: Tell
    ) -> StartedWorkflow:
        """Everything that a start writes, in its order. A repeat finds what was written and changes nothing."""
        uid = wanted.uid
        bundle = await self._repeat(lambda: self._bundle(wanted))
        metadata = bundle.workflow.metadata
        if await self._repeat(lambda: self._projections.names.deleted(uid)):  # its name may be another's by now
            return StartedWorkflow(name_of(metadata, uid), uid, metadata.namespace)
        name = await self._repeat(lambda: self._claim(bundle.workflow, uid))
        started = RunStarted(
            uid=uid,
            name=name,
            namespace=metadata.namespace,
            bundle=await self._repeat(lambda: self._projections.blobs.put(encode_bundle(bundle))),
            labels={**metadata.labels, **above},
            annotations={**metadata.annotations, STARTED_BY: f"{obligation.namespace}/{obligation.name}"},
            trace=traces.of_exit(obligation.trace, obligation.hook_id),
            parent=obligation.uid,
            depth=depth_of(above),
            repository=repository_for(bundle, self._repository),
            started_by={
                "name": obligation.name,
                "namespace": obligation.namespace,
                "uid": obligation.uid,
                "handler": obligation.hook_id,
            },
        )
        await tell(StartedWorkflow(name, uid, metadata.namespace))
        message = start_message(started, time.time())
        await self._journal.send(family.partition, Address(partition_of(uid), "m", START), uid, message)
        return StartedWorkflow(name, uid, metadata.namespace)

    async def _bundle(self, wanted: Beginning) -> Bundle:
        """The child with everything that it names, checked as a submission is."""
        document = Document("the started workflow", wanted.manifest, 0)
        try:
            workflow = decode(document)
        except ManifestError as error:
            raise StartRefused("; ".join(str(p) for p in error.problems)) from None
        if not isinstance(workflow, Workflow):
            raise StartRefused(f"a Workflow is expected, not a {workflow.kind}")
        if not workflow.metadata.namespace:
            workflow.metadata.namespace = wanted.namespace
        if not wanted.join:
            self._handlers.add_to(workflow)
        bundle = await bundle_of(workflow, self._projections.manifests)
        problems = [p for p in validate(bundle, document) if not p.warning]
        if problems:
            raise StartRefused("; ".join(str(p) for p in problems))
        return bundle

    async def _claim(self, workflow: Workflow, uid: str) -> str:
        """Makes the name the child's own; the scheduler claims it again, which changes nothing."""
        metadata = workflow.metadata
        why = ""
        for name in names_for(metadata, uid):
            try:
                await self._projections.names.claim(metadata.namespace, name, uid)
            except NameTaken as error:
                why = str(error)
            else:
                return name
        raise StartRefused(f"{why}; give it another name, or generateName")
