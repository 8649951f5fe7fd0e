"""The page docs/lives.md, made from the tables of transitions: `python -m exeunt.cli.lives docs/lives.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from exeunt.engine.facts import transitions

HEAD = """# What may follow what

The lives of a run, a node, an attempt and a hook, as the engine enforces them: an event that cannot follow is refused,
and the run is parked, with that as its message.

This page is made from the code: `python -m exeunt.cli.lives docs/lives.md`.
"""
INTRO = {
    "main run": "A workflow. Every other event may come while it is running or exiting, and none when it is closed.",
    "exit run": "One exit handler or hook. Every other event may come while it is running, and none when it is closed.",
    "node": "The phase of a node, as Argo names it. A node ends once: `StepFinished` of one that has ended is the late"
    " result of a killed step, and changes its message and outputs only.",
    "attempt": "The attempt of a node's work that is under way. A cancelled one is over when its result has come.",
    "hook": "A hook of a run: open from when it is due until its exit run says how it ended. What a replay came to"
    " stands beside that.",
}


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for life, intro in INTRO.items():
        parts.append(f"## {life.capitalize()}\n\n{intro}\n\n{_diagram(life)}\n\n{_table(life)}\n")
    return "\n".join(parts)


def _steps(life: str) -> list[tuple[str, str, str]]:
    return [
        (state, event.__name__, following)
        for (state, event), may in transitions.LIVES[life].items()
        for following in sorted(may)
    ]


def _diagram(life: str) -> str:
    """Mermaid; what changes nothing is in the table alone."""
    named: dict[tuple[str, str], list[str]] = {}
    for state, event, following in _steps(life):
        if state != following:
            named.setdefault((state or "[*]", following), []).append(event)
    lines = [f"    {state} --> {following}: {', '.join(events)}" for (state, following), events in named.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def _table(life: str) -> str:
    rows: dict[tuple[str, str], list[str]] = {}
    for state, event, following in _steps(life):
        rows.setdefault((state, event), []).append("the same" if following == state else following)
    lines = [f"| {state or '(none)'} | {event} | {', '.join(may)} |" for (state, event), may in rows.items()]
    return "\n".join(["| state | event | what follows |", "|---|---|---|", *lines])


def main() -> None:
    """Writes the page."""
    Path(sys.argv[1]).write_text(page())


if __name__ == "__main__":
    main()
