"""What is to be started for a step: its programs with all that they are given. Pure but for the secrets' values."""

from __future__ import annotations

from collections.abc import Iterable

from exeunt.executor import progress
from exeunt.executor.pod import MAIN, PodPlan, PodProgram
from exeunt.executor.runtime.base import ProgramSpec, StepLimits
from exeunt.executor.runtime.environment import expand
from exeunt.executor.secrets import StepSecrets
from exeunt.internal.v1 import step_pb2 as pb


def is_pod(step: pb.Step) -> bool:
    """Whether a step is more than one program that runs to its end."""
    return bool(step.init_containers or step.sidecars) or step.daemon or step.HasField("container_set")


def main_of(step: pb.Step) -> pb.ContainerWork:
    """The container whose files and output are the step's; an empty one where there is none."""
    if step.HasField("container_set"):
        named = (one.work for one in step.container_set.containers if one.name == MAIN)
        return next(named, pb.ContainerWork())
    return step.container


def works_of(step: pb.Step) -> list[pb.ContainerWork]:
    """All of the step's containers."""
    main = [step.container] if step.HasField("container") else []
    further = (*step.init_containers, *step.container_set.containers, *step.sidecars)
    return [*main, *(one.work for one in further)]


def plan_of(step: pb.Step, secrets: StepSecrets, executor: str) -> PodPlan:
    """The step as a pod. Raises SecretMissing, SecretUnreadable."""
    main = [
        PodProgram(
            MAIN, program(step, step.container, secrets, executor), step.container, readiness=_probe(step.container)
        )
    ]
    plan = PodPlan(
        main=main if step.HasField("container") else [],
        init=_programs(step, step.init_containers, secrets, executor),
        sidecars=_programs(step, step.sidecars, secrets, executor),
        grace_seconds=step.grace_seconds,
    )
    if step.HasField("container_set"):
        plan.main = _programs(step, step.container_set.containers, secrets, executor)
        plan.tries, plan.pause_seconds = max(1, step.container_set.tries), step.container_set.pause_seconds
    return plan


def _programs(
    step: pb.Step, containers: Iterable[pb.NamedContainer], secrets: StepSecrets, executor: str
) -> list[PodProgram]:
    return [
        PodProgram(
            one.name,
            program(step, one.work, secrets, executor, one.name),
            one.work,
            tuple(one.dependencies),
            _probe(one.work),
        )
        for one in containers
    ]


def _probe(work: pb.ContainerWork) -> pb.Probe | None:
    return work.readiness if work.HasField("readiness") else None


def program(
    step: pb.Step, work: pb.ContainerWork, secrets: StepSecrets, executor: str, name: str = MAIN
) -> ProgramSpec:
    """One program of a step, on this executor. Raises SecretMissing, SecretUnreadable."""
    variables = secrets.environment(work)
    command = [expand(word, variables) for word in work.command] if variables else list(work.command)
    args = [expand(word, variables) for word in work.args] if variables else list(work.args)
    environment = {
        "EXEUNT_WORKFLOW": step.workflow,
        "EXEUNT_NAMESPACE": step.namespace,
        "EXEUNT_UID": step.uid,
        "EXEUNT_NODE_ID": step.node,
        "EXEUNT_NODE_NAME": step.node_name,
        "EXEUNT_ATTEMPT": str(step.attempt),
        "EXEUNT_ATTEMPT_ID": step.id,
        "EXEUNT_EXECUTOR": executor,
        "EXEUNT_IDEMPOTENCY_KEY": step.idempotency_key,
        progress.VARIABLE: progress.file_of(step.id),
    }
    for header in ("traceparent", "tracestate"):
        if header in step.trace_context:
            environment[header.upper()] = step.trace_context[header]
    environment.update(variables)
    return ProgramSpec(
        id=step.id if name == MAIN else f"{step.id}/{name}",
        image=work.image,
        command=command,
        args=args,
        environment=environment,
        working_dir=work.working_dir,
        source=work.source if work.script else None,
        limits=StepLimits(memory_bytes=work.memory_bytes, cpus=work.cpus),
    )
