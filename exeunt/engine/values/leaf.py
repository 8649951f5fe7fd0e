"""What becomes of a template: its type of node, and the work that somebody else does for it, fully resolved."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.volumes import StepMount
from exeunt.engine.facts.work import (
    ContainerSetWork,
    ContainerWork,
    DataWork,
    HttpWork,
    NamedContainer,
    OutputParameter,
    PluginWork,
    ResourceWork,
    StepSpec,
    Work,
)
from exeunt.engine.values import artifacts
from exeunt.engine.values.durations import seconds
from exeunt.engine.values.environment import put_variables, secret_of
from exeunt.engine.values.probes import probe_of
from exeunt.engine.values.scope import global_scope
from exeunt.engine.values.volumes import mounts_of, volumes_of
from exeunt.language.containers import Container, SetMember, UserContainer
from exeunt.language.manifest import Parameter, Template
from exeunt.language.progress import ANNOTATION, as_text, progress_of
from exeunt.language.resources import cpu_limit, memory_limit
from exeunt.language.template_types import TEMPLATE_TYPES, types_of
from exeunt.language.variables import text
from exeunt.language.volumes import VolumeMount


class NodeKind(NamedTuple):
    """What a type of template makes: a node of this type, and the work that is done for it, None where nobody does it.

    `work` raises NodeError for what cannot be done.
    """

    type: str
    work: Callable[[Run, Node, Template], Work] | None = None


def node_kind(template: Template) -> NodeKind:
    """The kind of node that a template makes. Raises NodeError for one that says nothing."""
    for field, row in TEMPLATE_TYPES.items():
        if getattr(template, row.attribute) is not None:
            return NODE_KINDS[field]
    raise NodeError(f"Template '{template.name}' missing specification")


def node_type(template: Template) -> str:
    """The type of node that a template makes. Raises NodeError for one that says nothing."""
    return node_kind(template).type


def is_pod(template: Template) -> bool:
    """Whether a template is a pod for Argo, with a name of its own."""
    return any(TEMPLATE_TYPES[field].pod for field in types_of(template))


def work(run: Run, node: Node, template: Template) -> Work:
    """What is to be done. Raises NodeError for what cannot be."""
    make = node_kind(template).work
    if make is None:
        raise NodeError(f"template {template.name}: {types_of(template)[0]} templates are not supported yet")
    return make(run, node, template)


def _of_container(run: Run, node: Node, template: Template) -> Work:
    assert template.container is not None
    return _container(run, node, template, template.container)


def _of_script(run: Run, node: Node, template: Template) -> Work:
    assert template.script is not None
    made = _container(run, node, template, template.script)
    made.source = template.script.source
    made.script = True
    return made


def _of_container_set(run: Run, node: Node, template: Template) -> Work:
    whole = template.container_set
    assert whole is not None
    made = ContainerSetWork(containers=_named(run, node, template, whole.containers))
    retry = whole.retry_strategy
    if retry is not None and retry.retries is not None:
        made.tries = 1 + max(0, _whole("containerSet.retryStrategy.retries", text(retry.retries)))
        made.pause_seconds = seconds(retry.duration) if retry.duration else 0.0
    return made


def _whole(what: str, written: str) -> int:
    try:
        return int(written)
    except ValueError:
        raise NodeError(f"{what}: {written} is no whole number") from None


def _of_data(_run: Run, _node: Node, template: Template) -> Work:
    data = template.data
    assert data is not None
    source = data.source.artifact_paths
    return DataWork(
        source={} if source is None else msgspec.to_builtins(source),
        expressions=[one.expression for one in data.transformation if one.expression],
    )


def _of_http(_run: Run, _node: Node, template: Template) -> Work:
    http = template.http
    assert http is not None
    return HttpWork(
        method=http.method or "GET",
        url=http.url,
        headers=[(header.name, header.value) for header in http.headers],
        body=http.body,
        timeout_seconds=float(http.timeout_seconds or 30),
        success_condition=http.success_condition,
        insecure_skip_verify=http.insecure_skip_verify,
        header_secrets={
            at: secret_of(header.value_from.secret_key_ref)
            for at, header in enumerate(http.headers)
            if header.value_from is not None and header.value_from.secret_key_ref is not None
        },
    )


def _of_plugin(_run: Run, _node: Node, template: Template) -> Work:
    assert template.plugin is not None
    name = next(iter(template.plugin), "")
    tree: dict[str, Any] = msgspec.to_builtins(template)
    return PluginWork(name=name, arguments=template.plugin.get(name), template=tree)


def _of_resource(_run: Run, _node: Node, template: Template) -> Work:
    resource = template.resource
    assert resource is not None
    return ResourceWork(
        action=resource.action,
        manifest=resource.manifest,
        success_condition=resource.success_condition,
        failure_condition=resource.failure_condition,
    )


NODE_KINDS: dict[str, NodeKind] = {
    "container": NodeKind(phases.POD, _of_container),
    "containerSet": NodeKind(phases.POD, _of_container_set),
    "steps": NodeKind(phases.STEPS),
    "script": NodeKind(phases.POD, _of_script),
    "resource": NodeKind(phases.POD, _of_resource),
    "dag": NodeKind(phases.DAG),
    "suspend": NodeKind(phases.SUSPEND),
    "data": NodeKind(phases.POD, _of_data),
    "http": NodeKind(phases.HTTP, _of_http),
    "plugin": NodeKind(phases.PLUGIN, _of_plugin),
}
"""By the names of `exeunt.language.template_types`."""


def _container(run: Run, node: Node, template: Template, container: Container) -> ContainerWork:
    try:
        memory, cpus = memory_limit(container), cpu_limit(container)
    except ValueError as error:
        raise NodeError(f"resources.limits: {error}") from None
    made = ContainerWork(
        image=container.image,
        command=container.command,
        args=container.args,
        working_dir=container.working_dir,
        mounts=mounts_of(container),
        readiness=probe_of(container) if template.daemon else None,
        memory_bytes=memory,
        cpus=cpus,
    )
    put_variables(run, node, template, container, made)
    return made


def spec(run: Run, node: Node, template: Template, *, result: bool) -> StepSpec:
    """The step as executors get it."""
    what = work(run, node, template)
    programs = isinstance(what, ContainerWork | ContainerSetWork)  # only these run something that others can be beside
    init = _named(run, node, template, template.init_containers) if programs else []
    sidecars = _named(run, node, template, template.sidecars) if programs else []
    return StepSpec(
        work=what,
        outputs=[made for made in map(_output, template.outputs.parameters) if made is not None],
        result=result,
        timeout_seconds=time_limit(template),
        template=template.name,
        fenced=run.workflow.metadata.annotations.get("exeunt.dev/fence") == "true",
        idempotency_key=effect_key(run, node),
        input_artifacts=node.artifacts or [],
        output_artifacts=artifacts.trees(template.outputs.artifacts),
        archive=_archive(run, node, template),
        archive_logs=_keeps_logs(run, template),
        volumes=volumes_of(run, node, template, _mounts(what, init, sidecars)),
        init=init,
        sidecars=sidecars,
        daemon=programs and bool(template.daemon),
        progress=as_text(progress_of(str(((template.metadata or {}).get("annotations") or {}).get(ANNOTATION, "")))),
    )


def _keeps_logs(run: Run, template: Template) -> bool:
    """Whether its output becomes an artifact: that of programs does."""
    return (template.container or template.script or template.container_set) is not None and artifacts.archives_logs(
        run, template
    )


def _archive(run: Run, node: Node, template: Template) -> dict[str, Any]:
    """Where its files lie, where its artifacts do not say it themselves."""
    logs = artifacts.archives_logs(run, template)
    if not (template.inputs.artifacts or template.outputs.artifacts or template.data or logs):
        return {}
    scope = global_scope(run)
    scope["pod.name"] = run.names.pod(node)
    return artifacts.archive_location(run, template, scope)


def _output(parameter: Parameter) -> OutputParameter | None:
    """An output as executors get it; None for one that comes from elsewhere."""
    source = parameter.value_from
    if source is not None and source.path:
        default = None if isinstance(source.default, msgspec.UnsetType) else text(source.default)
        return OutputParameter(name=parameter.name, path=source.path, default=default)
    if source is None and not isinstance(parameter.value, msgspec.UnsetType):
        return OutputParameter(name=parameter.name, path="", value=text(parameter.value))
    return None


def _mounts(what: Work, *beside: list[NamedContainer]) -> list[StepMount]:
    """Where any of the step's programs mounts what."""
    main = what.mounts if isinstance(what, ContainerWork) else []
    inside = what.containers if isinstance(what, ContainerSetWork) else []
    return [*main, *(mount for one in chain(inside, *beside) for mount in one.work.mounts)]


