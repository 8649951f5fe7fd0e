"""The volumes that workflows have made for themselves, as directories of this executor: NAMESPACE/UID/NAME.

They stay over restarts, until a scheduler says that the workflow needs them no more. What is released is moved away at
once, so that a step that comes later finds a new one, and removed in a thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from exeunt.executor.runtime.sandbox.files import remove_tree
from exeunt.executor.volume_files import VolumeProblem

log = logging.getLogger(__name__)

MOST_WORKFLOWS = 10_000
"""That may have volumes here at one time. Each hello to a scheduler names all of them."""
_PART = re.compile(r"[A-Za-z0-9][-_.A-Za-z0-9]{0,252}")
_GONE = ".gone"


class Claims:
    """All of them, below one directory. `on_new` are called, in any thread, when a workflow has its first one here."""

    def __init__(self, directory: Path) -> None:
        self.on_new: list[Callable[[], object]] = []
        self._directory = directory
        self._gone = directory / _GONE
        self._gone.mkdir(parents=True, exist_ok=True)
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="claims")
        self._held: dict[str, Path] = {}
        self.version = 0  # counts workflows that came
        for namespace in self._directory.iterdir():
            if namespace.name != _GONE:
                self._held.update({each.name: each for each in namespace.iterdir()})
        for left in self._gone.iterdir():
            self._sweeper.submit(remove_tree, str(left))

    def uids(self) -> list[str]:
        """The workflows that have any here."""
        return list(self._held)

    def place(self, namespace: str, uid: str, name: str, *, made: bool) -> Path:
        """The directory of a workflow's volume, made where it is missing. Raises VolumeProblem, OSError.

        `made`: a step of the workflow has used its volumes before, so they have to be here.
        """
        for part in (namespace, uid, name):
            if not _PART.fullmatch(part):
                raise VolumeProblem(f"{part[:80]!r} cannot be part of a path")
        if uid not in self._held:
            if made:
                raise VolumeProblem(
                    "what the workflow had in it is gone from this executor: it was removed when the workflow ended, "
                    "or with the executor's data directory; resubmit the workflow"
                )
            if len(self._held) >= MOST_WORKFLOWS:
                raise VolumeProblem(
                    f"{MOST_WORKFLOWS:,} workflows have volumes on this executor, and more are not allowed: delete "
                    "those that failed and are not needed any more"
                )
        directory = self._directory / namespace / uid / name
        directory.mkdir(parents=True, exist_ok=True)
        if uid not in self._held:
            self._held[uid] = directory.parent
            self.version += 1
            for tell in self.on_new:
                tell()
        return directory

    def release(self, uids: Iterable[str]) -> None:
        """These workflows need theirs no more."""
        for uid in uids:
            held = self._held.pop(uid, None)
            if held is None:
                continue
            away = self._gone / secrets.token_hex(8)
            try:
                held.rename(away)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("volumes of the workflow %s cannot be removed: %s", uid, error)
                self._held[uid] = held
                continue
            with contextlib.suppress(OSError):
                os.rmdir(held.parent)
            self._sweeper.submit(remove_tree, str(away))

    def close(self) -> None:
        """Waits until what was released is removed."""
        self._sweeper.shutdown()
