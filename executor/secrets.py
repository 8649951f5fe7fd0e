"""The secrets of a step: they come with it, only its work gets them, and they are masked in its output and result."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from exeunt.actions.masking import Masker
from exeunt.executor.runtime.environment import expand
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.language.secret import SecretMissing, SecretUnreadable, text_of

MUCH = 32 * 1024
"""Bytes of secrets, or of a result, from which on work is done outside of the event loop."""


class StepSecrets:
    """The secrets of one step. `masker` masks all of them after `prepare`."""

    def __init__(self, step: pb.Step) -> None:
        self.masker = Masker()
        self._given = {secret.name: secret for secret in step.secrets}

    async def prepare(self) -> None:
        """Makes the masker ready, in a thread when there is much to look for."""
        size = sum(len(value) for secret in self._given.values() for value in secret.values.values())
        if size > MUCH:
            await asyncio.to_thread(self._learn)
        elif size:
            self._learn()

    def _learn(self) -> None:
        for secret in self._given.values():
            for value in secret.values.values():
                self.masker.add(value.decode(errors="replace"))
        _ = self.masker.needles

    async def mask(self, result: pb.StepResult) -> None:
        """Masks the secrets in a result. Lines of output in it are masked already."""
        if self.masker.forms:
            if result.ByteSize() > MUCH:
                await asyncio.to_thread(self._mask, result)
            else:
                self._mask(result)

    def _mask(self, result: pb.StepResult) -> None:
        text = self.masker.text
        result.message = text(result.message)
        for parameter in result.parameters:
            parameter.value = text(parameter.value)

    def text(self, name: str, key: str) -> str:
        """What a key of a secret holds. Raises SecretMissing, SecretUnreadable."""
        return text_of(self._values(name), name, key)

    async def look_up(self, namespace: str, name: str, key: str) -> str:
        """See `exeunt.actions.context.LookupSecret`; the namespace is the step's."""
        return self.text(name, key)

    def environment(self, work: pb.ContainerWork) -> dict[str, str]:
        """The variables of a container: first those of `env_from`, then `env`. Of two with one name the last counts.

        As in Kubernetes, `$(NAME)` in a value of the manifest means a variable of `env` that stands before it; in what
        comes from a secret or a ConfigMap it stays as it is. Raises SecretMissing, SecretUnreadable.
        """
        variables: dict[str, str] = {}
        for source in work.env_from:
            pairs = self._whole(source) if source.secret else ((v.name, v.value) for v in source.variables)
            variables.update((source.prefix + name, value) for name, value in pairs if is_name(source.prefix + name))
        own: dict[str, str] = {}
        for variable in work.env:
            if variable.HasField("secret"):
                value = self._one(variable.secret)
                if value is not None:
                    own[variable.name] = value
            else:
                own[variable.name] = expand(variable.value, own)
        return variables | own

    def values(self, name: str) -> Mapping[str, bytes]:
        """A secret that the step names, as far as it names it. Raises SecretMissing, SecretUnreadable."""
        return self._values(name)

    def _one(self, key: pb.SecretKey) -> str | None:
        try:
            return text_of(self._values(key.name), key.name, key.key)
        except SecretMissing:
            if key.optional:
                return None
            raise

    def _whole(self, source: pb.EnvironmentSource) -> Iterable[tuple[str, str]]:
        try:
            values = self._values(source.secret)
        except SecretMissing:
            if source.optional:
                return []
            raise
        return [(key, text_of(values, source.secret, key)) for key in sorted(values) if is_name(source.prefix + key)]

    def _values(self, name: str) -> Mapping[str, bytes]:
        secret = self._given.get(name)
        if secret is None or secret.missing:
            raise SecretMissing(f"there is no secret '{name}' in the workflow's namespace")
        if secret.problem:
            raise SecretUnreadable(secret.problem)
        return secret.values


def is_name(text: str) -> bool:
    """Whether a key can be a variable; Kubernetes leaves others out too."""
    return bool(text) and text.isascii() and text.isprintable() and "=" not in text