def _with_mounts(template: Template, one: UserContainer | SetMember) -> Container:
    """A container with the mounts that it has of its set, or of the main containers (`mirrorVolumeMounts`)."""
    more: list[VolumeMount] = []
    if isinstance(one, SetMember) and template.container_set is not None:
        more = template.container_set.volume_mounts
    elif isinstance(one, UserContainer) and one.mirror_volume_mounts:
        more = _mirrored(template)
    taken = {mount.mount_path for mount in one.volume_mounts}
    more = [mount for mount in more if mount.mount_path not in taken]
    return msgspec.structs.replace(one, volume_mounts=[*one.volume_mounts, *more]) if more else one


def _mirrored(template: Template) -> list[VolumeMount]:
    """The mounts of the main containers, for those beside them that want the same."""
    main = [template.container, template.script, *(template.container_set.containers if template.container_set else [])]
    whole = template.container_set.volume_mounts if template.container_set is not None else []
    found = [mount for one in main if one is not None for mount in one.volume_mounts]
    return list({mount.mount_path: mount for mount in (*found, *whole)}.values())


def _named(
    run: Run, node: Node, template: Template, containers: Iterable[UserContainer | SetMember]
) -> list[NamedContainer]:
    return [
        NamedContainer(
            name=one.name,
            work=_container(run, node, template, _with_mounts(template, one)),
            dependencies=one.dependencies if isinstance(one, SetMember) else [],
        )
        for one in containers
    ]


