"""The default text of a message: what ended and how, how long it took, what failed, which steps there were, a link."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from exeunt.actions.context import Context
from exeunt.utf8 import loads

SHOWN_FAILURES = 20
SHOWN_STEPS = 200
SHOWN_TEXT_CHARACTERS = 500  # characters of one failure's message
TREE_SECONDS = 3.0  # how long a message waits for the list of steps
_SIGNS = {"Succeeded": "✔", "Failed": "✖", "Error": "⚠", "Skipped": "○", "Omitted": "○", "Running": "●"}
_COLOURS = {"Succeeded": "#1a7f37", "Failed": "#cf222e", "Error": "#bf8700"}


class FailedStep(NamedTuple):
    """A step that failed, as `workflow.failures` has it."""

    name: str
    template: str
    phase: str
    message: str


class EndedStep(NamedTuple):
    """A step that ended; `depth` is how many graphs it is nested in, `seconds` how long it took (None: unknown)."""

    name: str
    phase: str
    message: str
    depth: int
    seconds: float | None


class ExitSummary(NamedTuple):
    """What an exit handler says where its manifest gives no text."""

    title: str
    headline: str
    status: str
    reason: str
    duration: str
    failures: tuple[FailedStep, ...]
    more_failures: int
    link: str
    steps: tuple[EndedStep, ...] = ()

    @property
    def text(self) -> str:
        """All of it as plain text."""
        lines = [self.headline]
        if self.duration:
            lines.append(f"It took {self.duration}.")
        if self.failures:
            lines += ["", "What failed:", *(f"- {_line(f)}" for f in self.failures)]
            if self.more_failures:
                lines.append(f"- and {self.more_failures} more")
        if self.steps:
            lines += ["", "Steps:"]
            lines += [f"{'  ' * s.depth}{_SIGNS.get(s.phase, '·')} {s.name}{_took(s)}" for s in self.steps]
        if self.link:
            lines += ["", self.link]
        return "\n".join(lines)

    @property
    def html(self) -> str:
        """All of it as an HTML document; whatever comes from the workflow is escaped."""
        colour = _COLOURS.get(self.status, "#57606a")
        parts = [f'<h2 style="color:{colour}">{escape(self.title)}</h2>', f"<p>{escape(self.headline)}"]
        parts.append(f"<br>It took {escape(self.duration)}.</p>" if self.duration else "</p>")
        if self.failures:
            items = "".join(f"<li>{escape(_line(f))}</li>" for f in self.failures)
            more = f"<li>and {self.more_failures} more</li>" if self.more_failures else ""
            parts.append(f"<h3>What failed</h3><ul>{items}{more}</ul>")
        if self.steps:
            rows = "".join(_row(s) for s in self.steps)
            parts.append(f'<h3>Steps</h3><table cellpadding="3">{rows}</table>')
        if self.link:
            link = escape(self.link, quote=True)
            parts.append(f'<p><a href="{link}">{link}</a></p>')
        return f"<!DOCTYPE html><html><body>{''.join(parts)}</body></html>"


def summary_of(context: Context) -> ExitSummary:
    """The summary, from the variables of the exit handler alone."""
    facts = context.facts
    status, node = facts.get("phase") or facts.get("workflow.status", ""), facts.get("node", "")
    name = f"{context.namespace}/{context.workflow}"
    what = f"Step {node} of workflow {name}" if node and node != context.workflow else f"Workflow {name}"
    title = node or context.workflow
    reason = facts.get("reason", "")
    ended = " ended" if status not in {"", "Pending", "Running"} else ""
    headline = f"{what}{ended}: {status}" if status else what
    if reason and reason not in {status, "Completed"}:
        headline += f" ({reason.lower()})"
    failures = failures_of(facts)
    return ExitSummary(
        title=f"{title}: {status}" if status else title,
        headline=headline,
        status=status,
        reason=reason,
        duration=_duration(facts.get("workflow.duration", "")),
        failures=tuple(failures[:SHOWN_FAILURES]),
        more_failures=max(0, len(failures) - SHOWN_FAILURES),
        link=link_of(context),
    )


async def full_summary(context: Context) -> ExitSummary:
    """The summary with the steps that ended, if they can be read within `TREE_SECONDS`."""
    message = summary_of(context)
    if context.tools.steps is None:
        return message
    try:
        async with asyncio.timeout(TREE_SECONDS + 1):
            ended = await context.tools.steps(context.namespace, context.uid, TREE_SECONDS)
    except (TimeoutError, LookupError):
        return message
    return message._replace(steps=tuple(_steps(ended, context.workflow)))


def failures_of(facts: Mapping[str, str]) -> list[FailedStep]:
    """Reads `workflow.failures`, which is JSON quoted once more, as in Argo."""
    value: Any = facts.get("workflow.failures", "")
    try:
        for _ in range(2):
            if isinstance(value, str) and value:
                value = loads(value)
    except ValueError:
        return []
    found = [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
    return [
        FailedStep(
            str(v.get("displayName") or v.get("podName") or "?"),
            str(v.get("templateName") or ""),
            str(v.get("phase") or "Failed"),
            str(v.get("message") or ""),
        )
        for v in found
    ]


def link_of(context: Context) -> str:
    """The address at which people look at the workflow; empty when the settings name none."""
    link = context.settings.workflow_link
    for name, value in (("namespace", context.namespace), ("name", context.workflow), ("uid", context.uid)):
        link = link.replace(f"{{{name}}}", value)
    return link


def _steps(ended: Sequence[Mapping[str, Any]], workflow: str) -> list[EndedStep]:
    """In the order of their names' graphs: `wf[0].a`, `wf[0].b`, `wf[0].b[0].c`, …"""
    steps: list[EndedStep] = []
    for one in ended[:SHOWN_STEPS]:
        full = str(one.get("node", ""))
        name = full.removeprefix(workflow)
        depth = max(0, name.count(".") - 1)
        seconds = one.get("seconds")
        steps.append(
            EndedStep(
                name.lstrip(".") or full,
                str(one.get("phase", "")),
                str(one.get("message") or ""),
                depth,
                float(seconds) if isinstance(seconds, int | float) else None,
            )
        )
    return steps


def _line(failure: FailedStep) -> str:
    template = f" ({failure.template})" if failure.template and failure.template != failure.name else ""
    said = " ".join(failure.message.split())
    said = said if len(said) <= SHOWN_TEXT_CHARACTERS else said[: SHOWN_TEXT_CHARACTERS - 1] + "…"
    return f"{failure.name}{template}: {failure.phase}{f', {said}' if said else ''}"


def _took(step: EndedStep) -> str:
    said = " ".join(step.message.split())[:SHOWN_TEXT_CHARACTERS]
    took = f" {step.seconds:.0f} s" if step.seconds is not None else ""
    return f"{took}{f' – {said}' if said else ''}"


def _row(step: EndedStep) -> str:
    colour = _COLOURS.get(step.phase, "#57606a")
    sign = _SIGNS.get(step.phase, "·")
    return (
        f'<tr><td style="color:{colour}">{sign} {escape(step.phase)}</td>'
        f'<td style="padding-left:{1.2 * step.depth:.1f}em">{escape(step.name)}</td><td>{escape(_took(step))}</td></tr>'
    )


def _duration(seconds: str) -> str:
    try:
        value = float(seconds)
    except ValueError:
        return ""
    if value < 90:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
