"""What the engine asks others to run, and what comes back: steps with everything resolved, and their results."""

from __future__ import annotations

from typing import Any, get_args

from exeunt.engine.facts.struct import Struct
from exeunt.engine.facts.volumes import StepMount, StepVolume
from exeunt.language.actions import ACTIONS


class SecretRef(Struct):
    """A key of a secret of the workflow's namespace. Its value is looked up where the step is sent, never stored."""

    name: str
    key: str
    optional: bool = False


class EnvSource(Struct):
    """Variables of which every key of a ConfigMap (`variables`) or of a secret (`secret`, its name) becomes one."""

    prefix: str = ""
    variables: list[tuple[str, str]] = []
    secret: str = ""
    optional: bool = False


class ExecutorFact(Struct):
    """What only the executor knows that has the step: a field of a pod by its path, or `limits.x` that is not given.

    `divisor`: the unit of an amount, as a quantity; empty for 1.
    """

    name: str
    divisor: str = ""


class Probe(Struct):
    """How to find out whether a program is ready, as a Kubernetes probe: by a command, a request, or a connection.

    Times are in seconds. `port` 0 is for a command.
    """

    command: list[str] = []
    port: int = 0
    path: str | None = None  # of an HTTP request; None to connect only
    host: str = ""
    https: bool = False
    headers: list[tuple[str, str]] = []
    delay_seconds: float = 0.0
    period_seconds: float = 10.0
    timeout_seconds: float = 1.0
    successes: int = 1


class ContainerWork(Struct, tag="container"):
    """A program: of a container template, or (`script`) of a script template with its source.

    `env_secrets` has the values of variables that stand in secrets, by their place in `env`; `env_from` comes before
    `env`, which wins.
    """

    image: str = ""
    command: list[str] = []
    args: list[str] = []
    env: list[tuple[str, str]] = []
    working_dir: str = ""
    source: str = ""
    script: bool = False
    env_secrets: dict[int, SecretRef] = {}
    env_from: list[EnvSource] = []
    mounts: list[StepMount] = []
    readiness: Probe | None = None  # of a daemon
    memory_bytes: int = 0  # that it may take; 0: no limit
    cpus: float = 0.0  # processors that it may take; 0: no limit
    env_facts: dict[int, ExecutorFact] = {}  # what executors put in, by its place in `env`


class DataWork(Struct, tag="data"):
    """What lies at a place of artifacts, `source` as in status.nodes, through one expression after the other."""

    source: dict[str, Any] = {}
    expressions: list[str] = []


class HttpWork(Struct, tag="http"):
    """A request of an http template. `header_secrets`: values that stand in secrets, by their place in `headers`."""

    method: str = "GET"
    url: str = ""
    headers: list[tuple[str, str]] = []
    body: str = ""
    timeout_seconds: float = 30.0
    success_condition: str = ""
    insecure_skip_verify: bool = False
    header_secrets: dict[int, SecretRef] = {}


class PluginWork(Struct, tag="plugin"):
    """An action by name, or an Argo executor plugin; `arguments` is what stands under the name."""

    name: str = ""
    arguments: Any = None
    template: dict[str, Any] = {}


class ResourceWork(Struct, tag="resource"):
    """A resource template; `manifest` is its text."""

    action: str = ""
    manifest: str = ""
    success_condition: str = ""
    failure_condition: str = ""


class NamedContainer(Struct):
    """One of several programs of a step. `dependencies`: those of its set that have to go well before it begins."""

    name: str
    work: ContainerWork
    dependencies: list[str] = []


def in_order(containers: list[NamedContainer]) -> list[NamedContainer]:
    """As they are written, but none before what it depends on. Names that nobody has, and circles, stay at the end."""
    left, order = list(containers), list[NamedContainer]()
    known: set[str] = set()
    while ready := [one for one in left if known.issuperset(one.dependencies)]:
        order += ready
        known.update(one.name for one in ready)
        left = [one for one in left if one.name not in known]
    return [*order, *left]


class ContainerSetWork(Struct, tag="container_set"):
    """The programs of a containerSet template, which share the step's files.

    Each is tried so many times (`tries`) in all, with a pause between, before it counts as failed.
    """

    containers: list[NamedContainer] = []
    tries: int = 1
    pause_seconds: float = 0.0


Work = ContainerWork | DataWork | HttpWork | PluginWork | ResourceWork | ContainerSetWork

WORK_KINDS: dict[str, type[Struct]] = {str(kind.__struct_config__.tag): kind for kind in get_args(Work)}
"""The kinds of work by their names: in the log, in a step (its field of the oneof `work`), and in every other table."""


def kind_of_work(work: Work) -> str:
    """The name of the work's kind."""
    return str(work.__struct_config__.tag)


class OutputParameter(Struct):
    """A file to read as an output parameter, or the `value` that it has whatever the step does.

    `default` and `value` are None where there is none.
    """

    name: str
    path: str
    default: str | None = None
    value: str | None = None


class StepSpec(Struct):
    """One step, resolved: whoever has this needs nothing else to run it (the same for each attempt)."""

    work: Work
    outputs: list[OutputParameter] = []
    result: bool = False  # standard output is wanted
    grace_seconds: float = 30.0
    timeout_seconds: float = 0.0  # 0: none
    template: str = ""  # the template's name
    fenced: bool = False
    idempotency_key: str = ""
    input_artifacts: list[dict[str, Any]] = []  # as in status.nodes: what to fetch, and where to put it
    output_artifacts: list[dict[str, Any]] = []  # what to keep, and where, if they say it
    archive: dict[str, Any] = {}  # where all others go: a place whose key is the folder
    archive_logs: bool = False  # what each main container prints becomes the artifact NAME-logs
    volumes: list[StepVolume] = []  # those that its containers mount
    init: list[NamedContainer] = []  # programs that run before the work, one after the other
    sidecars: list[NamedContainer] = []  # programs that run beside it, and end with it
    daemon: bool = False  # it says when it is ready, and goes on until it is ended
    progress: str = ""  # how far it has come before it begins, N/M, where the template says so


def starts_workflow(step: StepSpec) -> bool:
    """Whether all that the step does is to start a workflow: doing it again finds the one that is there."""
    match step.work:
        case ResourceWork():
            return True
        case PluginWork(name=name):
            return name in ACTIONS and ACTIONS[name].starts_workflow
    return False


class ContainerEnd(Struct):
    """How one container of a containerSet ended."""

    name: str
    phase: str  # Succeeded, Failed, Error
    message: str = ""


class StepOutcome(Struct):
    """How an attempt ended. `parameters` leaves out what has no value."""

    phase: str  # Succeeded, Failed, Error
    message: str = ""
    exit_code: int | None = None
    result: str | None = None
    parameters: dict[str, str] = {}
    log_tail: list[str] = []
    started_at: float = 0.0
    finished_at: float = 0.0
    answer: Any = None  # what an action answered, for the ledger; secrets masked
    artifacts: list[dict[str, Any]] = []  # what was kept, as in status.nodes
    containers: list[ContainerEnd] = []  # of a containerSet; those that are left out ended as the attempt did
    progress: str = ""  # how far it said that it had come
