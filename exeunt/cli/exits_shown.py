"""Records of the exit ledger as they are printed: as JSON, as a table, one by one."""

from __future__ import annotations

import json
import time
from typing import Any

from exeunt.cli import times
from exeunt.cli.output import print_table
from exeunt.cli.visible import echo
from exeunt.v1.exit_service_pb2 import Exit
from exeunt.words import phases

SHOWN_CHARACTERS = 200
"""Of one input or output, for people."""


def record(found: Exit) -> dict[str, Any]:
    """A record as `-o json` has it."""
    return {
        "id": found.id,
        "workflow": found.workflow,
        "namespace": found.namespace,
        "uid": found.uid,
        "node": found.node,
        "hook": found.hook,
        "state": state(found),
        "attempts": [
            {
                "node": one.node,
                "startedAt": times.iso(times.of_proto(one.start_time)),
                "finishedAt": times.iso(times.of_proto(one.finish_time)),
                "phase": phases.word(one.phase),
                "error": one.error,
                **({"answer": _json(one.answer_json)} if one.answer_json else {}),
            }
            for one in found.attempts
        ],
        "error": found.error,
        "dueAt": times.iso(times.of_proto(found.due_time)),
        "startedAt": times.iso(times.of_proto(found.start_time)),
        "finishedAt": times.iso(times.of_proto(found.finish_time)),
        "replays": found.replays,
        "children": [{"name": c.name, "namespace": c.namespace, "uid": c.uid} for c in found.children],
    }


def full(found: Exit) -> dict[str, Any]:
    """The same with everything that the exit handler keeps."""
    return {**record(found), **({"record": _json(found.json)} if found.json else {})}


def print_ledger(found: list[Exit], *, wide: bool) -> None:
    """A line for each record."""
    now = time.time()
    head: tuple[str, ...] = ("ID", "WORKFLOW", "HOOK", "NODE", "STATE", "ATTEMPTS", "AGE", "DURATION")
    body = []
    for one in found:
        due, started, finished = (times.of_proto(t) for t in (one.due_time, one.start_time, one.finish_time))
        cells: tuple[str, ...] = (
            one.id,
            one.workflow,
            one.hook,
            "" if one.node == one.workflow else one.node.removeprefix(one.workflow),
            state(one),
            str(one.attempt_count),
            times.duration(now - due) if due else "",
            times.duration((finished or now) - started) if started else "",
        )
        if wide:
            cells = (one.namespace, one.uid, str(one.replays), *cells)
        body.append((*cells, " ".join(one.error.split())))
    print_table((*(("NAMESPACE", "UID", "REPLAYS") if wide else ()), *head, "ERROR"), body)


def ledger_line(found: Exit, now: float) -> str:
    """One change, for people."""
    place = found.node if found.node.startswith(found.workflow) else f"{found.workflow} {found.node}"
    error = " ".join(found.error.split())
    told = [time.strftime("%H:%M:%S", time.gmtime(now)), f"{state(found):<10}", found.id, place, found.hook, error]
    return " ".join(filter(None, told))


def print_exit(found: Exit) -> None:
    """One record for people."""
    lines = [
        ("Id", found.id),
        ("Workflow", f"{found.namespace}/{found.workflow}"),
        ("Node", found.node),
        ("Hook", found.hook),
        ("State", state(found)),
        ("Error", found.error),
        ("Due", times.iso(times.of_proto(found.due_time)) or ""),
        ("Started", times.iso(times.of_proto(found.start_time)) or ""),
        ("Finished", times.iso(times.of_proto(found.finish_time)) or ""),
        ("Replays", str(found.replays) if found.replays else ""),
        ("Children", ", ".join(f"{child.namespace}/{child.name}" for child in found.children)),
    ]
    for name, text in lines:
        if text:
            echo(f"{name + ':':<12}{text}")
    kept = _json(found.json) if found.json else {}
    _print_values("Inputs", (kept.get("inputs") or {}).get("arguments") or {})
    _print_values("Outputs", _outputs(kept.get("outputs") or {}))
    body = []
    for number, one in enumerate(found.attempts, 1):
        started, finished = times.of_proto(one.start_time), times.of_proto(one.finish_time)
        length = times.duration(finished - started) if started and finished else ""
        said = one.error or one.answer_json
        body.append(
            (str(number), one.node, phases.word(one.phase), times.iso(started) or "", length, " ".join(said.split()))
        )
    inner = kept.get("handlers", [])
    if inner:
        echo()
        rows = [(one["node"].removeprefix(found.node), one["hook"], one["state"], one["error"]) for one in inner]
        print_table(("HANDLER OF ITS STEP", "HOOK", "STATE", "ERROR"), rows)
    if body:
        echo()
        print_table(("ATTEMPT", "NODE", "PHASE", "STARTED", "DURATION", "ERROR OR ANSWER"), body)


def _outputs(tree: dict[str, Any]) -> dict[str, Any]:
    """What the handler gave: parameters by their names, then its result and exit code."""
    found = {one["name"]: one.get("value", "") for one in tree.get("parameters") or []}
    return found | {name: tree[name] for name in ("result", "exitCode") if name in tree}


def _print_values(title: str, values: dict[str, Any]) -> None:
    """Values by name, each on a line; of long ones the beginning."""
    for at, (name, value) in enumerate(values.items()):
        told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        line = " ".join(told.split())
        if len(line) > SHOWN_CHARACTERS:
            line = f"{line[:SHOWN_CHARACTERS]}… ({len(told)} characters; -o yaml has them)"
        echo(f"{'' if at else title + ':':<12}{name} = {line}")


def state(found: Exit) -> str:
    """due, running, succeeded, failed, skipped, cancelled or parked."""
    return Exit.State.Name(found.state).removeprefix("STATE_").lower()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
