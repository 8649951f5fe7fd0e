"""The shapes of volumes and mounts: Kubernetes' core/v1 Volume and VolumeMount, as far as steps here can have them.

Sources that are not in `BUILT` are known and refused (see `volume_rules`); they stay as they were written.
"""

from __future__ import annotations

from typing import Any

import msgspec

from exeunt.language.model import Model


class KeyToPath(Model):
    """A key of a ConfigMap or secret that becomes the file `path`."""

    key: str = ""
    path: str = ""
    mode: int | None = None


class EmptyDirVolume(Model):
    """A directory that is empty when the step begins and gone when it has ended."""

    medium: str = ""
    size_limit: str | int = ""


class ConfigMapVolume(Model):
    """The keys of a ConfigMap as files."""

    name: str = ""
    items: list[KeyToPath] = []
    default_mode: int | None = None
    optional: bool = False


class SecretVolume(Model):
    """The keys of a secret as files."""

    secret_name: str = ""
    items: list[KeyToPath] = []
    default_mode: int | None = None
    optional: bool = False


class FieldReference(Model):
    """What a file or variable has of its own pod: `metadata.name`, `metadata.labels['x']`, …"""

    api_version: str = ""
    field_path: str = ""


class ResourceReference(Model):
    """What a container may take or asks for: `limits.cpu`, `requests.memory`; in units of `divisor`."""

    container_name: str = ""
    resource: str = ""
    divisor: str | int | float = ""


class DownwardFile(Model):
    """A field of the pod that becomes the file `path`."""

    path: str = ""
    field_ref: FieldReference | None = None
    resource_field_ref: dict[str, Any] | None = None
    mode: int | None = None


class DownwardVolume(Model):
    """What the step is called, as files."""

    items: list[DownwardFile] = []
    default_mode: int | None = None


class ProjectedSecret(Model):
    """A secret's part of a projected volume."""

    name: str = ""
    items: list[KeyToPath] = []
    optional: bool = False


class ProjectedConfigMap(Model):
    """A ConfigMap's part of a projected volume."""

    name: str = ""
    items: list[KeyToPath] = []
    optional: bool = False


class ProjectedDownward(Model):
    """The part of a projected volume that says what the step is called."""

    items: list[DownwardFile] = []


class Projection(Model):
    """One of the sources of a projected volume."""

    config_map: ProjectedConfigMap | None = None
    secret: ProjectedSecret | None = None
    downward_api: ProjectedDownward | None = msgspec.field(default=None, name="downwardAPI")
    service_account_token: dict[str, Any] | None = None
    cluster_trust_bundle: dict[str, Any] | None = None
    pod_certificate: dict[str, Any] | None = None


class ProjectedVolume(Model):
    """Files of several sources in one directory."""

    sources: list[Projection] = []
    default_mode: int | None = None


class HostPathVolume(Model):
    """A file or directory of the machine."""

    path: str = ""
    type: str = ""


class ClaimVolume(Model):
    """A volume that is there outside of the workflow."""

    claim_name: str = ""
    read_only: bool = False


class Volume(Model):
    """What a step can mount, by its name. It has one source; without any it is an empty directory."""

    name: str = ""
    empty_dir: EmptyDirVolume | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    projected: ProjectedVolume | None = None
    downward_api: DownwardVolume | None = msgspec.field(default=None, name="downwardAPI")
    host_path: HostPathVolume | None = None
    persistent_volume_claim: ClaimVolume | None = None
    aws_elastic_block_store: dict[str, Any] | None = None
    azure_disk: dict[str, Any] | None = None
    azure_file: dict[str, Any] | None = None
    cephfs: dict[str, Any] | None = None
    cinder: dict[str, Any] | None = None
    csi: dict[str, Any] | None = None
    ephemeral: dict[str, Any] | None = None
    fc: dict[str, Any] | None = None
    flex_volume: dict[str, Any] | None = None
    flocker: dict[str, Any] | None = None
    gce_persistent_disk: dict[str, Any] | None = None
    git_repo: dict[str, Any] | None = None
    glusterfs: dict[str, Any] | None = None
    image: dict[str, Any] | None = None
    iscsi: dict[str, Any] | None = None
    nfs: dict[str, Any] | None = None
    photon_persistent_disk: dict[str, Any] | None = None
    portworx_volume: dict[str, Any] | None = None
    quobyte: dict[str, Any] | None = None
    rbd: dict[str, Any] | None = None
    scale_io: dict[str, Any] | None = msgspec.field(default=None, name="scaleIO")
    storageos: dict[str, Any] | None = None
    vsphere_volume: dict[str, Any] | None = None


class VolumeMount(Model):
    """Where a container finds a volume, or the part `subPath` of it."""

    name: str = ""
    mount_path: str = ""
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False
    mount_propagation: str = ""
    recursive_read_only: str = ""


class ClaimMetadata(Model):
    """What a claim of a workflow is called."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""


class ClaimTemplate(Model):
    """A volume that the workflow makes for itself, under `metadata.name`. Its `spec` says nothing to a machine."""

    api_version: str = ""
    kind: str = ""
    metadata: ClaimMetadata = msgspec.field(default_factory=ClaimMetadata)
    spec: dict[str, Any] | None = None
    status: dict[str, Any] | None = None


class VolumeClaimGC(Model):
    """When the volumes that the workflow made are removed: OnWorkflowSuccess, or OnWorkflowCompletion."""

    strategy: str = ""


BUILT = {
    "emptyDir": "empty_dir",
    "configMap": "config_map",
    "secret": "secret",
    "projected": "projected",
    "downwardAPI": "downward_api",
    "hostPath": "host_path",
    "persistentVolumeClaim": "persistent_volume_claim",
}
"""The sources of volumes that steps can have: the field as it is spelled in a manifest, and its attribute."""


def maps_of(volume: Volume) -> list[str]:
    """The ConfigMaps that a volume names."""
    sources = volume.projected.sources if volume.projected is not None else []
    parts = [volume.config_map, *(source.config_map for source in sources)]
    return [part.name for part in parts if part is not None]
