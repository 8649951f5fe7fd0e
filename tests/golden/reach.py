"""How far a difference reaches: what may follow from it in a tree of nodes, and what has to be the same all the same.

A node that ended otherwise changes what holds it, what comes after it there, and the handlers that look at it. Nodes
are told apart by their names, which hold their place: `w[0].a(1:x)(2).b.onExit`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

Case = dict[str, Any]

OPEN = {"Running", "Pending"}
ENDED = {"Succeeded", "Failed", "Error", "Skipped", "Omitted"}
LOOPS = ("withItems", "withParam", "withSequence")
_WORKFLOW = re.compile(r"^(phase|message|progress|outputs|stuck|rounds|alive): ")
_HANDLER = re.compile(r"\.(onExit|hooks\.[^.\[(]+)$")
_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")


class Alone(str):
    """A node whose members are not in question."""

    __slots__ = ()


class Trees:
    """A case with both results: Argo's and ours."""

    def __init__(self, case: Case, ours: Case) -> None:
        self.case = case
        self.expect: Case = case["expect"]
        self.ours = ours
        self.theirs: dict[str, Case] = {node["name"]: node for node in self.expect["nodes"]}
        self.have: dict[str, Case] = {node["name"]: node for node in ours["nodes"]}
        self.names = self.theirs.keys() | self.have.keys()
        self.added = self.have.keys() - self.theirs.keys()
        self.dropped = self.theirs.keys() - self.have.keys()
        self.stuck = bool(self.expect.get("stuck"))
        self.root = case["manifest"]["metadata"].get("name") or "w"

    # --- the manifest -------------------------------------------------------------------------------------------------

    @cached_property
    def specs(self) -> list[Case]:
        return [self.case["manifest"]["spec"], *(one.get("spec", {}) for one in self.case["extra"])]

    @cached_property
    def templates(self) -> list[Case]:
        found: list[Case] = []
        stack: list[Any] = list(self.specs)
        while stack:
            one = stack.pop()
            if isinstance(one, dict):
                found += [one] if "steps" in one or "dag" in one else []
                stack.extend(one.values())
            elif isinstance(one, list):
                stack.extend(one)
        return found

    @cached_property
    def steps(self) -> list[Case]:
        """All steps and tasks."""
        found = []
        for template in self.templates:
            found += [step for group in template.get("steps") or [] for step in group]
            found += template.get("dag", {}).get("tasks", [])
        return found

    def ops(self, *kinds: str) -> bool:
        return any(op["op"] in kinds for op in self.case["ops"])

    # --- lines --------------------------------------------------------------------------------------------------------

    @staticmethod
    def about(line: str) -> str:
        """The node that a line is about; empty for the workflow's own lines."""
        if _WORKFLOW.match(line):
            return ""
        if re.search(r": only (Argo|ours)", line):
            return line.rpartition(": only ")[0]
        return line.partition(": Argo ")[0].rpartition(".")[0]

    @staticmethod
    def field(line: str) -> str:
        """What of it: a field, or `only`."""
        if re.search(r": only (Argo|ours) ", line):
            return "only"
        return line.partition(": Argo ")[0].rpartition(".")[2]

    # --- the tree -----------------------------------------------------------------------------------------------------

    def node(self, name: str) -> Case:
        return self.have.get(name) or self.theirs.get(name) or {}

    def up(self, name: str) -> str:
        """The node that holds this one; empty for the root and for handlers of the workflow."""
        for end in range(len(name) - 1, 0, -1):
            if name[end] in ".[(" and name[:end] in self.names:
                return name[:end]
        return ""

    def left(self, name: str) -> bool:
        """Whether the node stands in one that a finished workflow of Argo's has left open."""
        while name := self.up(name):
            if self.theirs.get(name, {}).get("phase") in OPEN:
                return not self.stuck
        return False

    def below(self, tops: Iterable[str]) -> set[str]:
        """These nodes and all that stand in them."""
        known = set(tops)
        starts = tuple(f"{top}{mark}" for top in known for mark in ".[(")
        return {name for name in self.names if name in known or name.startswith(starts)} if starts else set()

    def reach(self, seeds: Iterable[str]) -> set[str]:
        """The nodes that may differ when these do."""
        found: set[str] = set()
        for seed in seeds:
            found |= {str(seed)} if isinstance(seed, Alone) else self.below([seed])
            name = seed
            while name:
                if _HANDLER.search(name):
                    break  # what became of a handler changes nothing else
                holder = self.up(name)
                found |= self._after(name, holder)
                if holder:
                    found.add(holder)
                name = holder
            else:
                found |= self._after(self.root, "")
        return found

    def _after(self, name: str, holder: str) -> set[str]:
        """What comes after a node in what holds it, and its handlers."""
        found = self.below([f"{name}.onExit"]) | {one for one in self.names if one.startswith(f"{name}.hooks.")}
        kind = self.node(holder).get("type", "") if holder else ""
        group = next((one for one in (name, holder) if self.node(one).get("type") == "StepGroup"), "")
        if group:
            steps, _, number = group[:-1].rpartition("[")
            for one in self.names:
                match = re.match(r"\[(\d+)\]", one[len(steps) :]) if one.startswith(f"{steps}[") else None
                if match and int(match[1]) > int(number):
                    found.add(one)
        elif kind == "Retry":
            number = int(match[1]) if (match := re.match(r"\((\d+)\)", name[len(holder) :])) else -1
            for one in self.names:
                match = re.match(r"\((\d+)\)", one[len(holder) :]) if one.startswith(f"{holder}(") else None
                if match and int(match[1]) > number:
                    found.add(one)
        elif kind == "DAG":
            found |= self.below(f"{holder}.{task}" for task in self._dependents(name[len(holder) + 1 :]))
        return found

    def _dependents(self, task: str) -> set[str]:
        """The tasks that depend on this one, however far, in any DAG that has such a task."""
        found = {task}
        for template in self.templates:
            tasks = template.get("dag", {}).get("tasks", [])
            if not any(one["name"] == task for one in tasks):
                continue
            here, before = {task}, 0
            while len(here) > before:
                before = len(here)
                for one in tasks:
                    needs = set(_NAME.findall(one.get("depends") or "")) | set(one.get("dependencies") or [])
                    if needs & here:
                        here.add(one["name"])
            found |= here
        return found - {task}

    # --- what a rule explains -----------------------------------------------------------------------------------------

    def explained(self, lines: Iterable[str], seeds: Iterable[str]) -> set[str]:
        """Those lines that may follow from differences at these nodes."""
        seeds = set(seeds)
        if not seeds:
            return set()
        reached = self.reach(seeds)
        return {line for line in lines if self._follows(line, reached)}

    def _follows(self, line: str, reached: set[str]) -> bool:
        name = self.about(line)
        if not name or name in reached:
            return True
        if self.field(line) != "children":
            return False
        one = set(self.theirs[name]["children"]) & self.theirs.keys()
        other = set(self.have[name]["children"])
        return (one ^ other) <= reached
