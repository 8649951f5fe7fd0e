"""What code, pages and settings cite exists: files by their paths, pages and their sections by links."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT

KINDS = {".py", ".md", ".yaml", ".toml", ".proto", ".sh", ".conf"}
"""Kinds of files that are looked at, besides the Makefile."""

PATH = re.compile(r"(?<![\w./{}*$-])(?:[\w.-]+/)+[\w-]+\.(?:py|md|yaml|toml|proto|txt|sh|conf)\b")
MODULE = re.compile(r"(?<![\w./{}*-])\w+\.py\b")
ARGO = {
    "docs/enhanced-depends-logic.md",
    "docs/executor_plugins.md",
    "docs/executor_swagger.md",
    "docs/fields.md",
    "docs/http-template.md",
    "docs/lifecyclehook.md",
    "docs/parallelism.md",
    "docs/retries.md",
    "docs/template-defaults.md",
    "docs/variables.md",
    "docs/walk-through/loops.md",
    "docs/workflow-executors.md",
    "docs/workflow-templates.md",
}
"""Pages of Argo Workflows' own documentation, which say where a semantic comes from."""

PROTOBUF = {"google/protobuf/timestamp.proto"}
PLACEHOLDERS = {"docs/decisions/NNNN-title.md", "./backup.sh", "receiver.py"}
"""What the reader makes."""

FOLDERS = ("exeunt", "scheduler", "executor", "exithandler", "tests", "proto", "bench", "docs", "examples", "deploy")
WRITES_FILES = re.compile("tests/|bench/")
"""Here a path may be that of a file which the program makes, so only docstrings and comments are looked at."""


@cache
def files() -> list[Path]:
    """Those of the project, by their paths from its root, without what is generated."""
    found = [*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    ours = [path.relative_to(ROOT) for path in found if path.is_file()]
    return sorted(path for path in ours if not re.match("exeunt/(v1|internal)/", str(path)))


@cache
def names() -> set[str]:
    return {path.name for path in files()}


def said(path: Path) -> str:
    """What a file says about others: all of it, or its docstrings and comments."""
    text = (ROOT / path).read_text()
    if path.suffix != ".py" or not WRITES_FILES.match(str(path)):
        return text
    docstrings = re.findall(r'^ *"""(.*?)"""', text, re.MULTILINE | re.DOTALL)
    return "\n".join([*docstrings, *re.findall(r"(?:^|  )# (.*)$", text, re.MULTILINE)])


def is_there(cited: str, where: Path) -> bool:
    """From the root of the project, the package, proto/, or the folder of whoever cites it."""
    bases = (ROOT, ROOT / "exeunt", ROOT / "exeunt" / "engine", ROOT / "proto", ROOT / "tests", (ROOT / where).parent)
    return any((base / cited).exists() for base in bases)


LOOKED_AT = [p for p in files() if (p.suffix in KINDS or p.name == "Makefile") and p.name != "CHANGELOG.md"]
FOREIGN = ARGO | PROTOBUF | PLACEHOLDERS


def test_every_file_that_is_cited_exists() -> None:
    missing = {
        f"{path}: {cited}"
        for path in LOOKED_AT
        for cited in PATH.findall(said(path))
        if cited not in FOREIGN and not is_there(cited, path)
    }
    assert missing == set()


def test_every_module_that_is_cited_by_its_name_exists() -> None:
    missing = {
        f"{path}: {cited}"
        for path in LOOKED_AT
        for cited in MODULE.findall(said(path))
        if cited not in FOREIGN and cited not in names()
    }
    assert missing == set()


def test_what_is_excused_is_cited() -> None:
    texts = [(ROOT / path).read_text() for path in LOOKED_AT if path.name != Path(__file__).name]
    assert [cited for cited in FOREIGN if not any(cited in text for text in texts)] == []


def anchors(page: Path) -> set[str]:
    """The names of its sections, as links have them."""
    text = page.read_text()
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return slugs | set(re.findall(r'<a id="([\w-]+)">', text))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, section = target.partition("#")
        found = page.parent / name if name else page
        if not found.exists() or (section and section not in anchors(found)):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_folders_that_a_page_names_are_there(page: Path) -> None:
    """In backquotes: `exeunt/journal/`."""
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", page.read_text())
    assert [one for one in named if one not in FOREIGN and not (ROOT / one).exists()] == []
