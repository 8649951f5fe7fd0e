"""What the executor tells the zygote, and what that answers: plain data, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from exeunt.executor.runtime.sandbox.plan import RootLayer

MOST_BYTES = 32 * 1024 * 1024
"""An order has the arguments and the environment of one program, for which the kernel takes less."""

SHARED_MEMORY_BYTES = 64 * 1024 * 1024
"""What /dev/shm holds, as in a container."""

RUN_BYTES = 64 * 1024 * 1024
"""What /run holds."""

VIEW = b"v"
"""The message that comes with a step's root and its namespace of mounts: with both, its files outlast it."""

ISOLATED, SHARED = b"i", b"s"
"""The message that comes with an order: whether the step has a network of its own."""


@dataclass(slots=True)
class ZygoteConfig:
    """What is the same for all steps. `shims` is the directory in `data_dir` where a link named `python` leads to
    `python`; empty where none is needed."""

    rootfs: str
    data_dir: str
    shims: str
    python: str
    hidden: list[str]


@dataclass(slots=True)
class ZygoteReady:
    """`mode` is root or user; `problem` says why no sandbox works here, empty when one does."""

    mode: str
    layers: list[RootLayer]
    problem: str = ""


@dataclass(slots=True)
class SandboxOrder:
    """One step. `own` is its directory, `groups` are the files to join by.

    `binds` are (source, part, target, read only): a part is below its source, by whatever links; empty for all of it.
    `kept`: what it sees is handed out before it begins (VIEW).
    """

    own: str
    argv: list[str]
    environment: dict[str, str]
    working_dir: str
    source: str | None
    binds: list[tuple[str, str, str, bool]]
    groups: list[str]
    kept: bool = False


def pack(what: ZygoteConfig | ZygoteReady | SandboxOrder) -> bytes:
    """As bytes. Texts keep what is no UTF-8 in them."""
    return json.dumps(asdict(what)).encode()


def unpack(data: bytes) -> Any:
    """The fields that were packed."""
    return json.loads(data)


def ready(data: bytes) -> ZygoteReady:
    """The zygote's answer."""
    fields = unpack(data)
    return ZygoteReady(fields["mode"], [RootLayer(*each) for each in fields["layers"]], fields["problem"])
