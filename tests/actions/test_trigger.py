"""Triggers: what is started, and that it is asked for under the node's own key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exeunt.actions import ActionSettings, StartedWorkflow, StartRefused, open_toolbox, perform
from exeunt.actions.context import Unavailable
from exeunt.engine.facts.work import HttpWork, PluginWork, ResourceWork, StepOutcome
from tests.actions.conftest import context_of

SPEC = {"entrypoint": "m", "templates": [{"name": "m", "container": {"image": "x"}}]}


class Scheduler:
    """Keeps what it is asked to start; one child for each key."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started: dict[str, tuple[dict[str, Any], str]] = {}
        self.error = error

    async def start(self, manifest: dict[str, Any], namespace: str, key: str) -> StartedWorkflow:
        if self.error:
            raise self.error
        self.started.setdefault(key, (manifest, namespace))
        return StartedWorkflow("child-1", f"uid-{key}", namespace)


async def do(scheduler: Scheduler | None, work: PluginWork | ResourceWork | HttpWork) -> StepOutcome:
    start = scheduler.start if scheduler else None
    async with open_toolbox(ActionSettings(), start_workflow=start) as tools:
        return await perform(work, context_of(tools))


def trigger(**arguments: Any) -> PluginWork:
    return PluginWork(name="trigger", arguments=arguments)


async def test_a_manifest_is_started_under_the_nodes_key() -> None:
    scheduler = Scheduler()
    outcome = await do(scheduler, trigger(workflow={"metadata": {"generateName": "c-"}, "spec": SPEC}))
    assert outcome.phase == "Succeeded"
    assert json.loads(outcome.result or "") == {"name": "child-1", "uid": "uid-key-1", "namespace": "ns"}
    assert outcome.answer["workflow"]["name"] == "child-1"
    manifest, namespace = scheduler.started["key-1"]
    assert namespace == "ns"
    assert manifest["kind"] == "Workflow"
    assert manifest["spec"]["templates"] == SPEC["templates"]


async def test_a_template_is_started_by_its_name() -> None:
    scheduler = Scheduler()
    await do(scheduler, trigger(template="nightly", parameters={"day": "mon", "n": 3, "deep": True}, labels={"a": "b"}))
    manifest, _ = scheduler.started["key-1"]
    assert manifest["spec"]["workflowTemplateRef"] == {"name": "nightly"}
    assert manifest["metadata"] == {"generateName": "nightly-", "labels": {"a": "b"}}
    assert manifest["spec"]["arguments"]["parameters"] == [
        {"name": "day", "value": "mon"},
        {"name": "n", "value": "3"},
        {"name": "deep", "value": "true"},
    ]


async def test_parameters_replace_those_of_the_manifest() -> None:
    scheduler = Scheduler()
    there = {"arguments": {"parameters": [{"name": "a", "value": "old"}, {"name": "b", "value": "kept"}]}, **SPEC}
    await do(scheduler, trigger(workflow={"metadata": {"name": "x"}, "spec": there}, parameters={"a": "new"}))
    parameters = scheduler.started["key-1"][0]["spec"]["arguments"]["parameters"]
    assert {p["name"]: p["value"] for p in parameters} == {"a": "new", "b": "kept"}
    assert there["arguments"]["parameters"][0]["value"] == "old"


async def test_parameters_come_from_objects_too() -> None:
    scheduler = Scheduler()
    given = ['{"a": "1", "b": {"c": 2}}', "", '{"a": "3"}']
    await do(scheduler, trigger(template="x", parametersFrom=given, parameters={"d": "4"}))
    parameters = scheduler.started["key-1"][0]["spec"]["arguments"]["parameters"]
    assert {p["name"]: p["value"] for p in parameters} == {"a": "3", "b": '{"c":2}', "d": "4"}


async def test_a_resource_that_creates_a_workflow_is_a_trigger() -> None:
    scheduler = Scheduler()
    manifest = (
        f"apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {{generateName: c-}}\nspec: {json.dumps(SPEC)}"
    )
    outcome = await do(scheduler, ResourceWork(action="create", manifest=manifest))
    assert outcome.phase == "Succeeded"
    assert scheduler.started["key-1"][0]["spec"]["entrypoint"] == "m"


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (trigger(), "either workflow (a manifest), template"),
        (trigger(template="x", resubmit=True), "either workflow"),
        (trigger(resubmit=True), "there is no workflow that ended"),
        (trigger(template="x", parametersFrom=["[1]"]), "is no JSON object"),
        (trigger(template="x", join={"key": "k", "of": ["a", "b"]}), "is for exit handlers"),
        (trigger(template="x", join={"key": "k"}), "of"),
        (trigger(template="x", successCondition="a ==== b"), "is no condition"),
        (trigger(workflow={}, template="x"), "either workflow"),
        (trigger(workflow={"kind": "Pod"}), "a Workflow is expected"),
        (trigger(workflow="a: [1"), "plugin.trigger.workflow"),
        (trigger(workflow={"spec": 3}), "spec has no fields"),
        (trigger(templat="x"), "did you mean template"),
        (trigger(template="x", artifacts=[]), "not supported yet"),
        (trigger(template="x", wait=True), "not supported here yet"),
        (ResourceWork(action="create", manifest="kind: Workflow", success_condition="a ==== b"), "is no condition"),
        (ResourceWork(action="delete", manifest="kind: Workflow"), "needs a Kubernetes API"),
        (ResourceWork(action="create", manifest="kind: ConfigMap"), "needs a Kubernetes API"),
        (ResourceWork(action="create", manifest="a: b: c"), "resource.manifest"),
        (ResourceWork(action="create", manifest=""), "one manifest"),
    ],
)
async def test_what_cannot_be_started_is_named(work: PluginWork | ResourceWork, words: str) -> None:
    scheduler = Scheduler()
    outcome = await do(scheduler, work)
    assert outcome.phase == "Error"
    assert words in outcome.message
    assert scheduler.started == {}


async def test_a_refused_child_is_a_failure_and_so_is_an_unreachable_log() -> None:
    refused = await do(Scheduler(StartRefused("spec.entrypoint: no such template")), trigger(template="x"))
    assert (refused.phase, refused.message) == ("Failed", "the workflow was refused: spec.entrypoint: no such template")
    away = await do(Scheduler(Unavailable("the log is full")), trigger(template="x"))
    assert (away.phase, away.message) == ("Failed", "the workflow could not be started: the log is full")


async def test_where_nothing_can_be_started_it_says_so() -> None:
    assert (await do(None, trigger(template="x"))).message == "workflows cannot be started from here"
