"""Steps between the messages of exeunt.internal.v1 and the structs of the engine, and the names of attempts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from exeunt.engine.facts import ContainerEnd, OutputParameter, StepOutcome, StepSpec, kind_of_work, uses_claims
from exeunt.engine.facts.claims import ClaimsHome
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.language.manifest import ConfigMap
from exeunt.wire_volumes import config_maps_of, volumes_of, volumes_to_proto
from exeunt.wire_work import WORK_FORMS, from_json, named, named_of, to_json, work_of

FRAME_BYTES = 1024 * 1024
"""Of steps, or of results, in one frame; or one."""
STEP_BYTES = 16 * 1024 * 1024
"""Of one step. gRPC takes 32 MB, and a step that it refused would be sent for ever."""


def too_large(length: int) -> pb.StepResult | None:
    """How a step ends that has so many bytes; None when it can be sent."""
    if length <= STEP_BYTES:
        return None
    said = f"the step has {length:,} bytes with its arguments and secrets; at most {STEP_BYTES:,} can be sent"
    return pb.StepResult(phase="Error", message=said)


class AttemptKey(NamedTuple):
    """One try of one node: what names it for ever. `hook_id` is set for a step of an exit run."""

    uid: str
    node: str
    attempt: int
    hook_id: str = ""

    @property
    def id(self) -> str:
        """As the step services know it: UID/NODE/ATTEMPT, and UID.HOOK/NODE/ATTEMPT in an exit run."""
        owner = f"{self.uid}.{self.hook_id}" if self.hook_id else self.uid
        return f"{owner}/{self.node}/{self.attempt}"


def attempt_key(id: str) -> AttemptKey:
    """The attempt that an id names; ValueError for any other text."""
    owner, slash, rest = id.partition("/")
    node, second, number = rest.rpartition("/")
    uid, _, hook_id = owner.partition(".")
    if not (slash and second and uid and node and number.isdecimal() and number.isascii()):
        raise ValueError(f"{id!r} is no attempt id: UID/NODE/ATTEMPT or UID.HOOK/NODE/ATTEMPT is expected")
    return AttemptKey(uid, node, int(number), hook_id)


def to_proto(
    spec: StepSpec,
    attempt: AttemptKey,
    *,
    namespace: str,
    workflow: str,
    node_name: str,
    partition: int,
    exit: bool = False,
    trace_context: Mapping[str, str] | None = None,
    config_maps: Iterable[ConfigMap] = (),
    claims: ClaimsHome | None = None,
) -> pb.Step:
    """The message that tells somebody to run this attempt. `exit` is true for steps of exit handlers.

    `config_maps` are those of the workflow's bundle: what its volumes name goes along. `claims` is where
    the workflow's own volumes are.
    """
    step = pb.Step(
        id=attempt.id,
        namespace=namespace,
        uid=attempt.uid,
        workflow=workflow,
        node=attempt.node,
        node_name=node_name,
        attempt=attempt.attempt,
        partition=partition,
        exit=exit,
        outputs=[
            pb.OutputParameter(name=o.name, path=o.path, default=o.default) for o in spec.outputs if o.value is None
        ],
        result=spec.result,
        grace_seconds=spec.grace_seconds,
        timeout_seconds=spec.timeout_seconds,
        trace_context=dict(trace_context or {}),
        fenced=spec.fenced,
        idempotency_key=spec.idempotency_key,
        input_artifacts=_artifacts(spec.input_artifacts),
        output_artifacts=_artifacts(spec.output_artifacts),
        archive_json=to_json(spec.archive or None),
        archive_logs=spec.archive_logs,
        volumes=volumes_to_proto(spec.volumes),
        config_maps=config_maps_of(spec.volumes, config_maps),
        init_containers=named(spec.init),
        sidecars=named(spec.sidecars),
        daemon=spec.daemon,
    )
    if claims is not None and uses_claims(spec):
        step.claims_made, step.claims_executor = claims.made, claims.executor
    WORK_FORMS[kind_of_work(spec.work)].write(spec.work, step)
    return step


def spec_of(step: pb.Step) -> StepSpec:
    """What the message says is to be run. The template's name does not travel and is empty.

    ValueError when there is no work in it.
    """
    return StepSpec(
        work=work_of(step),
        outputs=[
            OutputParameter(name=o.name, path=o.path, default=o.default if o.HasField("default") else None)
            for o in step.outputs
        ],
        result=step.result,
        grace_seconds=step.grace_seconds,
        timeout_seconds=step.timeout_seconds,
        fenced=step.fenced,
        idempotency_key=step.idempotency_key,
        input_artifacts=[from_json(one.artifact_json) for one in step.input_artifacts],
        output_artifacts=[from_json(one.artifact_json) for one in step.output_artifacts],
        archive=from_json(step.archive_json) or {},
        archive_logs=step.archive_logs,
        volumes=volumes_of(step.volumes),
        init=named_of(step.init_containers),
        sidecars=named_of(step.sidecars),
        daemon=step.daemon,
    )


def result_to_proto(outcome: StepOutcome) -> pb.StepResult:
    """How an attempt ended, as a message."""
    return pb.StepResult(
        phase=outcome.phase,
        message=outcome.message,
        exit_code=outcome.exit_code,
        result=outcome.result,
        parameters=[pb.ParameterOutput(name=name, value=value) for name, value in outcome.parameters.items()],
        log_tail=outcome.log_tail,
        start_time=_timestamp(outcome.started_at),
        finish_time=_timestamp(outcome.finished_at),
        answer_json=to_json(outcome.answer),
        artifacts=_artifacts(outcome.artifacts),
        containers=[pb.ContainerEnd(name=c.name, phase=c.phase, message=c.message) for c in outcome.containers],
    )


def outcome_of(result: pb.StepResult) -> StepOutcome:
    """How an attempt ended, from its message. Times are seconds since the epoch, 0 when they were not given."""
    return StepOutcome(
        phase=result.phase,
        message=result.message,
        exit_code=result.exit_code if result.HasField("exit_code") else None,
        result=result.result if result.HasField("result") else None,
        parameters={p.name: p.value for p in result.parameters},
        log_tail=list(result.log_tail),
        started_at=_seconds(result.start_time),
        finished_at=_seconds(result.finish_time),
        answer=from_json(result.answer_json),
        artifacts=[from_json(one.artifact_json) for one in result.artifacts],
        containers=[ContainerEnd(name=c.name, phase=c.phase, message=c.message) for c in result.containers],
        progress=result.progress,
    )


def _artifacts(trees: Iterable[dict[str, Any]]) -> list[pb.Artifact]:
    return [pb.Artifact(name=tree["name"], artifact_json=to_json(tree)) for tree in trees]


def _timestamp(seconds: float) -> Timestamp | None:
    if not seconds:
        return None
    nanos = round(seconds * 1e6) * 1000  # a float holds microseconds of today's times
    return Timestamp(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def _seconds(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9
