"""docs/guide.md works as it stands: every command of it is run, in its order, on files with what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.nats_server import free_ports

pytestmark = [pytest.mark.services, pytest.mark.timeout(110)]

BLOCKS = blocks(ROOT / "docs" / "guide.md")
INSTALLS, *COMMANDS = [block.text for block in BLOCKS if block.language == "sh"]
PORT = "8099"


def test_what_it_installs_is_what_the_readme_says_and_the_makefile_has() -> None:
    packages, target, path = INSTALLS.splitlines()
    assert packages in (ROOT / "README.md").read_text()
    assert re.search(rf"^{target.removeprefix('make ')}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert path == "export PATH=$PWD/.venv/bin:$PATH"


def test_every_command_of_it_works(tmp_path: Path) -> None:
    [port] = map(str, free_ports(1))
    folder = tmp_path / "guide"
    script = ["set -eu", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT", f"cd {tmp_path}"]
    for number, commands in enumerate(COMMANDS):
        script += [f"echo '== {number}'", commands.replace(PORT, port)]
        if "mkdir guide" in commands:
            script.append(f"cp {tmp_path}/*.py {tmp_path}/*.yaml .")
        if "exits replay" in commands:  # the reader has time; the test has to wait for the message
            script.append("until [ $(wc -l < received.txt) -ge 4 ]; do sleep 0.1; done")
    for block in BLOCKS:
        if block.file:
            (tmp_path / block.file).write_text(block.text.replace(PORT, port))
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    for name in ("EXEUNT_SERVER", "EXEUNT_EXIT_SERVER"):
        environ.pop(name, None)
    try:
        done = subprocess.run(
            ["bash", "-c", "\n".join(script)], env=environ, capture_output=True, text=True, timeout=100, check=False
        )
    finally:
        down = ["exeunt", "down", "--data-dir", str(folder / "cluster")]
        subprocess.run(down, env=environ, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    shown = re.split(r"^== \d+\n", done.stdout, flags=re.MULTILINE)[1:]
    output = dict(zip(COMMANDS, shown, strict=True))

    def said(command: str) -> str:
        return next(text for commands, text in output.items() if command in commands)

    good, bad, interrupted, again = (line.split(": ") for line in (folder / "received.txt").read_text().splitlines())
    assert (good[1], bad[1], interrupted[1]) == ("Succeeded", "Failed", "Succeeded")
    assert again == interrupted, "a replay has the inputs as they were"
    assert list((folder / "scratch").iterdir()) == []
    looked = said("exeunt list")
    assert states(looked, good[0]) == {"clean-up": "succeeded", "tell": "succeeded", "next": "succeeded"}
    assert re.search(r"^report-\w+ +Succeeded", looked, re.MULTILINE)
    failed = said("exit-code=3")
    assert "failed, as it was meant to" in failed
    assert states(failed, bad[0]) == {"clean-up": "succeeded", "tell": "succeeded", "next": "succeeded"}
    assert "report" not in failed.replace("start-report", "")
    watched = said("exeunt watch")
    assert states(watched, interrupted[0]) == {"clean-up": "succeeded", "tell": "succeeded", "next": "succeeded"}
    assert len(re.findall("started default/report-", watched)) == 1
    assert "took the message" in said("exits get"), "the first attempt found no receiver"
    assert said("exeunt events").count("workflow.failed") == 1


def states(shown: str, workflow: str) -> dict[str, str]:
    """What `exeunt exits list` shows of a workflow: hook and state."""
    return dict(re.findall(rf"^[0-9a-f]{{24}} +{workflow} +(\S+) +(\w+)", shown, re.MULTILINE))