def time_limit(template: Template) -> float:
    """How long what the template says may take, in seconds; 0 for no limit of its own.

    The `timeout` of a daemon is for getting ready, and the engine keeps it.
    """
    values = (template.active_deadline_seconds, "" if template.daemon else template.timeout)
    return min((seconds(value) for value in values if value not in (None, "")), default=0.0)


def effect_key(run: Run, node: Node) -> str:
    """Known for ever as this node's effect, in each try by its retryStrategy and in a replay.

    A retry of the workflow makes another, and so does a replay that is to do everything once more (`--again`).
    """
    parts = [run.uid, run.hook_id, f"{run.name}-{node.effect}" if node.effect else run.id(node)]
    if run.state.started.run_attempt and not run.exit:  # of an exit run it is part of its id
        parts.append(f"retry {run.state.started.run_attempt}")
    if run.state.again:
        parts.append(str(run.state.replay))
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]


_RESULT = re.compile(
    r"(steps|tasks)\.([-A-Za-z0-9_]+)\.outputs\.result|(steps|tasks)\[['\"]([^'\"]+)['\"]\]\.outputs.result"
)


def results_wanted(source: str, kind: str) -> frozenset[str]:
    """The steps or tasks whose result a template (its JSON) asks for, as Argo looks for them."""
    found = set()
    for match in _RESULT.finditer(source):
        if kind in (match[1], match[3]):
            found.add(match[2] or match[4])
    return frozenset(found)
