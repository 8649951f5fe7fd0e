"""Every manifest of the pages is accepted: whole ones as they stand, parts of one put where they belong.

tests/docs/test_guide.py runs that of docs/guide.md. The others ask for what is not there (mail servers, web hooks,
programs of the reader's), so they are checked and not run.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from exeunt.cli.lint import check
from tests.docs.blocks import PAGES, Block, blocks

MANIFESTS = [block for page in PAGES for block in blocks(page) if block.language == "yaml"]
NONE = {"docs/executors.md": "images:"}
"""Blocks that are no part of a manifest, by page: how they begin."""


def is_manifest(block: Block) -> bool:
    return not block.text.startswith(NONE.get(block.page, "\0"))


NOTHING = {"container": {"image": "debian", "command": ["true"]}}
TOTAL = {**NOTHING, "outputs": {"parameters": [{"name": "total", "globalName": "total", "value": "1"}]}}
STORED = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "ClusterWorkflowTemplate",
    "metadata": {"name": "ops"},
    "spec": {"templates": [{"name": "count", **NOTHING}]},
}


def whole(text: str) -> str:
    """A part of a manifest with what has to be around it: a handler that does an action, or a part of a workflow."""
    if re.search("^apiVersion:", text, re.MULTILINE):
        return text
    part: dict[str, Any] = yaml.safe_load(text)
    if "successCondition" in part:
        part = {"plugin": {"trigger": {"template": "child", "wait": True, **part}}}
    metadata: dict[str, Any] = {"generateName": "part-"}
    main = {"steps": [[{"name": "sum", "template": "sum"}]]}
    spec: dict[str, Any] = {"entrypoint": "main", "templates": [{"name": "sum", **TOTAL}, {"name": "main", **main}]}
    if "plugin" in part:
        spec["templates"].append({"name": "handler", **part})
        spec |= {"onExit": "handler", "arguments": {"parameters": [{"name": "day", "value": "monday"}]}}
    elif "spec" in part:
        spec |= part["spec"]
    elif "metadata" in part:
        metadata |= part["metadata"]
    else:
        metadata["annotations"] = part
        spec["onExit"] = "main"
    annotated = metadata.get("annotations", {}).get("exeunt.dev/exit-handlers", "")
    asked = {*templates(spec), *re.findall(r"(?:^|, )([\w-]+)(?=,| after|$)", annotated)}
    for name in sorted(asked - {template["name"] for template in spec["templates"]}):
        spec["templates"].append({"name": name, **NOTHING})
    workflow = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec}
    return yaml.safe_dump_all([STORED, workflow])


def templates(spec: Any) -> set[str]:
    """The names of templates that are called anywhere in it."""
    if isinstance(spec, list):
        return {name for item in spec for name in templates(item)}
    if not isinstance(spec, dict):
        return set()
    here = {spec[key] for key in ("template", "onExit") if isinstance(spec.get(key), str)}
    return here | {name for key, item in spec.items() if key != "plugin" for name in templates(item)}


@pytest.mark.parametrize("block", list(filter(is_manifest, MANIFESTS)), ids=lambda block: f"{block.page}:{block.line}")
def test_a_manifest_of_a_page_is_accepted(block: Block) -> None:
    assert [str(problem) for problem in check([(block.page, whole(block.text))])] == []


@pytest.mark.parametrize("page", NONE)
def test_what_is_no_manifest_is_still_there(page: str) -> None:
    assert any(block.page == page and not is_manifest(block) for block in MANIFESTS)
