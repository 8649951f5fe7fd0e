"""`exeunt lint`: what it says of files, alone and together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from exeunt.cli.lint import check, lint_command

WANTS = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: wants}
spec:
  entrypoint: m
  arguments: {parameters: [{name: day}]}
  templates: [{name: m, container: {image: a, command: [echo, "{{workflow.parameters.day}}"]}}]
"""
MENTIONS = WANTS.replace("  arguments: {parameters: [{name: day}]}\n", "")
BROKEN = WANTS.replace("entrypoint: m", "entrypoint: other")
UNREAD = "kind: [\n"


def test_parameters_may_get_their_values_at_submission() -> None:
    assert check([("a", WANTS)]) == []


def test_lint_takes_the_parameters_that_a_submission_would(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(MENTIONS)
    assert CliRunner().invoke(lint_command, [str(file)], standalone_mode=False).return_value == 2
    given = CliRunner().invoke(lint_command, [str(file), "-p", "day=mon"], standalone_mode=False)
    assert given.return_value == 0


def test_a_file_has_the_same_problems_alone_and_beside_others() -> None:
    files = [("a", WANTS), ("b", WANTS), ("c", BROKEN), ("d", UNREAD), ("e", BROKEN)]
    together = check(files)
    assert together == [problem for file in files for problem in check([file])]
    assert {problem.file for problem in together} == {"c", "d", "e"}


@pytest.mark.parametrize("name", ["UPPER", "a b", "a/b", "*", "x" * 64, "a\x1b[2J", ""])
@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_names_of_stored_things_are_checked_as_those_of_workflows(name: str, kind: str) -> None:
    document = json.dumps({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})
    [problem] = check([("a", document)])
    assert problem.path.startswith("metadata")
    assert "\x1b" not in str(problem)


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_namespaces_of_stored_things_are_checked_too(kind: str) -> None:
    document = json.dumps({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "namespace": "a.b"}})
    [problem] = check([("a", document)])
    assert problem.path == "metadata.namespace"
