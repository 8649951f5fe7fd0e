"""The volumes of steps: made before a step begins, mounted where its containers want them, gone when it has ended.

`made` is around all that a step runs. Within it `binds` says what one container finds where, and `place_of` in which
directory of the executor a path of a container lies. Volumes with secrets, and those of `medium: Memory`, lie in
memory where the machine has a directory for that.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import os
import posixpath
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from exeunt.engine.facts.volumes import CLAIM, EMPTY, FILES, HOST, NAMED_CLAIM
from exeunt.executor.claims import Claims
from exeunt.executor.host_paths import HostPaths
from exeunt.executor.mount_links import MountLinks
from exeunt.executor.runtime.base import Bind, NotStarted
from exeunt.executor.runtime.environment import expand
from exeunt.executor.runtime.sandbox.files import remove_tree
from exeunt.executor.runtime.sandbox.plan import below
from exeunt.executor.secrets import StepSecrets
from exeunt.executor.sub_paths import open_part
from exeunt.executor.volume_files import ProjectedFile, VolumeProblem, projected_files
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.language.volume_rules import path_wrong

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own in it
THREADS = 4
"""That make and remove volumes: a file system may not answer."""

LOOK_SECONDS = 1.0
"""Between two looks at how much is in a volume with a limit; looks that take long are rarer."""

T = TypeVar("T")


class VolumeContext(NamedTuple):
    """What volumes are made of on one executor.

    `mark` is the executor's alone. `named_claims` are directories by NAME or NAMESPACE/NAME. `links` is None where
    programs have mounts of their own.
    """

    data_dir: Path
    mark: str
    claims: Claims
    host_paths: HostPaths
    named_claims: Mapping[str, str]
    links: MountLinks | None = None


class MadeVolume(NamedTuple):
    """A volume: where it lies on the executor, and how many bytes may be in it; 0 for no limit.

    With `part` it is what is there below `path`, to be opened by no link that leads out.
    """

    path: str
    read_only: bool = False
    most: int = 0
    part: str = ""


Making = concurrent.futures.Future[dict[str, MadeVolume]]


class Volumes:
    """Makes the volumes of steps."""

    def __init__(self, context: VolumeContext) -> None:
        self.context = context
        self._disk = context.data_dir / "volumes"
        self._memory = IN_MEMORY / f"exeunt-{context.mark}" if os.access(IN_MEMORY, os.W_OK) else self._disk
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="volumes")
        self._count = 0

    def open(self) -> None:
        """Clears what an earlier life has left. OSError."""
        for directory in {self._disk, self._memory}:
            remove_tree(str(directory))
        self._disk.mkdir(parents=True, mode=0o700)

    def turns(self, *containers: pb.ContainerWork) -> tuple[str, ...]:
        """The paths of this machine that a step with these containers has to have for itself."""
        links = self.context.links
        return () if links is None else links.turns(_target(mount.path) for one in containers for mount in one.mounts)

    @contextlib.asynccontextmanager
    async def made(self, step: pb.Step, secrets: StepSecrets) -> AsyncIterator[StepVolumes]:
        """The step's volumes, there within the block. Raises NotStarted."""
        if not step.volumes:
            yield StepVolumes({}, self)
            return
        self._count += 1
        disk, memory = self._disk / str(self._count), self._memory / str(self._count)
        volumes = StepVolumes({}, self)
        making = self._pool.submit(partial(self._make, step, secrets, disk, memory))
        try:
            volumes.made = await asyncio.wrap_future(making)
            yield volumes
        finally:
            closing = self._pool.submit(partial(_close, making, volumes))
            self._pool.submit(partial(_remove, closing, disk, memory))
            if self.context.links is not None:  # whoever waits for a path finds it free
                await asyncio.shield(asyncio.wrap_future(closing))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Does what waits for a file system."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Waits until all is removed."""
        self._pool.shutdown()
        for directory in {self._disk, self._memory}:
            remove_tree(str(directory))
        self.context.claims.close()

    def _make(self, step: pb.Step, secrets: StepSecrets, disk: Path, memory: Path) -> dict[str, MadeVolume]:
        made: dict[str, MadeVolume] = {}
        if any(_in_memory(volume) for volume in step.volumes):
            self._memory.mkdir(mode=0o700, exist_ok=True)
        for at, volume in enumerate(step.volumes):
            name = f"volume '{volume.name}'"
            try:
                made[volume.name] = self._one(step, volume, secrets, disk / str(at), memory / str(at))
            except VolumeProblem as error:
                raise NotStarted(f"{name}: {error}") from None
            except (OSError, ValueError) as error:
                raise NotStarted(f"{name} cannot be made: {_why(error)}") from error
        return made

    def _one(self, step: pb.Step, volume: pb.Volume, secrets: StepSecrets, disk: Path, memory: Path) -> MadeVolume:
        context = self.context
        if volume.kind == EMPTY:
            directory = memory if _in_memory(volume) else disk
            directory.mkdir(parents=True)
            directory.chmod(0o777)  # as Kubernetes makes it; what is above it is the executor's alone
            return MadeVolume(str(directory), most=volume.bytes)
        if volume.kind == FILES:
            directory = memory if _in_memory(volume) else disk
            _write(directory, projected_files(volume, step, secrets.values))
            return MadeVolume(str(directory), read_only=True)
        if volume.kind == HOST:
            root, part = context.host_paths.place(volume.path, volume.type)
            return MadeVolume(root, part=part)
        if volume.kind == CLAIM:
            return MadeVolume(str(context.claims.place(step.namespace, step.uid, volume.path, made=step.claims_made)))
        if volume.kind == NAMED_CLAIM:
            return MadeVolume(_named(context.named_claims, step.namespace, volume.path), volume.read_only)
        raise VolumeProblem(f"a newer release made it: {volume.kind!r} is not known here")


