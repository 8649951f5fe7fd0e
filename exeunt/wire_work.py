"""The kinds of work in the messages of exeunt.internal.v1: one row for each.

A kind has the same name here as in `exeunt.engine.facts.work`, and as the field of the oneof `work` in `step.proto`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec

from exeunt.engine.facts import (
    ContainerSetWork,
    ContainerWork,
    DataWork,
    EnvSource,
    ExecutorFact,
    HttpWork,
    NamedContainer,
    PluginWork,
    Probe,
    ResourceWork,
    SecretRef,
    StepSpec,
    Work,
    kind_of_work,
)
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.language.actions import ACTIONS
from exeunt.wire_volumes import Wanted, mounts_of, mounts_to_proto, secrets_of_volumes

W = TypeVar("W", bound=Work)


@dataclass(frozen=True)
class WorkForm(Generic[W]):
    """How one kind of work travels, and who can take it.

    `write` puts it into a step, `read` takes it out. `may_name_secrets` is False for work that names none, and quick to
    tell; `secrets` lists those that a step names. An executor with any of the `capabilities` takes such work.
    """

    write: Callable[[W, pb.Step], None]
    read: Callable[[pb.Step], W]
    may_name_secrets: Callable[[W], bool]
    secrets: Callable[[pb.Step], Iterable[Wanted]]
    capabilities: frozenset[str]


def work_of(step: pb.Step) -> Work:
    """The work of a step; ValueError when it has none, or one that this version does not know."""
    kind = step.WhichOneof("work")
    if kind is None:
        raise ValueError(f"step {step.id}: nothing in it that this version can run")
    work: Work = WORK_FORMS[kind].read(step)
    return work


def kinds_for(capabilities: Iterable[str]) -> tuple[str, ...]:
    """The kinds of work that an executor with these capabilities takes."""
    able = frozenset(capabilities)
    return tuple(kind for kind, form in WORK_FORMS.items() if form.capabilities & able)


@cache
def kinds_with_volumes() -> frozenset[str]:
    """The kinds of work that may mount volumes: those that a runtime does."""
    return frozenset(kind for kind, form in WORK_FORMS.items() if "process" in form.capabilities)


def may_name_secrets(step: StepSpec) -> bool:
    """False for a step that names no secrets; quick to tell."""
    files = step.input_artifacts or step.output_artifacts or step.archive
    return (
        bool(files)
        or WORK_FORMS[kind_of_work(step.work)].may_name_secrets(step.work)
        or any(_names_secrets(one.work) for one in (*step.init, *step.sidecars))
        or any(source.secret for volume in step.volumes for source in volume.files)
    )


def secrets_wanted(step: pb.Step) -> dict[str, set[str] | None]:
    """The secrets that a step names, by name: the keys of each, None for all of them."""
    kind = step.WhichOneof("work")
    asked = list(WORK_FORMS[kind].secrets(step)) if kind is not None else []
    for one in (*step.init_containers, *step.sidecars):
        asked += _secrets_of(one.work)
    asked += _secrets_of_artifacts(step)
    asked += secrets_of_volumes(step.volumes)
    wanted: dict[str, set[str] | None] = {name: None for name, key in asked if key is None}
    for name, key in asked:
        known = wanted.setdefault(name, set())
        if known is not None and key is not None:
            known.add(key)
    return wanted


def _secrets_of_artifacts(step: pb.Step) -> Iterator[Wanted]:
    """Those by which a step's files are reached."""
    places = [one.artifact_json for one in (*step.input_artifacts, *step.output_artifacts)]
    for text in (*places, step.archive_json):
        if '"key"' in text:
            yield from _selectors(from_json(text))


def _selectors(tree: Any) -> Iterator[Wanted]:
    """The keys of secrets in the place of an artifact: all its fields for them end in Secret."""
    for field, inner in tree.items() if isinstance(tree, dict) else ():
        if field.endswith("Secret") and isinstance(inner, dict) and inner.get("name") and inner.get("key"):
            yield str(inner["name"]), str(inner["key"])
        else:
            yield from _selectors(inner)


# --- containers and scripts -------------------------------------------------------------------------------------------


def _container(work: ContainerWork) -> pb.ContainerWork:
    return pb.ContainerWork(
        image=work.image,
        command=work.command,
        args=work.args,
        env=_variables(work.env, work.env_secrets, work.env_facts),
        working_dir=work.working_dir,
        source=work.source,
        script=work.script,
        env_from=[
            pb.EnvironmentSource(
                prefix=s.prefix, variables=_variables(s.variables), secret=s.secret, optional=s.optional
            )
            for s in work.env_from
        ],
        mounts=mounts_to_proto(work.mounts),
        readiness=None if work.readiness is None else _probe(work.readiness),
        memory_bytes=work.memory_bytes,
        cpus=work.cpus,
    )


