"""What must hold whatever the workflow is: the log says it all, and saying a thing twice changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from exeunt.engine import decide
from exeunt.engine.commands.inputs import ShutdownRun
from exeunt.engine.facts import commit
from exeunt.engine.facts.state import pack
from tests.engine.graphs import workflows
from tests.engine.world import World, drawn

EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def ended(world: World) -> dict[str, Any]:
    """The status of a workflow that must be over, with nothing left open."""
    assert world.main.closed, f"stuck: {world.phases()}"
    assert not [name for name, phase in world.phases().items() if phase in ("Running", "Pending")]
    assert all(run.closed for run in world.runs.values())
    assert not any(hook.open for hook in world.main.state.hooks)
    pending = decide.pending(world.main)
    assert not any([pending.due, pending.placed, pending.timers, pending.hooks])
    return world.seen()


@EXAMPLES
@given(workflows(), st.integers(0, 50))
def test_a_workflow_comes_to_an_end_and_the_log_tells_the_same(spec: dict[str, Any], seed: int) -> None:
    world = World(spec, drawn(seed)).run()
    seen = ended(world)
    again = decide.replay(lambda _: world.bundle, [commit.decode(data) for data in world.logs[""]])
    assert decide.status(again) == seen
    assert pack(again.state) == pack(world.main.state)


@EXAMPLES
@given(workflows(), st.integers(0, 50))
def test_interrupted_at_every_commit_it_ends_the_same(spec: dict[str, Any], seed: int) -> None:
    assert ended(World(spec, drawn(seed), restarts=True).run()) == ended(World(spec, drawn(seed)).run())


@EXAMPLES
@given(workflows(), st.integers(0, 50))
def test_a_snapshot_at_every_commit_changes_nothing(spec: dict[str, Any], seed: int) -> None:
    assert ended(World(spec, drawn(seed), snapshots=True).run()) == ended(World(spec, drawn(seed)).run())


@EXAMPLES
@given(workflows(), st.integers(0, 50))
def test_said_twice_is_said_once(spec: dict[str, Any], seed: int) -> None:
    assert ended(World(spec, drawn(seed), doubled=True).run()) == ended(World(spec, drawn(seed)).run())


@EXAMPLES
@given(workflows(), st.integers(0, 50), st.integers(0, 6), st.sampled_from(["Stop", "Terminate"]))
def test_a_stop_at_any_time_leaves_nothing_open(spec: dict[str, Any], seed: int, after: int, strategy: str) -> None:
    world = World(spec, drawn(seed))
    for _ in range(after):
        world.step()
    if world.main.closed:
        return
    world.feed("", ShutdownRun(strategy))
    world.run()
    ended(world)
    again = decide.replay(lambda _: world.bundle, [commit.decode(data) for data in world.logs[""]])
    assert pack(again.state) == pack(world.main.state)


@EXAMPLES
@given(workflows(), st.integers(0, 50))
def test_every_handler_that_became_due_ran_once(spec: dict[str, Any], seed: int) -> None:
    world = World(spec, drawn(seed), restarts=True).run()
    ended(world)
    for hook in world.main.state.hooks:
        assert hook.phase == "Skipped" or hook.outcome is not None
    names = [hook.outcome.nodes[0]["name"] for hook in world.main.state.hooks if hook.outcome is not None]
    assert len(names) == len(set(names))
    if spec.get("onExit"):
        assert "w.onExit" in names


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x93\x02\xcb", b"[1, 2]"])
def test_what_is_no_commit_is_told_as_such(data: bytes) -> None:
    with pytest.raises(commit.UnknownFormatError):
        commit.decode(data)
