"""Staging: a step's input artifacts are there before it starts, and what it leaves is kept when it has ended.

What is fetched lies in a directory of the executor, and the step finds it at the paths that its template names. What is
kept is read as the step saw it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import posixpath
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from exeunt.artifacts.archive import ArchiveError, HeldFile, MissingFileError, file_name
from exeunt.artifacts.embedded_port import EmbeddedRoad
from exeunt.artifacts.stores import MissingError, Store, StoreAccess, StoreError
from exeunt.artifacts.transfer import Content, fetch, keep, keep_bytes, strategy_of
from exeunt.executor.mount_links import MountLinks
from exeunt.executor.runtime.base import Bind, NotStarted, Unreadable
from exeunt.executor.runtime.sandbox.files import remove_tree
from exeunt.executor.secrets import StepSecrets
from exeunt.executor.sub_paths import open_part
from exeunt.executor.volume_files import VolumeProblem
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.language.locations import has_place, located
from exeunt.language.place_parts import PlaceError
from exeunt.language.places import place_of
from exeunt.language.secret import SecretMissing, SecretUnreadable

LOG_BYTES = 1 << 30
"""Most of a step's output that is kept as an artifact; what is more is cut with a mark."""
MAIN = "main"
_CUT = b"\n[cut: more than 1 GiB of output]\n"


class StagingContext(NamedTuple):
    """What staging is done with on one executor.

    `seconds`: the longest time of one transfer. `environment`: credentials of this process may be used where a place
    names no secret. `links` is None where programs have mounts of their own.
    """

    data_dir: Path
    road: EmbeddedRoad | None
    seconds: float
    environment: bool
    links: MountLinks | None = None


PlaceOf = Callable[[str], tuple[str, str] | None]
"""The directory of the executor that a path of the step lies in, and the rest of the path; None for none of these."""


class Leaver(Protocol):
    """A program that has ended."""

    async def open(self, path: str) -> int | None:
        """See `RunningProgram.open`."""


