"""Conditions on a started workflow: selectors over its fields, and what waiting for them gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.actions import ActionSettings, StartedWorkflow, open_toolbox, perform
from exeunt.actions.conditions import BadCondition, all_hold, failed_term, parse
from exeunt.engine.facts.work import PluginWork, ResourceWork, StepOutcome
from tests.actions.conftest import context_of

TREE = {
    "metadata": {"name": "w", "labels": {"team": "a"}},
    "status": {"phase": "Running", "count": 3, "items": [{"ready": True}]},
}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("", True),
        ("status.phase == Running", True),
        ("status.phase=Running", True),
        ("status.phase != Running", False),
        ("status.phase in (Failed, Running)", True),
        ("status.phase notin (Failed,Error)", True),
        ("status.count > 2", True),
        ("status.count < 3", False),
        ("status.phase > 2", False),
        ("status.message", False),
        ("!status.message", True),
        ("status.message != x", True),
        ("status.items.0.ready == true", True),
        ("status.items.1.ready", False),
        ("metadata.labels.team == a, status.phase == Running", True),
        ("metadata.labels.team == a, status.phase == Failed", False),
    ],
)
def test_what_holds(condition: str, holds: bool) -> None:
    assert all_hold(parse(condition), TREE) is holds


def test_a_failure_condition_holds_when_one_of_its_terms_does() -> None:
    terms = parse("status.phase == Failed, status.count == 3")
    assert str(failed_term(terms, TREE)) == "status.count==3"
    assert failed_term(parse("status.phase == Failed"), TREE) is None


@pytest.mark.parametrize("condition", ["==", "a b", "a in b", "a in (b", "a == b c", ",", "a === b", "(a)"])
def test_what_is_no_condition_is_refused(condition: str) -> None:
    with pytest.raises(BadCondition):
        parse(condition)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(condition: str) -> None:
    with suppress(BadCondition):
        all_hold(parse(condition), TREE)


async def waited(phases: list[str], work: PluginWork | ResourceWork) -> StepOutcome:
    async def start(manifest: dict[str, Any], namespace: str, key: str) -> StartedWorkflow:
        return StartedWorkflow("c", "u", namespace)

    async def wait(child: StartedWorkflow) -> AsyncIterator[Mapping[str, Any]]:
        for phase in phases:
            yield {"status": {"phase": phase}}

    async with open_toolbox(ActionSettings(), start_workflow=start, wait_workflow=wait) as tools:
        return await perform(work, context_of(tools))


def create(success: str = "", failure: str = "") -> ResourceWork:
    return ResourceWork(
        action="create", manifest="kind: Workflow", success_condition=success, failure_condition=failure
    )


@pytest.mark.parametrize(
    ("phases", "phase", "words"),
    [
        (["Running", "Succeeded"], "Succeeded", "the success condition holds"),
        (["Running", "Failed"], "Failed", "failure condition 'status.phase in (Failed,Error)' evaluated true"),
        (["Error"], "Failed", "evaluated true"),
        (["Running"], "Failed", "does not hold"),
    ],
)
async def test_a_trigger_that_waits_ends_as_its_child_does(phases: list[str], phase: str, words: str) -> None:
    outcome = await waited(phases, PluginWork(name="trigger", arguments={"template": "t", "wait": True}))
    assert outcome.phase == phase
    assert words in outcome.message
    assert outcome.parameters["uid"] == "u"


@pytest.mark.parametrize(
    ("success", "failure", "phases", "phase"),
    [
        ("status.phase in (Succeeded, Failed)", "", ["Running", "Failed"], "Succeeded"),
        ("status.phase == Running", "", ["Running", "Succeeded"], "Failed"),
        ("", "status.phase != Succeeded", ["Running", "Succeeded"], "Succeeded"),
        ("", "status.phase != Succeeded", ["Running", "Error"], "Failed"),
    ],
)
async def test_a_trigger_judges_its_child_as_it_ended(
    success: str, failure: str, phases: list[str], phase: str
) -> None:
    arguments = {"template": "t", "successCondition": success, "failureCondition": failure}
    assert (await waited(phases, PluginWork(name="trigger", arguments=arguments))).phase == phase


async def test_a_resource_waits_for_its_conditions() -> None:
    assert (await waited(["Running"], create("status.phase == Running"))).phase == "Succeeded"
    failed = await waited(["Failed"], create("status.phase == Succeeded", "status.phase == Failed"))
    assert (failed.phase, failed.message) == ("Failed", "ns/c: failure condition 'status.phase==Failed' evaluated true")
    assert (await waited(["Succeeded"], create("", "status.phase == Failed"))).phase == "Succeeded"
