"""Trees as people see them."""

from typing import Any

from exeunt.cli import times, tree

NOW = times.seconds("2026-11-23T10:01:00Z") or 0.0


def node(name: str, kind: str = "Pod", phase: str = "Succeeded", **more: Any) -> dict[str, Any]:
    """A node whose id is its name."""
    shown = name.rpartition(".")[2] if "[" in name and "(" not in name else name
    return {
        "id": name,
        "name": name,
        "displayName": more.pop("shown", shown),
        "type": kind,
        "phase": phase,
        "startedAt": "2026-11-23T10:00:00Z",
        "finishedAt": None if phase in ("Running", "Pending") else "2026-11-23T10:00:05Z",
        **more,
    }


def drawn(*nodes: dict[str, Any]) -> list[str]:
    """The tree alone, one text for each line."""
    workflow = {"metadata": {"name": "w"}, "status": {"nodes": {n["id"]: n for n in nodes}}}
    return [f"{row.lead}{row.symbol} {row.name}" for row in tree.rows(workflow, NOW)]


def test_steps_side_by_side_hang_on_one_branch() -> None:
    assert drawn(
        node("w", "Steps"),
        node("w[0]", "StepGroup", boundaryID="w"),
        node("w[0].a", boundaryID="w"),
        node("w[1]", "StepGroup", boundaryID="w"),
        node("w[1].b", boundaryID="w", phase="Failed"),
        node("w[1].c", boundaryID="w", phase="Running"),
    ) == [
        "✔ w",
        "├───✔ a",
        "└─┬─✖ b",
        "  └─● c",
    ]


def test_nested_steps_are_drawn_below_their_step() -> None:
    assert drawn(
        node("w", "Steps"),
        node("w[0].a", "Steps", boundaryID="w"),
        node("w[0].a[0].x", boundaryID="w[0].a"),
        node("w[0].a[1].y", boundaryID="w[0].a"),
        node("w[1].b", boundaryID="w"),
    ) == [
        "✔ w",
        "├───✔ a",
        "│   ├───✔ x",
        "│   └───✔ y",
        "└───✔ b",
    ]


def test_attempts_stand_below_their_step_in_order() -> None:
    retry = node("w[0].a", "Retry", boundaryID="w", children=["w[0].a(0)", "w[0].a(1)"])
    assert drawn(
        node("w", "Steps"),
        retry,
        node("w[0].a(1)", boundaryID="w", shown="a(1)"),
        node("w[0].a(0)", boundaryID="w", shown="a(0)", phase="Error"),
    ) == [
        "✔ w",
        "└───✔ a",
        "    ├─⚠ a(0)",
        "    └─✔ a(1)",
    ]


def test_items_of_a_loop_are_in_their_order_even_beyond_nine() -> None:
    group = node("w.t", "TaskGroup", boundaryID="w", shown="t", children=[f"w.t({n}:{n})" for n in (10, 9, 0)])
    items = [node(f"w.t({n}:{n})", boundaryID="w", shown=f"t({n}:{n})") for n in (10, 9, 0)]
    assert drawn(node("w", "DAG"), group, *items) == [
        "✔ w",
        "└─✔ t",
        "  ├─✔ t(0:0)",
        "  ├─✔ t(9:9)",
        "  └─✔ t(10:10)",
    ]


def test_hooks_stand_below_what_they_belong_to_and_the_workflows_own_beside_it() -> None:
    assert drawn(
        node("w", "Steps", phase="Failed"),
        node("w[0].a", boundaryID="w", phase="Failed"),
        node("w[0].a.onExit", boundaryID="w", shown="a.onExit"),
        node("w.onExit", "Steps", shown="w.onExit"),
        node("w.onExit[0].tell", boundaryID="w.onExit", shown="tell"),
        node("w.hooks.running", shown="w.hooks.running"),
    ) == [
        "✖ w",
        "└───✖ a",
        "    └─✔ a.onExit",
        "✔ w.hooks.running",
        "✔ w.onExit",
        "└───✔ tell",
    ]


def test_a_suspended_step_has_a_sign_of_its_own() -> None:
    assert drawn(node("w", "Suspend", phase="Running")) == ["ǁ w"]


def test_a_very_deep_nest_is_cut() -> None:
    names = ["w" + "".join(f"[0].s{level}" for level in range(depth)) for depth in range(60)]
    nodes = [
        node(name, "Steps", boundaryID=names[depth - 1] if depth else "", shown=f"s{depth}")
        for depth, name in enumerate(names)
    ]
    lines = drawn(*nodes)
    assert len(lines) == tree.DEEPEST + 2
    assert lines[-1].endswith("… 1 more below")


def test_a_whole_workflow_as_text() -> None:
    workflow = {
        "metadata": {"name": "w", "namespace": "default", "creationTimestamp": "2026-11-23T10:00:00Z"},
        "status": {
            "phase": "Running",
            "outcome": "Failed",
            "reason": "Deadline",
            "finalization": "Running",
            "startedAt": "2026-11-23T10:00:00Z",
            "progress": "0/1",
            "outputs": {"parameters": [{"name": "rows", "value": "42"}]},
            "nodes": {
                "w": node("w", phase="Failed", templateName="main", message="main: Error\n(exit code 1)"),
                "x": node("w.onExit", phase="Running", templateName="tidy", shown="w.onExit"),
            },
        },
    }
    assert (
        tree.text(workflow, NOW)
        == """\
Name:          w
Namespace:     default
Status:        Running
Outcome:       Failed (Deadline)
Exit handlers: Running
Created:       2026-11-23T10:00:00Z
Started:       2026-11-23T10:00:00Z
Duration:      1m
Progress:      0/1
Outputs:
  rows:        42

STEP        TEMPLATE  DURATION  MESSAGE
✖ w         main      5s        main: Error (exit code 1)
● w.onExit  tidy      1m
"""
    )


def test_durations_have_two_units_at_most() -> None:
    assert [times.duration(n) for n in (0, 59.9, 60, 125, 3600, 8_000, 90_000)] == [
        "0s", "59s", "1m", "2m5s", "1h", "2h13m", "1d1h",
    ]  # fmt: skip
