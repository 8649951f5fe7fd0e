"""From documents to workflows that can be started: read, completed by the caller's wishes, resolved and checked.

Nothing is written here. Reading and checking happen in processes of their own (`checks`): they may take long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from exeunt.cache import ByteCache
from exeunt.journal.blobs import digest
from exeunt.journal.manifests import Manifests
from exeunt.journal.secrets import Secrets
from exeunt.language.handlers import Defaults
from exeunt.language.manifest import Bundle
from exeunt.language.problems import ManifestError, Problem
from exeunt.language.stored import Key
from exeunt.launch import decode_bundle
from exeunt.scheduler.checks import (
    DEFAULT_NAMESPACE,
    PARAMETER_BYTES,
    CheckedWorkflow,
    CheckJob,
    CheckOutcome,
    ToStore,
    Wishes,
)
from exeunt.service.errors import Code, RpcError, invalid
from exeunt.service.worker import TooMuchWorkError
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.visible import quoted

CACHED_BYTES = 32 * 1024 * 1024  # of what was checked last
MOST_TOLD = 10  # parameters that are there twice
REFERENCES_DEEP = 32  # templates that refer to templates: so often what is stored is looked for
CHECK_SECONDS = 15.0  # of processor time
CHECK_MEMORY = 1024 * 1024 * 1024
CHECKERS = 2

CheckWork = Callable[[bytes], Awaitable[bytes]]
"""Does a job of `checks`, as bytes."""


@dataclass(frozen=True)
class Accepted:
    """A workflow that may be started. `content` is its bundle as it is stored, `digest` the hash of that."""

    bundle: Bundle
    content: bytes
    digest: str
    namespace: str
    entrypoint: str
    parameters: dict[str, str]
    labels: dict[str, str]


@dataclass
class Checked:
    """All documents of a request, found to be in order. `content` is a hash of what was asked for."""

    workflows: list[Accepted] = field(default_factory=list)
    stored: list[ToStore] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    content: str = ""


class SubmissionChecker:
    """Reads and checks documents; knows the stored templates and config maps."""

    def __init__(
        self,
        manifests: Manifests,
        work: CheckWork,
        parameter_bytes: int = PARAMETER_BYTES,
        handlers: Defaults | None = None,
        secrets: Secrets | None = None,
    ) -> None:
        """`parameter_bytes`: the largest value of a workflow's parameter; `handlers`: what every workflow gets.

        Without `secrets` (a service that has no key) documents of that kind are refused.
        """
        self._handlers = handlers or Defaults()
        self._secrets = secrets
        self._manifests = manifests
        self._work = work
        self._parameter_bytes = parameter_bytes
        self._known: ByteCache[bytes, Checked] = ByteCache(CACHED_BYTES)

    async def check(self, documents: Iterable[tuple[str, str]], wishes: Wishes) -> Checked:
        """Checks documents (file, text) as one submission. Raises ManifestError with every problem of all of them."""
        job = self._job(documents, wishes)
        encoded = msgspec.msgpack.encode(job)
        key = hashlib.blake2b(encoded, digest_size=16).digest()
        known = self._known.get(key)
        if known is not None:
            return known
        outcome = await self._outcome(job)
        if any(not problem.warning for problem in outcome.problems):
            raise ManifestError(outcome.problems)
        checked = Checked(
            workflows=[_accepted(part) for part in outcome.workflows],
            stored=[self._sealed(one) for one in outcome.stored],
            warnings=outcome.problems,
            content=_content(job),
        )
        if not (outcome.asked or outcome.stored):  # nothing in it depends on what is stored
            self._known.put(key, checked, sum(len(part.content) for part in outcome.workflows))
        return checked

    def check_parameters(self, field: str, given: Iterable[pb.ParameterValue]) -> None:
        """Raises INVALID_ARGUMENT where this field of a request names a parameter twice, or has too large a value."""
        given = list(given)
        check_once(field, given)
        for i, parameter in enumerate(given):
            size = len(parameter.value.encode())
            if size > self._parameter_bytes:
                most = self._parameter_bytes
                text = f"the parameter {quoted(parameter.name)} has {size:,} bytes; at most {most:,} may be"
                raise invalid(text, [(f"{field}[{i}].value", text)])

    async def lint(self, documents: Iterable[tuple[str, str]], namespace: str) -> list[Problem]:
        """Everything that is wrong or may surprise, in the order of files and lines."""
        job = self._job(documents, Wishes(namespace=namespace or DEFAULT_NAMESPACE))
        job.linting = True
        order = {file: i for i, (file, _) in enumerate(job.documents)}
        problems = (await self._outcome(job)).problems
        return sorted(problems, key=lambda p: (order.get(p.file, len(order)), p.line))

    def _job(self, documents: Iterable[tuple[str, str]], wishes: Wishes) -> CheckJob:
        return CheckJob(
            documents=list(documents),
            wishes=wishes,
            parameter_bytes=self._parameter_bytes,
            handlers=self._handlers.given,
            sealable=self._secrets is not None,
        )

    async def _outcome(self, job: CheckJob) -> CheckOutcome:
        """Does the job; again and again with the stored manifests that it asks for, until it asks for no more."""
        seen: set[Key] = set()
        for _ in range(REFERENCES_DEEP):
            try:
                answer = await self._work(msgspec.msgpack.encode(job))
            except TooMuchWorkError as error:
                raise RpcError(
                    Code.RESOURCE_EXHAUSTED,
                    "TOO_LARGE_TO_CHECK",
                    f"these documents cannot be checked: {error}; make them smaller, or submit them one by one",
                ) from None
            outcome = msgspec.msgpack.decode(answer, type=CheckOutcome)
            asked = [key for key in outcome.missing if key not in seen]
            if not asked:
                return outcome
            for kind, namespace, name in asked:
                tree = await self._manifests.get(kind, namespace, name) if name else None
                job.stored.append(((kind, namespace, name), tree))
                seen.add((kind, namespace, name))
        text = f"templates refer to templates more than {REFERENCES_DEEP} deep"
        raise invalid(text, [("documents", text)])

    def _sealed(self, one: ToStore) -> ToStore:
        """A secret as it is stored. Nothing else of its document is kept: annotations may hold a copy of the values."""
        if one.kind != "Secret" or self._secrets is None:
            return one
        return one._replace(tree=self._secrets.sealed(one.namespace, one.name, one.tree))


def check_once(field: str, given: Iterable[pb.ParameterValue]) -> None:
    """Raises INVALID_ARGUMENT where this field of a request gives two values to one parameter."""
    seen: set[str] = set()
    violations = []
    for i, parameter in enumerate(given):
        if parameter.name in seen:
            text = f"the parameter {quoted(parameter.name)} has a value already"
            violations.append((f"{field}[{i}].name", text))
        seen.add(parameter.name)
    if violations:
        raise invalid(violations[0][1], violations[:MOST_TOLD])


def _content(job: CheckJob) -> str:
    """A hash of what was asked for: the names of files are no part of it."""
    return digest(msgspec.msgpack.encode(([text for _, text in job.documents], msgspec.to_builtins(job.wishes))))


def _accepted(part: CheckedWorkflow) -> Accepted:
    return Accepted(
        bundle=decode_bundle(part.content),
        content=part.content,
        digest=digest(part.content),
        namespace=part.namespace,
        entrypoint=part.entrypoint,
        parameters=part.parameters,
        labels=part.labels,
    )
