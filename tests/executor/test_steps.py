"""Steps and results say the same in the log and on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.engine.facts.work import (
    ContainerEnd,
    ContainerSetWork,
    ContainerWork,
    HttpWork,
    NamedContainer,
    OutputParameter,
    PluginWork,
    ResourceWork,
    StepOutcome,
    StepSpec,
    Work,
)
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.steps import AttemptKey, attempt_key, outcome_of, result_to_proto, spec_of, to_proto

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda x: st.lists(x) | st.dictionaries(TEXT, x),
    max_leaves=5,
)
SECONDS = st.integers(1, 10**9).map(lambda n: n / 1000)
CONTAINER = st.builds(
    ContainerWork,
    image=TEXT,
    command=st.lists(TEXT),
    args=st.lists(TEXT),
    env=PAIRS,
    working_dir=TEXT,
    source=TEXT,
    script=st.booleans(),
)
NAMED = st.lists(
    st.builds(NamedContainer, name=TEXT, work=CONTAINER, dependencies=st.lists(TEXT, max_size=2)), max_size=2
)
WORK: st.SearchStrategy[Work] = st.one_of(
    CONTAINER,
    st.builds(ContainerSetWork, containers=NAMED, tries=st.integers(1, 9), pause_seconds=SECONDS),
    st.builds(
        HttpWork,
        method=st.sampled_from(["GET", "POST"]),
        url=TEXT,
        headers=PAIRS,
        body=TEXT,
        timeout_seconds=SECONDS,
        success_condition=TEXT,
        insecure_skip_verify=st.booleans(),
    ),
    st.builds(PluginWork, name=TEXT, arguments=JSON, template=st.dictionaries(TEXT, JSON, max_size=2)),
    st.builds(ResourceWork, action=TEXT, manifest=TEXT, success_condition=TEXT, failure_condition=TEXT),
)
OUTPUTS = st.lists(st.builds(OutputParameter, name=TEXT, path=TEXT, default=st.none() | TEXT), max_size=3)
ARTIFACTS = st.lists(
    st.fixed_dictionaries({"name": TEXT, "path": TEXT, "s3": st.dictionaries(TEXT, TEXT, max_size=2)}), max_size=2
)
SPECS = st.builds(
    StepSpec,
    work=WORK,
    input_artifacts=ARTIFACTS,
    output_artifacts=ARTIFACTS,
    archive=st.just({}) | st.just({"s3": {"bucket": "b", "key": "w/w"}}),
    outputs=OUTPUTS,
    result=st.booleans(),
    grace_seconds=SECONDS,
    timeout_seconds=SECONDS,
    fenced=st.booleans(),
    idempotency_key=TEXT,
)
OUTCOMES = st.builds(
    StepOutcome,
    artifacts=ARTIFACTS,
    containers=st.lists(st.builds(ContainerEnd, name=TEXT, phase=TEXT, message=TEXT), max_size=2),
    phase=st.sampled_from(["Succeeded", "Failed", "Error"]),
    message=TEXT,
    exit_code=st.none() | st.integers(-64, 255),
    result=st.none() | TEXT,
    parameters=st.dictionaries(TEXT, TEXT, max_size=3),
    log_tail=st.lists(TEXT, max_size=3),
    started_at=st.just(0.0) | st.floats(1e9, 2e9).map(lambda x: round(x, 5)),
    finished_at=st.just(0.0) | st.floats(1e9, 2e9).map(lambda x: round(x, 5)),
    answer=JSON,
)


@given(SPECS)
def test_a_step_comes_back_as_it_was_sent(spec: StepSpec) -> None:
    sent = to_proto(
        spec, AttemptKey("u", "n", 2, "h"), namespace="ns", workflow="wf", node_name="wf.n", partition=7, exit=True
    )
    received = pb.Step.FromString(sent.SerializeToString())
    assert spec_of(received) == spec
    assert (received.id, received.uid, received.node, received.attempt, received.exit) == ("u.h/n/2", "u", "n", 2, True)


@given(OUTCOMES)
def test_a_result_comes_back_as_it_was_sent(outcome: StepOutcome) -> None:
    received = outcome_of(pb.StepResult.FromString(result_to_proto(outcome).SerializeToString()))
    assert received.started_at == pytest.approx(outcome.started_at, abs=1e-6)
    assert received.finished_at == pytest.approx(outcome.finished_at, abs=1e-6)
    received.started_at, received.finished_at = outcome.started_at, outcome.finished_at
    assert received == outcome


@pytest.mark.parametrize(
    "attempt", [AttemptKey("u", "n", 0), AttemptKey("u", "wf-1/2.x", 12), AttemptKey("u", "n", 3, "h")]
)
def test_an_attempt_id_names_its_attempt(attempt: AttemptKey) -> None:
    assert attempt_key(attempt.id) == attempt


@pytest.mark.parametrize("text", ["", "u", "u/n", "u/n/x", "/n/1", "u//1", "u/n/²"])
def test_other_text_is_no_attempt_id(text: str) -> None:
    with pytest.raises(ValueError, match="no attempt id"):
        attempt_key(text)


def test_a_step_without_work_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing in it"):
        spec_of(pb.Step(id="u/n/0"))
