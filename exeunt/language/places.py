"""Where an artifact lies: Argo's locations as typed models, and what is wrong with one (Argo: workflow_types.go).

A place stands in an artifact's tree under the name of its kind (`s3: {bucket: …, key: …}`). Fields are strict: one that
Argo does not have is an error, as it is for `kubectl apply`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from exeunt.language.containers import KeySelector
from exeunt.language.place_parts import (
    LONGEST_KEY,
    TOKEN,
    ArtifactPlace,
    PlaceError,
    PlacePart,
    bare,
    needed,
    pair,
    web,
)


class EncryptionOptions(PlacePart):
    """How S3 encrypts what it keeps."""

    kms_key_id: str = ""
    kms_encryption_context: str = ""
    enable_encryption: bool = False
    server_side_customer_key_secret: KeySelector | None = None


class BucketOptions(PlacePart):
    """How a bucket is made that is not there."""

    object_locking: bool = False


class S3Place(ArtifactPlace):
    """An object in S3, or in what speaks its language. `endpoint` is a host, with a port where it needs one."""

    kind: ClassVar[str] = "s3"
    endpoint: str = ""
    bucket: str = ""
    region: str = ""
    insecure: bool = False
    access_key_secret: KeySelector | None = None
    secret_key_secret: KeySelector | None = None
    session_token_secret: KeySelector | None = None
    role_arn: str = ""
    use_sdk_creds: bool = False
    create_bucket_if_not_present: BucketOptions | None = None
    encryption_options: EncryptionOptions | None = None
    ca_secret: KeySelector | None = None
    addressing_style: str = ""
    object: str = msgspec.field(default="", name="key")

    @property
    def key(self) -> str:
        return self.object

    @property
    def shown(self) -> str:
        return f"s3 {self.bucket}/{self.object} at {self.endpoint}"

    def problem(self) -> str:
        if self.role_arn:
            return "roleARN: roles are not assumed here; give accessKeySecret, or credentials in the environment"
        if "/" in self.endpoint:
            return f"endpoint: {bare(self.endpoint)!r} is no host; leave the scheme out, `insecure: true` means http"
        if self.addressing_style not in ("", "path", "virtual-hosted"):
            return f"addressingStyle: {self.addressing_style!r} is neither path nor virtual-hosted"
        options = self.encryption_options
        if options is not None and options.kms_encryption_context:
            return "encryptionOptions.kmsEncryptionContext: there is no way to send it; leave it out"
        if options is not None and options.kms_key_id and options.server_side_customer_key_secret:
            return "encryptionOptions: kmsKeyId and serverSideCustomerKeySecret exclude each other"
        if self.create_bucket_if_not_present is not None and self.create_bucket_if_not_present.object_locking:
            return "createBucketIfNotPresent.objectLocking: make a bucket with locks by hand"
        return pair(self, "accessKeySecret", "secretKeySecret") or needed(self, "endpoint", "bucket")


class GCSPlace(ArtifactPlace):
    """An object in Google Cloud Storage."""

    kind: ClassVar[str] = "gcs"
    bucket: str = ""
    service_account_key_secret: KeySelector | None = None
    object: str = msgspec.field(default="", name="key")

    @property
    def key(self) -> str:
        return self.object

    @property
    def shown(self) -> str:
        return f"gcs {self.bucket}/{self.object}"

    def problem(self) -> str:
        return needed(self, "bucket")


class AzurePlace(ArtifactPlace):
    """A blob in Azure Blob Storage. `endpoint` is the URL of the account."""

    kind: ClassVar[str] = "azure"
    endpoint: str = ""
    container: str = ""
    blob: str = ""
    account_key_secret: KeySelector | None = None
    use_sdk_creds: bool = False

    @property
    def key(self) -> str:
        return self.blob

    @property
    def shown(self) -> str:
        return f"azure {self.container}/{self.blob} at {bare(self.endpoint)}"

    def problem(self) -> str:
        return needed(self, "endpoint", "container") or web(self.endpoint, "endpoint")


class LifecycleRule(PlacePart):
    """What becomes of objects of a bucket in OSS; set at the bucket, not by those who write into it."""

    mark_infrequent_access_after_days: int = 0
    mark_deletion_after_days: int = 0


class OSSPlace(ArtifactPlace):
    """An object in Alibaba Cloud's OSS, by the interface that it has in common with S3."""

    kind: ClassVar[str] = "oss"
    endpoint: str = ""
    bucket: str = ""
    access_key_secret: KeySelector | None = None
    secret_key_secret: KeySelector | None = None
    create_bucket_if_not_present: bool = False
    security_token: str = ""
    lifecycle_rule: LifecycleRule | None = None
    use_sdk_creds: bool = False
    object: str = msgspec.field(default="", name="key")

    @property
    def key(self) -> str:
        return self.object

    @property
    def shown(self) -> str:
        return f"oss {self.bucket}/{self.object} at {bare(self.endpoint)}"

    def problem(self) -> str:
        if self.use_sdk_creds:
            return "useSDKCreds: give accessKeySecret and secretKeySecret; OSS' own chain is not read here"
        if self.create_bucket_if_not_present:
            return "createBucketIfNotPresent: make the bucket by hand"
        if self.lifecycle_rule is not None:
            return "lifecycleRule: set it at the bucket"
        return pair(self, "accessKeySecret", "secretKeySecret") or needed(self, "endpoint", "bucket")