class StepVolumes:
    """The volumes of one step, by name."""

    def __init__(self, made: dict[str, MadeVolume], home: Volumes) -> None:
        self.made = made
        self._home = home
        self._open: list[int] = []
        self._linked: list[str] = []
        self._there: dict[str, str] = {}  # links that any of the step's containers has: each is there once
        self._binds: dict[str, list[Bind]] = {}

    async def binds(self, id: str, work: pb.ContainerWork, variables: Mapping[str, str]) -> list[Bind]:
        """What one container finds where, outer paths first; `id` names the container. Raises NotStarted.

        Where programs have no mounts of their own the links are there after this.
        """
        if not work.mounts:
            return []
        links = self._home.context.links
        return await self._home.in_thread(partial(self._mount, id, work, variables, links))

    async def watch(self, too_much: Callable[[str], None]) -> None:
        """Looks from time to time how much is in those that have a limit; told once of one that has more."""
        limited = {name: volume for name, volume in self.made.items() if volume.most}
        pause = LOOK_SECONDS
        while limited:
            await asyncio.sleep(pause)
            began = asyncio.get_running_loop().time()
            for name, volume in limited.items():
                if await self._home.in_thread(partial(size_of, volume.path)) > volume.most:
                    too_much(f"Usage of EmptyDir volume '{name}' exceeds the limit of {volume.most:,} bytes")
                    return
            pause = max(LOOK_SECONDS, 10 * (asyncio.get_running_loop().time() - began))

    def place_of(self, id: str, path: str) -> tuple[str, str] | None:
        """The directory of the executor that is mounted at or above an absolute path of a container, and what is left.

        None when no volume is. `id` is the one with which `binds` was asked for this container before.
        """
        full = _target(path)
        found = [bind for bind in self._binds.get(id, []) if below(full, (bind.target,))]
        if not found:
            return None
        deepest = max(found, key=lambda bind: len(bind.target))
        return deepest.source, posixpath.relpath(full, deepest.target)

    def close(self) -> None:
        """Takes away links, and gives back what is held open."""
        links = self._home.context.links
        for id in self._linked:
            if links is not None:
                links.take_away(id)
        for fd in self._open:
            os.close(fd)
        self._open.clear()

    def _mount(
        self, id: str, work: pb.ContainerWork, variables: Mapping[str, str], links: MountLinks | None
    ) -> list[Bind]:
        binds: list[Bind] = []
        for mount in work.mounts:
            volume, target = self.made[mount.volume], _target(mount.path)
            if target == "/":
                raise NotStarted(f"volume '{mount.volume}' cannot be mounted over the whole root")
            read_only = mount.read_only or volume.read_only
            if mount.sub_path or volume.part:
                source, part = self._held(mount, volume, variables)
                binds.append(Bind(source, target, read_only, volume.path, part))
            else:
                binds.append(Bind(volume.path, target, read_only))
        binds.sort(key=lambda bind: bind.target.count("/"))
        if links is not None:
            try:
                self._linked.append(id)
                fresh = {bind.target: os.path.realpath(bind.source) for bind in binds}
                links.put(id, [bind for bind in binds if self._there.get(bind.target) != fresh[bind.target]])
                self._there |= fresh
            except VolumeProblem as error:
                raise NotStarted(f"volumeMounts: {error}") from None
            except OSError as error:
                raise NotStarted(f"volumeMounts: {error.filename}: {error.strerror}") from error
        self._binds[id] = binds
        return binds

    def _held(self, mount: pb.VolumeMount, volume: MadeVolume, variables: Mapping[str, str]) -> tuple[str, str]:
        """What is mounted, held open so that nothing else can take its place; and its path below the volume's root."""
        name = f"volume '{mount.volume}': subPath"
        path = expand(mount.sub_path, variables) if mount.expand else mount.sub_path
        if mount.expand and "$(" in path:
            raise NotStarted(f"{name}Expr {path!r} names a variable that the container has not got")
        if wrong := path_wrong(path):
            raise NotStarted(f"{name} {wrong}")
        held = volume.path
        try:
            if volume.part:
                held = self._hold(open_part(held, volume.part, make=False))
            if path:
                held = self._hold(open_part(held, path, make=not volume.read_only))
        except (OSError, ValueError) as error:
            raise NotStarted(f"{name} {path!r}: {_why(error)}") from error
        return held, "/".join(part for part in (volume.part, path) if part)

    def _hold(self, fd: int) -> str:
        self._open.append(fd)
        return f"/proc/self/fd/{fd}"


