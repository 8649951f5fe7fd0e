"""Data templates: a list of what lies at a place of artifacts, through expressions (Argo: workflow/data)."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from exeunt.artifacts.stores import StoreError
from exeunt.executor.limits import OutputLimits, failure
from exeunt.executor.secrets import StepSecrets
from exeunt.executor.staging import Staging
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.language.expression import ExpressionError, evaluate
from exeunt.language.place_parts import PlaceError


async def listed(staging: Staging, step: pb.Step, secrets: StepSecrets, limits: OutputLimits) -> pb.StepResult:
    """How the step ended; its result is the list as JSON. Whatever goes wrong is an Error."""
    try:
        async with staging.of(step, secrets) as files:
            found = await files.keys(msgspec.json.decode(step.data.source_json))
        text = await asyncio.to_thread(transformed, found, list(step.data.expressions))
    except (StoreError, PlaceError) as error:
        return failure("Error", f"unable to source artifact paths: {error}")
    except TimeoutError:
        return failure("Error", "unable to source artifact paths: the store has not answered in time")
    except ExpressionError as error:
        return failure("Error", f"unable to process data transformation: {error}")
    if wrong := limits.one(len(text.encode())):
        return failure("Error", f"the result: {wrong}")
    result = failure("Succeeded", "", 0)
    result.result = text
    return result


def transformed(data: Any, expressions: list[str]) -> str:
    """The data as JSON, after one expression over `data` after the other. Raises ExpressionError."""
    for expression in expressions:
        data = evaluate(expression, {"data": data})
    return msgspec.json.encode(data).decode()