class PlaceHeader(PlacePart):
    """A header of a request."""

    name: str
    value: str = ""


class BasicAuthSecrets(PlacePart):
    """A user's name and password."""

    username_secret: KeySelector | None = None
    password_secret: KeySelector | None = None


class ClientCertSecrets(PlacePart):
    """A certificate of the one who asks, and its key, both PEM."""

    client_cert_secret: KeySelector | None = None
    client_key_secret: KeySelector | None = None


class EndpointParam(PlacePart):
    """A field more in the request for a token."""

    key: str
    value: str = ""


class OAuth2Secrets(PlacePart):
    """How a token is asked for with client credentials (RFC 6749, 4.4)."""

    client_id_secret: KeySelector | None = msgspec.field(default=None, name="clientIDSecret")
    client_secret_secret: KeySelector | None = None
    token_url_secret: KeySelector | None = None
    scopes: list[str] = []
    endpoint_params: list[EndpointParam] = []


class HTTPAuthSecrets(PlacePart):
    """How a request shows who asks; several go together."""

    basic_auth: BasicAuthSecrets = msgspec.field(default_factory=BasicAuthSecrets)
    client_cert: ClientCertSecrets = msgspec.field(default_factory=ClientCertSecrets)
    oauth2: OAuth2Secrets = msgspec.field(default_factory=OAuth2Secrets)


class HTTPPlace(ArtifactPlace):
    """What a URL answers to GET, and takes by PUT."""

    kind: ClassVar[str] = "http"
    url: str = ""
    headers: list[PlaceHeader] = []
    auth: HTTPAuthSecrets | None = None
    save_stream_via_file: bool = False

    @property
    def key(self) -> str:
        return self.url

    @property
    def shown(self) -> str:
        return f"http {bare(self.url)}"

    def problem(self) -> str:
        return needed(self, "url") or web(self.url, "url") or self._of_auth()

    def _of_auth(self) -> str:
        if self.auth is None:
            return ""
        cert, token = self.auth.client_cert, self.auth.oauth2
        if (cert.client_cert_secret is None) != (cert.client_key_secret is None):
            return "auth.clientCert: clientCertSecret and clientKeySecret go together"
        given = [token.client_id_secret, token.client_secret_secret, token.token_url_secret]
        if any(given) and not all(given):
            return "auth.oauth2: clientIDSecret, clientSecretSecret and tokenURLSecret go together"
        return ""


class ArtifactoryPlace(ArtifactPlace):
    """A file in Artifactory: HTTP with a user's name and password."""

    kind: ClassVar[str] = "artifactory"
    url: str = ""
    username_secret: KeySelector | None = None
    password_secret: KeySelector | None = None

    @property
    def key(self) -> str:
        return self.url

    @property
    def shown(self) -> str:
        return f"artifactory {bare(self.url)}"

    def problem(self) -> str:
        return (
            needed(self, "url")
            or web(self.url, "url")
            or pair(self, "usernameSecret", "passwordSecret")
            or ("" if self.username_secret else "usernameSecret: it is missing")
        )


