"""The fenced blocks of the pages, and the commands in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
        *(ROOT / f"{folder}/README.md" for folder in ("deploy", "examples", "bench")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
"""Every page that people read, but for the list of changes."""


class Block(NamedTuple):
    """What stands between two fences."""

    page: str
    """The page's path from the root of the project."""
    line: int
    """Where its text begins in the page."""
    language: str
    text: str

    @property
    def file(self) -> str:
        """The name under which the page has its reader save it: its first line is `# NAME`. Empty without one."""
        named = re.match(r"# ([\w-]+\.\w+)\n", self.text)
        return named[1] if named else ""


class Command(NamedTuple):
    """One command of a page, and the lines that the page shows as its output."""

    text: str
    shown: list[str]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    text = page.read_text()
    name = str(page.relative_to(ROOT))
    return [
        Block(name, text.count("\n", 0, found.start(2)) + 1, found[1], found[2])
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def commands(block: Block) -> list[Command]:
    """The commands of a block `sh`, or of a block `console`, where they stand behind `$ ` and show what they print."""
    found: list[Command] = []
    joined = ""
    for line in block.text.splitlines():
        if block.language == "console" and not joined and not line.startswith("$ "):
            found[-1].shown.append(line)
            continue
        joined += line.removeprefix("$ ") if block.language == "console" and not joined else line
        if joined.endswith("\\"):
            joined += "\n"
        elif joined.strip():
            found.append(Command(joined, []))
            joined = ""
    return found


def looks_like(shown: str, printed: str) -> bool:
    """Whether a printed line is what the page shows, but for blanks, numbers, times, ids and what stands as `…`."""
    pattern = ""
    for part in re.findall(r"…|\s+|[0-9a-f]{8,}|\d+|-[a-z0-9]{5}\b|.", shown.strip()):
        if part == "…":
            pattern += ".*"
        elif part.isspace():
            pattern += r"\s+"
        elif re.fullmatch(r"[0-9a-f]{8,}", part):
            pattern += "[0-9a-f]+"
        elif part.isdigit():
            pattern += r"\d+"
        elif re.fullmatch(r"-[a-z0-9]{5}", part) and not part[1:].isalpha():
            pattern += "-[a-z0-9]{5}"
        else:
            pattern += re.escape(part)
    return re.fullmatch(pattern, printed.strip()) is not None


def not_printed(shown: list[str], printed: str) -> list[str]:
    """The lines that a page shows and that were not printed in this order; others may stand between them."""
    lines = iter(printed.splitlines())
    return [line for line in shown if line.strip() not in ("", "…") and not any(looks_like(line, one) for one in lines)]
