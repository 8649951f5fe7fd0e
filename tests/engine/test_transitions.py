"""Every event in every state: it follows as the tables say, or it is refused and nothing has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from exeunt.cli.lives import page
from exeunt.engine import decide
from exeunt.engine.facts import commit, phases
from exeunt.engine.facts.events import Event, NodeEnded, RunClosed, StepFinished
from exeunt.engine.facts.fold import FOLDS, fold
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.state import pack, unpack
from exeunt.engine.facts.transitions import LIVES, IllegalStep
from exeunt.language.manifest import Bundle
from exeunt.language.validate import validate
from tests.engine.world import bundle_of
from tests.generated.manifests import generate
from tests.generated.play import MAX_TURNS, Delivery

ROOT = Path(__file__).parents[2]
SEEDS = range(7_000, 7_024)
STATES, EVENTS = 12, 40


def played(seed: int) -> tuple[Bundle, list[bytes], list[Event]]:
    """A generated workflow that was run: its bundle, states on the way (packed), and all events of all of its runs."""
    made = generate(seed)
    bundle = bundle_of(made.spec)
    if [one for one in validate(bundle) if not one.warning]:
        pytest.skip("a manifest that is refused was drawn")
    delivery = Delivery(seed, made, bundle, "drawn")
    delivery.run(MAX_TURNS)
    states: list[bytes] = []
    for log in delivery.logs.values():
        for until in range(1, len(log) + 1):
            run = decide.replay(lambda _: bundle, [commit.decode(data) for data in log[:until]])
            states.append(msgspec.msgpack.encode(pack(run.state)))
    return bundle, states, [event for told in delivery.told_of.values() for event in told]


def samples(draw: Random, events: list[Event]) -> Iterator[Event]:
    """Some of each kind; and ends with every phase, whatever they were."""
    by_kind: dict[type, list[Event]] = {}
    for event in events:
        by_kind.setdefault(type(event), []).append(event)
    for found in by_kind.values():
        yield from draw.sample(found, min(len(found), 4))
    for event in events[:EVENTS]:
        if isinstance(event, NodeEnded):
            for phase in (phases.PENDING, phases.RUNNING, phases.SUCCEEDED, phases.SKIPPED):
                yield msgspec.structs.replace(event, phase=phase)
        if isinstance(event, StepFinished):
            yield msgspec.structs.replace(event, node="w-0")


@pytest.mark.parametrize("seed", SEEDS)
def test_an_event_follows_or_nothing_changes(seed: int) -> None:
    draw = Random(seed)
    bundle, states, events = played(seed)
    refused = 0
    for packed in draw.sample(states, min(len(states), STATES)):
        for event in samples(draw, events):
            run: Run = decide.take_up(unpack(msgspec.msgpack.decode(packed)), bundle)
            if _refuses(run, event):
                refused += 1
                assert msgspec.msgpack.encode(pack(run.state)) == packed, event
    assert refused


def _refuses(run: Run, event: Event) -> bool:
    try:
        fold(run, event)
    except IllegalStep:
        return True
    return False


def test_the_page_says_what_the_tables_say() -> None:
    assert (ROOT / "docs" / "lives.md").read_text() == page(), "python -m exeunt.cli.lives docs/lives.md"


def test_every_event_is_folded_and_the_tables_name_no_others() -> None:
    assert {event for table in LIVES.values() for _, event in table} <= FOLDS.keys()


def test_nothing_but_a_new_beginning_follows_an_end() -> None:
    ends = {(life, event.__name__) for life, table in LIVES.items() for state, event in table if state == "closed"}
    assert ends == {
        ("main run", "Retried"),
        ("main run", "Snapshot"),
        ("exit run", "Reopened"),
        ("exit run", "Snapshot"),
    }
    assert RunClosed in FOLDS
