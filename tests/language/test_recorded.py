"""What Argo accepted and what it refused, case by case as recorded: so do we, but for what `refused-at-once` names."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exeunt.language.decode import decode
from exeunt.language.load import Document
from exeunt.language.manifest import Workflow, WorkflowTemplate
from exeunt.language.problems import ManifestError
from exeunt.language.validate import resolve, validate
from tests.golden.rules import refused_at_once

ROOT = Path(__file__).parents[2]
PLACES = (ROOT / "tests" / "golden", ROOT.parent / "shared" / "argo" / "golden")


def recorded(name: str) -> Iterator[dict[str, Any]]:
    for place in PLACES:
        if (place / name).exists():
            with gzip.open(place / name, "rt") as lines:
                yield from map(json.loads, lines)
            return
    pytest.skip(f"the recorded cases {name} are not here")


def errors_of(case: dict[str, Any]) -> list[str]:
    try:
        workflow = decode(Document(case["id"], case["manifest"]))
        assert isinstance(workflow, Workflow)
        extra = [decode(Document(case["id"], tree)) for tree in case["extra"]]
    except ManifestError as error:
        return [str(problem) for problem in error.problems]
    store = {(model.kind, model.metadata.name): model for model in extra if isinstance(model, WorkflowTemplate)}
    bundle = resolve(workflow, lambda kind, _, name: store.get((kind, name)))
    found = validate(bundle, Document(case["id"], case["manifest"]), support=False)
    return [str(problem) for problem in found if not problem.warning]


@pytest.mark.parametrize("name", ["hand.jsonl.gz", "random.jsonl.gz", "examples.jsonl.gz"])
def test_accepted_and_refused_as_recorded(name: str) -> None:
    differ: list[str] = []
    for case in recorded(name):
        found, refused = errors_of(case), case["expect"].get("refused")
        excused = not refused and refused_at_once(found)
        if bool(found) != bool(refused) and not excused:
            differ.append(f"{case['id']}: Argo: {refused or 'accepted'}; here: {found or 'accepted'}")
    assert differ == []
