"""What commands print: results on standard output in the form that was asked for, progress on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from exeunt.cli import times, tree
from exeunt.cli.visible import echo

Workflow = Mapping[str, Any]
FORMS = ("tree", "json", "yaml", "name", "wide")
output_option = click.option("-o", "--output", type=click.Choice(FORMS), help="How results are printed.")


def print_workflows(workflows: Sequence[Workflow], form: str) -> None:
    """Prints workflows: as trees, as one JSON list, as YAML documents, by name, or a line each."""
    if form == "json":
        print_json(list(workflows))
    elif form == "yaml":
        print_yaml(workflows)
    elif form == "name":
        for workflow in workflows:
            echo(workflow["metadata"]["name"])
    elif form == "wide":
        print_list(workflows, wide=True)
    else:
        now = time.time()
        if sys.stdout.isatty():
            from exeunt.cli.live import show

            show(workflows, now)
        else:
            echo("\n".join(tree.text(workflow, now) for workflow in workflows), nl=False)


def print_workflow(workflow: Workflow, form: str) -> None:
    """Prints one workflow; as JSON an object, not a list."""
    if form == "json":
        print_json(workflow)
    else:
        print_workflows([workflow], form)


def print_list(workflows: Iterable[Workflow], *, wide: bool = False) -> None:
    """A line for each workflow."""
    now = time.time()
    head: tuple[str, ...] = ("NAME", "STATUS", "AGE", "DURATION", "PROGRESS")
    if wide:
        head = ("NAMESPACE", *head, "OUTCOME", "REASON", "EXIT HANDLERS", "UID")
    body = []
    for workflow in workflows:
        metadata, status = workflow.get("metadata", {}), workflow.get("status", {})
        created, started = times.seconds(metadata.get("creationTimestamp")), times.seconds(status.get("startedAt"))
        finished = times.seconds(status.get("finishedAt"))
        cells = [
            metadata.get("name", ""),
            status.get("phase") or "Pending",
            times.duration(now - created) if created else "",
            times.duration((finished or now) - started) if started else "",
            status.get("progress", ""),
        ]
        if wide:
            known = (status.get("outcome"), status.get("reason"), status.get("finalization"), metadata.get("uid"))
            cells = [metadata.get("namespace", ""), *cells, *(str(one or "") for one in known)]
        body.append((*cells, " ".join(str(status.get("message", "")).split())))
    print_table((*head, "MESSAGE"), body)


def print_table(head: tuple[str, ...], body: Sequence[tuple[str, ...]]) -> None:
    """Columns with a heading."""
    echo("\n".join(tree.table(head, body)))


def print_json(value: Any) -> None:
    """Indented JSON."""
    echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_yaml(values: Iterable[Any]) -> None:
    """YAML documents."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    texts = [yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True) for value in values]
    echo("---\n".join(texts), nl=False)


def note(text: str) -> None:
    """Says something about progress."""
    echo(text, err=True)
