"""Puts secrets into the steps that name them, at the moment at which they are sent: nothing before that has them.

What is missing is told along with the step: the executor ends the attempt with an Error that names it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from exeunt.internal.v1 import step_pb2
from exeunt.journal.secrets import Secrets
from exeunt.language.secret import SecretMissing, SecretUnreadable
from exeunt.wire_work import secrets_wanted

STEP_BYTES = 1024 * 1024


class StepSecretsOpener:
    """Reads secrets for steps."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def __call__(self, steps: Sequence[step_pb2.Step]) -> list[step_pb2.Step]:
        """Copies of the steps with their secrets. Each secret is read once for all of them."""
        wanted = [secrets_wanted(step) for step in steps]
        names = {(step.namespace, name) for step, asked in zip(steps, wanted, strict=True) for name in asked}
        async with asyncio.TaskGroup() as group:
            tasks = {key: group.create_task(self._read(*key)) for key in names}
        opened: list[step_pb2.Step] = []
        for step, asked in zip(steps, wanted, strict=True):
            made = step_pb2.Step()
            made.CopyFrom(step)
            for name, keys in asked.items():
                values, given = tasks[step.namespace, name].result()
                secret = made.secrets.add()
                secret.CopyFrom(given)
                for key, value in values.items():
                    if keys is None or key in keys:
                        secret.values[key] = value
                if made.ByteSize() - step.ByteSize() > STEP_BYTES:  # a larger message would break the stream
                    secret.Clear()
                    secret.name = name
                    secret.problem = (
                        f"the secrets of one step may have {STEP_BYTES:,} bytes together; '{name}' is too much"
                    )
            opened.append(made)
        return opened

    async def _read(self, namespace: str, name: str) -> tuple[dict[str, bytes], step_pb2.StepSecret]:
        try:
            return await self._secrets.values(namespace, name), step_pb2.StepSecret(name=name)
        except SecretMissing:
            return {}, step_pb2.StepSecret(name=name, missing=True)
        except SecretUnreadable as error:
            return {}, step_pb2.StepSecret(name=name, problem=str(error))
