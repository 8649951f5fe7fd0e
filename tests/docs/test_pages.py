"""The pages say what the code does: what is refused, which rules there are, which commands work."""

from __future__ import annotations

import re

from exeunt.cli.main import COMMANDS
from exeunt.language import support
from tests.docs.blocks import ROOT
from tests.golden.rules import NAMES

DOCS = ROOT / "docs"


def section(page: str, beginning: str, end: str) -> str:
    text = (DOCS / page).read_text()
    return text[text.index(beginning) : text.index(end)]


def test_the_roadmap_names_every_field_that_is_refused() -> None:
    refused = section("roadmap.md", "**Refused today**", "**Accepted without effect**")
    missing = {field for _, field in support.REFUSED if f"`{field}`" not in refused}
    assert not missing


def test_the_roadmap_says_that_nothing_refused_runs() -> None:
    runs = set(re.findall(r"`(\w+)`", section("roadmap.md", "| runs today", "How near")))
    both = {"valueFrom"}  # runs in parameters, and is refused in headers
    assert runs & {field for _, field in support.REFUSED} <= both


def test_the_roadmap_names_the_commands_that_there_are() -> None:
    text = section("roadmap.md", "## The command and the API", "There is no")
    named = {words.split()[0] for words in re.findall(r"`([a-z]+[a-z |]*)`", text)}
    assert named == set(COMMANDS)


def test_every_rule_of_the_comparison_is_explained() -> None:
    explained = re.findall(r"^### ([a-z-]+)$", (DOCS / "argo-differences.md").read_text(), re.MULTILINE)
    assert set(NAMES) <= set(explained)


def test_the_page_of_annotations_has_each_that_is_used() -> None:
    described = re.findall(r"^\| `exeunt\.dev/([a-z-]+)`", (DOCS / "annotations.md").read_text(), re.MULTILINE)
    files = [
        path for folder in ("exeunt", "scheduler", "executor", "exithandler") for path in (ROOT / folder).rglob("*.py")
    ]
    files += [path for folder in ("deploy", "examples") for path in (ROOT / folder).rglob("*.yaml")]
    texts = [path.read_text() for path in files if not path.name.endswith(("_pb2.py", "_pb2_grpc.py"))]
    used = {name for text in texts for name in re.findall(r"(?:exeunt\.dev/|\{OURS\})([a-z-]+)", text)}
    assert sorted(described) == sorted(used)


def test_the_index_has_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.\w+)\)", (DOCS / "README.md").read_text()))
    assert linked == {path.name for path in DOCS.iterdir() if path.is_file()} - {"README.md"}
