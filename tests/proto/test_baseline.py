"""What is released of exeunt.v1 stays as it is: names, numbers and types, whatever else comes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.proto.baseline import BASELINE, PROTO, broken, compiled, facts, image, released

CHANGES = {
    "a field has another number": ("  string uid = 3;\n  // Final only", "  string uid = 30;\n  // Final only"),
    "a field has another name": ("  string progress = 14;", "  string advance = 14;"),
    "a field has another type": ("  int64 revision = 12;", "  int32 revision = 12;"),
    "a field is one now": ("  repeated Problem warnings = 2;", "  Problem warnings = 2;"),
    "a field is told apart from none": ("  bool gone = 1;", "  optional bool gone = 1;"),
    "a field is gone": ("  bool draining = 7;", ""),
    "a value of an enum is gone": ("    KIND_RESET = 5;\n", ""),
    "a method answers otherwise": (
        "(StopWorkflowRequest) returns (Workflow)",
        "(StopWorkflowRequest) returns (Problem)",
    ),
    "a method streams": ("(SetNodesRequest) returns (Workflow)", "(SetNodesRequest) returns (stream Workflow)"),
}


def test_nothing_that_is_released_has_changed() -> None:
    changed = broken(facts(released()), facts(compiled()))
    assert not changed, "\n".join(["clients rest on this: add fields and methods, and leave what there is", *changed])


def test_the_baseline_is_as_it_is_written() -> None:
    assert BASELINE.read_text() == image(released()), "it is written by make baseline, not by hand"


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_breaks_clients_is_seen(change: str, tmp_path: Path) -> None:
    before, after = CHANGES[change]
    shutil.copytree(PROTO, tmp_path / "proto")
    file = tmp_path / "proto" / "exeunt" / "v1" / "workflow_service.proto"
    assert file.read_text().count(before) == 1
    file.write_text(file.read_text().replace(before, after))
    assert len(broken(facts(compiled()), facts(compiled(tmp_path / "proto")))) == 1


def test_what_is_added_breaks_nobody(tmp_path: Path) -> None:
    shutil.copytree(PROTO, tmp_path / "proto")
    file = tmp_path / "proto" / "exeunt" / "v1" / "phase.proto"
    file.write_text(file.read_text().replace("PHASE_DAEMONED = 8;", "PHASE_DAEMONED = 8;\n  PHASE_NEW = 9;"))
    service = tmp_path / "proto" / "exeunt" / "v1" / "workflow_service.proto"
    service.write_text(service.read_text().replace("  bool gone = 1;", "  bool gone = 1;\n  string other = 2;"))
    assert broken(facts(compiled()), facts(compiled(tmp_path / "proto"))) == []
