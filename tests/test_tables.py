"""What there are kinds of stands in one table on each floor, and each table has all kinds."""

from __future__ import annotations

import inspect

import pytest

from exeunt.actions.done_here import ACTIONS_DONE_HERE, WORK_DONE_HERE
from exeunt.artifacts.registry import STORES
from exeunt.engine.facts.work import WORK_KINDS
from exeunt.engine.values.artifacts import KEYS, of_tree, trees
from exeunt.engine.values.leaf import NODE_KINDS
from exeunt.executor.run_step import NEED_EXECUTOR
from exeunt.executor.runtime.registry import RUNTIMES
from exeunt.executor.settings import Settings
from exeunt.exithandler.described import DESCRIPTIONS
from exeunt.internal.v1 import step_pb2
from exeunt.language.actions import ACTIONS
from exeunt.language.manifest import Template
from exeunt.language.places import PLACES
from exeunt.language.places import REFUSED as NO_STORES
from exeunt.language.rules import LOCATIONS
from exeunt.language.template_types import TEMPLATE_TYPES
from exeunt.service.settings import SettingsError, load
from exeunt.wire_work import WORK_FORMS, kinds_for


def test_every_type_of_template_makes_a_node() -> None:
    assert list(NODE_KINDS) == list(TEMPLATE_TYPES)
    attributes = dict(zip(Template.__struct_encode_fields__, Template.__struct_fields__, strict=True))
    for name, row in TEMPLATE_TYPES.items():
        assert attributes[name] == row.attribute
        assert (NODE_KINDS[name].work is not None) == (row.leaf and row.built)


def test_every_kind_of_place_is_known_on_every_floor() -> None:
    ours = {"nats"}  # the cluster's own store, which no manifest has to name
    assert set(KEYS) == set(LOCATIONS) == set(PLACES) | set(NO_STORES) | ours
    assert set(STORES) == set(PLACES)
    tree = {"name": "f", **{kind: {"key": "k"} for kind in KEYS}}
    assert trees([of_tree(tree)]) == [tree]


def test_every_kind_of_work_is_sent_done_and_described() -> None:
    kinds = set(WORK_KINDS)
    assert {field.name for field in step_pb2.Step.DESCRIPTOR.oneofs_by_name["work"].fields} == kinds
    assert set(WORK_FORMS) == kinds
    assert set(DESCRIPTIONS) == kinds
    assert NEED_EXECUTOR | set(WORK_DONE_HERE) == kinds
    assert not NEED_EXECUTOR & set(WORK_DONE_HERE)
    assert set(kinds_for(["process", *WORK_DONE_HERE])) == kinds


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_is_done_by_the_module_of_its_name(name: str) -> None:
    done = ACTIONS_DONE_HERE[name]
    assert done.__module__ == f"exeunt.actions.{name}"
    assert list(inspect.signature(done).parameters) == ["arguments", "context"]
    assert set(ACTIONS[name].hidden) <= set(ACTIONS[name].fields.__struct_encode_fields__)


def test_every_runtime_takes_containers() -> None:
    for name in RUNTIMES:
        assert set(kinds_for([name])) == NEED_EXECUTOR
    with pytest.raises(SettingsError, match=r"--runtime=pods: must be one of process"):
        load(Settings, {}, {"runtime": "pods"})
