"""A workflow that was found, in an answer: as calls show it that have done something, and as lists have it."""

from __future__ import annotations

from exeunt.scheduler.archive import Archived
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.unread import Unread
from exeunt.scheduler.view import WorkflowView, fitted, listed, seen
from exeunt.service.bounds import ANSWER_BYTES
from exeunt.v1 import workflow_service_pb2 as pb


async def shown(found: OpenWorkflow | Archived | Unread, most: int = ANSWER_BYTES) -> pb.Workflow:
    """The workflow in an answer of so many bytes to a call that has done something: without its nodes where many."""
    if isinstance(found, Unread):
        return fitted(seen(found.tree(), found.number), most)
    if isinstance(found, Archived):
        return fitted(WorkflowView(found.head, {}, found.version), most, left_out=bool(found.nodes))
    looked = await found.view(nodes=not found.large)
    return fitted(looked, most, left_out=not looked.nodes and found.large)


async def summary(found: OpenWorkflow | Archived | Unread, view: int) -> pb.Workflow:
    """The workflow as lists have it."""
    if isinstance(found, Unread):
        return listed(found.tree(), found.number, view)
    if isinstance(found, Archived):
        return listed(found.head, found.version, view)
    looked = await found.view(nodes=False)
    return listed(looked.head, looked.version, view)
