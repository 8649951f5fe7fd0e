"""What cannot be written down never takes a workflow's handlers with it: the run ends in Error and says why."""

from __future__ import annotations

import pytest

from tests.e2e.cluster import Cluster, nodes
from tests.sizes.manifests import BYE, KB, canary, outputs, sh, steps, text, values, workflow, written

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

SAID = "a decision has"


def test_a_result_that_cannot_be_written_ends_the_run_in_error_with_its_handlers(narrow: Cluster) -> None:
    give = sh("give", written(5, 250 * KB), outputs=outputs(5))
    main = steps("main", {"name": "before", "template": "bye", "hooks": {"exit": {"template": "bye"}}}, [
        {"name": "give", "template": "give", "hooks": {"exit": {"template": "bye"}}},
        {"name": "beside", "template": "long", "hooks": {"exit": {"template": "bye"}}},
    ])  # fmt: skip
    long = sh("long", "sleep 100")
    [found] = narrow.run(text(workflow("result", main, give, long, BYE, onExit="bye")), timeout=100)
    status = found["status"]
    assert (status["phase"], status["outcome"], status["reason"]) == ("Error", "Error", "Error")
    assert SAID in status["message"]
    assert "1,048,576 (EXEUNT_COMMIT_BYTES)" in status["message"]
    assert status["finalization"] == "Succeeded"
    phases = {name: node["phase"] for name, node in nodes(found).items()}
    assert phases[".onExit"] == "Succeeded"
    assert phases["[1].give.onExit"] == "Succeeded"
    assert phases["[1].beside.onExit"] == "Succeeded"
    assert phases["[1].beside"] == "Failed"


def test_a_run_whose_very_first_decision_is_too_large_ends_in_error_with_its_handler(narrow: Cluster) -> None:
    many = {"name": "x", "template": "say", "withSequence": {"count": "20"}, "arguments": values(1, 0)}
    many["arguments"]["parameters"][0]["value"] = "{{workflow.parameters.b0}}"
    say = sh("say", "true", inputs={"parameters": [{"name": "b0"}]})
    made = workflow("first", steps("main", many), say, BYE, onExit="bye", arguments=values(1, 200 * KB))
    [found] = narrow.run(text(made), timeout=100)
    assert found["status"]["phase"] == "Error"
    assert SAID in found["status"]["message"]
    assert nodes(found)[".onExit"]["phase"] == "Succeeded"


def test_an_exit_run_that_cannot_be_written_is_parked_with_the_reason(narrow: Cluster) -> None:
    many = {"name": "x", "template": "say", "withSequence": {"count": "20"}, "arguments": values(1, 0)}
    many["arguments"]["parameters"][0]["value"] = "{{workflow.parameters.b0}}"
    say = sh("say", "true", inputs={"parameters": [{"name": "b0"}]})
    made = workflow("parked", sh("main", "true"), steps("bye", many), say, onExit="bye", arguments=values(1, 200 * KB))
    [found] = narrow.run(text(made), timeout=100)
    assert (found["status"]["phase"], found["status"]["outcome"]) == ("Error", "Succeeded")
    [record] = narrow.exits("--workflow", found["metadata"]["name"])
    assert record["state"] == "parked"
    assert SAID in record["error"]
    [beside] = narrow.run(text(canary()), timeout=60)
    assert beside["status"]["phase"] == "Succeeded"
