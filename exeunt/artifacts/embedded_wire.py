"""The embedded store between an executor and a scheduler: artifacts and errors as ArtifactService has them."""

from __future__ import annotations

from exeunt.artifacts.embedded_port import EmbeddedStoreError, KeptArtifact, NoSuchArtifactError
from exeunt.internal.v1 import artifact_service_pb2 as pb
from exeunt.service.errors import Code, RpcError

_REASON = "ARTIFACT_NOT_FOUND"
_PASSING = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.ABORTED})


def to_wire(artifact: KeptArtifact) -> pb.EmbeddedArtifact:
    """As it goes over the wire."""
    return pb.EmbeddedArtifact(key=artifact.key, digest=artifact.digest, size=artifact.size, time=artifact.at)


def from_wire(artifact: pb.EmbeddedArtifact) -> KeptArtifact:
    """And back."""
    return KeptArtifact(artifact.key, artifact.digest, artifact.size, artifact.time)


def refusal(error: EmbeddedStoreError, key: str) -> RpcError:
    """How a call ends of which the store could not do what was asked. The key is known to the caller."""
    text = str(error).removeprefix(f"artifact {key}: ")
    if isinstance(error, NoSuchArtifactError):
        return RpcError(Code.NOT_FOUND, _REASON, text)
    if error.temporary:
        return RpcError(Code.UNAVAILABLE, "ARTIFACTS_AWAY", text, retry_after=1.0)
    return RpcError(Code.FAILED_PRECONDITION, "ARTIFACT_REFUSED", text)


def said(error: RpcError, key: str) -> EmbeddedStoreError:
    """What such an end means for who called."""
    if error.code is Code.NOT_FOUND and error.reason == _REASON:
        return NoSuchArtifactError(f"artifact {key}: {error.text}")
    if error.code is Code.UNIMPLEMENTED:
        return EmbeddedStoreError(f"artifact {key}: the scheduler is of an older release, without artifacts; update it")
    return EmbeddedStoreError(f"artifact {key}: {error.text}", temporary=error.code in _PASSING)
