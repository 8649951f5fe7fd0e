"""Secrets of a step: given to its program, and masked in its output, its result, its parameters and its message."""

from __future__ import annotations

import asyncio
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.actions import search
from exeunt.actions.masking import MASK, Masker
from exeunt.executor.scrub import Scrubber
from exeunt.executor.secrets import StepSecrets
from exeunt.internal.v1 import step_pb2 as pb
from tests.executor.conftest import Scheduler, inside, shell

TOKEN = "tok-4711-geheim"
GIVEN = pb.StepSecret(name="api", values={"token": TOKEN.encode(), "user": b"robot-17"})


def with_secret(step: pb.Step, *env: pb.EnvironmentVariable, secrets: tuple[pb.StepSecret, ...] = (GIVEN,)) -> pb.Step:
    step.container.env.extend(env)
    step.secrets.extend(secrets)
    return step


def variable(name: str, key: str, secret: str = "api", **more: Any) -> pb.EnvironmentVariable:
    return pb.EnvironmentVariable(name=name, secret=pb.SecretKey(name=secret, key=key, **more))


async def until_nothing_holds(text: str, folder: Path) -> None:
    """The file that the program itself wrote goes with its directory, in a moment after its end."""
    async with asyncio.timeout(10):
        while subprocess.run(["grep", "-rq", text, str(folder)], check=False).returncode != 1:  # noqa: ASYNC110, ASYNC221
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("executor")
async def test_a_program_gets_its_secret_and_nobody_else_does(scheduler: Scheduler, tmp_path: Path) -> None:
    text = f"""
        test "$T" = {TOKEN} && echo good
        printf tok-47; sleep 0.1; echo "11-geheim"
        echo "$T" >&2
        echo "$T" > out.txt
        echo "$T" | base64
    """
    step = shell("a", text, result=True, outputs=[pb.OutputParameter(name="o", path="out.txt")])
    [result] = await scheduler.run(with_secret(step, variable("T", "token")))
    assert result.phase == "Succeeded"
    assert result.result.startswith(f"good\n{MASK}\n")
    assert [p.value for p in result.parameters] == [MASK]
    assert "4711" not in str(result) + scheduler.output("u1/a/0")
    assert scheduler.output("u1/a/0").count(MASK) == 3
    await until_nothing_holds(TOKEN, tmp_path)


@pytest.mark.usefixtures("executor")
async def test_a_whole_secret_becomes_variables_under_those_of_the_step(scheduler: Scheduler) -> None:
    step = with_secret(
        shell("a", "env | grep -E '^(P_|user|Q)' | sort; echo $1", result=True),
        pb.EnvironmentVariable(name="user", value="own"),
        pb.EnvironmentVariable(name="Q", value="$(P_user)-$(user)"),
    )
    step.container.args.extend(["sh", "$(P_user)"])
    step.container.env_from.extend(
        [
            pb.EnvironmentSource(variables=[pb.EnvironmentVariable(name="user", value="conf")]),
            pb.EnvironmentSource(secret="api", prefix="P_"),
            pb.EnvironmentSource(secret="api"),
            pb.EnvironmentSource(secret="none", optional=True),
        ]
    )
    [result] = await scheduler.run(step)
    assert result.result.splitlines() == [
        f"P_token={MASK}",
        f"P_user={MASK}",
        "Q=$(P_user)-own",
        "user=own",
        MASK,
    ]


@pytest.mark.usefixtures("executor")
@pytest.mark.parametrize(
    ("asked", "given", "words"),
    [
        (variable("T", "nope"), GIVEN, "env: the secret 'api' has no key 'nope'"),
        (variable("T", "a"), pb.StepSecret(name="api", missing=True), "env: there is no secret 'api'"),
        (variable("T", "a"), pb.StepSecret(name="other"), "env: there is no secret 'api'"),
        (variable("T", "a", optional=True), pb.StepSecret(name="api", problem="it is sealed"), "env: it is sealed"),
        (variable("T", "a"), pb.StepSecret(name="api", values={"a": b"\xff"}), "'a' of the secret 'api' holds no text"),
    ],
)  # fmt: skip
async def test_what_cannot_be_had_is_an_error_that_names_it(
    scheduler: Scheduler, asked: pb.EnvironmentVariable, given: pb.StepSecret, words: str
) -> None:
    [result] = await scheduler.run(with_secret(shell("a", "echo started"), asked, secrets=(given,)))
    assert result.phase == "Error"
    assert words in result.message
    assert scheduler.output("u1/a/0") == ""


@pytest.mark.usefixtures("executor")
async def test_what_may_be_missing_is_no_variable(scheduler: Scheduler) -> None:
    step = with_secret(shell("a", "echo ${T-unset}", result=True), variable("T", "nope", optional=True))
    [result] = await scheduler.run(step)
    assert (result.phase, result.result) == ("Succeeded", "unset")


