"""What an executor counts and measures."""

from __future__ import annotations

from collections.abc import Callable

from exeunt.executor.slots import Pool
from exeunt.service.metrics import Counter, Gauge, Histogram

steps = Counter("exeunt.executor.steps", "Steps that have ended, by phase", "{step}")
durations = Histogram("exeunt.executor.step.duration", "How long steps ran")


def register(*, running: Callable[[], int], links: Callable[[], int], pools: dict[str, Pool]) -> None:
    """Makes known what there is now: running steps, connected schedulers, and slots by their kind."""

    def slots() -> dict[tuple[tuple[str, str], ...], float]:
        return {
            (("kind", kind), ("state", state)): count
            for kind, pool in pools.items()
            for state, count in (("used", pool.used), ("free", pool.size - pool.used), ("waiting", pool.waiting))
        }

    Gauge("exeunt.executor.running", "Steps that run now", running, "{step}")
    Gauge("exeunt.executor.slots", "Slots, by kind and state", slots, "{slot}")
    Gauge("exeunt.executor.links", "Schedulers that are connected", links, "{scheduler}")
