"""What is looked at before a commit needs nothing from the network: the tools of .venv."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import yaml

CONFIG = Path(__file__).parents[1] / ".pre-commit-config.yaml"


def test_hooks_are_tools_that_are_set_up() -> None:
    repos = yaml.safe_load(CONFIG.read_text())["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    tools = [Path(hook["entry"].split()[0]) for hook in repos[0]["hooks"]]
    assert {str(tool.parent) for tool in tools} == {".venv/bin"}
    assert [tool.name for tool in tools if not (Path(sysconfig.get_path("scripts")) / tool.name).exists()] == []
