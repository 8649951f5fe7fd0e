"""A module fits on a few screens, and a function on one. Modules that do not are named here, and may only shrink."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("exeunt", "scheduler", "executor", "exithandler")
MOST_LINES, MOST_OF_A_FUNCTION = 450, 60
LARGER = {
    "exeunt/driver/driver.py": 460,
}


def modules() -> dict[str, Path]:
    """Those that are written by hand, by their names from the root."""
    found = {}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            generated = name.startswith(("exeunt/v1/", "exeunt/internal/"))
            linked = any(parent.is_symlink() for parent in path.parents)
            if not (generated or linked):
                found[name] = path
    return found


def test_modules_are_small() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: n for name, n in lines.items() if n > LARGER.get(name, MOST_LINES)} == {}
    assert [name for name in LARGER if lines.get(name, 0) <= MOST_LINES] == [], "take these out of the list"


def test_functions_are_short() -> None:
    longer = {}
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MOST_OF_A_FUNCTION:
                    longer[name, node.name] = length
    assert longer == {}
