"""The matrix: shapes of a call with an exit handler, and ways to end it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

from exeunt.engine.facts.work import StepOutcome

Manifest = dict[str, Any]

EXIT_ON = "terminate,delete"
"""Asked of every workflow, so that each handler runs whatever ends it."""

MIDWAY = ("stop", "terminate", "deletion", "deadline", "lost executor")
"""Come from outside, so they are tried after none, one, two and four ends of steps."""
WAYS = (
    "success", "failure", "error", "retries used up", "failFast beside", "a sibling that cannot begin",
    "a condition that cannot be read", "a hook's error", "step timeout", "template deadline", *MIDWAY,
)  # fmt: skip
MOMENTS = (0, 1, 2, 4)


class Shape(NamedTuple):
    """The call is `b`; its sibling `A` ends first and begins last."""

    kind: str  # steps or dag: what holds the call
    loop: bool
    runs: str  # container, steps or dag: what is called
    retried: bool
    handler: str  # container, retried, steps or dag

    def __str__(self) -> str:
        loop, retried = "loop" if self.loop else "plain", "retried" if self.retried else "once"
        return f"{self.kind}-{loop}-{self.runs}-{retried}-{self.handler}"


SHAPES = [
    Shape(*values)
    for values in product(
        ("steps", "dag"), (True, False), ("container", "steps", "dag"), (True, False),
        ("container", "retried", "steps", "dag"),
    )
]  # fmt: skip


class Cell(NamedTuple):
    shape: Shape
    way: str
    moment: int = 0

    def __str__(self) -> str:
        return f"{self.way}@{self.moment}/{self.shape}"


def cells() -> Iterator[Cell]:
    for way, shape in product(WAYS, SHAPES):
        for moment in MOMENTS if way in MIDWAY else (0,):
            yield Cell(shape, way, moment)


def outcome_of(way: str, name: str) -> StepOutcome:
    """What each step comes to; handlers go well, but the first attempt of a retried one."""
    failed = StepOutcome(phase="Failed", message="main: Error (exit code 1)", exit_code=1)
    if ".onExit" in name:
        return failed if name.endswith(".onExit(0)") else _WELL
    if name.endswith(("[0].A", "w.A")):
        return failed if way == "failFast beside" else _WELL
    if way in ("failure", "retries used up"):
        return failed
    return StepOutcome(phase="Error", message="wait: Error (exit code 1)", exit_code=0) if way == "error" else _WELL


_WELL = StepOutcome(phase="Succeeded", exit_code=0, result="1")


IMAGE: Manifest = {"image": "i", "command": ["true"]}


def spec_of(cell: Cell, work: Manifest = IMAGE, side: Manifest = IMAGE, quick: Manifest = IMAGE) -> Manifest:
    """The manifest's spec: what the call's containers run, its sibling's, and the handlers'."""
    shape, way = cell.shape, cell.way
    templates = [_main(shape, way), _called(shape, way, work), *_handler(shape, quick), _work("t", way, work)]
    templates += [{"name": "quick", "container": quick}, {"name": "side", "container": side}]
    templates.append({"name": "asks", "inputs": {"parameters": [{"name": "m"}]}, "container": quick})
    spec: Manifest = {"entrypoint": "main", "onExit": "quick", "templates": templates}
    if way == "deadline":
        spec["activeDeadlineSeconds"] = 3
    return spec


def _work(name: str, way: str, body: Manifest) -> Manifest:
    missing = {"outputs": {"parameters": [{"name": "o", "valueFrom": {"path": "/nowhere/o"}}]}}
    more = {"step timeout": {"timeout": "2s"}, "template deadline": {"activeDeadlineSeconds": 2}, "error": missing}
    return {"name": name, "container": body, **more.get(way, {})}


def _main(shape: Shape, way: str) -> Manifest:
    prefix = "steps" if shape.kind == "steps" else "tasks"
    exits: Manifest = {"template": "handler"}
    exits["arguments"] = {
        "parameters": [{"name": "m", "value": "{{item}}" if shape.loop else f"{{{{{prefix}.b.status}}}}"}]
    }
    call: Manifest = {"name": "b", "template": "called", "hooks": {"exit": exits}}
    if shape.loop:
        call["withItems"] = ["x", "y"]
    if way == "a hook's error":
        call["hooks"]["odd"] = {"template": "quick", "expression": f"int({prefix}.b.status) > 1"}
    sibling: Manifest = {"name": "A", "template": "side", "hooks": {"exit": {"template": "quick"}}}
    if way == "a condition that cannot be read":
        sibling["when"] = "{{workflow.name}} is so"
    if way == "a sibling that cannot begin":
        value = "{{=asInt(workflow.name)}}"
        sibling.update(template="asks", arguments={"parameters": [{"name": "m", "value": value}]})
    calls = [call, sibling]
    held: Manifest = {"steps": [calls]} if shape.kind == "steps" else {"dag": {"tasks": calls}}
    return {"name": "main", **held, **({"failFast": True} if way == "failFast beside" else {})}


def _called(shape: Shape, way: str, body: Manifest) -> Manifest:
    template: Manifest = {"name": "called"}
    if shape.runs == "container":
        template = _work("called", way, body)
    else:
        p: Manifest = {"name": "p", "template": "t", "hooks": {"exit": {"template": "handler"}}}
        q: Manifest = {"name": "q", "template": "t", "hooks": {"exit": {"template": "quick"}}}
        r: Manifest = {"name": "r", "template": "t", "onExit": "quick"}
        if shape.runs == "steps":
            template["steps"] = [[p, q], [r]]
        else:
            template["dag"] = {"tasks": [p, q, {**r, "depends": "p"}]}
    if shape.retried:
        template["retryStrategy"] = {"limit": 1, "retryPolicy": "Always"}
    return template


def _handler(shape: Shape, body: Manifest) -> list[Manifest]:
    handler: Manifest = {"name": "handler", "inputs": {"parameters": [{"name": "m", "value": "0"}]}}
    inside = [{"name": "one", "template": "quick", "onExit": "quick"}, {"name": "two", "template": "quick"}]
    match shape.handler:
        case "steps":
            handler["steps"] = [[inside[0]], [inside[1]]]
        case "dag":
            handler["dag"] = {"tasks": [inside[0], {**inside[1], "depends": "one"}]}
        case _:
            handler["container"] = body
    if shape.handler == "retried":
        handler["retryStrategy"] = {"limit": 1}
    return [handler]
