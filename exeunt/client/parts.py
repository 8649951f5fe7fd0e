"""What comes in parts, put together: workflows that are too large for one message, and records of the exit ledger."""

from __future__ import annotations

import json
from typing import Any

from exeunt.v1 import exit_service_pb2 as exits
from exeunt.v1 import workflow_service_pb2 as pb


class Joined:
    """A workflow, or a change of one, as its parts come. `object` and `nodes` are whole when the last one is there."""

    def __init__(self) -> None:
        self.summary = pb.Workflow()
        self.object: dict[str, Any] = {}
        self.nodes: dict[str, Any] = {}
        self._text: list[str] = []

    def add(self, part: pb.WorkflowPart) -> None:
        """The next part."""
        if part.HasField("workflow"):
            self._text.append(part.workflow.json)
            if part.workflow.uid:
                self.summary.CopyFrom(part.workflow)
                self.summary.json = ""
        else:
            self._text.append(part.nodes_json)
        if part.unfinished:
            return
        read = json.loads("".join(self._text))
        self._text.clear()
        if part.HasField("workflow"):
            self.object = read
            self.object.setdefault("status", {})["nodes"] = self.nodes
        else:
            self.nodes.update(read)

    def workflow(self) -> pb.Workflow:
        """The workflow with its JSON."""
        self.summary.json = json.dumps(self.object)
        return self.summary


def joined_exit(parts: list[exits.ReadExitResponse]) -> exits.Exit:
    """A record of which these are the parts."""
    found = exits.Exit()
    text: list[str] = []
    for part in parts:
        text.append(part.exit.json)
        part.exit.ClearField("json")
        found.MergeFrom(part.exit)
    found.json = "".join(text)
    return found