@pytest.mark.usefixtures("executor")
async def test_a_command_that_is_not_there_does_not_tell_the_secret(scheduler: Scheduler) -> None:
    step = with_secret(shell("a", ""), variable("T", "token"))
    step.container.command[:] = ["/no/such/$(T)"]
    [result] = await scheduler.run(step)
    assert result.phase == "Failed"
    assert f"/no/such/{MASK}" in result.message


async def test_a_result_in_the_executors_book_is_masked(scheduler: Scheduler, tmp_path: Path) -> None:
    scheduler.acknowledges = False
    async with inside(scheduler, tmp_path / "e", shutdown_seconds=0.2):
        await scheduler.run(with_secret(shell("a", "echo $T", result=True), variable("T", "token")))
    book = (tmp_path / "e" / "attempts").read_bytes()
    assert MASK.encode() in book
    assert TOKEN.encode() not in book


@pytest.mark.usefixtures("executor")
async def test_an_action_on_an_executor_has_the_secrets_that_came_with_it(scheduler: Scheduler) -> None:
    step = pb.Step(id="u1/h/0", namespace="default", uid="u1", node="h", partition=3)
    step.http.url = "http://127.0.0.1:9/"
    step.http.headers.extend([variable("A", "token"), variable("B", "nope")])
    step.secrets.extend([GIVEN])
    [result] = await scheduler.run(step)
    assert (result.phase, result.message) == ("Error", "http.headers[1] (B): the secret 'api' has no key 'nope'")


def test_a_value_is_taken_as_it_is() -> None:
    """No reference is read in it, and what is around it stays as Kubernetes has it."""
    step = pb.Step(secrets=[pb.StepSecret(name="s", values={"k": b"$(A)$$"})])
    env = [pb.EnvironmentVariable(name="A", value="1"), variable("S", "k", "s")]
    env.append(pb.EnvironmentVariable(name="B", value="$(S)!"))
    assert StepSecrets(step).environment(pb.ContainerWork(env=env)) == {"A": "1", "S": "$(A)$$", "B": "$(A)$$!"}


@given(st.data())
def test_output_in_pieces_is_masked_as_the_whole_is(data: st.DataObject) -> None:
    letters = st.text("abc", min_size=6, max_size=9)
    masker = Masker()
    for secret in data.draw(st.lists(letters, min_size=1, max_size=3)):
        masker.add(secret)
    whole = data.draw(st.text("abc\n", max_size=60)) + min(masker.forms) + data.draw(st.text("abc", max_size=9))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    scrubber = Scrubber(masker)
    shown = b"".join(scrubber.take(whole[a:b].encode(), True) for a, b in zip([0, *cuts], [*cuts, None], strict=True))
    shown += scrubber.rest(True)
    assert shown.decode() == masker.text(whole)


@given(
    st.lists(st.text("ab", min_size=1, max_size=40), min_size=1, max_size=12),
    st.text("ab", max_size=200),
    st.lists(st.integers(0, 200), max_size=5),
)
def test_of_many_texts_the_longest_is_found_where_the_first_begins(
    texts: list[str], between: str, cuts: list[int]
) -> None:
    """As an alternation finds them, the longest first; in pieces too; long ones are looked for in another way."""
    whole = (between[:100] + texts[0] + between[100:]).encode()
    longest_first = sorted((text.encode() for text in texts), key=len, reverse=True)
    expected = re.sub(b"|".join(longest_first), b"*", whole)
    for long in (1024, 16):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search, "_LONG", long)
            needles = search.Needles(longest_first)
            assert needles.replaced(whole, b"*") == expected
            shown, held = b"", b""
            for start, end in pairwise([0, *sorted(cuts), len(whole)]):
                held += whole[start:end]
                found, certain = needles.find(held, more=True)
                shown += search.replace(held[:certain], found, b"*")
                held = held[certain:]
                assert any(text.startswith(held) for text in longest_first)  # nothing is held back without need
            assert shown + needles.replaced(held, b"*") == expected


def test_what_cannot_be_told_quickly_is_held_back_and_never_shown() -> None:
    masker = Masker()
    masker.add("a" * 40_000 + "b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_BUDGET", 100_000)
        scrubber = Scrubber(masker)
        shown = scrubber.take(b"a" * 39_000 + b"c" + b"a" * 500, True)
        shown += scrubber.take(b"a" * 39_500, True)
        shown += scrubber.take(b"b!", True) + scrubber.rest(True)
    assert shown == b"a" * 39_000 + b"c" + MASK.encode() + b"!"


def test_streams_are_told_apart_and_nothing_is_held_for_long() -> None:
    masker = Masker()
    masker.add("geheim-1234")
    scrubber = Scrubber(masker)
    assert scrubber.take(b"progress: geheim-", True) == b"progress: "
    assert scrubber.take(b"1234", False) == b"1234"
    assert scrubber.take(b"0 it was another", True) == b"geheim-0 it was another"
    assert scrubber.take(b"geheim-1234\n", False) == b"***\n"
    assert (scrubber.rest(True), scrubber.rest(False)) == (b"", b"")
