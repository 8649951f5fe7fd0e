"""A workflow in an answer: as a call shows it that did something to it, and as lists show it."""

from __future__ import annotations

from exeunt.scheduler.archive import Archived
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.unread import Unread
from exeunt.scheduler.view import WorkflowView, fitted, listed, seen
from exeunt.service.bounds import ANSWER_BYTES
from exeunt.v1 import workflow_service_pb2 as pb


async def shown(found: OpenWorkflow | Archived | Unread, most: int = ANSWER_BYTES) -> pb.Workflow:
    """The workflow as a call answers that did something to it, in so many bytes; without its nodes where many."""
    if isinstance(found, Unread):
        return fitted(seen(found.tree(), found.number), most)
    if isinstance(found, Archived):
        return fitted(WorkflowView(found.head, {}, found.version), most, left_out=bool(found.nodes))
    looked = await found.view(nodes=not found.large)
    return fitted(looked, most, left_out=not looked.nodes and found.large)


async def summary(found: OpenWorkflow | Archived | Unread, view: int) -> pb.Workflow:
    """The workflow as lists show it."""
    if isinstance(found, Unread):
        return listed(found.tree(), found.number, view)
    if isinstance(found, Archived):
        return listed(found.head, found.version, view)
    looked = await found.view(nodes=False)
    return listed(looked.head, looked.version, view)