class LogFile:
    """What a container prints, on its way to become the artifact `NAME-logs`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._size = 0

    def write(self, data: bytes) -> None:
        """Adds output. Raises OSError."""
        left = LOG_BYTES - self._size
        if left > 0:
            self._file.write(data if len(data) <= left else data[:left] + _CUT)
            self._size += len(data)

    def close(self) -> None:
        """All is written. Raises OSError."""
        self._file.close()


class Staging:
    """Stages the files of steps."""

    def __init__(self, context: StagingContext) -> None:
        self._context = context
        self._home = context.data_dir / "staging"
        self._count = 0
        remove_tree(str(self._home))
        self._home.mkdir(parents=True, mode=0o700)

    @contextlib.asynccontextmanager
    async def of(self, step: pb.Step, secrets: StepSecrets) -> AsyncIterator[StepFiles]:
        """The files of one step, whose directory is there within the block."""
        self._count += 1
        directory = self._home / str(self._count)
        directory.mkdir(mode=0o755)
        files = StepFiles(step, secrets, directory, self._context)
        try:
            yield files
        finally:
            files.close()
            await asyncio.shield(asyncio.to_thread(remove_tree, str(directory)))

    def turns(self, step: pb.Step) -> tuple[str, ...]:
        """The paths of this machine that a step has to have for itself."""
        links = self._context.links
        if links is None:
            return ()
        outputs = [str(_tree(one).get("path", "")) for one in step.output_artifacts]
        outputs = [posixpath.normpath(path) for path in outputs if path.startswith("/")]
        inputs = [str(_tree(one).get("path", "")) for one in step.input_artifacts]
        return (*outputs, *links.turns(_target(path) for path in inputs))


class StepFiles:
    """What one step gets and leaves. Whatever goes wrong with what it gets raises NotStarted."""

    def __init__(self, step: pb.Step, secrets: StepSecrets, directory: Path, context: StagingContext) -> None:
        self._step = step
        self._secrets = secrets
        self._directory = directory
        self._context = context
        self._archive: dict[str, Any] = json.loads(step.archive_json) if step.archive_json else {}
        self._linked = False
        names = [one.name for one in step.container_set.containers] or [MAIN] if step.archive_logs else []
        self.logs = {name: LogFile(directory / f"{name}.log") for name in names}

    async def fetched(self, place_of_path: PlaceOf) -> list[Bind]:
        """Fetches what the step gets; what it finds where, outer paths first. What lies in a volume is put there."""
        binds: list[Bind] = []
        for at, given in enumerate(self._step.input_artifacts):
            tree = _tree(given)
            if tree.get("deleted") or not has_place(tree):
                if tree.get("optional"):
                    continue
                if tree.get("deleted"):
                    raise _not_started(f"artifact {given.name} was removed by artifactGC; run what makes it again")
                raise _not_started(f"required artifact '{given.name}' not supplied")
            bind = await self._one(at, given.name, tree, place_of_path)
            if bind is not None:
                binds.append(bind)
        binds.sort(key=lambda bind: bind.target.count("/"))
        self._link(binds)
        return binds

    async def _one(self, at: int, name: str, tree: dict[str, Any], place_of_path: PlaceOf) -> Bind | None:
        path = _target(str(tree.get("path", "")))
        if path == "/":
            raise _not_started(f"artifact {name}: its path is {tree.get('path')!r}; a path below / is expected")
        within = place_of_path(path)
        in_volume = within is not None and within[1] not in (".", "")
        into = self._directory / str(at) / posixpath.basename(path)
        try:
            async with asyncio.timeout(self._context.seconds), self._store(name, tree) as store:
                with _part(*within) if within is not None and in_volume else contextlib.nullcontext(into) as target:
                    await fetch(store, tree, target)
        except MissingError as error:
            if tree.get("optional"):
                return None
            raise _not_started(f"{error}; make the step that keeps it run before, or mark it optional") from None
        except (StoreError, ArchiveError, PlaceError) as error:
            raise _not_started(_named(name, error)) from None
        except TimeoutError:
            raise _not_started(f"artifact {name}: not there after {self._context.seconds:g} s") from None
        return None if in_volume else Bind(str(into), path)

    def _link(self, binds: list[Bind]) -> None:
        links = self._context.links
        if links is None or not binds:
            return
        try:
            self._linked = True
            links.put(self._id(), binds)
        except VolumeProblem as error:
            raise _not_started(f"input artifacts: {error}") from None
        except OSError as error:
            raise _not_started(f"input artifacts: {error.filename}: {error.strerror}") from None

    def _id(self) -> str:
        return f"{self._step.id}/artifacts"

    @contextlib.asynccontextmanager
    async def _store(self, name: str, tree: dict[str, Any], file: str = "") -> AsyncIterator[Store]:
        """The store in which an artifact lies, or is to lie. Raises StoreError, PlaceError."""
        from exeunt.artifacts.registry import store_for  # late: it loads the clients of all stores

        place = place_of(located(tree, self._archive, file))
        access = StoreAccess(
            secret=self._secret,
            artifact=name,
            environment=self._context.environment,
            embedded=self._context.road,
            namespace=self._step.namespace,
            uid=self._step.uid,
        )
        store = store_for(place, access)
        try:
            yield store
        finally:
            await store.close()

    def _secret(self, name: str, key: str) -> str:
        try:
            return self._secrets.text(name, key)
        except (SecretMissing, SecretUnreadable) as error:
            raise KeyError(str(error)) from None

    async def keys(self, tree: dict[str, Any]) -> list[str]:
        """What lies below the place of an artifact, in order. Raises StoreError, PlaceError, TimeoutError."""
        tree = located(tree, self._archive, whole=True)
        async with asyncio.timeout(self._context.seconds), self._store(str(tree.get("name", "")), tree) as store:
            return sorted([one.key async for one in store.list(store.place.key)])

    async def kept(self, running: Leaver) -> tuple[list[pb.Artifact], str]:
        """Keeps what the step left: what was kept, and what went wrong with the rest; empty for nothing."""
        kept: list[pb.Artifact] = []
        wrong: list[str] = []
        for wanted in self._step.output_artifacts:
            try:
                async with asyncio.timeout(self._context.seconds):
                    made = await self._keep(wanted.name, _tree(wanted), running)
            except (StoreError, ArchiveError, PlaceError, Unreadable) as error:
                wrong.append(_named(wanted.name, error))
            except TimeoutError:
                wrong.append(f"artifact {wanted.name}: not kept after {self._context.seconds:g} s")
            else:
                if made is not None:
                    kept.append(made)
        for name, log in self.logs.items():
            try:
                kept.append(await self._keep_log(f"{name}-logs", f"{name}.log", log))
            except (StoreError, ArchiveError, PlaceError, OSError, TimeoutError) as error:
                wrong.append(_named(f"{name}-logs", error))
        return kept, "; ".join(wrong)

    async def _keep_log(self, name: str, file: str, log: LogFile) -> pb.Artifact:
        log.close()
        async with asyncio.timeout(self._context.seconds), self._store(name, {}, file) as store:
            tree = located({"name": name}, self._archive, file)
            return _kept(name, tree, store, await keep_bytes(store, log.path), self._step.uid)

    async def _keep(self, name: str, tree: dict[str, Any], running: Leaver) -> pb.Artifact | None:
        path = str(tree.get("path", ""))
        held = await running.open(path)
        if held is None:
            if tree.get("optional"):
                return None
            raise MissingFileError(f"{path}: no such file or directory")
        try:
            strategy = strategy_of(tree)
            file = file_name(name, path, strategy)
            async with self._store(name, tree, file) as store:
                content = await keep(store, HeldFile(held, Path(path)), strategy)
                return _kept(name, located(tree, self._archive, file), store, content, self._step.uid)
        finally:
            os.close(held)

    def close(self) -> None:
        """Takes away links."""
        if self._linked and self._context.links is not None:
            self._context.links.take_away(self._id())


@contextlib.contextmanager
def _part(volume: str, rest: str) -> Iterator[Path]:
    """A path in a volume: links that steps have put into it are not followed out of it. Raises ArchiveError."""
    folder, name = posixpath.split(rest)
    try:
        fd = open_part(volume, folder, make=True) if folder else os.open(volume, os.O_RDONLY | os.O_DIRECTORY)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ArchiveError(f"the directory {folder!r} of the volume cannot be made: {why}") from error
    try:
        yield Path(f"/proc/self/fd/{fd}") / name
    finally:
        os.close(fd)


def _kept(name: str, tree: dict[str, Any], store: Store, content: Content, uid: str) -> pb.Artifact:
    """What became of an artifact, with the place where it lies; whoever it is handed on to finds it by that."""
    if store.place.kind == "nats":
        tree = {**tree, "nats": {**tree["nats"], "uid": uid}}
    return pb.Artifact(
        name=name, artifact_json=json.dumps({**tree, "name": name, "content": msgspec.to_builtins(content)})
    )


def _tree(artifact: pb.Artifact) -> dict[str, Any]:
    return dict(json.loads(artifact.artifact_json))


def _target(path: str) -> str:
    return "/" + posixpath.normpath(posixpath.join("/", path)).lstrip("/")


def _named(name: str, error: Exception) -> str:
    said = str(error) or type(error).__name__
    return said if said.startswith("artifact ") else f"artifact {name}: {said}"


def _not_started(why: str) -> NotStarted:
    """As a step whose init container has failed."""
    return NotStarted(f"init: Error (exit code 1): {why}")