class GitPlace(ArtifactPlace):
    """A repository, as it is checked out at a revision; `depth` counts commits, 0 is all."""

    kind: ClassVar[str] = "git"
    repo: str = ""
    revision: str = ""
    depth: int = 0
    fetch: list[str] = []
    username_secret: KeySelector | None = None
    password_secret: KeySelector | None = None
    ssh_private_key_secret: KeySelector | None = None
    insecure_ignore_host_key: bool = False
    disable_submodules: bool = False
    single_branch: bool = False
    branch: str = ""
    insecure_skip_tls: bool = False

    @property
    def shown(self) -> str:
        at = f" at {self.revision or self.branch}" if self.revision or self.branch else ""
        return f"git {bare(self.repo)}{at}"

    def problem(self) -> str:
        if self.depth < 0:
            return "depth: a number of commits is expected, 0 for all"
        if self.single_branch and not self.branch:
            return "branch: it is missing, and singleBranch needs it"
        for field, values in (("revision", [self.revision]), ("branch", [self.branch]), ("fetch", self.fetch)):
            for value in values:
                if value.startswith("-") or any(ord(c) <= 32 for c in value):
                    return f"{field}: {value!r} cannot be the name of anything in git"
        if self.repo.startswith("-") or any(ord(c) <= 32 for c in self.repo):
            return "repo: an address of a repository is expected"
        return needed(self, "repo")


class RawPlace(ArtifactPlace):
    """The text itself."""

    kind: ClassVar[str] = "raw"
    data: str = ""


class NATSPlace(ArtifactPlace):
    """A key in the embedded store. `uid`: whose artifact it is, a workflow of the same namespace; empty: one's own."""

    kind: ClassVar[str] = "nats"
    uid: str = ""
    object: str = msgspec.field(default="", name="key")

    @property
    def key(self) -> str:
        return self.object

    @property
    def shown(self) -> str:
        return f"nats {self.object}{f' of workflow {self.uid}' if self.uid else ''}"

    def problem(self) -> str:
        return "" if not self.uid or TOKEN.fullmatch(self.uid) else f"uid: no workflow can have {self.uid!r}"


PLACES: dict[str, type[ArtifactPlace]] = {
    model.kind: model
    for model in (
        *(S3Place, GCSPlace, AzurePlace, OSSPlace, HTTPPlace, ArtifactoryPlace, GitPlace, RawPlace),
        NATSPlace,  # ours
    )
}
"""By the name under which a place of that kind stands in an artifact."""

REFUSED = {
    "hdfs": "there is no client of HDFS here; give the file by http (WebHDFS), or copy it to an object store",
    "plugin": "Argo's artifact plugins are not run here; use s3, gcs, azure, oss, http, git or raw",
}
"""Kinds that Argo has and we do not, and what to do instead."""


def place_of(tree: Mapping[str, Any]) -> ArtifactPlace:
    """The place of an artifact, as its tree names it. Raises PlaceError with the path of the field.

    The key may be empty: where it is needed, those who need it look.
    """
    for kind, reason in REFUSED.items():
        if tree.get(kind) is not None:
            raise PlaceError(f"{kind}: {reason}")
    given = [kind for kind in PLACES if tree.get(kind) is not None]
    if len(given) != 1:
        said = f"{' and '.join(given)} exclude each other" if given else "it has no place"
        raise PlaceError(f"{said}; one of {', '.join(PLACES)} is expected")
    return read_place(given[0], tree[given[0]])


def read_place(kind: str, tree: Any, *, check: bool = True) -> ArtifactPlace:
    """A place of this kind. Raises PlaceError with the path of the field; without `check` for its shape only."""
    try:
        place: ArtifactPlace = msgspec.convert(tree, PLACES[kind], strict=False)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        raise PlaceError(f"{kind}{path.rstrip('`')}: {what[:1].lower()}{what[1:]}") from error
    problem = place.problem() if check else ""
    if not problem and len(place.key.encode()) > LONGEST_KEY and kind not in ("http", "artifactory"):
        problem = f"key: it has more than {LONGEST_KEY} bytes"
    if problem:
        raise PlaceError(f"{kind}.{problem}")
    return place
