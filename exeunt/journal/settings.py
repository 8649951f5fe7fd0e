"""How the log is kept, and what every service that keeps a part of it can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exeunt.journal.entries import COMMIT_BYTES
from exeunt.journal.keyring import Keyring, read_keys
from exeunt.language.handlers import Defaults
from exeunt.language.repository import RepositoryError, read_repository
from exeunt.service.settings import SettingsError


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How the log is kept. Sizes in bytes or messages, times in seconds."""

    replicas: int = 1
    """Copies of the stream: 1 on a single node, 3 on a cluster."""
    max_bytes: int = 8 * 1024**3
    """Room for the stream when it is made."""
    plain_limit: int = 12
    """One node: more waiting messages than these go as one batch. With several replicas: one request at a time."""
    deadline: float = 5.0
    """A write without an answer for so long is looked for. A new leader of three takes 4 to 7 s."""
    window: int = 100_000
    """Open runs whose oldest needed message lies further back are asked for a snapshot."""
    renew_distance: int = 5_000
    """Own fences are renewed, and the log is cut, by so many messages at least; never more than `window`."""
    commit_bytes: int = COMMIT_BYTES
    """The largest decision, or snapshot, of one run."""
    tick: float = 1.0
    """How often marks are announced, fences renewed and the log is cut."""


class OwnerSettings:
    """What the settings of schedulers and exit handlers come to. The fields are those of each service."""

    nats_url: str
    nats_password: str
    replica: str
    replicas: int
    data_dir: Path
    shutdown_seconds: float
    log_bytes: int
    commit_bytes: int
    window: int
    ledger_days: float
    artifact_bytes: int
    anew: tuple[str, ...]
    secret_key: str
    exit_handlers: tuple[str, ...]
    exit_on: tuple[str, ...]
    artifact_repository: str

    def servers(self) -> list[str]:
        """The addresses of NATS."""
        return [url.strip() for url in self.nats_url.split(",")]

    def log(self) -> LogSettings:
        """How the log is kept."""
        return LogSettings(
            replicas=self.replicas, max_bytes=self.log_bytes, window=self.window, commit_bytes=self.commit_bytes
        )

    def keys(self) -> Keyring:
        """The keys that secrets are sealed with; without any, none can be stored or read. Raises SettingsError."""
        return read_keys(self.secret_key)

    def handlers(self) -> Defaults:
        """The exit handlers that every workflow gets. Raises SettingsError."""
        try:
            return Defaults(self.exit_handlers, self.exit_on)
        except ValueError as error:
            raise SettingsError([str(error)]) from None

    def repository(self) -> dict[str, Any]:
        """The artifact repository of workflows that name none; empty for the embedded store. Raises SettingsError."""
        if not self.artifact_repository:
            return {}
        try:
            return read_repository(Path(self.artifact_repository).read_text())
        except (OSError, UnicodeDecodeError, RepositoryError) as error:
            why = getattr(error, "strerror", None) or error
            raise SettingsError([f"--artifact-repository {self.artifact_repository}: {why}"]) from None


REPOSITORY_HELP = (
    "A file with the artifact repository of workflows that name none and whose namespace has none: YAML as a key of "
    "Argo's ConfigMap artifact-repositories; empty for the store in NATS. Schedulers and exit handlers need the same"
)
