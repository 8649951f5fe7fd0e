"""What steps are given: values of config maps are fixed at submission, those of secrets only named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exeunt.engine.commands.inputs import AttemptLost
from exeunt.engine.facts.work import ContainerWork, EnvSource, HttpWork, SecretRef
from exeunt.language.manifest import Bundle, ConfigMap
from tests.engine.world import World, bundle_of

CONFIG = {"metadata": {"name": "conf"}, "data": {"level": "debug", "odd": "$(A) $$ $"}}


def bundle(template: dict[str, Any]) -> Bundle:
    made = bundle_of({"entrypoint": "main", "templates": [{"name": "main", **template}]})
    return msgspec.structs.replace(made, config_maps=[msgspec.convert(CONFIG, ConfigMap, strict=False)])


def work_of(template: dict[str, Any]) -> Any:
    world = World({}, bundle=bundle(template))
    [step] = world.steps.values()
    return step.step.work


def key(name: str, key: str = "token", **more: Any) -> dict[str, Any]:
    return {"valueFrom": {"secretKeyRef": {"name": name, "key": key, **more}}}


def test_variables_name_their_secrets_and_have_their_config_maps_values() -> None:
    env = [
        {"name": "A", "value": "1"},
        {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "none", "optional": True}}},
        {"name": "T", **key("api-{{workflow.namespace}}", optional=True)},
        {"name": "L", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "level"}}},
    ]
    sources = [{"prefix": "C_", "configMapRef": {"name": "conf"}}, {"secretRef": {"name": "all", "optional": True}}]
    work = work_of({"script": {"image": "a", "source": "", "env": env, "envFrom": sources}})
    assert isinstance(work, ContainerWork)
    assert work.env == [("A", "1"), ("T", ""), ("L", "debug")]
    assert work.env_secrets == {1: SecretRef(name="api-default", key="token", optional=True)}
    assert work.env_from == [
        EnvSource(prefix="C_", variables=[("level", "debug"), ("odd", "$(A) $$ $")]),
        EnvSource(secret="all", optional=True),
    ]


def test_no_reference_is_read_in_the_value_of_a_config_map() -> None:
    """As in Kubernetes; the executor reads `$$` as a dollar sign."""
    env = [{"name": "O", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "odd"}}}]
    assert work_of({"container": {"image": "a", "env": env}}).env == [("O", "$$(A) $$$$ $$")]


def test_headers_name_their_secrets() -> None:
    headers = [{"name": "Accept", "value": "a"}, {"name": "Authorization", **key("api")}]
    work = work_of({"http": {"url": "http://h", "headers": headers}})
    assert isinstance(work, HttpWork)
    assert work.headers == [("Accept", "a"), ("Authorization", "")]
    assert work.header_secrets == {1: SecretRef(name="api", key="token")}


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"envFrom": [{"configMapRef": {"name": "none"}}]}, "there is no ConfigMap none"),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "none"}}}]},
            "env A: ConfigMap conf has no key none",
        ),
    ],
)
def test_a_config_map_that_is_missing_is_the_nodes_error(container: dict[str, Any], words: str) -> None:
    run = World({}, bundle=bundle({"container": {"image": "a", **container}})).main
    assert run.phase == "Error"
    assert words in run.message


def test_a_config_map_that_may_be_missing_gives_nothing() -> None:
    sources = [{"configMapRef": {"name": "none", "optional": True}}]
    assert work_of({"container": {"image": "a", "envFrom": sources}}).env_from == [EnvSource()]


@pytest.mark.parametrize(
    "template",
    [
        {"plugin": {"trigger": {"template": "nightly", "wait": True}}},
        {
            "resource": {
                "action": "create",
                "manifest": "kind: Workflow",
                "successCondition": "status.phase == Succeeded",
            }
        },
        {"container": {"image": "a", "command": ["true"]}},
    ],
)
def test_a_step_that_starts_a_workflow_begins_again_when_its_executor_is_lost(template: dict[str, Any]) -> None:
    """Under the key that it had: the workflow that it has started is found again. Anything else is an Error."""
    world = World({}, bundle=bundle(template))
    world.settle()
    [first] = world.steps.values()
    world.feed("", AttemptLost(first.node, first.attempt))
    if "container" in template:
        assert world.main.phase == "Error"
        return
    world.settle()
    [again] = world.steps.values()
    assert (again.attempt, again.step) == (first.attempt + 1, first.step)
    assert world.run().main.phase == "Succeeded"
