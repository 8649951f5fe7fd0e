"""Values on their way: what outputs come to, under which names, and what texts read when something is not there."""

from __future__ import annotations

import json

import pytest

from exeunt.cli.tree import text
from exeunt.engine import decide
from exeunt.engine.commands.inputs import Rejected, ResumeRun, SetNodes
from exeunt.engine.facts.work import StepOutcome
from tests.engine.world import World, failing, read, written

GIVES = """
    spec:
      entrypoint: main
      templates:
      - name: main
        steps:
        - - {name: one, template: give, arguments: {parameters: [{name: m, value: hi}]}}
        - - name: two
            template: show
            arguments: {parameters: [{name: m, value: "{{steps.one.outputs.parameters.out}}"}]}
      - name: give
        inputs: {parameters: [{name: m}]}
        container: {image: a, command: ["true"]}
        outputs: {parameters: [{name: read, valueFrom: {path: f}}, {name: out, value: "{{inputs.parameters.m}}"}]}
      - name: show
        inputs: {parameters: [{name: m}]}
        container: {image: a, command: [echo, "{{inputs.parameters.m}}"]}
"""


def reads(name: str, attempt: int) -> StepOutcome:
    return StepOutcome(phase="Succeeded", exit_code=0, parameters={"read": "from the file"})


@pytest.mark.parametrize("restarts", [False, True])
def test_an_output_with_a_fixed_value_stands_beside_those_that_were_read(restarts: bool) -> None:
    world = written(GIVES, reads, restarts=restarts)
    assert world.ran("w[1].two") == "echo hi"
    nodes = decide.status(world.main)["status"]["nodes"].values()
    [one] = [node for node in nodes if node["displayName"] == "one"]
    assert one["outputs"]["parameters"] == [{"name": "read", "value": "from the file"}, {"name": "out", "value": "hi"}]


NAMED = """
    spec:
      entrypoint: main
      onExit: bye
      templates:
      - name: main
        steps: [[{name: make, template: t, arguments: {parameters: [{name: NAME, value: cluster}]}}]]
      - name: t
        RETRY
        inputs: {parameters: [{name: NAME}]}
        container: {image: a, command: ["true"]}
        outputs: {parameters: [{name: read, globalName: 'TAG', valueFrom: {path: x}}]}
      - {name: bye, container: {image: a, command: [echo, "delete {{=workflow.outputs.parameters['cluster']}}"]}}
"""


@pytest.mark.parametrize("tag", ["{{inputs.parameters.NAME}}", "{{ inputs.parameters.NAME }}"])
@pytest.mark.parametrize("retry", ["", "retryStrategy: {limit: 1}"])
@pytest.mark.parametrize("kind", ["steps: [[{", "dag: {tasks: [{"])
def test_a_global_name_may_come_from_an_input(tag: str, retry: str, kind: str) -> None:
    source = NAMED.replace("TAG", tag).replace("RETRY", retry).replace("steps: [[{", kind)
    if kind.startswith("dag"):
        source = source.replace("value: cluster}]}}]]", "value: cluster}]}}]}")
    world = written(source, reads)
    assert world.outputs() == {"cluster": "from the file"}
    assert world.ran("w.onExit") == "echo delete from the file"


NOTHING_GIVEN = """
    spec:
      entrypoint: main
      hooks:
        exit:
          template: bye
          expression: (workflow.outputs.parameters.cluster ?? "none") != "kept"
          arguments: {parameters: [{name: from, value: "{{=workflow.outputs.parameters.cluster ?? 'nothing'}}"}]}
      templates:
      - name: main
        container: {image: a, command: ["false"]}
        outputs: {parameters: [{name: o, globalName: cluster, valueFrom: {path: x}}]}
      - name: bye
        inputs: {parameters: [{name: from}]}
        script:
          image: a
          command: [cat]
          source: "{{inputs.parameters.from}} {{=workflow.outputs.parameters.cluster ?? 'none'}}"
"""


def test_a_handler_may_ask_for_an_output_where_there_is_none_at_all() -> None:
    assert written(NOTHING_GIVEN, failing("w")).ran("w.onExit") == "nothing none"


