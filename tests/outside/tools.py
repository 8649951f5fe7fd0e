"""Tools of others, fetched for a test: it is skipped, with a word, where that cannot be done."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

SECONDS = 90


def npm(folder: Path, package: str) -> Path:
    """Installs a package of npm's in the folder, and gives the folder of its commands."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node is missing")
    patience = ("--fetch-retries=1", "--fetch-timeout=20000")
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--no-update-notifier")
    _fetch(["npm", "install", *patience, *quiet, "--prefix", str(folder), package], f"npm cannot install {package}")
    return folder / "node_modules" / ".bin"


def go(folder: Path, *arguments: str, environ: Mapping[str, str]) -> None:
    """Lets go fetch modules for what stands in the folder."""
    if not shutil.which("go"):
        pytest.skip("go is missing")
    _fetch(["go", *arguments], "go cannot fetch modules", cwd=folder, environ=environ)


def _fetch(
    command: list[str], trouble: str, *, cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{trouble}: nothing came for {SECONDS} s")
    if done.returncode:
        pytest.skip(f"{trouble}: {done.stderr.strip()[-300:]}")
