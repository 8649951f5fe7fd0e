"""The shapes of what runs a program: a container, its variables, and the containers beside it (Argo: docs/fields.md).

`manifest` has the rest, and says how the fields are written.
"""

from __future__ import annotations

from typing import Any

import msgspec

from exeunt.language.model import Model
from exeunt.language.volumes import FieldReference, ResourceReference, VolumeMount

Scalar = str | int | float | bool | None


# --- variables -------------------------------------------------------------------------------------------------------


class KeySelector(Model):
    """A key of a ConfigMap or Secret."""

    name: str = ""
    key: str = ""
    optional: bool = False


class EnvVarSource(Model):
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None
    field_ref: FieldReference | None = None
    resource_field_ref: ResourceReference | None = None
    file_key_ref: dict[str, Any] | None = None


class EnvVar(Model):
    name: str = ""
    value: Scalar = ""
    value_from: EnvVarSource | None = None


class WholeSource(Model):
    """A ConfigMap or Secret of which every key becomes a variable."""

    name: str = ""
    optional: bool = False


class EnvFromSource(Model):
    prefix: str = ""
    config_map_ref: WholeSource | None = None
    secret_ref: WholeSource | None = None


class ExecProbe(Model):
    command: list[str] = []


class ProbeHeader(Model):
    name: str = ""
    value: str = ""


class HttpProbe(Model):
    path: str = ""
    port: Scalar = None
    host: str = ""
    scheme: str = ""
    http_headers: list[ProbeHeader] = []


class TcpProbe(Model):
    port: Scalar = None
    host: str = ""


class ReadinessProbe(Model):
    """A core/v1 Probe. It counts for daemons; other probes only a pod has."""

    exec_: ExecProbe | None = msgspec.field(default=None, name="exec")
    http_get: HttpProbe | None = None
    tcp_socket: TcpProbe | None = None
    grpc: dict[str, Any] | None = None
    initial_delay_seconds: Scalar = None
    period_seconds: Scalar = None
    timeout_seconds: Scalar = None
    success_threshold: Scalar = None
    failure_threshold: Scalar = None
    termination_grace_period_seconds: Scalar = None


class Resources(Model):
    """A core/v1 ResourceRequirements: quantities by the name of what they are of (cpu, memory, …)."""

    limits: dict[str, Scalar] = {}
    requests: dict[str, Scalar] = {}
    claims: list[dict[str, Any]] = []


class Container(Model):
    """A core/v1 Container. What only a pod can have (lifecycle, a securityContext, …) stays raw."""

    name: str = ""
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    env: list[EnvVar] = []
    env_from: list[EnvFromSource] = []
    working_dir: str = ""
    image_pull_policy: str = ""
    resources: Resources | None = None
    volume_mounts: list[VolumeMount] = []
    volume_devices: list[dict[str, Any]] = []
    ports: list[dict[str, Any]] = []
    lifecycle: dict[str, Any] | None = None
    liveness_probe: dict[str, Any] | None = None
    readiness_probe: ReadinessProbe | None = None
    startup_probe: dict[str, Any] | None = None
    security_context: dict[str, Any] | None = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    termination_message_path: str = ""
    termination_message_policy: str = ""
    resize_policy: list[dict[str, Any]] = []
    restart_policy: str = ""


class Script(Container):
    source: str = ""


class UserContainer(Container):
    """A container beside or before the main one: a sidecar, or an init container."""

    mirror_volume_mounts: bool | None = None


class SetMember(Container):
    """A container of a containerSet (Argo: ContainerNode)."""

    dependencies: list[str] = []


class ContainerSetRetry(Model):
    """Each container is begun anew inside the same attempt, not the step."""

    duration: str = ""
    retries: Scalar = None


class ContainerSet(Model):
    containers: list[SetMember] = []
    volume_mounts: list[VolumeMount] = []
    retry_strategy: ContainerSetRetry | None = None
