"""A Secret: what its document holds, and what is wrong with it. Nothing that is said here quotes a value."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from exeunt.language.load import Document
from exeunt.language.manifest import Secret
from exeunt.language.problems import Problem, shorten

SECRET_BYTES = 256 * 1024
"""All values of one Secret together. (Kubernetes: 1 MiB; a sealed one has to fit into one message here.)"""


class SecretMissing(KeyError):  # noqa: N818 - it is an answer
    """There is no such secret, or no such key in it. `args[0]` is for people."""


class SecretUnreadable(LookupError):  # noqa: N818 - it is an answer
    """The secret is there, but its value cannot be had. `args[0]` is for people."""


_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def secret_values(secret: Secret) -> dict[str, bytes]:
    """The values by key; `stringData` wins over `data`, as in Kubernetes. Raises ValueError for what is no base64."""
    values = {key: _decoded(text) for key, text in secret.data.items()}
    values.update((key, text.encode()) for key, text in secret.string_data.items())
    return values


def check_secret(secret: Secret, document: Document) -> list[Problem]:
    """Everything that is wrong with a Secret."""
    problems: list[Problem] = []
    for field, values in (("data", secret.data), ("stringData", secret.string_data)):
        for key in values:
            if not _KEY.fullmatch(key):
                said = f"{shorten(key)!r} is no key: letters, digits, '-', '_' and '.' are expected"
                problems.append(document.problem((field, key), said))
    for key, text in secret.data.items():
        try:
            _decoded(text)
        except ValueError:
            said = "is not base64; a value as it is goes under stringData"
            problems.append(document.problem(("data", key), said))
    if not problems:
        size = sum(map(len, secret_values(secret).values()))
        if size > SECRET_BYTES:
            problems.append(document.problem((), f"has {size:,} bytes; at most {SECRET_BYTES:,} are allowed"))
    return problems


def text_of(values: Mapping[str, bytes], name: str, key: str) -> str:
    """One value of a secret as text. Raises SecretMissing, SecretUnreadable."""
    if key not in values:
        raise SecretMissing(f"the secret '{name}' has no key '{key}'")
    try:
        return values[key].decode()
    except UnicodeDecodeError:
        raise SecretUnreadable(f"the key '{key}' of the secret '{name}' holds no text (UTF-8)") from None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
