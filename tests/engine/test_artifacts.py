"""Artifacts in the engine: what is handed to whom, by manifest. No byte is moved here."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from exeunt.engine.facts.events import RunStarted
from exeunt.engine.facts.work import StepOutcome
from tests.engine.world import Outcomes, World, bundle_of

MAKES = {
    "name": "makes",
    "container": {"image": "i"},
    "outputs": {"artifacts": [{"name": "f", "path": "/out/f"}]},
}
TAKES = {
    "name": "takes",
    "container": {"image": "i", "args": ["{{inputs.artifacts.f.path}}"]},
    "inputs": {"artifacts": [{"name": "f", "path": "/in/f", "mode": 0o640}]},
}
FROM_A = {"artifacts": [{"name": "f", "from": "{{steps.a.outputs.artifacts.f}}"}]}


def keeping(failed: tuple[str, ...] = (), lost: tuple[str, ...] = (), more: dict[str, Any] | None = None) -> Outcomes:
    """Steps keep `f`, in a place that says whose it is; those that are lost do not."""

    def outcome(name: str, attempt: int) -> StepOutcome:
        tree = {"name": "f", "path": "/out/f", "s3": {"key": f"{name}/f.tgz"}, **(more or {})}
        kept = [] if name in lost else [tree]
        if name in failed:
            return StepOutcome(phase="Failed", message="main: Error (exit code 1)", exit_code=1, artifacts=kept)
        return StepOutcome(phase="Succeeded", exit_code=0, artifacts=kept)

    return outcome


def played(spec: str | dict[str, Any], *templates: dict[str, Any], outcomes: Outcomes | None = None) -> World:
    tree = yaml.safe_load(spec) if isinstance(spec, str) else spec
    manifest = {"entrypoint": "main", **tree, "templates": [*tree.get("templates", []), *templates]}
    started = RunStarted("uid", "w", "default", "bundle", repository={"s3": {"bucket": "b"}})
    return World({}, outcomes or keeping(), started=started, bundle=bundle_of(manifest)).run()


def taken(world: World, name: str) -> str:
    """The key of the only artifact that a step was handed."""
    (tree,) = world.given[name].input_artifacts
    return str(tree["s3"]["key"])


def test_a_step_takes_what_another_kept_to_the_path_that_it_names() -> None:
    world = played(
        {"templates": [{"name": "main", "steps": [[step("a", "makes")], [step("b", "takes", FROM_A)]]}]}, MAKES, TAKES
    )
    assert world.main.phase == "Succeeded"
    assert world.given["w[1].b"].input_artifacts == [
        {"name": "f", "path": "/in/f", "mode": 0o640, "s3": {"key": "w[0].a/f.tgz"}}
    ]
    assert world.ran("w[1].b").endswith("/in/f")


def step(name: str, template: str, arguments: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "template": template, **({"arguments": arguments} if arguments else {}), **more}


def test_a_step_is_told_where_the_repository_wants_its_files() -> None:
    world = played({"templates": []}, {**MAKES, "name": "main"})
    spec = world.given["w"]
    assert spec.output_artifacts == [{"name": "f", "path": "/out/f"}]
    assert spec.archive == {"s3": {"bucket": "b", "key": "w/w"}}


def test_each_attempt_of_a_step_is_handed_the_same() -> None:
    takes = {**TAKES, "retryStrategy": {"limit": 1}}
    main = {"name": "main", "steps": [[step("a", "makes")], [step("b", "takes", FROM_A)]]}
    world = played({"templates": [main]}, MAKES, takes, outcomes=keeping(failed=("w[1].b(0)",)))
    assert world.main.phase == "Succeeded"
    assert [taken(world, f"w[1].b({attempt})") for attempt in (0, 1)] == ["w[0].a/f.tgz"] * 2


def test_a_part_of_an_artifact_is_named_by_its_key() -> None:
    part = {"artifacts": [{**FROM_A["artifacts"][0], "subPath": "deep/{{workflow.name}}.txt"}]}
    world = played(
        {"templates": [{"name": "main", "steps": [[step("a", "makes")], [step("b", "takes", part)]]}]}, MAKES, TAKES
    )
    assert taken(world, "w[1].b") == "w[0].a/f.tgz/deep/w.txt"


@pytest.mark.parametrize("optional", [True, False])
def test_an_argument_that_may_be_missing_is_left_out(optional: bool) -> None:
    given = {"artifacts": [{**FROM_A["artifacts"][0], "optional": optional}]}
    takes = {**TAKES, "inputs": {"artifacts": [{"name": "f", "path": "/in/f", "optional": True}]}}
    world = played(
        {"templates": [{"name": "main", "steps": [[step("a", "makes")], [step("b", "takes", given)]]}]},
        MAKES,
        takes,
        outcomes=keeping(lost=("w[0].a",)),
    )
    assert world.main.phase == ("Succeeded" if optional else "Failed")
    if optional:
        assert world.given["w[1].b"].input_artifacts == [{"name": "f", "path": "/in/f", "optional": True}]
    else:
        assert 'Unable to resolve: "steps.a.outputs.artifacts.f"' in world.main.message


def test_the_last_attempt_is_what_others_take() -> None:
    makes = {**MAKES, "retryStrategy": {"limit": 2}}
    world = played(
        {"templates": [{"name": "main", "steps": [[step("a", "makes")], [step("b", "takes", FROM_A)]]}]},
        makes,
        TAKES,
        outcomes=keeping(failed=("w[0].a(0)",)),
    )
    assert taken(world, "w[1].b") == "w[0].a(1)/f.tgz"


def test_a_graph_gives_what_its_steps_kept_and_an_expression_may_choose() -> None:
    inner = {
        "name": "inner",
        "dag": {"tasks": [step("p", "makes", when="false"), step("q", "makes")]},
        "outputs": {
            "artifacts": [
                {
                    "name": "f",
                    "fromExpression": "tasks.p.status == 'Succeeded' ? tasks.p.outputs.artifacts.f : "
                    "tasks.q.outputs.artifacts.f",
                }
            ]
        },
    }
    world = played(
        {"templates": [{"name": "main", "steps": [[step("a", "inner")], [step("b", "takes", FROM_A)]]}]},
        inner,
        MAKES,
        TAKES,
    )
    assert taken(world, "w[1].b") == "w[0].a.q/f.tgz"


def test_a_global_name_makes_it_an_output_of_the_workflow_that_later_steps_and_the_handler_take() -> None:
    makes = {**MAKES, "outputs": {"artifacts": [{"name": "f", "path": "/out/f", "globalName": "all"}]}}
    arguments = {"artifacts": [{"name": "f", "from": "{{workflow.outputs.artifacts.all}}"}]}
    world = played(
        {
            "templates": [{"name": "main", "steps": [[step("a", "makes")], [step("b", "takes", arguments)]]}],
            "hooks": {"exit": {"template": "takes", "arguments": arguments}},
        },
        makes,
        TAKES,
        outcomes=keeping(lost=("w[1].b", "w.onExit"), more={"globalName": "all"}),
    )
    assert taken(world, "w[1].b") == "w[0].a/f.tgz"
    assert taken(world, "w.onExit") == "w[0].a/f.tgz"
    assert world.seen()["status"]["outputs"]["artifacts"] == [{"name": "all", "s3": {"key": "w[0].a/f.tgz"}}]


def test_the_handler_of_a_step_takes_what_its_step_kept_also_when_that_failed() -> None:
    world = played(
        {"templates": [{"name": "main", "steps": [[step("a", "makes", hooks={"exit": step_hook(FROM_A)})]]}]},
        MAKES,
        TAKES,
        outcomes=keeping(failed=("w[0].a",)),
    )
    assert taken(world, "w[0].a.onExit") == "w[0].a/f.tgz"
    assert world.main.phase == "Failed"


def step_hook(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"template": "takes", "arguments": arguments}


def test_a_handler_whose_artifact_is_not_there_is_an_error_of_its_own() -> None:
    world = played(
        {"templates": [{"name": "main", "steps": [[step("a", "makes", hooks={"exit": step_hook(FROM_A)})]]}]},
        MAKES,
        TAKES,
        outcomes=keeping(lost=("w[0].a",)),
    )
    assert world.phases()["w[0].a.onExit"] == "Error"
    assert world.main.phase == "Succeeded"


def test_every_item_takes_the_same_and_the_workflow_has_artifacts_of_its_own() -> None:
    world = played(
        {
            "arguments": {"artifacts": [{"name": "f", "raw": {"data": "for {{workflow.name}}"}}]},
            "templates": [
                {
                    "name": "main",
                    "inputs": {"artifacts": [{"name": "f"}]},
                    "steps": [
                        [
                            step(
                                "a",
                                "takes",
                                {"artifacts": [{"name": "f", "from": "{{inputs.artifacts.f}}"}]},
                                withItems=["x", "y"],
                            )
                        ]
                    ],
                }
            ],
        },
        TAKES,
    )
    for name in ("w[0].a(0:x)", "w[0].a(1:y)"):
        (tree,) = world.given[name].input_artifacts
        assert tree["raw"] == {"data": "for w"}


def test_an_input_that_nobody_gives_is_an_error_before_the_step_begins() -> None:
    world = played({"templates": [{"name": "main", "steps": [[step("a", "takes")]]}]}, TAKES)
    assert "inputs.artifacts.f was not supplied" in world.main.message
