"""The shapes of Argo's manifests, as far as Exeunt reads them (Argo: pkg/apis/workflow/v1alpha1, docs/fields.md).

Field names are Argo's in camelCase; an attribute that is a Python keyword gets a trailing underscore. Everything is
optional here: what must stand where is the business of `validate`. A value that Argo types as "any string" (parameter
values, limits) is kept as it was written: str, int, float, bool or None; `variables.text()` gives Argo's text of it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from exeunt.language.containers import Container, ContainerSet, KeySelector, Scalar, Script, UserContainer
from exeunt.language.model import Model
from exeunt.language.volumes import ClaimTemplate, Volume, VolumeClaimGC

# --- metadata -------------------------------------------------------------------------------------------------------


class Metadata(Model):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    uid: str = ""
    creation_timestamp: str = ""


# --- arguments, inputs, outputs -------------------------------------------------------------------------------------


class SuppliedValueFrom(Model):
    """`valueFrom.supplied: {}`: the value comes from outside (a suspended node's outputs)."""


class ValueFrom(Model):
    path: str = ""
    json_path: str = ""
    jq_filter: str = ""
    event: str = ""
    parameter: str = ""
    supplied: SuppliedValueFrom | None = None
    config_map_key_ref: KeySelector | None = None
    default: Scalar | msgspec.UnsetType = msgspec.UNSET
    expression: str = ""


class Parameter(Model):
    name: str = ""
    value: Any | msgspec.UnsetType = msgspec.UNSET
    default: Any | msgspec.UnsetType = msgspec.UNSET
    value_from: ValueFrom | None = None
    global_name: str = ""
    enum: list[Any] | None = None
    description: str = ""


class ArtifactGC(Model):
    """When an artifact goes by itself; without a strategy as the workflow says."""

    strategy: str = ""
    pod_metadata: dict[str, Any] | None = None
    service_account_name: str = ""


class WorkflowArtifactGC(ArtifactGC):
    """When the artifacts of a workflow go that say nothing else.

    With `force_finalizer_removal` a deleted workflow goes after one try, whatever could not be removed.
    """

    force_finalizer_removal: bool = False
    pod_spec_patch: str = ""


class Artifact(Model):
    """An artifact; everything about where it is stored stays raw until artifacts are built."""

    name: str = ""
    path: str = ""
    from_: str = msgspec.field(default="", name="from")
    from_expression: str = ""
    optional: bool = False
    global_name: str = ""
    raw: dict[str, Any] | None = None
    archive: dict[str, Any] | None = None
    mode: int | None = None
    s3: dict[str, Any] | None = None
    http: dict[str, Any] | None = None
    git: dict[str, Any] | None = None
    gcs: dict[str, Any] | None = None
    azure: dict[str, Any] | None = None
    oss: dict[str, Any] | None = None
    hdfs: dict[str, Any] | None = None
    artifactory: dict[str, Any] | None = None
    plugin: dict[str, Any] | None = None
    nats: dict[str, Any] | None = None  # ours: a key in the cluster's own store
    content: dict[str, Any] | None = None  # ours: how many bytes it has, and their SHA-256 as hex
    sub_path: str = ""
    recurse_mode: bool = False
    deleted: bool = False
    artifact_gc: ArtifactGC | None = msgspec.field(default=None, name="artifactGC")
    archive_logs: bool | None = None


class Arguments(Model):
    parameters: list[Parameter] = []
    artifacts: list[Artifact] = []


class Inputs(Model):
    parameters: list[Parameter] = []
    artifacts: list[Artifact] = []


class Outputs(Model):
    parameters: list[Parameter] = []
    artifacts: list[Artifact] = []
    result: str | None = None
    exit_code: str | None = None


# --- what a template does -------------------------------------------------------------------------------------------


class HTTPHeaderSource(Model):
    secret_key_ref: KeySelector | None = None


class HTTPHeader(Model):
    name: str = ""
    value: str = ""
    value_from: HTTPHeaderSource | None = None


class HTTP(Model):
    method: str = ""
    url: str = ""
    headers: list[HTTPHeader] = []
    timeout_seconds: int | None = None
    success_condition: str = ""
    body: str = ""
    body_from: dict[str, Any] | None = None
    insecure_skip_verify: bool = False


class Resource(Model):
    action: str = ""
    manifest: str = ""
    manifest_from: dict[str, Any] | None = None
    merge_strategy: str = ""
    set_owner_reference: bool = False
    success_condition: str = ""
    failure_condition: str = ""
    flags: list[str] = []


class Suspend(Model):
    duration: Scalar = ""


class Backoff(Model):
    duration: Scalar = ""
    factor: Scalar = None
    max_duration: Scalar = ""
    cap: Scalar = ""


class RetryStrategy(Model):
    limit: Scalar = None
    retry_policy: str = ""
    backoff: Backoff | None = None
    affinity: dict[str, Any] | None = None
    expression: str = ""


class TemplateRef(Model):
    name: str = ""
    template: str = ""
    cluster_scope: bool = False


class WorkflowTemplateRef(Model):
    name: str = ""
    cluster_scope: bool = False


class LifecycleHook(Model):
    template: str = ""
    arguments: Arguments = msgspec.field(default_factory=Arguments)
    template_ref: TemplateRef | None = None
    expression: str = ""


class ContinueOn(Model):
    error: bool = False
    failed: bool = False


class Sequence(Model):
    count: Scalar = None
    start: Scalar = None
    end: Scalar = None
    format: str = ""


class Step(Model):
    """A step of a `steps` template, and (with the last three fields) a task of a `dag`."""

    name: str = ""
    template: str = ""
    inline: Template | None = None
    arguments: Arguments = msgspec.field(default_factory=Arguments)
    template_ref: TemplateRef | None = None
    with_items: list[Any] | None = None
    with_param: str | None = None
    with_sequence: Sequence | None = None
    when: str = ""
    continue_on: ContinueOn | None = None
    on_exit: str = ""
    hooks: dict[str, LifecycleHook] = {}


class Task(Step):
    dependencies: list[str] = []
    depends: str = ""


class DAG(Model):
    target: str = ""
    tasks: list[Task] = []
    fail_fast: bool | None = None


class DataSource(Model):
    artifact_paths: Artifact | None = None


class TransformationStep(Model):
    expression: str = ""


class Data(Model):
    """What a data template lists, and the expressions that it goes through one after the other."""

    source: DataSource = msgspec.field(default_factory=DataSource)
    transformation: list[TransformationStep] = []


class Template(Model):
    name: str = ""
    inputs: Inputs = msgspec.field(default_factory=Inputs)
    outputs: Outputs = msgspec.field(default_factory=Outputs)
    container: Container | None = None
    script: Script | None = None
    steps: list[list[Step]] | None = None
    dag: DAG | None = None
    suspend: Suspend | None = None
    http: HTTP | None = None
    plugin: dict[str, Any] | None = None
    resource: Resource | None = None
    container_set: ContainerSet | None = None
    data: Data | None = None
    active_deadline_seconds: Scalar = None
    timeout: str = ""
    retry_strategy: RetryStrategy | None = None
    parallelism: int | None = None
    fail_fast: bool | None = None
    daemon: bool | None = None
    metadata: dict[str, Any] | None = None
    annotations: dict[str, str] | None = None
    synchronization: dict[str, Any] | None = None
    memoize: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    archive_location: dict[str, Any] | None = None
    sidecars: list[UserContainer] = []
    init_containers: list[UserContainer] = []
    volumes: list[Volume] = []
    # where and how a pod runs: kept for the kubernetes runtime
    node_selector: dict[str, Any] | None = None
    affinity: dict[str, Any] | None = None
    tolerations: list[dict[str, Any]] = []
    host_aliases: list[dict[str, Any]] = []
    service_account_name: str = ""
    automount_service_account_token: bool | None = None
    executor: dict[str, Any] | None = None
    security_context: dict[str, Any] | None = None
    scheduler_name: str = ""
    priority_class_name: str = ""
    pod_spec_patch: str = ""
    pending_timeout: str = ""
    pod_resources: dict[str, Any] | None = None
    resource_claims: list[dict[str, Any]] = []


# --- documents ------------------------------------------------------------------------------------------------------


class LabelValueFrom(Model):
    expression: str = ""


class WorkflowMetadata(Model):
    """Labels and annotations that the workflow gives itself when it begins."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    labels_from: dict[str, LabelValueFrom] = {}


class WorkflowSpec(Model):
    entrypoint: str = ""
    arguments: Arguments = msgspec.field(default_factory=Arguments)
    templates: list[Template] = []
    template_defaults: Template | None = None
    workflow_template_ref: WorkflowTemplateRef | None = None
    on_exit: str = ""
    hooks: dict[str, LifecycleHook] = {}
    parallelism: int | None = None
    active_deadline_seconds: Scalar = None
    retry_strategy: RetryStrategy | None = None
    suspend: bool = False
    shutdown: str = ""
    priority: int | None = None
    synchronization: dict[str, Any] | None = None
    ttl_strategy: dict[str, Any] | None = None
    pod_gc: dict[str, Any] | None = msgspec.field(default=None, name="podGC")
    archive_logs: bool | None = None
    artifact_repository_ref: dict[str, Any] | None = None
    artifact_gc: WorkflowArtifactGC | None = msgspec.field(default=None, name="artifactGC")
    metrics: dict[str, Any] | None = None
    workflow_metadata: WorkflowMetadata | None = None
    pod_metadata: dict[str, Any] | None = None
    volumes: list[Volume] = []
    volume_claim_templates: list[ClaimTemplate] = []
    volume_claim_gc: VolumeClaimGC | None = msgspec.field(default=None, name="volumeClaimGC")
    service_account_name: str = ""
    automount_service_account_token: bool | None = None
    executor: dict[str, Any] | None = None
    node_selector: dict[str, Any] | None = None
    affinity: dict[str, Any] | None = None
    tolerations: list[dict[str, Any]] = []
    image_pull_secrets: list[dict[str, Any]] = []
    host_network: bool | None = None
    dns_policy: str = ""
    dns_config: dict[str, Any] | None = None
    host_aliases: list[dict[str, Any]] = []
    scheduler_name: str = ""
    pod_priority_class_name: str = ""
    pod_disruption_budget: dict[str, Any] | None = None
    pod_spec_patch: str = ""
    security_context: dict[str, Any] | None = None
    executor_plugins: list[dict[str, Any]] = []
    pod_resources: dict[str, Any] | None = None
    resource_claims: list[dict[str, Any]] = []


class Workflow(Model):
    api_version: str = ""
    kind: str = "Workflow"
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: WorkflowSpec = msgspec.field(default_factory=WorkflowSpec)


class WorkflowTemplate(Model):
    """A WorkflowTemplate or, by its kind, a ClusterWorkflowTemplate: a spec that others refer to."""

    api_version: str = ""
    kind: str = "WorkflowTemplate"
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: WorkflowSpec = msgspec.field(default_factory=WorkflowSpec)


class ConfigMap(Model):
    api_version: str = ""
    kind: str = "ConfigMap"
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    immutable: bool | None = None


class Secret(Model):
    """A core/v1 Secret: `data` in base64, `stringData` as it is."""

    api_version: str = ""
    kind: str = "Secret"
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    type: str = ""
    data: dict[str, str] = {}
    string_data: dict[str, str] = {}
    immutable: bool | None = None


class Bundle(Model):
    """A workflow with everything that its manifest refers to, fixed at submission.

    What a run is computed from: stored once by content hash, the same for the main run and for its exit runs.
    `templates` are the stored WorkflowTemplates and ClusterWorkflowTemplates that it names, directly or through others.
    """

    workflow: Workflow
    templates: list[WorkflowTemplate] = []
    config_maps: list[ConfigMap] = []
