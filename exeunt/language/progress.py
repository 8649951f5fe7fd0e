"""How far something has come, as Argo writes it: `N/M` (its page on progress)."""

from __future__ import annotations

import re

ANNOTATION = "workflows.argoproj.io/progress"
_FORM = re.compile(r"([0-9]{1,18})/([0-9]{1,18})")


def progress_of(text: str) -> tuple[int, int] | None:
    """Done and all; None for a text that is no progress."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        return None
    done, of_all = int(found[1]), int(found[2])
    return (done, of_all) if of_all > 0 and done <= of_all else None


def as_text(progress: tuple[int, int] | None) -> str:
    """N/M; empty for none."""
    return "" if progress is None else f"{progress[0]}/{progress[1]}"
