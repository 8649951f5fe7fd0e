"""Every example is accepted, and every action has one, with a page's section, a time limit and retries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exeunt.cli.lint import check
from exeunt.language.actions import ACTIONS

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))


def handlers(path: Path) -> list[dict[str, Any]]:
    """The templates of an example that do an action."""
    found = []
    for document in yaml.safe_load_all(path.read_text()):
        for template in document.get("spec", {}).get("templates", []) if document else []:
            if "plugin" in template or "http" in template:
                found.append(template)
    return found


OF_ACTIONS = {path.stem: handlers(path) for path in EXAMPLES if path.parent.name == "actions"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_accepted_and_says_what_it_shows(path: Path) -> None:
    text = path.read_text()
    assert [str(problem) for problem in check([(path.name, text)])] == []
    assert re.match(r"# (?!Needs)\w", text), "its first line says what it shows"


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_is_described_and_has_an_example(action: str) -> None:
    described = "".join((ROOT / "docs" / page).read_text() for page in ("actions.md", "exit-handlers.md"))
    assert f"\n## {action}\n" in described or f"\n### plugin: {action}\n" in described
    used = [name for template in OF_ACTIONS[action] for name in template.get("plugin", {})]
    assert action in used


@pytest.mark.parametrize("name", OF_ACTIONS)
def test_examples_of_actions_show_how_they_are_bounded_and_tried_again(name: str) -> None:
    assert OF_ACTIONS[name]
    for template in OF_ACTIONS[name]:
        assert template["timeout"]
        assert template["retryStrategy"]["backoff"]["duration"]