TRIED = """
    spec:
      entrypoint: main
      templates:
      - name: main
        retryStrategy: {limit: 2, expression: "asInt(lastRetry.exitCode) > 1 && asInt(lastRetry.duration) < 120"}
        container: {image: a, command: [echo, "{{lastRetry.duration}}"]}
"""


def test_the_time_of_the_last_attempt_is_told_in_whole_seconds() -> None:
    bundle, _ = read(TRIED)
    world = World({}, lambda *_: StepOutcome(phase="Failed", exit_code=2), bundle=bundle)
    world.settle()
    world.now += 3.7
    world.run()
    assert [world.ran(f"w({number})") for number in range(3)] == ["echo 0", "echo 3", "echo 0"]


ASKS = """
    spec:
      entrypoint: main
      templates:
      - name: main
        suspend: {}
        outputs: {parameters: [{name: a, valueFrom: {supplied: {}}}, {name: b, valueFrom: {supplied: {}}}]}
"""


def test_a_value_that_was_set_by_one_is_not_set_again_by_another() -> None:
    world = written(ASKS)
    world.feed("", SetNodes("displayName=w", {"a": "one"}, request_id="first"))
    world.feed("", SetNodes("displayName=w", {"a": "one"}, request_id="first"))
    with pytest.raises(Rejected, match="'a' stays: it was already set") as caught:
        world.feed("", SetNodes("displayName=w", {"b": "x", "a": "two"}, request_id="second"))
    assert caught.value.reason == "ALREADY_SET"
    world.feed("", SetNodes("displayName=w", {"b": "two"}, request_id="third"))
    world.feed("", ResumeRun(selector="displayName=w"))
    [node] = decide.status(world.main)["status"]["nodes"].values()
    assert node["outputs"]["parameters"] == [{"name": "a", "value": "one"}, {"name": "b", "value": "two"}]


GIVEN_UP = """
    spec:
      entrypoint: main
      onExit: bye
      templates:
      - name: main
        retryStrategy: {limit: 3, expression: "asInt(lastRetry.exitCode) == 7"}
        container: {image: a, command: ["false"]}
      - name: bye
        script: {image: a, command: [cat], source: '{{workflow.exeunt.message}}; {{workflow.exeunt.failures}}'}
"""


def test_what_a_retry_strategy_gives_up_still_says_what_it_failed_of() -> None:
    world = written(GIVEN_UP, failing("w(0)"))
    message, _, failures = world.ran("w.onExit").partition("; ")
    own = "main: Error (exit code 1)"
    assert message == f"retryStrategy.expression evaluated to false: {own}"
    attempt, node = json.loads(failures)
    assert (attempt["message"], attempt["cause"]) == (own, "")
    assert (node["message"], node["cause"]) == ("retryStrategy.expression evaluated to false", own)
    seen = decide.status(world.main)
    assert seen["status"]["message"] == "retryStrategy.expression evaluated to false", "as in Argo"
    assert message in text(seen, 0.0)


NOT_RUN = """
    spec:
      entrypoint: main
      onExit: bye
      templates:
      - name: main
        dag:
          tasks:
          - {name: a, template: t}
          - {name: b, template: t, depends: a}
          - {name: c, template: t, when: "1 == 2"}
          - {name: d, template: t, depends: c}
      - {name: t, container: {image: a, command: ["true"]}}
      - name: bye
        script: {image: a, command: [cat], source: '{{workflow.exeunt.skipped}}; {{workflow.exeunt.failures}}'}
"""


def test_the_handler_is_told_what_did_not_run_and_when_what_failed_had_begun() -> None:
    world = written(NOT_RUN, failing("w.a"))
    skipped, _, failures = world.ran("w.onExit").partition("; ")
    told = {entry["displayName"]: (entry["phase"], entry["message"]) for entry in json.loads(skipped)}
    assert told == {
        "b": ("Omitted", "omitted: depends condition not met"),
        "c": ("Skipped", "when '1 == 2' evaluated false"),
    }
    nodes = decide.status(world.main)["status"]["nodes"]
    assert [entry["startedAt"] for entry in json.loads(failures)] == [
        nodes[entry["id"]]["startedAt"] for entry in json.loads(failures)
    ]


def test_where_all_ran_nothing_is_told_as_skipped() -> None:
    world = written(NOT_RUN.replace("1 == 2", "1 == 1"))
    assert world.ran("w.onExit") == "[]; []"