@contextlib.asynccontextmanager
async def open_volumes(context: VolumeContext) -> AsyncIterator[Volumes]:
    """The volumes of an executor's steps; what was in them is removed at the end."""
    volumes = Volumes(context)
    await asyncio.to_thread(volumes.open)
    try:
        yield volumes
    finally:
        await asyncio.to_thread(volumes.close)


def _in_memory(volume: pb.Volume) -> bool:
    return volume.memory or any(source.secret for source in volume.files)


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno in (errno.EXDEV, errno.ELOOP):
        return "a link leads out of the volume"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _target(path: str) -> str:
    return "/" + posixpath.normpath(posixpath.join("/", path)).lstrip("/")


def _write(directory: Path, files: Mapping[str, ProjectedFile]) -> None:
    directory.mkdir(parents=True)
    for path, file in files.items():
        place = directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as opened:
            opened.write(file.content)
            os.fchmod(opened.fileno(), file.mode)


def _named(known: Mapping[str, str], namespace: str, name: str) -> str:
    directory = known.get(f"{namespace}/{name}") or known.get(name)
    if not directory:
        raise VolumeProblem(
            f"this executor knows no persistentVolumeClaim '{name}': its operator can say which directory that is with "
            f"--named-claims {name}=DIRECTORY"
        )
    if not os.path.isdir(directory):
        raise VolumeProblem(f"{directory}, the directory of persistentVolumeClaim '{name}', is not there")
    return directory


def _close(making: Making, volumes: StepVolumes) -> None:
    """When making is over, too: a cancelled step does not wait for it."""
    concurrent.futures.wait([making])
    volumes.close()


def _remove(closing: concurrent.futures.Future[None], *places: Path) -> None:
    concurrent.futures.wait([closing])
    for place in places:
        if place.exists():
            remove_tree(str(place))


def size_of(directory: str) -> int:
    """The bytes that a directory and all in it take up on the disk; what cannot be looked into is left out."""
    total, left = 0, [directory]
    while left:
        with contextlib.suppress(OSError), os.scandir(left.pop()) as listing:
            for entry in listing:
                with contextlib.suppress(OSError):
                    total += 512 * entry.stat(follow_symlinks=False).st_blocks
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
    return total
