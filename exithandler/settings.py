"""What an exit handler can be told."""

from __future__ import annotations

from dataclasses import dataclass

from exeunt.actions import ActionSettings
from exeunt.actions.settings import ActionServiceSettings
from exeunt.journal import identity, keyring
from exeunt.journal.settings import REPOSITORY_HELP, OwnerSettings
from exeunt.service.settings import setting


@dataclass(frozen=True, kw_only=True)
class Settings(OwnerSettings, ActionServiceSettings):
    """Settings of `exeunt serve exithandler`."""

    answer_bytes: int = setting("Largest answer of an HTTP request that is read", 1 << 20, unit="bytes", minimum=1)
    result_bytes: int = setting("Largest result of an action", 256 * 1024, unit="bytes", minimum=1, maximum=1 << 20)
    notify_seconds: float = setting("How long all targets of a notification may take", 30.0, unit="s", minimum=0.1)
    action_threads: int = setting("Notifications and clean-ups at once", 16, minimum=1, maximum=500)
    secret_key: str = setting(keyring.SETTING, "")
    artifact_repository: str = setting(REPOSITORY_HELP, "")
    anew: tuple[str, ...] = setting(identity.HELP, ())
    ledger_days: float = setting("How long the exit ledger keeps records", 30.0, unit="days", minimum=0.01)
    cluster: str = setting("Name of this cluster, which stands in all events; the schedulers' too", "")
    chain_depth: int = setting("How many workflows may start each other in a chain", 32, minimum=1, maximum=1000)
    chain_descendants: int = setting(
        "How many descendants of one workflow a service starts within an hour", 2000, minimum=1
    )
    exit_handlers: tuple[str, ...] = setting(
        "As the schedulers' setting of this name: exit handlers that workflows started by handlers get", ()
    )
    exit_on: tuple[str, ...] = setting(
        "As the schedulers' setting of this name: at which ends exit handlers of workflows started by handlers run", ()
    )
    log_bytes: int = setting(
        "Room for the log when its stream is made", 8 * 1024**3, unit="bytes", minimum=16 * 1024**2
    )
    commit_bytes: int = setting(
        "Largest decision or snapshot of one exit run; a run with a larger one is parked",
        256 * 1024**2,
        unit="B",
        minimum=1024 * 1024,
    )
    artifact_bytes: int = setting(
        "Room for artifacts without a repository, when their stream is made; less is taken where NATS has not as much",
        10 * 1024**3,
        unit="B",
        minimum=16 * 1024**2,
    )
    window: int = setting(
        "How many messages of the log an open run may span before it writes a snapshot, so that the log can be cut",
        100_000,
        minimum=100,
    )
    expected_exithandlers: int = setting(
        "How many exit handlers there are as a rule; with 1 partitions are taken at once, without waiting for others",
        1,
        minimum=1,
    )
    finish_seconds: float = setting("How long actions may go on after SIGTERM", 3.0, unit="s", minimum=0)

    def actions(self) -> ActionSettings:
        """The bounds and permissions of actions. Raises SettingsError."""
        return self.action_settings(
            answer_bytes=self.answer_bytes,
            result_bytes=self.result_bytes,
            notify_timeout=self.notify_seconds,
            threads=self.action_threads,
        )
