"""Steps between the messages of exeunt.internal.v1 and the structs of the engine, and the names of attempts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from exeunt.engine.facts import (
    ContainerWork,
    EnvSource,
    HttpWork,
    OutputParameter,
    PluginWork,
    ResourceWork,
    SecretRef,
    StepOutcome,
    StepSpec,
    Work,
)
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.language.actions import ACTIONS

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


class Attempt(NamedTuple):
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


def attempt_of(id: str) -> Attempt:
    """The attempt that an id names; ValueError for any other text."""
    owner, slash, rest = id.partition("/")
    node, second, number = rest.rpartition("/")
    uid, _, hook_id = owner.partition(".")
    if not (slash and second and uid and node and number.isdecimal() and number.isascii()):
        raise ValueError(f"{id!r} is no attempt id: UID/NODE/ATTEMPT or UID.HOOK/NODE/ATTEMPT is expected")
    return Attempt(uid, node, int(number), hook_id)


def to_proto(
    spec: StepSpec,
    attempt: Attempt,
    *,
    namespace: str,
    workflow: str,
    node_name: str,
    partition: int,
    exit: bool = False,
    trace_context: Mapping[str, str] | None = None,
) -> pb.Step:
    """The message that tells somebody to run this attempt. `exit` is true for steps of exit handlers."""
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
    )
    work = spec.work
    if isinstance(work, ContainerWork):
        step.container.CopyFrom(_container(work))
    elif isinstance(work, HttpWork):
        step.http.CopyFrom(_http(work))
    elif isinstance(work, PluginWork):
        step.plugin.name = work.name
        step.plugin.arguments_json = _json(work.arguments)
        step.plugin.template_json = _json(work.template or None)
    else:
        step.resource.action = work.action
        step.resource.manifest = work.manifest
        step.resource.success_condition = work.success_condition
        step.resource.failure_condition = work.failure_condition
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
    )


def work_of(step: pb.Step) -> Work:
    """The work alone; ValueError when the step has none, or one that this version does not know."""
    kind = step.WhichOneof("work")
    if kind == "container":
        c = step.container
        return ContainerWork(
            image=c.image,
            command=list(c.command),
            args=list(c.args),
            env=_pairs(c.env),
            working_dir=c.working_dir,
            source=c.source,
            script=c.script,
            env_secrets=_refs(c.env),
            env_from=[
                EnvSource(prefix=s.prefix, variables=_pairs(s.variables), secret=s.secret, optional=s.optional)
                for s in c.env_from
            ],
        )
    if kind == "http":
        h = step.http
        return HttpWork(
            method=h.method or "GET",
            url=h.url,
            headers=_pairs(h.headers),
            body=h.body,
            timeout_seconds=h.timeout_seconds or 30.0,
            success_condition=h.success_condition,
            insecure_skip_verify=h.insecure_skip_verify,
            header_secrets=_refs(h.headers),
        )
    if kind == "plugin":
        p = step.plugin
        return PluginWork(
            name=p.name,
            arguments=_parsed(p.arguments_json),
            template=_parsed(p.template_json) or {},
        )
    if kind == "resource":
        r = step.resource
        return ResourceWork(
            action=r.action,
            manifest=r.manifest,
            success_condition=r.success_condition,
            failure_condition=r.failure_condition,
        )
    raise ValueError(f"step {step.id}: nothing in it that this version can run")


def may_name_secrets(work: Work) -> bool:
    """False for work that names no secrets; quick to tell."""
    if isinstance(work, ContainerWork):
        return bool(work.env_secrets) or any(source.secret for source in work.env_from)
    if isinstance(work, HttpWork):
        return bool(work.header_secrets)
    return isinstance(work, PluginWork) and work.name in ACTIONS and work.name != "trigger"


def secrets_wanted(step: pb.Step) -> dict[str, set[str] | None]:
    """The secrets that a step names, by name: the keys of each, None for all of them.

    Of an action it is every `secretKeyRef` in its arguments, but for a workflow that it starts, which asks by itself.
    An Argo executor plugin gets its template and reads secrets where it runs.
    """
    kind = step.WhichOneof("work")
    keys: list[tuple[str, str]] = []
    whole: list[str] = []
    if kind == "container":
        keys += [(v.secret.name, v.secret.key) for v in step.container.env if v.HasField("secret")]
        whole += [source.secret for source in step.container.env_from if source.secret]
    elif kind == "http":
        keys += [(h.secret.name, h.secret.key) for h in step.http.headers if h.HasField("secret")]
    elif kind == "plugin" and step.plugin.name in ACTIONS and step.plugin.name != "trigger":
        keys += _key_refs(_parsed(step.plugin.arguments_json))
    wanted: dict[str, set[str] | None] = dict.fromkeys(whole)
    for name, key in keys:
        known = wanted.setdefault(name, set())
        if known is not None:
            known.add(key)
    return wanted


def _key_refs(tree: Any) -> Iterator[tuple[str, str]]:
    if isinstance(tree, dict):
        key = tree.get("secretKeyRef")
        if isinstance(key, dict) and isinstance(key.get("name"), str) and isinstance(key.get("key"), str):
            yield key["name"], key["key"]
    for inner in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _key_refs(inner)


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
        answer_json=_json(outcome.answer),
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
        answer=_parsed(result.answer_json),
    )


def _container(work: ContainerWork) -> pb.ContainerWork:
    return pb.ContainerWork(
        image=work.image,
        command=work.command,
        args=work.args,
        env=_variables(work.env, work.env_secrets),
        working_dir=work.working_dir,
        source=work.source,
        script=work.script,
        env_from=[
            pb.EnvironmentSource(
                prefix=s.prefix, variables=_variables(s.variables), secret=s.secret, optional=s.optional
            )
            for s in work.env_from
        ],
    )


def _http(work: HttpWork) -> pb.HttpWork:
    return pb.HttpWork(
        method=work.method,
        url=work.url,
        headers=_variables(work.headers, work.header_secrets),
        body=work.body,
        timeout_seconds=work.timeout_seconds,
        success_condition=work.success_condition,
        insecure_skip_verify=work.insecure_skip_verify,
    )


def _variables(
    pairs: Iterable[tuple[str, str]], refs: Mapping[int, SecretRef] | None = None
) -> list[pb.EnvironmentVariable]:
    made = [pb.EnvironmentVariable(name=name, value=value) for name, value in pairs]
    for at, ref in (refs or {}).items():
        made[at].secret.CopyFrom(pb.SecretKey(name=ref.name, key=ref.key, optional=ref.optional))
    return made


def _refs(variables: Iterable[pb.EnvironmentVariable]) -> dict[int, SecretRef]:
    return {
        at: SecretRef(name=v.secret.name, key=v.secret.key, optional=v.secret.optional)
        for at, v in enumerate(variables)
        if v.HasField("secret")
    }


def _pairs(variables: Iterable[pb.EnvironmentVariable]) -> list[tuple[str, str]]:
    return [(v.name, v.value) for v in variables]


def _json(value: object) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()


def _parsed(text: str) -> Any:
    return msgspec.json.decode(text) if text else None


def _timestamp(seconds: float) -> Timestamp | None:
    if not seconds:
        return None
    nanos = round(seconds * 1e6) * 1000  # a float holds microseconds of today's times
    return Timestamp(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def _seconds(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9
