"""What a step's variables ask of the executor that has it: what it is called, where it is reached, what it has."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from decimal import Decimal

from exeunt.executor.memory import most_memory
from exeunt.executor.programs import works_of
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.language.pod_fields import in_units


async def put_facts(step: pb.Step, executor: str, address: Callable[[], Awaitable[str]]) -> None:
    """Puts them into the step. `address` is asked only where a variable names it."""
    for work in works_of(step):
        for variable in work.env:
            if variable.HasField("fact"):
                variable.value = (await _value(variable.fact, executor, address)).replace("$", "$$")


async def _value(fact: pb.ExecutorFact, executor: str, address: Callable[[], Awaitable[str]]) -> str:
    """An address, a name, or as much as there is: what a container without a limit may take."""
    if fact.name == "spec.nodeName":
        return executor
    if fact.name.startswith("status."):
        return await address()
    cpu = fact.name == "limits.cpu"
    return in_units(Decimal(len(os.sched_getaffinity(0)) if cpu else most_memory()), fact.name, fact.divisor)
