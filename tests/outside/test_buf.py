"""buf finds nothing in proto/, and sees with the baseline what would break clients."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.outside.tools import npm
from tests.proto.baseline import PROTO

BUF = "@bufbuild/buf@1.75.0"


def said(buf: Path, folder: Path, *arguments: str) -> str:
    command = [str(buf), *arguments]
    environ = {**os.environ, "XDG_CACHE_HOME": str(buf.parents[2])}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 100), done.stderr
    return done.stdout


@pytest.mark.timeout(180)
def test_buf_finds_nothing_and_would_see_what_breaks_clients(tmp_path: Path) -> None:
    buf = npm(tmp_path / "buf", BUF) / "buf"
    assert said(buf, PROTO, "lint") == ""
    assert said(buf, PROTO, "breaking", "--against", "v1.json") == ""
    changed = shutil.copytree(PROTO, tmp_path / "proto")
    file = changed / "exeunt" / "v1" / "workflow_service.proto"
    file.write_text(file.read_text().replace("  bool draining = 7;", ""))
    found = said(buf, changed, "breaking", "--against", "v1.json")
    assert 'field "7" with name "draining" on message "ExecutorInfo" was deleted' in found
