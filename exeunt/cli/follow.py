"""Waits for workflows and for those that they start, showing how they stand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

from exeunt.cli.failure import SUCCEEDED, WORK_FAILED
from exeunt.client import Client, ClientError
from exeunt.v1 import workflow_service_pb2 as pb

Workflow = dict[str, Any]
Nodes = dict[str, dict[str, Any]]
CHILD_SECONDS = 30.0
"""How long a started workflow may take to be known: its start is in the log before its scheduler has read it."""


class FollowedWorkflows:
    """The workflows of one command: those submitted, in their order, then those that they started."""

    def __init__(
        self, client: Client, on_change: Callable[[FollowedWorkflows, Workflow, Nodes], None], *, children: bool = True
    ) -> None:
        self.client = client
        self.order: list[str] = []
        self.states: dict[str, Workflow] = {}
        self.final: set[str] = set()
        self.lost: list[str] = []
        self._on_change = on_change
        self._children = children

    async def wait(self, submitted: Iterable[pb.Workflow]) -> None:
        """Returns when all have ended, exit handlers included."""
        async with asyncio.TaskGroup() as group:
            for workflow in submitted:
                self.order.append(workflow.uid)
                self.states[workflow.uid] = json.loads(workflow.json or "{}")
                group.create_task(self._follow(workflow.uid, group))

    def workflows(self) -> list[Workflow]:
        """All of them, as they are now."""
        return [self.states[uid] for uid in self.order if self.states.get(uid)]

    def code(self) -> int:
        """0 when all have succeeded, 1 when not."""
        phases = {w.get("status", {}).get("phase") for w in self.workflows()}
        return SUCCEEDED if phases <= {"Succeeded"} and not self.lost else WORK_FAILED

    async def _follow(self, uid: str, group: asyncio.TaskGroup) -> None:
        async for state in self.client.follow(uid=uid):
            self.states[uid] = state.object
            if state.final:
                self.final.add(uid)
            if self._children:
                self._find_children(state.changed, group)
            self._on_change(self, state.object, state.changed)

    def _find_children(self, nodes: Nodes, group: asyncio.TaskGroup) -> None:
        for namespace, name, uid in started_by(nodes):
            if uid not in self.states:
                self.order.append(uid)
                self.states[uid] = {}
                group.create_task(self._follow_child(namespace, name, uid, group))

    async def _follow_child(self, namespace: str, name: str, uid: str, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + CHILD_SECONDS
        while True:
            try:
                await self._follow(uid, group)
            except ClientError as error:
                if error.code != "NOT_FOUND":
                    raise
                if loop.time() > ends:
                    self.lost.append(f"{namespace}/{name} was started, but is not known: deleted meanwhile?")
                    return
                await asyncio.sleep(0.2)
            else:
                return


def started_by(nodes: Nodes) -> list[tuple[str, str, str]]:
    """(namespace, name, uid) of the workflows that trigger and resource nodes started."""
    found = []
    for node in nodes.values():
        if not str(node.get("message", "")).startswith("started "):
            continue
        try:
            given = json.loads((node.get("outputs") or {}).get("result") or "{}")
        except ValueError:
            continue
        if isinstance(given, dict) and {"namespace", "name", "uid"} <= given.keys():
            found.append((str(given["namespace"]), str(given["name"]), str(given["uid"])))
    return found
