"""Submissions: documents, or a workflow that is there, become workflows; once for each request id, whoever is asked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc

from exeunt.chains import ChainRefused, Chains
from exeunt.journal.errors import LogClosed, NotOwner
from exeunt.journal.names import ClaimedRequest, uids
from exeunt.journal.request_ids import given_or_new
from exeunt.journal.subjects import partition_of
from exeunt.language.problems import ManifestError
from exeunt.launch import resubmission
from exeunt.scheduler import answers, refusal
from exeunt.scheduler.checks import Wishes
from exeunt.scheduler.commands import require
from exeunt.scheduler.launch import Launcher, content_of
from exeunt.scheduler.peers import Peers
from exeunt.scheduler.reading import WorkflowReader
from exeunt.scheduler.requests import Requests, deleted_since, namespace_of
from exeunt.scheduler.submit import SubmissionChecker, check_once
from exeunt.scheduler.view import WorkflowView, fitted
from exeunt.service.bounds import ANSWER_BYTES
from exeunt.service.errors import Code, RpcError, invalid, unavailable, wrong_state
from exeunt.v1 import workflow_service_pb2 as pb

Context = grpc.aio.ServicerContext[Any, Any]


class Submissions:
    """Takes submissions, and resubmissions."""

    def __init__(
        self,
        *,
        checker: SubmissionChecker,
        launcher: Launcher,
        requests: Requests,
        reader: WorkflowReader,
        peers: Peers,
        chains: Chains,
        documents: int,
    ) -> None:
        """`documents`: the most workflows that one submission may have."""
        self._checker = checker
        self._launcher = launcher
        self._requests = requests
        self._reader = reader
        self._peers = peers
        self._chains = chains
        self._documents = documents

    async def submit(self, request: pb.SubmitWorkflowRequest, context: Context) -> pb.SubmitWorkflowResponse:
        """Starts all workflows of the documents, or none."""
        request.request_id = given_or_new(request.request_id)
        address = self._maker(request, context)
        if address:
            answer: pb.SubmitWorkflowResponse = await self._peers.pass_on(address, "SubmitWorkflow", request)
            return answer
        return await self._submitted(request)

    async def resubmit(self, request: pb.ResubmitWorkflowRequest, context: Context) -> pb.Workflow:
        """Starts a new workflow of the same manifest and arguments."""
        check_once("parameters", request.parameters)
        given = bool(request.request_id)
        request.request_id = given_or_new(request.request_id)
        address = self._maker(request, context)
        if address:
            passed: pb.Workflow = await self._peers.pass_on(address, "ResubmitWorkflow", request)
            return passed
        known = await self._requests.asked("ResubmitWorkflow", request) if given else None
        if known is not None and (made := await self._resubmitted(request)) is not None:
            return made
        uid = request.uid if known is None else known.uid
        tree, revision = await self._reader.manifest(request.namespace, request.name, uid)
        if known is None:
            require(request.revision, revision, (tree["metadata"]["namespace"], tree["metadata"]["name"]))
            known = await self._requests.ask("ResubmitWorkflow", request, tree["metadata"]["uid"], lasting=True)
            if known.uid != tree["metadata"]["uid"]:  # of two with this request id the other one was quicker
                tree, _ = await self._reader.manifest(request.namespace, request.name, known.uid)
        answer = await self._submitted(
            pb.SubmitWorkflowRequest(
                request_id=request.request_id,
                documents=[pb.Document(file=tree["metadata"]["name"], text=json.dumps(resubmission(tree)))],
                namespace=request.namespace,
                parameters=request.parameters,
                labels=request.labels,
                by=request.by,
            ),
            known.content,
        )
        return answer.workflows[0]

    async def _resubmitted(self, request: pb.ResubmitWorkflowRequest) -> pb.Workflow | None:
        """The workflow that an earlier call of the request has made; None where that did not come so far."""
        uid = uids(namespace_of(request), request.request_id, 1)[0]
        try:
            tree, version = await self._reader.manifest("", "", uid)
        except RpcError as error:
            if error.code is not Code.NOT_FOUND:
                raise
        else:
            return fitted(WorkflowView(tree, {}, version), ANSWER_BYTES, left_out=True)
        if await self._requests.deleted(uid):
            raise deleted_since("what this request has made")
        return None

    def _maker(self, request: pb.SubmitWorkflowRequest | pb.ResubmitWorkflowRequest, context: Context) -> str:
        """The address of the scheduler that will have what the request makes; empty for this one."""
        first = uids(namespace_of(request), request.request_id, 1)[0]
        return self._peers.address(partition_of(first), context)

    async def _submitted(self, request: pb.SubmitWorkflowRequest, content: str = "") -> pb.SubmitWorkflowResponse:
        """Carries out a submission here. `content` is what its request id stands for: unless given, the submission."""
        request_id, namespace = request.request_id, namespace_of(request)
        if request.name and request.generate_name:
            text = "give name or generate_name, not both"
            raise invalid(text, [("generate_name", text)])
        check_once("parameters", request.parameters)
        wishes = Wishes(
            namespace=namespace,
            name=request.name,
            generate_name=request.generate_name,
            entrypoint=request.entrypoint,
            parameters=tuple((p.name, p.value) for p in request.parameters),
            labels=tuple(sorted(request.labels.items())),
        )
        documents = refusal.named(request.documents)
        try:
            checked = await self._checker.check(documents, wishes)
        except ManifestError as error:
            raise refusal.refused(error.problems, documents, request) from None
        if not (checked.workflows or checked.stored):
            raise invalid("nothing was submitted", [("documents", "at least one manifest is expected")])
        count = len(checked.workflows)
        if count > self._documents:
            raise RpcError(
                Code.RESOURCE_EXHAUSTED,
                "TOO_MANY_DOCUMENTS",
                f"{count} workflows in one submission; at most {self._documents} may be, so split it",
            )
        now = asyncio.get_running_loop().time()
        all_uids = uids(namespace, request_id, count)
        for accepted, uid in zip(checked.workflows, all_uids, strict=True):
            try:
                self._chains.check(accepted.labels, uid, now)
            except ChainRefused as error:
                raise wrong_state(error.reason, str(error)) from None
        warnings = [refusal.shown(problem, documents) for problem in checked.warnings]
        if request.validate_only:
            await self._launcher.check_names(checked, all_uids)
            return pb.SubmitWorkflowResponse(warnings=warnings)
        if not checked.workflows:
            asked = await self._requests.ids.claim(
                request, namespace, ClaimedRequest(content=content_of(checked, request.by))
            )
            if not asked.done:
                await self._launcher.store(checked)
                await self._requests.ids.carried_out(request, namespace, asked)
            return pb.SubmitWorkflowResponse(warnings=warnings)
        for accepted, uid in zip(checked.workflows, all_uids, strict=True):
            self._chains.note(accepted.labels, uid, now)
        try:
            started = await self._launcher.submit(checked, all_uids, request_id, request.by, content)
        except (NotOwner, LogClosed):
            raise unavailable("MOVED", "this part of the workflows is changing hands; ask again in a moment") from None
        most = ANSWER_BYTES // max(1, len(started))
        shown = [await answers.shown(found, most) for found in started]
        return pb.SubmitWorkflowResponse(workflows=shown, warnings=warnings)
