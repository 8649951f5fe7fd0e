"""What the scheduler can be told besides what every service can."""

from __future__ import annotations

from dataclasses import dataclass

from exeunt.journal import identity, keyring
from exeunt.journal.settings import REPOSITORY_HELP, OwnerSettings
from exeunt.service.settings import ServiceSettings, setting


@dataclass(frozen=True, kw_only=True)
class Settings(OwnerSettings, ServiceSettings):
    """Settings of `exeunt serve scheduler`."""

    expected_schedulers: int = setting(
        "How many schedulers there are as a rule; with 1 partitions are taken at once, without waiting for others",
        1,
        minimum=1,
    )
    cluster: str = setting("Name of this cluster, which stands in all events; the exit handlers' too", "")
    nats_monitor: str = setting(
        "HTTP side of nats-server, as in http://127.0.0.1:8222: to look there whether it syncs before it acknowledges; "
        "empty for not looking",
        "",
    )
    grace: float = setting(
        "How long a silent executor is waited for before its steps are lost", 30.0, unit="s", minimum=0.1
    )
    log_bytes: int = setting("Room for the log when its stream is made", 8 * 1024**3, unit="B", minimum=16 * 1024**2)
    artifact_bytes: int = setting(
        "Room for artifacts without a repository, when their stream is made; less is taken where NATS has not as much",
        10 * 1024**3,
        unit="B",
        minimum=16 * 1024**2,
    )
    window: int = setting(
        "How many messages of the log an open run may span before it writes a snapshot, so that the log can be cut",
        100_000,
        minimum=1_000,
    )
    commit_bytes: int = setting(
        "Largest decision or snapshot of one run; a run with a larger one ends in Error",
        256 * 1024**2,
        unit="B",
        minimum=1024 * 1024,
    )
    fullness: float = setting(
        "Part of the log's room above which new workflows are refused; the rest belongs to those that run",
        0.8,
        minimum=0.05,
        maximum=1,
    )
    open_workflows: int = setting("Most workflows that are not finished, on this scheduler", 100_000, minimum=1)
    documents: int = setting("Most documents in one submission", 1_000, minimum=1)
    chain_depth: int = setting("How many workflows may start each other in a chain", 32, minimum=1, maximum=1000)
    chain_descendants: int = setting(
        "How many descendants of one workflow a service starts within an hour", 2000, minimum=1
    )
    secret_key: str = setting(keyring.SETTING, "")
    executor_token: str = setting(
        "As token, for the sessions of executors, who need the same; empty for the same token as everybody's", ""
    )
    parameter_bytes: int = setting(
        "Largest value of a workflow's parameter", 256 * 1024, unit="B", minimum=1, maximum=1024 * 1024
    )
    exit_handlers: tuple[str, ...] = setting(
        "Exit handlers that every workflow gets besides its own, each [NAMESPACE=]KIND/NAME/TEMPLATE with KIND "
        "workflowtemplate or clusterworkflowtemplate; the exit handlers need the same setting",
        (),
    )
    exit_on: tuple[str, ...] = setting(
        "At which ends exit handlers run besides Argo's, for workflows that do not say it: each [NAMESPACE=]terminate, "
        "delete, terminate+delete or none; the exit handlers need the same setting",
        (),
    )
    artifact_hosts: tuple[str, ...] = setting(
        "Hosts at which a scheduler reads artifacts for people who look at them, and removes what artifactGC collects: "
        "object stores besides the clouds' own and that of artifact-repository, and web servers on loopback or "
        "link-local addresses; * for all",
        (),
    )
    artifact_repository: str = setting(REPOSITORY_HELP, "")
    anew: tuple[str, ...] = setting(identity.HELP, ())
    ledger_days: float = setting("How long records of exit runs are kept", 30.0, unit="d", minimum=0.01)
