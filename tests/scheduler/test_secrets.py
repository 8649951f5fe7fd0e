"""What a step gets as it is sent: the keys that it names and no others, each secret read once, within a bound."""

from __future__ import annotations

import json
from typing import Any, cast

from exeunt.internal.v1 import step_pb2 as pb
from exeunt.journal.secrets import Secrets
from exeunt.language.secret import SECRET_BYTES, SecretMissing, SecretUnreadable
from exeunt.scheduler.secrets import StepSecretsOpener


class Store:
    """Secrets in memory."""

    def __init__(self, **secrets: dict[str, bytes]) -> None:
        self.secrets = secrets
        self.read: list[str] = []

    async def values(self, namespace: str, name: str) -> dict[str, bytes]:
        self.read.append(f"{namespace}/{name}")
        if name == "sealed":
            raise SecretUnreadable("it is sealed")
        if name not in self.secrets or namespace != "ns":
            raise SecretMissing("it is not there")
        return self.secrets[name]


def variable(secret: str, key: str) -> pb.EnvironmentVariable:
    return pb.EnvironmentVariable(name="V", secret=pb.SecretKey(name=secret, key=key))


def container(*env: pb.EnvironmentVariable, whole: tuple[str, ...] = (), namespace: str = "ns") -> pb.Step:
    sources = [pb.EnvironmentSource(secret=name) for name in whole]
    return pb.Step(namespace=namespace, container=pb.ContainerWork(env=env, env_from=sources))


def action(name: str, arguments: Any) -> pb.Step:
    return pb.Step(namespace="ns", plugin=pb.PluginWork(name=name, arguments_json=json.dumps(arguments)))


async def given(store: Store, *steps: pb.Step) -> list[dict[str, Any]]:
    before = [step.SerializeToString() for step in steps]
    opened = await StepSecretsOpener(cast("Secrets", store))(steps)
    assert [step.SerializeToString() for step in steps] == before, "what waits for a slot never holds a value"
    return [{secret.name: told(secret) for secret in step.secrets} for step in opened]


def told(secret: pb.StepSecret) -> Any:
    return dict(secret.values) or secret.problem or ("missing" if secret.missing else "nothing")


async def test_the_keys_that_are_named_and_no_others() -> None:
    store = Store(a={"x": b"1", "y": b"2"}, b={"z": b"3"})
    steps = [
        container(variable("a", "x"), variable("b", "none")),
        container(variable("a", "x"), whole=("a",)),
        container(variable("none", "x"), variable("sealed", "x")),
        container(variable("a", "x"), namespace="other"),
    ]
    assert await given(store, *steps) == [
        {"a": {"x": b"1"}, "b": "nothing"},
        {"a": {"x": b"1", "y": b"2"}},
        {"none": "missing", "sealed": "it is sealed"},
        {"a": "missing"},
    ]
    assert sorted(store.read) == ["ns/a", "ns/b", "ns/none", "ns/sealed", "other/a"]


async def test_an_action_gets_what_its_fields_name() -> None:
    store = Store(a={"x": b"1", "y": b"2"})
    source = {"secretKeyRef": {"name": "a", "key": "x"}}
    steps = [
        action("notify", {"targets": ["json://h", {"urlFrom": source}]}),
        action("trigger", {"workflow": {"spec": {"env": [{"valueFrom": source}]}}}),  # its child's own affair
        action("somebodys-plugin", {"token": source}),  # reads secrets where it runs
    ]
    assert await given(store, *steps) == [{"a": {"x": b"1"}}, {}, {}]


async def test_more_than_a_step_can_carry_is_said_and_not_sent() -> None:
    names = [f"s{number}" for number in range(6)]
    store = Store(**{name: {"k": bytes(SECRET_BYTES)} for name in names})
    [found] = await given(store, container(whole=tuple(names)))
    assert [name for name, values in found.items() if isinstance(values, dict)] == ["s0", "s1", "s2"]
    assert "the secrets of one step may have 1,048,576 bytes together" in found["s3"]
