"""The environment of a step's process: a small one of its own, what the step adds, and how $(NAME) is read."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

KEPT = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What a step sees of the executor's own environment besides PATH. Secrets of the service stay with it."""

_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")


def base_environment(own: Mapping[str, str], shims: Path) -> dict[str, str]:
    """What each step starts from.

    PATH is the executor's, and ends with the directory of the running Python. Where the machine has only `python3`,
    a link named `python` is made in `shims`, so that `command: [python]` works.
    """
    python = Path(sys.executable)
    path = own.get("PATH") or DEFAULT_PATH
    directories = [d for d in path.split(os.pathsep) if d and d != str(python.parent)]
    if shutil.which("python", path=os.pathsep.join([*directories, str(python.parent)])) is None:
        shims.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (shims / "python").symlink_to(python)
        directories.append(str(shims))
    directories.append(str(python.parent))
    environment = {name: own[name] for name in KEPT if name in own}
    environment["HOME"] = _home(own.get("HOME", ""), shims.parent)
    environment.setdefault("LANG", "C.UTF-8")
    environment["PATH"] = os.pathsep.join(directories)
    return environment


def _home(own: str, data_dir: Path) -> str:
    """The executor's, where steps can write there; else, as on a read-only root, one in its data directory."""
    if own and os.path.isdir(own) and os.access(own, os.W_OK):
        return own
    made = data_dir / "home"
    made.mkdir(parents=True, exist_ok=True)
    return str(made)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` becomes the variable's value, `$$` a dollar sign; unknown names stay as they are.

    As Kubernetes does with a container's command, arguments and variables ("Define dependent environment variables").
    """
    if "$" not in text:
        return text

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(replacement, text)