def _probe(probe: Probe) -> pb.Probe:
    return pb.Probe(
        command=probe.command,
        port=probe.port,
        path=probe.path,
        host=probe.host,
        https=probe.https,
        headers=_variables(probe.headers),
        delay_seconds=probe.delay_seconds,
        period_seconds=probe.period_seconds,
        timeout_seconds=probe.timeout_seconds,
        successes=probe.successes,
    )


def _probe_of(made: pb.Probe) -> Probe:
    return Probe(
        command=list(made.command),
        port=made.port,
        path=made.path if made.HasField("path") else None,
        host=made.host,
        https=made.https,
        headers=_pairs(made.headers),
        delay_seconds=made.delay_seconds,
        period_seconds=made.period_seconds,
        timeout_seconds=made.timeout_seconds,
        successes=made.successes,
    )


def _container_of(made: pb.ContainerWork) -> ContainerWork:
    return ContainerWork(
        image=made.image,
        command=list(made.command),
        args=list(made.args),
        env=_pairs(made.env),
        working_dir=made.working_dir,
        source=made.source,
        script=made.script,
        env_secrets=_refs(made.env),
        env_from=[
            EnvSource(prefix=s.prefix, variables=_pairs(s.variables), secret=s.secret, optional=s.optional)
            for s in made.env_from
        ],
        mounts=mounts_of(made.mounts),
        readiness=_probe_of(made.readiness) if made.HasField("readiness") else None,
        memory_bytes=made.memory_bytes,
        cpus=made.cpus,
        env_facts=_facts(made.env),
    )


def _names_secrets(work: ContainerWork) -> bool:
    return bool(work.env_secrets) or any(source.secret for source in work.env_from)


def _secrets_of(made: pb.ContainerWork) -> Iterator[Wanted]:
    yield from ((v.secret.name, v.secret.key) for v in made.env if v.HasField("secret"))
    yield from ((source.secret, None) for source in made.env_from if source.secret)


def named(containers: Iterable[NamedContainer]) -> list[pb.NamedContainer]:
    """Further programs of a step, as they travel."""
    return [
        pb.NamedContainer(name=one.name, work=_container(one.work), dependencies=one.dependencies) for one in containers
    ]


def named_of(made: Iterable[pb.NamedContainer]) -> list[NamedContainer]:
    """What `named` wrote."""
    return [
        NamedContainer(name=one.name, work=_container_of(one.work), dependencies=list(one.dependencies)) for one in made
    ]


def _write_container(work: ContainerWork, step: pb.Step) -> None:
    step.container.CopyFrom(_container(work))


def _write_container_set(work: ContainerSetWork, step: pb.Step) -> None:
    made = pb.ContainerSetWork(containers=named(work.containers), tries=work.tries, pause_seconds=work.pause_seconds)
    step.container_set.CopyFrom(made)


def _read_container_set(step: pb.Step) -> ContainerSetWork:
    made = step.container_set
    return ContainerSetWork(
        containers=named_of(made.containers), tries=made.tries or 1, pause_seconds=made.pause_seconds
    )


def _secrets_of_container_set(step: pb.Step) -> Iterator[Wanted]:
    for one in step.container_set.containers:
        yield from _secrets_of(one.work)


# --- data -------------------------------------------------------------------------------------------------------------


def _write_data(work: DataWork, step: pb.Step) -> None:
    step.data.source_json = to_json(work.source)
    step.data.expressions.extend(work.expressions)


def _read_data(step: pb.Step) -> DataWork:
    return DataWork(source=from_json(step.data.source_json) or {}, expressions=list(step.data.expressions))


# --- http -------------------------------------------------------------------------------------------------------------


def _write_http(work: HttpWork, step: pb.Step) -> None:
    made = pb.HttpWork(
        method=work.method,
        url=work.url,
        headers=_variables(work.headers, work.header_secrets),
        body=work.body,
        timeout_seconds=work.timeout_seconds,
        success_condition=work.success_condition,
        insecure_skip_verify=work.insecure_skip_verify,
    )
    step.http.CopyFrom(made)


def _read_http(step: pb.Step) -> HttpWork:
    made = step.http
    return HttpWork(
        method=made.method or "GET",
        url=made.url,
        headers=_pairs(made.headers),
        body=made.body,
        timeout_seconds=made.timeout_seconds or 30.0,
        success_condition=made.success_condition,
        insecure_skip_verify=made.insecure_skip_verify,
        header_secrets=_refs(made.headers),
    )


def _secrets_of_http(step: pb.Step) -> Iterator[Wanted]:
    return ((h.secret.name, h.secret.key) for h in step.http.headers if h.HasField("secret"))


# --- plugin -----------------------------------------------------------------------------------------------------------


