"""How long the worst requests hold a scheduler up: `python -m bench.lag`. The aim is half a second."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.cluster import Cluster

AIM_SECONDS = 0.5
LAG = re.compile(r"^exeunt_loop_lag_seconds(?:\{[^}]*\})? ([0-9.e+-]+)", re.MULTILINE)
SETTLE_SECONDS = 10
WINDOWS_SECONDS = 61  # after which the number has forgotten

Tree = dict[str, Any]
NAME = "{name}"
"""In a command: the workflow that was submitted last with its name as the answer."""
ECHO: Tree = {
    "name": "p",
    "inputs": {"parameters": [{"name": "x"}]},
    "suspend": {},
}


def workflow(name: str, *templates: Tree, **spec: Any) -> str:
    head = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"generateName": f"{name}-"}}
    return json.dumps({**head, "spec": {"entrypoint": templates[0]["name"], "templates": [*templates], **spec}})


def call(value: str, **more: Any) -> Tree:
    return {"name": "a", "template": "p", "arguments": {"parameters": [{"name": "x", "value": value}]}, **more}


def requests() -> Iterator[tuple[str, list[str], str]]:
    """What each is called, the command, and its input."""
    fan = workflow("fan", {"name": "m", "steps": [[call("{{item}}", withSequence={"count": "20000"})]]}, ECHO)
    yield "a loop of 20,000", ["submit", "-", "-o", "name"], fan
    yield "all of it", ["get", NAME, "-o", "json"], ""
    yield "its end", ["terminate", NAME], ""
    yield "all of it again", ["get", NAME, "-o", "json"], ""
    yield (
        "a template that calls itself",
        ["submit", "-"],
        workflow("deep", {"name": "a", "steps": [[call("1") | {"template": "a"}]]}),
    )
    steps = [[call(f"{{{{=len(filter(1..60000, # > {i}))}}}}") | {"name": f"a{i}"} for i in range(40)]]
    yield "40 expressions", ["submit", "-"], workflow("busy", {"name": "m", "steps": steps}, ECHO)
    many = [
        {"name": f"t{i}", "container": {"image": "x", "command": ["echo", f"{{{{=1 + {i}}}}}"]}} for i in range(6000)
    ]
    yield "a manifest of 700 KB", ["submit", "-"], workflow("large", {"name": "m", "suspend": {}}, *many)
    one = workflow("lint", {"name": "m", "suspend": {}}, *many[:2500])
    yield "3.5 MB at once", ["submit", "-"], "\n---\n".join([one] * 15)


def lag(cluster: Cluster) -> float:
    with urllib.request.urlopen(f"http://{cluster.facts()['scheduler']['metrics']}/metrics", timeout=60) as answer:
        found = LAG.search(answer.read().decode())
    assert found is not None
    return float(found[1])


def main() -> int:
    worst = 0.0
    with tempfile.TemporaryDirectory() as place:
        cluster = Cluster(Path(place) / "data")
        cluster.up()
        try:
            time.sleep(WINDOWS_SECONDS)  # the start is no request
            print(f"{lag(cluster):6.3f} s  at rest")
            last = ""
            for name, command, text in requests():
                began = time.monotonic()
                done = cluster.call(*(last if word == NAME else word for word in command), stdin=text, timeout=110)
                if "name" in command:
                    last = done.stdout.strip().removeprefix("workflow/")
                time.sleep(SETTLE_SECONDS)
                held_up = lag(cluster)
                worst = max(worst, held_up)
                print(
                    f"{held_up:6.3f} s  {name} (answered {done.returncode} in {time.monotonic() - began - 10:.1f} s)",
                    flush=True,
                )
        finally:
            cluster.down()
    print(f"{worst:6.3f} s  the worst; {AIM_SECONDS} is the aim")
    return int(worst > AIM_SECONDS)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    sys.exit(main())
