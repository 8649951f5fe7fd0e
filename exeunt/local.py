"""Where the local clusters of this user are found: what each says of itself in its cluster.json."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def state_home() -> Path:
    """Where this user's state lies, as the XDG base directory specification has it."""
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "state") / "exeunt"


def read_facts(data_dir: Path) -> dict[str, Any] | None:
    """cluster.json, or None when there is none that can be read."""
    try:
        found = json.loads((data_dir / "cluster.json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def entries() -> Iterator[dict[str, Any]]:
    """What the clusters that were started and not stopped wrote down: `data_dir`, `kept`, `started`."""
    for path in sorted((state_home() / "clusters").glob("*.json")):
        try:
            entry = json.loads(path.read_text())
            yield {"data_dir": Path(entry["data_dir"]), "kept": bool(entry["kept"]), "started": float(entry["started"])}
        except (OSError, ValueError, KeyError, TypeError):
            continue


def clusters_at(server: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Those that say that their scheduler or exit handler listens there: the data directory, and cluster.json."""
    for entry in entries():
        facts = read_facts(entry["data_dir"]) or {}
        if server in {(facts.get(name) or {}).get("address") for name in ("scheduler", "exithandler")}:
            yield entry["data_dir"], facts
