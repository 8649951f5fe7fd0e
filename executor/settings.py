"""What an executor can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exeunt.actions.settings import ActionServiceSettings
from exeunt.executor.claims import Claims
from exeunt.executor.host_paths import HostPaths
from exeunt.executor.images import Image, load_images
from exeunt.executor.mount_links import MountLinks
from exeunt.executor.runtime.registry import RUNTIMES
from exeunt.executor.volumes import VolumeContext
from exeunt.local import state_home
from exeunt.service.program import ProgramError
from exeunt.service.settings import setting


@dataclass(frozen=True, kw_only=True)
class Settings(ActionServiceSettings):
    """Settings of `exeunt serve executor`. At `listen` it tells its health."""

    schedulers: tuple[str, ...] = setting(
        "Where schedulers listen for the other services; those that are not named are learned from them",
        ("127.0.0.1:7610",),
        unit="HOST:PORT",
    )
    nats_url: str = setting(
        "Where NATS listens, as in nats://USER:PASSWORD@HOST:4222, so that artifacts without a repository go there "
        "straight; several separated by commas; empty: they go through the schedulers",
        "",
    )
    executor_token: str = setting("As token, for the sessions with schedulers, who need the same; empty for token", "")
    executor_id: str = setting("Name of this executor; empty for one that is kept in the data directory", "")
    labels: tuple[str, ...] = setting("Labels that lists of executors show, each NAME=VALUE", ())
    runtime: str = setting("What steps run in", "process", choices=RUNTIMES)
    rootfs: str = setting("Directory that steps in sandboxes have as their root; empty for the machine's own root", "")
    share: tuple[str, ...] = setting("Directories that are the machine's own in sandboxes too, and written to", ())
    host_paths: tuple[str, ...] = setting(
        "Directories of the machine of which steps may mount what is in them, as hostPath volumes", ()
    )
    named_claims: tuple[str, ...] = setting(
        "Directories that are persistentVolumeClaims by name, each NAME=DIRECTORY or NAMESPACE/NAME=DIRECTORY", ()
    )
    slots: int = setting("Steps at once", 16, minimum=1, maximum=10_000)
    exit_slots: int = setting("Further slots that only steps of exit handlers take", 2, minimum=0, maximum=10_000)
    address: str = setting(
        "Where daemons that run here are reached; empty for this machine's address on the way to the scheduler", ""
    )
    images: str = setting("YAML file of the images' entrypoints, in the form of Argo's `images`", "")
    output_bytes: int = setting(
        "Largest output parameter or result", 256 * 1024, unit="bytes", minimum=1, maximum=1024 * 1024
    )
    step_output_bytes: int = setting(
        "Largest sum of all outputs of one step",
        2 * 1024 * 1024,
        unit="bytes",
        minimum=1,
        maximum=8 * 1024 * 1024,
    )
    step_memory_bytes: int = setting(
        "Most memory of one step, all its processes together; one above it is ended, OOMKilled. 0: as much as there is",
        0,
        unit="bytes",
        minimum=0,
    )
    step_log_bytes: int = setting(
        "Output of one step that is kept until the scheduler has it",
        1024 * 1024,
        unit="bytes",
        minimum=64 * 1024,
        maximum=64 * 1024 * 1024,
    )
    artifact_seconds: float = setting("How long one artifact may be on its way", 3600.0, unit="s", minimum=1)
    artifact_credentials: bool = setting(
        "Reach artifacts whose place names no secret with the credentials in this process' environment: then each "
        "workflow can use them",
        False,
    )
    heartbeat_seconds: float = setting(
        "How often schedulers hear of this executor at least", 2.0, unit="s", minimum=0.05, maximum=60
    )
    drain_seconds: float = setting(
        "How long running steps may go on after SIGTERM before they get it too", 5.0, unit="s", minimum=0
    )

    def image_table(self) -> dict[str, Image]:
        """The images' own programs. ProgramError when the file cannot be used."""
        if not self.images:
            return {}
        try:
            return load_images(Path(self.images))
        except ValueError as error:
            raise ProgramError(f"--images: {error}") from error

    def hidden_files(self, directory: Path) -> tuple[str, ...]:
        """What steps in sandboxes must not see besides `directory`, which is the executor's: tokens, local clusters."""
        found = [each.removeprefix("file:") for each in (self.token, self.executor_token) if each.startswith("file:")]
        cluster = directory.resolve().parent
        if any((cluster / name).exists() for name in ("cluster.json", "lock")):
            found.append(str(cluster))
        return (*found, str(state_home()))

    def volume_context(self, directory: Path, mark: str, claims: Claims, own_files: bool) -> VolumeContext:
        """What volumes are made of. `own_files`: steps have mounts of their own. ProgramError for what cannot be."""
        wrong = [text for text in self.named_claims if not text.partition("=")[2].startswith("/")]
        if wrong:
            raise ProgramError(f"--named-claims: {wrong[0]!r} is not NAME=DIRECTORY with an absolute directory")
        relative = [path for path in self.host_paths if not path.startswith("/")]
        if relative:
            raise ProgramError(f"--host-paths: {relative[0]!r} is not absolute")
        return VolumeContext(
            data_dir=directory,
            mark=mark,
            claims=claims,
            host_paths=HostPaths(self.host_paths, (str(directory),)),
            named_claims=dict(text.split("=", 1) for text in self.named_claims),
            links=None if own_files else MountLinks(directory / "links"),
        )

    def label_table(self) -> dict[str, str]:
        """The labels by their names. ProgramError when one is not NAME=VALUE."""
        wrong = [text for text in self.labels if "=" not in text]
        if wrong:
            raise ProgramError(f"--labels: {wrong[0]!r} is not NAME=VALUE")
        return dict(text.split("=", 1) for text in self.labels)
