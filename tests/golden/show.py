"""One recorded case in full: its manifest, its script, and node by node what is ours, Argo's and mended."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import yaml

from tests.golden.compare import NODE_FIELDS, Case, targets
from tests.golden.judge import judge, needs, play, refusal
from tests.golden.runner import cases, file_of


def show(names: Iterable[str], identity: str) -> int:
    """Prints it; 0 when the case was found."""
    for name in names:
        path = file_of(name)
        for case in cases(path) if path.exists() else ():
            if case["id"] == identity:
                _print(case)
                return 0
    print(f"there is no case {identity} in {', '.join(names)}")
    return 2


def _print(case: Case) -> None:
    print(f"=== {case['id']} {case.get('title', '')}  order {case['order']}")
    for tree in (case["manifest"], *case["extra"]):
        print(yaml.safe_dump(tree, sort_keys=False, width=120, allow_unicode=True), end="")
        print("---")
    for key in ("script", "by_template", "ops", "varies", "mended_varies", "mended_doubt"):
        if case.get(key):
            print(f"{key}: {_text(case[key])}")
    problems = refusal(case)
    for problem in problems:
        print(f"ours refuses: {problem}")
    if not problems and not needs(case):
        _side_by_side(case)
    verdict = judge(case)
    print(f"verdict: {verdict.state} {verdict.rule}")
    for line in verdict.lines:
        print(f"    {line}")


def _side_by_side(case: Case) -> None:
    """A `!` stands where ours is as neither, a `~` where it is as one of them."""
    sides = {"ours": play(case)} | {target.name: target.said for target in targets(case)}
    for side, said in sides.items():
        if "refused" in said:
            print(f"{side} refuses: {said['refused']}")
    sides = {side: said for side, said in sides.items() if "nodes" in said}
    print(f"--- {' | '.join(sides)}")
    for field in ("phase", "message", "progress", "outputs", "stuck", "rounds", "alive"):
        _row(field, {side: said.get(field) for side, said in sides.items()}, always=field in ("phase", "message"))
    by_name = {side: {node["name"]: node for node in said["nodes"]} for side, said in sides.items()}
    for name in sorted({name for nodes in by_name.values() for name in nodes}, key=str.encode):
        nodes = {side: known.get(name) for side, known in by_name.items()}
        one = next(node for node in nodes.values() if node)
        _row(
            f"{name} <{one['type']}>",
            {side: node["phase"] if node else None for side, node in nodes.items()},
            always=True,
        )
        there = {side: node for side, node in nodes.items() if node}
        for field in NODE_FIELDS:
            if field != "phase":
                _row(f"    {field}", {side: node.get(field) for side, node in there.items()}, always=field == "message")


def _row(title: str, values: dict[str, Any], *, always: bool = False) -> None:
    texts = {side: _text(value) for side, value in values.items()}
    if len(set(texts.values())) == 1:
        [text] = set(texts.values())
        if always and text != '""':
            print(f"  {title}: {text}")
        return
    others = [text for side, text in texts.items() if side != "ours"]
    mark = "~" if texts.get("ours") in others else "!"
    print(f"{mark} {title}: " + " | ".join(f"{side} {text}" for side, text in texts.items()))


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
