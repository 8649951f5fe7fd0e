"""The commands of the pages work as they stand: they are taken from there and run in the order of the page.

Each page has a fresh directory, one shell for all of its commands, and a cluster with a workflow that has failed. What
a page shows as output has to be printed. docs/guide.md and docs/grpc.md have tests of their own, which ask for more.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT, Block, Command, blocks, commands, not_printed
from tests.e2e.cluster import Cluster
from tests.nats_server import NatsServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(110), pytest.mark.xdist_group("pages")]

SHELL = ("sh", "bash", "console")
TESTED_ELSEWHERE = {"docs/guide.md": "test_guide.py", "docs/grpc.md": "test_grpc.py"}
KUBERNETES, DOCKER, NATS = "no Kubernetes cluster", "no Docker", "the command nats is not among what is set up"
NOT_RUN = {
    "README.md": {"make test": "it is what runs this test"},
    "CONTRIBUTING.md": {"make ": "they set up, check and test this very tree"},
    "deploy/README.md": {"kubectl": KUBERNETES, "docker": DOCKER},
    "docs/operations.md": {"kubectl": KUBERNETES, "kill %1": "it ends a kubectl"},
    "docs/events.md": {"nats ": NATS},
}
"""Commands that are not run, by page: what stands in them, and why."""

NOT_CODE = {"docs/internals.md": "signatures"}
"""Pages whose blocks `python` are none to run, and why."""

GIVEN = {
    "README.md": {
        "make demo": "sh examples/demo.sh .venv/bin/exeunt",
        r"\bFILE\b": "examples/exit-handlers/handler-graph.yaml",
        r"\bID\b": "$(.venv/bin/exeunt exits list -o name | tail -n 1)",
    },
    "deploy/README.md": {"127.0.0.1:7600": "$SCHEDULER", "127.0.0.1:7601": "$EXITHANDLER"},
    "docs/exit-handlers.md": {r"\bID\b": "$ENDED", r"\bNAME\b": "$NAME", "NAMESPACE$": "default", "WHY": "why"},
    "docs/executors.md": {"10.0.0.5:7610": "$INTERNAL", "/var/lib/": ""},
    "docs/operations.md": {
        "127.0.0.1:9464": "$METRICS",
        r"exeunt backup (.*) nats://exeunt@\S+": r"exeunt backup \1 $NATS",
        r"exeunt restore (.*) nats://exeunt@\S+": r"exeunt restore \1 $OTHER_NATS",
        "--replicas 3": "--replicas 1",
        "backup FOLDER +#": "backup ANOTHER #",
    },
}
"""What a reader puts in place of words of the page, by page: patterns of what stands there, and what is run."""

ENDS = {
    "README.md": {"exeunt run examples/exit-handlers/on-exit.yaml": 1},
    "deploy/README.md": {"exeunt submit examples/exit-handlers/demo.yaml": 1},
    "docs/exit-handlers.md": {"exeunt exits cancel": 1},
}
"""Exit codes other than 0, by page and part of the command: examples that fail on purpose, a handler that is over."""

ENDLESS = ("exeunt events --follow", "exeunt exits watch", "exeunt serve")
"""Commands that go on until they are interrupted; they are, after a moment."""

FAILING = ROOT / "examples" / "exit-handlers" / "on-exit.yaml"


def not_run(page: str, command: str) -> bool:
    return any(part in command for part in NOT_RUN.get(page, {}))


def to_run(page: Path) -> list[tuple[str, Command]]:
    """The commands of a page: as it says them, and as they are run."""
    found = []
    name = str(page.relative_to(ROOT))
    for block in blocks(page):
        for command in commands(block) if block.language in SHELL else ():
            if not_run(name, command.text):
                continue
            text = command.text
            for pattern, replacement in GIVEN.get(name, {}).items():
                text = re.sub(pattern, replacement, text)
            if text.startswith(ENDLESS):
                text = f"timeout --preserve-status --signal=INT 2 {text}"
            found.append((command.text, Command(text, command.shown)))
    return found


RUN = [page for page in PAGES if str(page.relative_to(ROOT)) not in TESTED_ELSEWHERE and to_run(page)]


def program(page: Path) -> list[Block]:
    """The pieces of Python of a page that are one program."""
    return [block for block in blocks(page) if block.language == "python" and not block.file]


PROGRAMS = [
    page for page in PAGES if program(page) and str(page.relative_to(ROOT)) not in {**TESTED_ELSEWHERE, **NOT_CODE}
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = Cluster(tmp_path_factory.mktemp("pages") / "cluster")
    found.up()
    try:
        assert found.call("submit", str(FAILING), "--wait").returncode == 1
        yield found
    finally:
        found.down()


@pytest.fixture
def environ(cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    """The environment of a reader whose cluster lies in the folder `cluster`, as in the pages."""
    (tmp_path / "cluster").symlink_to(cluster.data_dir)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    facts = cluster.facts()
    found = {name: text for name, text in os.environ.items() if not name.startswith("EXEUNT_") and name != "PYTHONPATH"}
    return {
        **found,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_STATE_HOME": cluster.environ["XDG_STATE_HOME"],
        "SCHEDULER": facts["scheduler"]["address"],
        "INTERNAL": facts["scheduler"]["internal"],
        "EXITHANDLER": facts["exithandler"]["address"],
        "METRICS": facts["exithandler"]["metrics"],
        "NATS": facts["nats"]["url"],
        "ENDED": cluster.exits()[0]["id"],
        "NAME": cluster.exits()[0]["workflow"],
    }


def run(script: str, folder: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a script, whose errors stand among its output."""
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )


def expected(page: str, command: str) -> tuple[int, ...]:
    if command.startswith(("timeout ", "export ")):
        return (0, 130)
    return next(((code,) for part, code in ENDS.get(page, {}).items() if part in command), (0,))


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
async def test_the_commands_of_a_page_work(page: Path, environ: dict[str, str], tmp_path: Path) -> None:
    name = str(page.relative_to(ROOT))
    asked = to_run(page)
    for block in blocks(page):
        if block.language == "yaml" and block.file:
            (tmp_path / block.file).write_text(block.text)
    if name == "README.md":  # a checkout without a cluster
        environ["XDG_STATE_HOME"] = str(tmp_path / "state")
        (tmp_path / ".venv").mkdir()
        (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    script = "".join(
        f"{command.text}\nprintf '\\n== %d %d\\n' {number} $?\n" for number, (_, command) in enumerate(asked)
    )
    other = NatsServer(tmp_path / "nats") if "$OTHER_NATS" in script else None
    if other:
        await other.begin()
        environ["OTHER_NATS"] = other.url
    try:
        done = run(script, tmp_path, environ)
    finally:
        if other:
            await other.kill()
    printed = dict(enumerate(re.split(r"^== \d+ \d+\n", done.stdout, flags=re.MULTILINE)))
    codes = [int(code) for code in re.findall(r"^== \d+ (\d+)$", done.stdout, re.MULTILINE)]
    assert len(codes) == len(asked), done.stdout
    for number, (said, command) in enumerate(asked):
        assert codes[number] in expected(name, command.text), f"{said}: {codes[number]}\n{printed[number]}"
        assert not not_printed(command.shown, printed[number]), f"{said}\n{printed[number]}"


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_program_of_a_page_works(page: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """Its pieces one after the other, as in `python -m asyncio`."""
    text = "\n".join(block.text for block in program(page))
    text = text.replace('"nats://127.0.0.1:4222"', repr(environ["NATS"]))
    if "follow=" not in text:  # it would go on for ever
        text = f"import asyncio\n\nasync with asyncio.timeout(3):\n{re.sub('^', '    ', text, flags=re.MULTILINE)}"
    whole = (
        "import ast, asyncio, sys, inspect\n"
        f"code = compile({text!r}, {page.name!r}, 'exec', ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)\n"
        "asyncio.run(eval(code, {'__name__': '__main__'}))\n"
    )
    done = run(shlex.join([sys.executable, "-c", whole]), tmp_path, environ)
    assert done.returncode == 0 or done.stdout.rstrip().endswith("TimeoutError"), done.stdout


@pytest.mark.parametrize("page", NOT_RUN)
def test_what_is_not_run_is_still_in_its_page(page: str) -> None:
    said = [one.text for block in blocks(ROOT / page) if block.language in SHELL for one in commands(block)]
    for listed in (NOT_RUN, ENDS):
        assert [part for part in listed.get(page, {}) if not any(part in command for command in said)] == []
    assert [part for part in GIVEN.get(page, {}) if not any(re.search(part, command) for command in said)] == []


def test_every_block_has_a_language_that_is_looked_at() -> None:
    """Another one would be looked at by nobody."""
    known = {*SHELL, "python", "yaml", "mermaid"}
    assert [(b.page, b.line) for page in PAGES for b in blocks(page) if b.language not in known] == []
