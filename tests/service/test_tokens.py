"""Tokens: who is answered, however the scheme is written."""

from __future__ import annotations

import pytest

from exeunt.service.tokens import MISSING, WRONG, TokenGuard

TOKEN = "A-token-of-20-signs."


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
@pytest.mark.parametrize("raw", [False, True])
def test_the_scheme_has_no_case(scheme: str, raw: bool) -> None:
    sent = f"{scheme} {TOKEN}"
    given = sent.encode() if raw else sent
    assert TokenGuard([TOKEN]).refusal("exeunt.v1.WorkflowService/GetWorkflow", [("authorization", given)]) is None


@pytest.mark.parametrize(
    "sent",
    ["", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN.lower()}", f"Bearer {TOKEN}x", f"Bearer{TOKEN}"],
)
def test_another_token_or_scheme_is_refused(sent: str) -> None:
    refusal = TokenGuard([TOKEN]).refusal("exeunt.v1.WorkflowService/GetWorkflow", [("authorization", sent)])
    assert refusal is not None
    assert str(refusal) == WRONG


def test_none_is_refused() -> None:
    refusal = TokenGuard([TOKEN]).refusal("exeunt.v1.WorkflowService/GetWorkflow", [])
    assert refusal is not None
    assert str(refusal) == MISSING


@pytest.mark.parametrize("service", ["ExecutorService", "ArtifactService"])
def test_what_only_executors_call_has_a_token_of_its_own(service: str) -> None:
    guard = TokenGuard([TOKEN], ["Another-token-of-20-signs."])
    method = f"exeunt.internal.v1.{service}/Any"
    refusal = guard.refusal(method, [("authorization", f"Bearer {TOKEN}")])
    assert refusal is not None
    assert "EXEUNT_EXECUTOR_TOKEN" in str(refusal)
    assert guard.refusal(method, [("authorization", "Bearer Another-token-of-20-signs.")]) is None
