"""The variables of a container: their values, or where those are looked up when the step is sent or begins."""

from __future__ import annotations

from decimal import Decimal

from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.work import ContainerWork, EnvSource, ExecutorFact, SecretRef
from exeunt.engine.values.pod_facts import pod_field
from exeunt.engine.values.scope import config_map_data, config_map_value
from exeunt.language.containers import Container, EnvFromSource, KeySelector
from exeunt.language.manifest import Template
from exeunt.language.pod_fields import OF_EXECUTORS, RESOURCES, asked_of, has_value, in_units, name_of
from exeunt.language.pods import containers_of
from exeunt.language.variables import text
from exeunt.language.volumes import ResourceReference


def put_variables(run: Run, node: Node, template: Template, container: Container, made: ContainerWork) -> None:
    """Puts its variables into a container's work. Raises NodeError for one that cannot be had."""
    made.env, made.env_secrets, made.env_facts = [], {}, {}
    for variable in container.env:
        source = variable.value_from
        value: str | None = ""
        if source is None:
            value = text(variable.value)
        elif source.secret_key_ref is not None:
            made.env_secrets[len(made.env)] = secret_of(source.secret_key_ref)
        elif source.config_map_key_ref is not None:
            value = _from_config_map(run, variable.name, source.config_map_key_ref)
        else:
            try:
                if source.resource_field_ref is not None:
                    found = _of_resources(template, container, source.resource_field_ref)
                else:
                    found = _of_pod(run, node, template, source.field_ref.field_path if source.field_ref else "")
            except ValueError as error:
                raise NodeError(f"env {variable.name}: {error}") from None
            if isinstance(found, ExecutorFact):
                made.env_facts[len(made.env)] = found
            else:
                value = _literal(found)
        if value is not None:
            made.env.append((variable.name, value))
    made.env_from = [_source(run, source) for source in container.env_from]


def secret_of(key: KeySelector) -> SecretRef:
    """A key of a secret, as steps name it."""
    return SecretRef(name=key.name, key=key.key, optional=key.optional)


def _of_pod(run: Run, node: Node, template: Template, path: str) -> str | ExecutorFact:
    """A field of the step's pod, as far as it is known before an executor has it. Raises ValueError."""
    if not has_value(path):
        raise ValueError(f"the field {path!r} of a pod cannot be known here")
    return ExecutorFact(name=path) if path in OF_EXECUTORS else pod_field(run, node, template, path)


def _of_resources(template: Template, container: Container, source: ResourceReference) -> str | ExecutorFact:
    """What a container may take, or asks for. Raises ValueError."""
    if source.resource not in RESOURCES:
        raise ValueError(f"{source.resource!r} cannot be known here")
    if source.container_name:
        all_of_it = {name_of(path, one): one for path, one in containers_of(template)}
        if source.container_name not in all_of_it:
            raise ValueError(f"there is no container {source.container_name}")
        container = all_of_it[source.container_name]
    found, divisor = asked_of(container, source.resource), text(source.divisor)
    if found is None:  # as much as there is
        in_units(Decimal(0), source.resource, divisor)  # says now what is wrong with the divisor
        return ExecutorFact(name=source.resource, divisor=divisor)
    return in_units(found, source.resource, divisor)


def _from_config_map(run: Run, variable: str, key: KeySelector) -> str | None:
    found = config_map_value(run, key.name, key.key)
    if found is None and not key.optional:
        raise NodeError(f"env {variable}: ConfigMap {key.name} has no key {key.key}")
    return None if found is None else _literal(found)


def _literal(value: str) -> str:
    """The value as it is: no `$(NAME)` is read in what comes from elsewhere, as in Kubernetes."""
    return value.replace("$", "$$")


def _source(run: Run, source: EnvFromSource) -> EnvSource:
    if source.secret_ref is not None:
        return EnvSource(prefix=source.prefix, secret=source.secret_ref.name, optional=source.secret_ref.optional)
    name = source.config_map_ref.name if source.config_map_ref is not None else ""
    data = config_map_data(run, name)
    if data is None and (source.config_map_ref is None or not source.config_map_ref.optional):
        raise NodeError(f"envFrom: there is no ConfigMap {name}")
    return EnvSource(prefix=source.prefix, variables=list((data or {}).items()))
