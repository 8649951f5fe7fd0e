"""Bodies of events are bounded, whatever people put into workflows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exeunt.cloudevents import BODY_BYTES, EVENTS, AskedFor, Outputs, StepEnded, body, few, last_lines, moment, schema

ABOUT: dict[str, Any] = {"workflow": "w", "uid": "u", "namespace": "n", "attempt": 0}


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ([], []),
        (["a", "b"], ["a", "b"]),
        ([str(n) for n in range(50)], [str(n) for n in range(30, 50)]),
        (["x" * 4090, "é" * 100], ["é" * 100]),
        (["x" * 5000], []),
    ],
)
def test_the_last_lines_are_few_and_short(lines: list[str], kept: list[str]) -> None:
    assert last_lines(lines) == kept


def test_large_annotations_stay_out() -> None:
    small = {f"a{n}": "x" * 100 for n in range(20)}
    assert few({"team": "a"}) == {"team": "a"}
    assert few({**small, "applied": "y" * 1001}) == small
    assert len(json.dumps(few({f"a{n}": "x" * 900 for n in range(200)}))) < 10_000


def test_of_outputs_the_large_part_goes() -> None:
    step = StepEnded(
        **ABOUT,
        node="w",
        node_id="w",
        template="t",
        phase="Succeeded",
        message="",
        exit_code=0,
        tries=1,
        outputs=Outputs(parameters={"large": "x" * BODY_BYTES}, result="small"),
        started_at=moment(1.0),
        finished_at=moment(2.5),
        duration=1.5,
    )
    told = json.loads(body(step))
    assert (told["truncated"], told["outputs"]) == (["outputs.parameters"], {"result": "small"})
    assert (told["startedAt"], told["finishedAt"]) == ("1970-01-01T00:00:01.000Z", "1970-01-01T00:00:02.500Z")


def test_a_long_word_is_cut() -> None:
    told = body(AskedFor(**ABOUT, phase="Running", by="ann", message="x" * BODY_BYTES))
    assert len(told) < 10_000
    assert json.loads(told)["truncated"] == ["message"]


def test_every_type_names_its_schema() -> None:
    assert {schema(kind).rpartition("/")[2] for kind in EVENTS} == {event.body.__name__ for event in EVENTS.values()}
