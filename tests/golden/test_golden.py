"""Argo's recorded cases: all that ask one small question, and a sample of the random ones."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from tests.golden.judge import judge
from tests.golden.runner import HERE, cases, file_of, known

SMALL = [case for name in ("hand", "hand2") for case in cases(file_of(name))]
AGREE = 365
"""Of `more`: what is there today. It grows as what is skipped by need gets built."""
SAMPLED = 15
"""Of the random cases one in so many: `make golden` plays all of them."""


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case["id"])
def test_a_small_question_has_argos_answer(case: dict[str, Any]) -> None:
    verdict = judge(case)
    assert verdict.state != "differ" or case["id"] in known(), f"{case['title']}\n" + "\n".join(verdict.lines)


@pytest.mark.parametrize("name", ["random", "hooks"])
def test_random_workflows_end_as_argos_do(name: str) -> None:
    sample = [case for number, case in enumerate(cases(file_of(name))) if number % SAMPLED == 0]
    verdicts = {case["id"]: judge(case) for case in sample}
    assert not [identity for identity, verdict in verdicts.items() if verdict.state == "skipped"]
    differing = {identity: verdict.lines[:3] for identity, verdict in verdicts.items() if verdict.state == "differ"}
    assert not differing.keys() - known(), {identity: differing[identity] for identity in differing.keys() - known()}


def test_each_that_differs_has_its_cause() -> None:
    causes = tomllib.loads((HERE / "causes.toml").read_text())
    ids = [id for kind in causes.values() for cause in kind.values() for id in cause["ids"]]
    assert sorted(ids) == sorted(known())


def test_what_needs_a_clock_or_an_agent_ends_as_argos_does() -> None:
    verdicts = {case["id"]: judge(case) for case in cases(file_of("more"))}
    differing = {identity: verdict.lines[:3] for identity, verdict in verdicts.items() if verdict.state == "differ"}
    assert not differing.keys() - known(), differing
    assert sum(verdict.agrees for verdict in verdicts.values()) >= AGREE, "less is compared than was"
