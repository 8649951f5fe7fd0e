"""A public class has a name that no other one has, so that it means one thing wherever it is met."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.test_size_of_code import modules

SEVERAL = {
    "Event": "what becomes true of a run; and to users of the Python client what they are told",
    "Outputs": "Argo's, and those in the bodies of events, which have their names in docs/asyncapi.yaml",
    "Settings": "each service has its own",
    "Workflow": "Argo's, and the body of the events about one, which has its name in docs/asyncapi.yaml",
}


def test_names_of_classes_occur_once() -> None:
    where: dict[str, list[str]] = defaultdict(list)
    for name, path in modules().items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                where[node.name].append(name)
    assert {name: places for name, places in where.items() if len(places) > 1 and name not in SEVERAL} == {}
    assert [name for name in SEVERAL if len(where[name]) < 2] == [], "take these out of the list"
