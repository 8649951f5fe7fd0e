"""What was done, as people see it: how the ledger shows an attempt's work, and what metrics call it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from exeunt.actions.masking import Masker, shown_url
from exeunt.engine.facts import (
    ContainerSetWork,
    ContainerWork,
    DataWork,
    HttpWork,
    PluginWork,
    ResourceWork,
    Work,
    kind_of_work,
)
from exeunt.language.actions import ACTIONS


class Description(NamedTuple):
    """How one kind of work is described: `shown` to people, with what is secret left out; `name` in metrics."""

    shown: Callable[[Any], dict[str, Any]]
    name: Callable[[Any], str]


def describe(work: Work) -> dict[str, Any]:
    """What was to be done, as the ledger shows it."""
    kind = kind_of_work(work)
    return {kind: DESCRIPTIONS[kind].shown(work)}


def name_of(work: Work) -> str:
    """What metrics call the work: an action by its name, anything else by its kind."""
    return DESCRIPTIONS[kind_of_work(work)].name(work)


def _container(work: ContainerWork) -> dict[str, Any]:
    return {"image": work.image, "command": work.command}


def _container_set(work: ContainerSetWork) -> dict[str, Any]:
    return {one.name: _container(one.work) for one in work.containers}


def _data(work: DataWork) -> dict[str, Any]:
    return {"source": Masker().tree(work.source), "expressions": work.expressions}


def _http(work: HttpWork) -> dict[str, Any]:
    return {"method": work.method or "GET", "url": shown_url(work.url)}


def _plugin(work: PluginWork) -> dict[str, Any]:
    hidden = ACTIONS[work.name].hidden if work.name in ACTIONS else ()
    if not hidden:
        return {work.name: Masker().tree(work.arguments)}
    if not isinstance(work.arguments, dict):
        return {work.name: None}
    counts = {name: len(value) if isinstance(value := work.arguments.get(name), list) else 0 for name in hidden}
    return {work.name: {**work.arguments, **counts}}


def _resource(work: ResourceWork) -> dict[str, Any]:
    return {"action": work.action}


DESCRIPTIONS: dict[str, Description] = {
    "container": Description(_container, lambda _work: "container"),
    "container_set": Description(_container_set, lambda _work: "container_set"),
    "data": Description(_data, lambda _work: "data"),
    "http": Description(_http, lambda _work: "http"),
    "plugin": Description(_plugin, lambda work: work.name if work.name in ACTIONS else "plugin"),
    "resource": Description(_resource, lambda _work: "resource"),
}
"""By the names of kinds (`exeunt.engine.facts.work`)."""
