"""Results come in any order: what ends how, and which handlers run, does not depend on it where Argo's rules do not."""

from __future__ import annotations

import os
import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exeunt.engine.commands.inputs import AttemptEnded
from tests.engine.graphs import workflows
from tests.engine.world import World, drawn


class Shuffled(World):
    """Ends whichever running step the dice name."""

    dice = random.Random(0)

    def step(self) -> bool:
        self.settle()
        if not self.steps:
            return super().step()
        key, node = self.dice.choice(sorted(self.steps))
        due = self.steps.pop((key, node))
        self.feed(key, AttemptEnded(node, due.attempt, self.outcomes(self.name(key, node), due.attempt)))
        self.settle()
        return True


def patient(spec: dict[str, Any]) -> dict[str, Any]:
    """The same without what lets the first failure decide over others that have not begun."""
    for template in spec["templates"]:
        template.pop("parallelism", None)
        if "dag" in template:
            template["dag"]["failFast"] = False
    spec.pop("parallelism", None)
    return spec


def ended(world: World) -> tuple[dict[str, str], set[tuple[str, str]]]:
    """The phases of all nodes, and which handlers came to which end."""
    assert world.main.closed
    return world.phases(), {(hook.hook_id, hook.phase) for hook in world.main.state.hooks}


@settings(
    max_examples=int(os.environ.get("EXEUNT_EXAMPLES", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(workflows().map(patient), st.integers(0, 50), st.integers(0, 1000))
def test_the_order_of_results_decides_nothing(spec: dict[str, Any], seed: int, order: int) -> None:
    usual = ended(World(spec, drawn(seed)).run())
    Shuffled.dice = random.Random(order)
    assert ended(Shuffled(spec, drawn(seed)).run()) == usual
