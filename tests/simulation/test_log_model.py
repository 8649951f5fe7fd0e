"""The log's protocol as a model, in every order of crashes, take-overs, zombies, cuts and lost answers."""

from __future__ import annotations

import pytest

from tests.simulation import log_model


def test_the_protocol_holds_in_every_order() -> None:
    states, wrong, how = log_model.explore(None, 5)
    assert wrong is None, " → ".join(how)
    assert states > 10_000  # it did look


def test_the_protocol_holds_when_answers_are_lost() -> None:
    states, wrong, how = log_model.explore(None, 6, lost=True)
    assert wrong is None, " → ".join(how)
    assert states > 10_000


@pytest.mark.parametrize(("more", "length"), [(log_model.CANCEL, 6), (log_model.REPLAY, 5), (log_model.MESSAGE, 5)])
def test_the_protocol_holds_with(more: str, length: int) -> None:
    states, wrong, how = log_model.explore(None, length, more=more, alone=True)
    assert wrong is None, " → ".join(how)
    assert states > 10_000


@pytest.mark.parametrize("mutation", log_model.MORE)
def test_a_rule_of_those_that_is_left_out_is_noticed(mutation: str) -> None:
    more, _ = log_model.MORE[mutation]
    _, wrong, _ = log_model.explore(mutation, 6 if more == log_model.CANCEL else 5, more=more, alone=True)
    assert wrong


@pytest.mark.parametrize("mutation", log_model.MUTATIONS)
def test_a_rule_that_is_left_out_is_noticed(mutation: str) -> None:
    _, wrong, how = log_model.explore(mutation, 5)
    assert wrong
    assert how


def test_sending_again_under_the_old_fence_goes_wrong_along_a_known_path() -> None:
    assert log_model.follow(log_model.RESEND, log_model.PATH) == "the handler's run is created twice"
    settled = [*log_model.PATH[:2], "m renews its fence to settle due", *log_model.PATH[2:]]
    assert log_model.follow(None, settled) == "not possible: the late due is written"
