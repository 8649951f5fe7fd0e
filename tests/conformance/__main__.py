"""Runs Argo's examples on the real services: `make conformance`, or `python -m tests.conformance [FILE…]`.

The last line is `N of M as expected`; the exit code is 1 when one of M is not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from tests.conformance.rows import Example, is_later, read_rows
from tests.conformance.stand_ins import StandIns, stand_ins
from tests.e2e.cluster import ARGO, Cluster
from tests.e2e.conftest import IMAGES

SECONDS = 150.0
"""How long one example may take; the longest that ends by itself needs a minute."""
AT_ONCE = 6


def main() -> int:
    """Runs all rows, or those named."""
    if not (ARGO / "examples").is_dir():
        print("Argo's examples are not beside this checkout: nothing to run")
        return 0
    rows = read_rows(ARGO / "examples.tsv")
    chosen = [row for row in rows if not sys.argv[1:] or row.file in sys.argv[1:]]
    left_out = [row for row in chosen if row.reason]
    todo = [row for row in chosen if not row.reason]
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        (base / "images.yaml").write_text(IMAGES)
        arguments = ["--images", str(base / "images.yaml"), "--slots", "64", "--runtime", "sandbox"]
        cluster = Cluster(base / "data", arguments=arguments)
        with stand_ins(base / "served") as there:
            cluster.up()
            try:
                found = _run(cluster, there, rows, todo)
            finally:
                cluster.down()
    later = {file: said for file, said in found.items() if is_later(said)}
    found = {file: said for file, said in found.items() if file not in later}
    for file, reason in sorted([*((row.file, row.reason) for row in left_out), *later.items()]):
        print(f"left out  {file}: {reason}")
    wrong = {file: said for file, said in found.items() if said}
    for file, said in wrong.items():
        print(f"WRONG     {file}: {said}")
    print(f"{len(found) - len(wrong)} of {len(found)} as expected")
    return 1 if wrong else 0


def _run(cluster: Cluster, there: StandIns, rows: list[Example], todo: list[Example]) -> dict[str, str]:
    """What is wrong with each row; empty for nothing."""
    found: dict[str, str] = {}
    cluster.call("submit", "-", stdin=there.secrets)
    others = {row.file: _other_kinds(there.into(_text(row))) for row in rows if not row.reason}
    refused: dict[str, str] = {}
    for file, text in others.items():
        if text:
            done = cluster.call("submit", "-", stdin=text)
            refused[file] = _last(done) if done.returncode else ""
    for file, text in others.items():  # those that name others that were not there yet
        if text and refused[file]:
            done = cluster.call("submit", "-", stdin=text)
            refused[file] = _last(done) if done.returncode else ""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {row.file: pool.submit(_outcome, cluster, there, row) for row in todo if row.runs}
        for row in todo:
            found[row.file] = jobs[row.file].result() if row.runs else refused.get(row.file, "")
            print(f"{'wrong' if found[row.file] else 'ok':9} {row.file}", flush=True)
    return found


def _text(row: Example) -> str:
    return (ARGO / "examples" / row.file).read_text()


def _other_kinds(text: str) -> str:
    documents = [one for one in yaml.safe_load_all(text) if one and one["kind"] not in ("Workflow", "CronWorkflow")]
    return yaml.safe_dump_all(documents) if documents else ""


def _outcome(cluster: Cluster, there: StandIns, row: Example) -> str:
    text = there.into(_text(row))
    own = [one for one in yaml.safe_load_all(text) if one and one["kind"] == "Workflow"]
    try:
        done = cluster.call("submit", "-", "--wait", "-o", "json", stdin=yaml.safe_dump_all(own), timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"not over after {SECONDS:g} s"
    if done.returncode not in (0, 1):
        return _last(done)
    wrong = [one for one in json.loads(done.stdout) if one["status"]["phase"] not in row.phases]
    return "; ".join(f"{one['status']['phase']}: {one['status'].get('message', '')}" for one in wrong)


def _last(done: subprocess.CompletedProcess[str]) -> str:
    said = (done.stderr or done.stdout).strip().splitlines()
    return " | ".join(said[-3:])[:400]


if __name__ == "__main__":
    sys.exit(main())
