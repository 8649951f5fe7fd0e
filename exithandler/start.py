"""Starts the workflows that exit runs trigger: checked and stored here, started by a message in the log.

The message (journal.md §7) is written under this process's fence and safe to repeat: the child's uid follows from the
node's idempotency key. So a trigger is durable at once, scheduler or not, and there is exactly one child.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from exeunt import traces
from exeunt.actions import Child, StartRefused
from exeunt.actions.context import StartWorkflow, Unavailable
from exeunt.engine.events import Obligation, RunStarted
from exeunt.journal.log import Address, Family, Log, LogClosed, LogFull, NotOwner, partition_of
from exeunt.journal.names import NameTaken
from exeunt.journal.projections import Projections
from exeunt.journal.steady import NATS_AWAY, Repeat, once
from exeunt.language.decode import decode
from exeunt.language.handlers import Defaults
from exeunt.language.load import Document
from exeunt.language.manifest import Bundle, Workflow
from exeunt.language.problems import ManifestError
from exeunt.language.validate import validate
from exeunt.launch import START, bundle_of, encode_bundle, name_of, start_message, uid_of_trigger

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
DEPTH_LABEL = "exeunt.dev/depth"
"""On a child: how many workflows stand above it in the chain of triggers."""
PARENT_ANNOTATION = "exeunt.dev/started-by"
SUFFIX_LENGTHS = (5, 8, 13, 20)  # a generated name that is taken gets a longer suffix


class Starter:
    """Starts children. One for each process."""

    def __init__(
        self,
        journal: Log,
        projections: Projections,
        chain_depth: int,
        steady: Repeat | None = None,
        handlers: Defaults | None = None,
    ) -> None:
        """`steady` makes calls again that were cut off with the connection to NATS (`exeunt.journal.steady`).

        `handlers` are the exit handlers that every workflow gets.
        """
        self._handlers = handlers or Defaults()
        self._journal = journal
        self._projections = projections
        self._chain_depth = chain_depth
        self._steady: Repeat = steady or once

    def for_run(self, family: Family, obligation: Obligation) -> StartWorkflow:
        """The port of one exit run's actions."""

        async def start(manifest: dict[str, Any], namespace: str, key: str) -> Child:
            return await self._start(manifest, namespace, key, family, obligation)

        return start

    async def _start(
        self, manifest: dict[str, Any], namespace: str, key: str, family: Family, obligation: Obligation
    ) -> Child:
        depth = _depth(obligation) + 1
        if depth > self._chain_depth:
            raise StartRefused(
                f"{depth - 1} workflows have started each other in a chain already; the bound is {self._chain_depth}"
            )
        while True:
            try:
                return await self._started(manifest, namespace, key, family, obligation, depth=depth)
            except NotOwner:
                raise Unavailable("this exit handler does not own the workflow any more") from None
            except LogClosed as error:
                raise Unavailable(f"the log cannot be written: {error}") from None
            except (LogFull, *NATS_AWAY) as error:
                # the handler has not failed: NATS is away, and the start is tried until it is back or somebody ends it
                log.warning("%s cannot start a workflow yet: %s", obligation.name, str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _started(
        self, manifest: dict[str, Any], namespace: str, key: str, family: Family, obligation: Obligation, *, depth: int
    ) -> Child:
        """Everything that a start writes, in its order. A repeat finds what was written and changes nothing."""
        bundle = await self._steady(lambda: self._bundle(manifest, namespace))
        uid = uid_of_trigger(key)
        name = await self._steady(lambda: self._claim(bundle.workflow, uid))
        metadata = bundle.workflow.metadata
        started = RunStarted(
            uid=uid,
            name=name,
            namespace=metadata.namespace,
            bundle=await self._steady(lambda: self._projections.blobs.put(encode_bundle(bundle))),
            labels={**metadata.labels, DEPTH_LABEL: str(depth)},
            annotations={**metadata.annotations, PARENT_ANNOTATION: f"{obligation.namespace}/{obligation.name}"},
            trace=traces.of_exit(obligation.trace, obligation.hook_id),
            parent=obligation.uid,
            depth=depth,
        )
        message = start_message(started, time.time())
        await self._journal.send(family.partition, Address(partition_of(uid), "m", START), uid, message)
        return Child(name, uid, metadata.namespace)

    async def _bundle(self, manifest: dict[str, Any], namespace: str) -> Bundle:
        """The child with everything that it names, checked as a submission is."""
        document = Document("the started workflow", manifest, 0)
        try:
            workflow = decode(document)
        except ManifestError as error:
            raise StartRefused("; ".join(str(p) for p in error.problems)) from None
        if not isinstance(workflow, Workflow):
            raise StartRefused(f"a Workflow is expected, not a {workflow.kind}")
        if not workflow.metadata.namespace:
            workflow.metadata.namespace = namespace
        self._handlers.add_to(workflow)
        bundle = await bundle_of(workflow, self._projections.manifests)
        problems = [p for p in validate(bundle, document) if not p.warning]
        if problems:
            raise StartRefused("; ".join(str(p) for p in problems))
        return bundle

    async def _claim(self, workflow: Workflow, uid: str) -> str:
        """Makes the name the child's own; the scheduler claims it again, which changes nothing."""
        metadata = workflow.metadata
        for letters in SUFFIX_LENGTHS:
            name = name_of(metadata, uid, letters)
            try:
                await self._projections.names.claim(metadata.namespace, name, uid)
            except NameTaken as error:
                if metadata.name or letters == SUFFIX_LENGTHS[-1]:
                    raise StartRefused(f"{error}; give it another name, or generateName") from None
            else:
                return name
        raise AssertionError("unreachable")


def _depth(obligation: Obligation) -> int:
    text = obligation.labels.get(DEPTH_LABEL, "0")
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 6 else 0
