"""W0: the engine alone. Nodes a second, bytes of log a node, and whether the cost of a node grows with its workflow.

Each end of a step is a decision and a commit of its own, the dearest way to come to the end; commits are encoded as for
the log, and the log is folded again as after a restart. Times are CPU time: other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from bench import works
from exeunt.engine import decide
from exeunt.engine.commands import AttemptEnded, GoOn, Placed
from exeunt.engine.facts import Event, RunStarted, StepDue, StepOutcome, commit
from exeunt.language.decode import load_manifests
from exeunt.language.manifest import Bundle, Workflow
from exeunt.language.validate import resolve

SMALL, LARGE = 2_000, 10_000
NODES_OF_A_LEVEL = 4  # the level, its two groups, and its work


LEVELS = 50  # half as deep as templates may call each other


def nest(nodes: int) -> str:
    """Nests side by side of a template that calls itself: work on each level, and the next level inside."""
    call: dict[str, Any] = {
        "name": "in",
        "template": "level",
        "when": "{{inputs.parameters.left}} > 1",
        "arguments": {"parameters": [{"name": "left", "value": "{{=asInt(inputs.parameters.left) - 1}}"}]},
    }
    level = {
        "name": "level",
        "inputs": {"parameters": [{"name": "left", "value": str(LEVELS)}]},
        "steps": [[{"name": "a", "template": "true"}], [call]],
    }
    nests = {"name": "n", "template": "level", "withSequence": {"count": str(nodes // (NODES_OF_A_LEVEL * LEVELS))}}
    return works.manifest("nest", "main", [{"name": "main", "steps": [[nests]]}, level, works.TRUE])


SHAPES: dict[str, Callable[[int], str]] = {
    "chain": lambda nodes: works.chain(nodes // 2),  # a group and a step each
    "fan": works.fan_out,
    "nest": nest,
}


class Cost(NamedTuple):
    """What one run came to. Rates are nodes a second of CPU time."""

    nodes: int
    rate: float
    replay_rate: float
    bytes_per_node: float


def bundle_of(text: str) -> Bundle:
    """The bundle of one workflow that refers to nothing stored."""
    model = load_manifests(text)[0].model
    assert isinstance(model, Workflow)
    return resolve(model, lambda *_: None)


def run(text: str) -> Cost:
    """Runs a workflow to its end, each step in the order in which it became due, and folds its log again."""
    bundle = bundle_of(text)
    now = 1_000_000.0
    log: list[bytes] = []
    due: deque[StepDue] = deque()

    def write(events: list[Event]) -> None:
        due.extend(e for e in events if isinstance(e, StepDue))
        if events:
            log.append(commit.encode(now, events))

    gc.collect()
    began = time.process_time()
    started = RunStarted(uid="uid", name="bench", namespace="default", bundle="bundle")
    current, events = decide.begin(started, bundle, now)
    write(events)
    while due or current.unfinished:
        if current.unfinished:  # large decisions are made in turns
            write(decide.decide(current, GoOn(), now))
            continue
        step = due.popleft()
        now += 0.001
        write(decide.decide(current, Placed(step.node, step.attempt, "executor"), now))
        outcome = StepOutcome(phase="Succeeded", exit_code=0, started_at=now, finished_at=now)
        write(decide.decide(current, AttemptEnded(step.node, step.attempt, outcome), now))
    ended = time.process_time()
    assert (current.closed, current.phase) == (True, "Succeeded"), f"{current.phase}: {current.message}"
    again = decide.replay(lambda _: bundle, (commit.decode(data) for data in log))
    replayed = time.process_time()
    assert again.closed
    nodes = len(current.nodes)
    return Cost(nodes, nodes / (ended - began), nodes / (replayed - ended), sum(map(len, log)) / nodes)


def growth(shape: str, rounds: int = 3) -> tuple[Cost, Cost]:
    """The best of some rounds with 2,000 nodes and with 10,000; they alternate, as the machine's speed changes."""
    small, large = [], []
    for _ in range(rounds):
        small.append(run(SHAPES[shape](SMALL)))
        large.append(run(SHAPES[shape](LARGE)))
    return max(small, key=lambda c: c.rate), max(large, key=lambda c: c.rate)


def main() -> None:
    """Prints the table."""
    for shape in SHAPES:
        for cost in growth(shape):
            print(json.dumps({"shape": shape, **{k: round(v) for k, v in cost._asdict().items()}}))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
