"""The loop is shared: who has used a whole turn rests, and others are answered in many rounds meanwhile."""

from __future__ import annotations

import asyncio
import time

from exeunt.driver.turns import REST_BESIDE, Turns

TURN = 0.02


async def test_who_has_used_a_turn_rests_three_times_as_long_beside_others() -> None:
    turns, heavy, rounds = Turns(), 0, 0

    def work() -> None:
        nonlocal heavy
        time.sleep(TURN)
        heavy += 1
        turns.rest(work, TURN)

    for _ in range(3):  # together they have the share of one
        turns.rest(work, TURN)
    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        done = asyncio.Event()
        turns.take(done.set)
        await done.wait()
        await asyncio.sleep(0.001)
        rounds += 1
    assert 1 <= heavy <= 1.0 / TURN / (1 + REST_BESIDE) + 4
    assert rounds > 10 * heavy


async def test_who_is_alone_rests_for_a_moment_only() -> None:
    turns, done = Turns(), asyncio.Event()
    began = time.monotonic()
    turns.rest(done.set, TURN)
    await done.wait()
    assert time.monotonic() - began < REST_BESIDE * TURN


async def test_being_looked_at_makes_nobody_rest_for_longer() -> None:
    turns, done = Turns(), asyncio.Event()
    await turns.do(lambda: None)
    began = time.monotonic()
    turns.rest(done.set, TURN)
    await done.wait()
    assert time.monotonic() - began < REST_BESIDE * TURN
