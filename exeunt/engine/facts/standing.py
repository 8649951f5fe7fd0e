"""Where things stand: the state of a run, a node's attempt and a hook, as the tables of transitions know them."""

from __future__ import annotations

from exeunt.engine.facts import transitions
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.state import Facts, Hook
from exeunt.engine.facts.transitions import IllegalStep


def life(run: Facts) -> str:
    state = run.state
    if not state.phase:
        return transitions.NOTHING
    return transitions.CLOSED if state.closed else transitions.EXITING if state.outcome else transitions.MAIN


def attempt(run: Facts, node: Node) -> str:
    """How far the attempt of a node's work has come."""
    if node.key in run.state.due:
        return transitions.DUE
    if node.key in run.state.placed:
        return transitions.PLACED
    cancelled = (node.key, node.attempt) in run.state.cancelled
    return transitions.CANCELLED if cancelled else transitions.NONE


def node_at(run: Facts, key: int) -> Node:
    if not 0 <= key < len(run.nodes):
        raise IllegalStep(f"there is no node {key}")
    return run.nodes[key]


def node_of(run: Facts, id: str) -> Node:
    key = run.by_id.get(id)
    if key is None:
        raise IllegalStep(f"there is no node {id}")
    return run.nodes[key]


def hook_state(hook: Hook) -> str:
    return hook.phase or (transitions.CANCELLING if hook.cancelled else transitions.OPEN)


def hook_of_id(run: Facts, hook_id: str) -> Hook:
    number = run.state.hook_numbers.get(hook_id)
    if number is None:
        raise IllegalStep(f"there is no hook {hook_id}")
    return run.state.hooks[number]
