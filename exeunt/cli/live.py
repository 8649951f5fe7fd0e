"""Trees that redraw themselves on a terminal; elsewhere a line when something ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from exeunt.cli import tree
from exeunt.cli.visible import echo
from exeunt.visible import visible

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

    from exeunt.cli.follow import FollowedWorkflows

Workflow = Mapping[str, Any]
Node = Mapping[str, Any]
REDRAWS_PER_SECOND = 8
LOGGED = frozenset({"Succeeded", "Failed", "Error"})
_INNER = frozenset({"Steps", "StepGroup", "DAG", "TaskGroup", "Retry"})


class Display:
    """Shows how workflows stand, on standard error. A context manager; call it at every change."""

    def __init__(self, *, quiet: bool = False, command: str = "exeunt") -> None:
        """`command` is what reaches the same cluster from another terminal."""
        self._quiet = quiet
        self._command = command
        self._told: set[tuple[str, str]] = set()
        self._live: Live | None = None
        self._followed: FollowedWorkflows | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not self._quiet:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                get_renderable=self._draw,
                console=Console(stderr=True),
                refresh_per_second=REDRAWS_PER_SECOND,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, followed: FollowedWorkflows, workflow: Workflow, changed: Mapping[str, Node]) -> None:
        """Some nodes of a workflow have changed."""
        self._followed = followed
        if self._live is None and not self._quiet:
            self._tell(workflow, changed)

    def _draw(self) -> Group:
        from rich.console import Group

        workflows = self._followed.workflows() if self._followed else []
        height = self._live.console.height - 1 if self._live else 24
        return Group(*_fitting(workflows, time.time(), height, self._command))

    def _tell(self, workflow: Workflow, changed: Mapping[str, Node]) -> None:
        """A line for each step that has ended or waits, and for the workflow when it has ended."""
        name, status = workflow["metadata"]["name"], workflow.get("status", {})
        for key, node in sorted(changed.items(), key=_when_ended):
            phase = node.get("phase", "")
            if phase in LOGGED and node.get("type") not in _INNER and (key, phase) not in self._told:
                self._told.add((key, phase))
                self._line(phase, node.get("name") or key, node.get("message"))
        for node in _waiting(workflow, changed):
            if (node["id"], "waits") not in self._told:
                self._told.add((node["id"], "waits"))
                self._line("Waiting", node["name"], f"`{self._command} resume {name}` goes on")
        phase = status.get("phase", "")
        if phase in LOGGED and (workflow["metadata"]["uid"], phase) not in self._told:
            self._told.add((workflow["metadata"]["uid"], phase))
            self._line(phase, f"workflow {name}", status.get("message"))

    def _line(self, phase: str, name: str, message: str | None) -> None:
        text = " ".join(str(message or "").split())
        echo(f"{tree.SYMBOLS.get(phase, tree.WAITING)} {name}{': ' + text if text else ''}", err=True)


def show(workflows: Iterable[Workflow], now: float) -> None:
    """Prints trees in colour."""
    from rich.console import Console

    _print(Console(), workflows, now)


def _print(console: Console, workflows: Iterable[Workflow], now: float) -> None:
    for workflow in workflows:
        for line in _lines(workflow, now):
            console.print(line, soft_wrap=True)
        console.print()


def _fitting(workflows: Sequence[Workflow], now: float, height: int, command: str) -> list[Any]:
    """As many lines as the terminal holds: one for each workflow when there are many, else their trees."""
    from rich.text import Text

    lines: list[Any] = []
    for workflow in workflows:
        rows = tree.rows(workflow, now)
        name, status = workflow["metadata"]["name"], workflow.get("status", {})
        phase = status.get("phase") or "Pending"
        title = Text(
            visible(f"{tree.SYMBOLS.get(phase, '?')} {name} {status.get('progress', '')} {status.get('message', '')}")
        )
        title.stylize(tree.STYLES.get(phase, ""))
        lines += [title, *(_row(row) for row in rows)] if len(workflows) <= 3 else [title]
        waits = bool(_waiting(workflow, status.get("nodes") or {}))
        lines += [Text(f"  waiting: `{command} resume {name}` goes on", style="yellow")] * waits
    if len(lines) > height:
        lines = [*lines[: height - 1], Text(f"… {len(lines) - height + 1} more lines")]
    return lines


def _lines(workflow: Workflow, now: float) -> list[Any]:
    from rich.text import Text

    lines: list[Any] = []
    for name, value in tree.header(workflow, now):
        style = tree.STYLES.get(value, "") if name == "Status" else ""
        lines.append(Text.assemble((f"{name + ':':<15}", "dim"), (value, style)))
    lines += [Text.assemble((f"  {name}: ", "dim"), value) for name, value in tree.outputs(workflow)]
    rows = [_row(row) for row in tree.rows(workflow, now)]
    return [*lines, Text(""), *rows] if rows else lines


def _row(row: tree.Row) -> Any:
    from rich.text import Text

    return Text.assemble(
        (row.lead, "dim"),
        (f"{row.symbol} ", tree.STYLES.get(row.phase, "")),
        row.name,
        (f"  {row.template}" if row.template and row.template != row.name else "", "dim"),
        (f"  {row.duration}" if row.duration else "", "dim"),
        (f"  {row.message}" if row.message else "", "red" if row.phase in ("Failed", "Error") else ""),
    )


def _when_ended(entry: tuple[str, Node]) -> tuple[str, bool, str]:
    """By the second in which it ended; what belongs to an exit handler last."""
    name = str(entry[1].get("name", ""))
    return str(entry[1].get("finishedAt") or "~"), ".onExit" in name, name


def _waiting(workflow: Workflow, nodes: Mapping[str, Node]) -> list[Node]:
    """The suspend nodes that wait for somebody: those with a duration go on by themselves."""
    templates = workflow.get("spec", {}).get("templates") or []
    timed = {t.get("name") for t in templates if (t.get("suspend") or {}).get("duration")}
    running = [n for n in nodes.values() if n.get("type") == "Suspend" and n.get("phase") == "Running"]
    return [node for node in running if node.get("templateName") not in timed]