def _write_plugin(work: PluginWork, step: pb.Step) -> None:
    step.plugin.name = work.name
    step.plugin.arguments_json = to_json(work.arguments)
    step.plugin.template_json = to_json(work.template or None)


def _read_plugin(step: pb.Step) -> PluginWork:
    made = step.plugin
    return PluginWork(
        name=made.name, arguments=from_json(made.arguments_json), template=from_json(made.template_json) or {}
    )


def _asks_for_secrets(name: str) -> bool:
    """Actions do, by `secretKeyRef` in their arguments.

    A workflow that an action starts asks by itself, and an Argo executor plugin reads secrets where it runs.
    """
    return name in ACTIONS and not ACTIONS[name].starts_workflow


def _secrets_of_plugin(step: pb.Step) -> Iterator[Wanted]:
    return _key_refs(from_json(step.plugin.arguments_json)) if _asks_for_secrets(step.plugin.name) else iter(())


def _key_refs(tree: Any) -> Iterator[tuple[str, str]]:
    if isinstance(tree, dict):
        key = tree.get("secretKeyRef")
        if isinstance(key, dict) and isinstance(key.get("name"), str) and isinstance(key.get("key"), str):
            yield key["name"], key["key"]
    for inner in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _key_refs(inner)


# --- resource ---------------------------------------------------------------------------------------------------------


def _write_resource(work: ResourceWork, step: pb.Step) -> None:
    step.resource.action = work.action
    step.resource.manifest = work.manifest
    step.resource.success_condition = work.success_condition
    step.resource.failure_condition = work.failure_condition


def _read_resource(step: pb.Step) -> ResourceWork:
    made = step.resource
    return ResourceWork(
        action=made.action,
        manifest=made.manifest,
        success_condition=made.success_condition,
        failure_condition=made.failure_condition,
    )


_RUNTIMES = frozenset({"process", "sandbox", "podman", "kubernetes"})

WORK_FORMS: dict[str, WorkForm[Any]] = {
    "container": WorkForm(
        _write_container,
        lambda step: _container_of(step.container),
        _names_secrets,
        lambda step: _secrets_of(step.container),
        _RUNTIMES,
    ),
    "container_set": WorkForm(
        _write_container_set,
        _read_container_set,
        lambda work: any(_names_secrets(one.work) for one in work.containers),
        _secrets_of_container_set,
        _RUNTIMES,
    ),
    "data": WorkForm(
        _write_data,
        _read_data,
        lambda work: True,
        lambda step: _selectors(from_json(step.data.source_json)),
        frozenset({"process", "sandbox", "podman", "kubernetes"}),
    ),
    "http": WorkForm(
        _write_http, _read_http, lambda work: bool(work.header_secrets), _secrets_of_http, frozenset({"http"})
    ),
    "plugin": WorkForm(
        _write_plugin,
        _read_plugin,
        lambda work: _asks_for_secrets(work.name),
        _secrets_of_plugin,
        frozenset({"plugin"}),
    ),
    "resource": WorkForm(_write_resource, _read_resource, lambda work: False, lambda step: (), frozenset({"resource"})),
}
"""By the names of kinds (`exeunt.engine.facts.work`)."""


# --- shared -----------------------------------------------------------------------------------------------------------


def _variables(
    pairs: Iterable[tuple[str, str]],
    refs: Mapping[int, SecretRef] | None = None,
    facts: Mapping[int, ExecutorFact] | None = None,
) -> list[pb.EnvironmentVariable]:
    made = [pb.EnvironmentVariable(name=name, value=value) for name, value in pairs]
    for at, ref in (refs or {}).items():
        made[at].secret.CopyFrom(pb.SecretKey(name=ref.name, key=ref.key, optional=ref.optional))
    for at, fact in (facts or {}).items():
        made[at].fact.CopyFrom(pb.ExecutorFact(name=fact.name, divisor=fact.divisor))
    return made


def _facts(variables: Iterable[pb.EnvironmentVariable]) -> dict[int, ExecutorFact]:
    return {
        at: ExecutorFact(name=v.fact.name, divisor=v.fact.divisor)
        for at, v in enumerate(variables)
        if v.HasField("fact")
    }


def _refs(variables: Iterable[pb.EnvironmentVariable]) -> dict[int, SecretRef]:
    return {
        at: SecretRef(name=v.secret.name, key=v.secret.key, optional=v.secret.optional)
        for at, v in enumerate(variables)
        if v.HasField("secret")
    }


def _pairs(variables: Iterable[pb.EnvironmentVariable]) -> list[tuple[str, str]]:
    return [(v.name, v.value) for v in variables]


def to_json(value: object) -> str:
    """The text in which a value of any shape travels; empty for None."""
    return "" if value is None else msgspec.json.encode(value).decode()


def from_json(text: str) -> Any:
    """What `to_json` wrote."""
    return msgspec.json.decode(text) if text else None
