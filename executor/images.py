"""What an image's entrypoint is, for runtimes that have no images: the table of `--images FILE`.

The file has the form of `images` in Argo's workflow-controller-configmap (docs/workflow-executors.md): a YAML map from
image to `entrypoint` and `cmd`, each a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml


class Image(NamedTuple):
    """An image's own program."""

    entrypoint: list[str]
    cmd: list[str]


class NoCommand(Exception):  # noqa: N818 - it is an answer that becomes the step's result
    """Neither the template nor the table says what to run."""


def load_images(path: Path) -> dict[str, Image]:
    """Reads the table; ValueError says what is wrong with it."""
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: give the images' entrypoints in a YAML file") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {error}") from error
    if document is None:
        return {}
    if isinstance(document, dict) and isinstance(document.get("images"), dict):
        document = document["images"]
    entries = document.items() if isinstance(document, dict) else [("(the whole file)", document)]
    return {str(name): _image(path, name, entry) for name, entry in entries}


def _image(path: Path, name: object, entry: object) -> Image:
    if not isinstance(entry, dict) or not set(entry) <= {"entrypoint", "cmd"}:
        raise ValueError(f"{path}: {name}: a map with entrypoint and cmd is expected")
    parts = []
    for key in ("entrypoint", "cmd"):
        value = entry.get(key) or []
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise ValueError(f"{path}: {name}: {key}: a list of texts is expected")
        parts.append(value)
    return Image(*parts)


def command_line(image: str, command: list[str], args: list[str], images: Mapping[str, Image]) -> list[str]:
    """What to run: as in a container, a command replaces the image's entrypoint and cmd, arguments only its cmd."""
    if command:
        return [*command, *args]
    entry = images.get(image) or images.get(_untagged(image))
    line = [*entry.entrypoint, *(args or entry.cmd)] if entry else []
    if not line:
        raise NoCommand(
            f'failed to look-up entrypoint/cmd for image "{image}", you must either explicitly specify the command, '
            "or list the image's entrypoint in the file of --images"
        )
    return line


def _untagged(image: str) -> str:
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]
