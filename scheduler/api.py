"""The public API of workflows (WorkflowService): who asks what, and which part of the scheduler answers."""

# ruff: noqa: N802 - the names of methods are the contract's

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from exeunt.chains import ChainRefused, Chains
from exeunt.engine.commands import Rejected, ResumeRun, RetryRun, SetNodes, Shutdown, SuspendRun, selection
from exeunt.journal.errors import LogClosed, NotOwner
from exeunt.journal.names import Asked, uids
from exeunt.journal.projections import Projections
from exeunt.journal.request_ids import given_or_new
from exeunt.journal.standing import Standing, reads, writes
from exeunt.journal.subjects import partition_of
from exeunt.language.problems import ManifestError
from exeunt.launch import resubmission
from exeunt.scheduler import answers, logs, refusal, watch
from exeunt.scheduler.archive import Archived
from exeunt.scheduler.attempts import Executor
from exeunt.scheduler.checks import Wishes
from exeunt.scheduler.commands import Commands, require
from exeunt.scheduler.dispatch import Dispatch
from exeunt.scheduler.entry import Entry
from exeunt.scheduler.find import Elsewhere, Finder
from exeunt.scheduler.launch import Launcher, content_of
from exeunt.scheduler.lists import Lists, filter_of, page_size, read_behind, write_behind
from exeunt.scheduler.many import Many
from exeunt.scheduler.peers import PASSED_ON, Peers, was_passed_on
from exeunt.scheduler.requests import Requests, deleted_since, namespace_of
from exeunt.scheduler.submit import Checker, check_once
from exeunt.scheduler.unread import Unread
from exeunt.scheduler.view import Seen, fitted, parts, seen, whole
from exeunt.service.bounds import ANSWER_BYTES, check_message
from exeunt.service.channel import metadata
from exeunt.service.errors import Code, RpcError, invalid, received, unavailable, wrong_state
from exeunt.turns import Turns
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc
from exeunt.words import phases

DELETED = "the workflow is deleted"

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Parts:
    """What answers."""

    checker: Checker
    launcher: Launcher
    finder: Finder
    requests: Requests
    lists: Lists
    many: Many
    commands: Commands
    dispatch: Dispatch
    peers: Peers
    projections: Projections
    standing: Standing
    documents: int  # most in one submission
    chains: Chains
    turns: Turns


class WorkflowService(workflow_service_pb2_grpc.WorkflowServiceServicer):
    """Serves the API."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._commands = parts.commands
        self.standing = parts.standing

    # --- submitting ---------------------------------------------------------------------------------------------------

    @writes
    async def SubmitWorkflow(self, request: pb.SubmitWorkflowRequest, context: Context) -> pb.SubmitWorkflowResponse:
        """All or nothing; answered when it is durable."""
        request.request_id = given_or_new(request.request_id)
        address = self._maker(request, context)
        if address:
            answer: pb.SubmitWorkflowResponse = await self._parts.peers.pass_on(address, "SubmitWorkflow", request)
            return answer
        return await self._submitted(request)

    def _maker(self, request: pb.SubmitWorkflowRequest | pb.ResubmitWorkflowRequest, context: Context) -> str:
        """The address of the scheduler that will have what the request makes; empty for this one."""
        first = uids(namespace_of(request), request.request_id, 1)[0]
        return self._parts.peers.address(partition_of(first), context)

    async def _submitted(self, request: pb.SubmitWorkflowRequest, content: str = "") -> pb.SubmitWorkflowResponse:
        """What comes of a submission here. `content` is what its request id stands for: the submission unless given."""
        parts = self._parts
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
            checked = await parts.checker.check(documents, wishes)
        except ManifestError as error:
            raise refusal.refused(error.problems, documents, request) from None
        if not (checked.workflows or checked.stored):
            raise invalid("nothing was submitted", [("documents", "at least one manifest is expected")])
        count = len(checked.workflows)
        if count > parts.documents:
            raise RpcError(
                Code.RESOURCE_EXHAUSTED,
                "TOO_MANY_DOCUMENTS",
                f"{count} workflows in one submission; at most {parts.documents} may be, so split it",
            )
        now = asyncio.get_running_loop().time()
        all_uids = uids(namespace, request_id, count)
        for accepted, uid in zip(checked.workflows, all_uids, strict=True):
            try:
                parts.chains.check(accepted.labels, uid, now)
            except ChainRefused as error:
                raise wrong_state(error.reason, str(error)) from None
        warnings = [refusal.shown(problem, documents) for problem in checked.warnings]
        if request.validate_only:
            await parts.launcher.check_names(checked, all_uids)
            return pb.SubmitWorkflowResponse(warnings=warnings)
        if not checked.workflows:
            asked = await parts.requests.ids.claim(request, namespace, Asked(content=content_of(checked, request.by)))
            if not asked.done:
                await parts.launcher.store(checked)
                await parts.requests.ids.carried_out(request, namespace, asked)
            return pb.SubmitWorkflowResponse(warnings=warnings)
        for accepted, uid in zip(checked.workflows, all_uids, strict=True):
            parts.chains.note(accepted.labels, uid, now)
        try:
            started = await parts.launcher.submit(checked, all_uids, request_id, request.by, content)
        except (NotOwner, LogClosed):
            raise unavailable("MOVED", "this part of the workflows is changing hands; ask again in a moment") from None
        most = ANSWER_BYTES // max(1, len(started))
        shown = [await answers.shown(found, most) for found in started]
        return pb.SubmitWorkflowResponse(workflows=shown, warnings=warnings)

    @reads
    async def LintWorkflow(self, request: pb.LintWorkflowRequest, context: Context) -> pb.LintWorkflowResponse:
        """Problems are the answer."""
        documents = refusal.named(request.documents)
        problems = await self._parts.checker.lint(documents, request.namespace)
        return pb.LintWorkflowResponse(problems=[refusal.shown(problem, documents) for problem in problems])

    # --- looking ------------------------------------------------------------------------------------------------------

    @reads
    async def GetWorkflow(self, request: pb.GetWorkflowRequest, context: Context) -> pb.Workflow:
        """With the nodes of running exit handlers, unless another view is asked for."""
        found = await self._parts.finder.find(context, request.namespace, request.name, request.uid)
        if isinstance(found, Elsewhere):
            passed: pb.Workflow = await self._pass_on(found, "GetWorkflow", request)
            return passed
        if request.view in (pb.WORKFLOW_VIEW_UNSPECIFIED, pb.WORKFLOW_VIEW_FULL):
            return whole(await self._seen(found))
        return await answers.summary(found, request.view)

    async def ReadWorkflow(
        self, request: pb.ReadWorkflowRequest, context: Context
    ) -> AsyncIterator[pb.ReadWorkflowResponse]:
        """The same in parts."""
        async with self.standing.reading.required():
            found = await self._parts.finder.find(context, request.namespace, request.name, request.uid)
        if isinstance(found, Elsewhere):
            async for answer in self._stream(found, "ReadWorkflow", request):
                yield answer
            return
        seen = await self._seen(found)
        for part in parts(seen.head, seen.nodes.items(), seen.version):
            yield pb.ReadWorkflowResponse(part=part)
            await asyncio.sleep(0)

    @reads
    async def ListWorkflows(self, request: pb.ListWorkflowsRequest, context: Context) -> pb.ListWorkflowsResponse:
        """Newest first, without nodes."""
        return await self._parts.lists.page(request, context)

    async def WatchWorkflow(
        self, request: pb.WatchWorkflowRequest, context: Context
    ) -> AsyncIterator[pb.WatchWorkflowResponse]:
        """To the end of the handlers."""
        watch.check_position(request.position)
        async with self.standing.reading.required():
            found = await self._parts.finder.find(context, request.namespace, request.name, request.uid)
        if isinstance(found, Elsewhere):
            changes = self._stream(found, "WatchWorkflow", request)
        elif isinstance(found, Entry):
            changes = watch.watch(self._parts.peers, found, request.position, in_parts=request.parts)
        else:
            seen = await self._seen(found)
            changes = watch.over(self._parts.turns, seen, request.position, in_parts=request.parts)
        async with aclosing(changes) as all_changes:
            async for change in all_changes:
                yield change

    async def WatchWorkflows(
        self, request: pb.WatchWorkflowsRequest, context: Context
    ) -> AsyncIterator[pb.WatchWorkflowsResponse]:
        """Many at once, for ever."""
        wanted = filter_of(request)
        async with self.standing.reading.required():
            self._parts.lists.check_loaded()
        await context.send_initial_metadata(())
        many = self._parts.many
        changes = many.own(request, wanted) if was_passed_on(context) else many.all(request, wanted)
        async with aclosing(changes) as all_changes:
            async for change in all_changes:
                yield change

    async def GetLogs(self, request: pb.GetLogsRequest, context: Context) -> AsyncIterator[pb.GetLogsResponse]:
        """Kept output first, then live."""
        wanted = logs.wanted(request)
        async with self.standing.reading.required():
            found = await self._parts.finder.find(context, request.namespace, request.name, request.uid)
        await context.send_initial_metadata(())  # lines may be long in coming: the caller knows that it is heard
        kept = self._parts.projections.logs
        if isinstance(found, Elsewhere):
            answers = self._stream(found, "GetLogs", request)
        elif isinstance(found, Entry):
            display = logs.Display(await self._seen(found), wanted, found.run)
            if request.follow:
                answers = logs.followed(kept, found, display, wanted)
            else:
                answers = logs.kept(kept, display, found.run.namespace, found.run.uid, wanted)
        else:
            seen = await self._seen(found)
            metadata = seen.head["metadata"]
            answers = logs.kept(kept, logs.Display(seen, wanted), metadata["namespace"], metadata["uid"], wanted)
        async with aclosing(answers) as all_lines:
            async for lines in all_lines:
                yield lines

    # --- steering -----------------------------------------------------------------------------------------------------

    @writes
    async def StopWorkflow(self, request: pb.StopWorkflowRequest, context: Context) -> pb.Workflow:
        """The main run ends, handlers run. With a selector: only these suspend nodes fail."""
        id = given_or_new(request.request_id)
        check_message(request)
        if request.node_field_selector:
            _check("node_field_selector", selection.check, request.node_field_selector)
            ended = SetNodes(
                request.node_field_selector,
                phase="Failed",
                message=request.message,
                request_id=id,
                by=request.by,
                revision=request.revision,
            )
            return await self._commands.steer("StopWorkflow", request, context, ended)
        command = Shutdown("Stop", id, request.message, by=request.by, revision=request.revision)
        return await self._commands.command("StopWorkflow", request, context, command)

    @writes
    async def TerminateWorkflow(self, request: pb.TerminateWorkflowRequest, context: Context) -> pb.Workflow:
        """Everything ends."""
        check_message(request)
        id = given_or_new(request.request_id)
        command = Shutdown("Terminate", id, request.message, by=request.by, revision=request.revision)
        return await self._commands.command("TerminateWorkflow", request, context, command)

    @writes
    async def SuspendWorkflow(self, request: pb.SuspendWorkflowRequest, context: Context) -> pb.Workflow:
        """Nothing further starts."""
        check_message(request)
        command = SuspendRun(given_or_new(request.request_id), request.message, request.by, request.revision)
        return await self._commands.command("SuspendWorkflow", request, context, command)

    @writes
    async def ResumeWorkflow(self, request: pb.ResumeWorkflowRequest, context: Context) -> pb.Workflow:
        """It goes on."""
        _check("node_field_selector", selection.check, request.node_field_selector)
        check_message(request)
        command = ResumeRun(
            given_or_new(request.request_id),
            request.node_field_selector,
            message=request.message,
            by=request.by,
            revision=request.revision,
        )
        return await self._commands.steer("ResumeWorkflow", request, context, command)

    @writes
    async def SetNodes(self, request: pb.SetNodesRequest, context: Context) -> pb.Workflow:
        """Outputs and phases of waiting suspend nodes."""
        check_message(request)
        if not request.node_field_selector.strip(" ,"):
            text = "say which nodes, as in displayName=approve: without a selector all that wait would be set"
            raise invalid("node_field_selector is missing", [("node_field_selector", text)])
        _check("node_field_selector", selection.check, request.node_field_selector)
        phase = phases.word(request.phase)
        _check("phase", selection.check_phase, phase or str(request.phase or ""))
        self._parts.checker.check_parameters("output_parameters", request.output_parameters)
        command = SetNodes(
            selector=request.node_field_selector,
            parameters={p.name: p.value for p in request.output_parameters},
            phase=phase,
            message=request.message,
            request_id=given_or_new(request.request_id),
            revision=request.revision,
            by=request.by,
        )
        return await self._commands.steer("SetNodes", request, context, command)

    @writes
    async def DeleteWorkflow(self, request: pb.DeleteWorkflowRequest, context: Context) -> pb.DeleteWorkflowResponse:
        """At once when it is over, else once it has ended, with its handlers where it asks for them."""
        check_message(request)
        id, why = given_or_new(request.request_id), request.message or DELETED
        command = Shutdown("Terminate", id, why, deleted=True, by=request.by, revision=request.revision)
        return await self._commands.delete(request, context, command)

    @writes
    async def RetryWorkflow(self, request: pb.RetryWorkflowRequest, context: Context) -> pb.Workflow:
        """What failed runs again; only when all is over."""
        check_message(request)
        self._parts.checker.check_parameters("parameters", request.parameters)
        id, values = given_or_new(request.request_id), {p.name: p.value for p in request.parameters}
        return await self._commands.retry(request, context, RetryRun(id, values, request.message, request.by))

    @writes
    async def ResubmitWorkflow(self, request: pb.ResubmitWorkflowRequest, context: Context) -> pb.Workflow:
        """A new workflow of the same manifest and arguments."""
        check_once("parameters", request.parameters)
        requests, given = self._parts.requests, bool(request.request_id)
        request.request_id = given_or_new(request.request_id)
        address = self._maker(request, context)
        if address:
            passed: pb.Workflow = await self._pass_on(Elsewhere(address), "ResubmitWorkflow", request)
            return passed
        known = await requests.asked("ResubmitWorkflow", request) if given else None
        if known is not None and (made := await self._resubmitted(request)) is not None:
            return made
        uid = request.uid if known is None else known.uid
        tree, revision = await self._manifest(request.namespace, request.name, uid)
        if known is None:
            require(request.revision, revision, (tree["metadata"]["namespace"], tree["metadata"]["name"]))
            known = await requests.ask("ResubmitWorkflow", request, tree["metadata"]["uid"], lasting=True)
            if known.uid != tree["metadata"]["uid"]:  # of two with this request id the other one was quicker
                tree, _ = await self._manifest(request.namespace, request.name, known.uid)
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
        """What an earlier call of the request has made; None where it has not come so far."""
        uid = uids(namespace_of(request), request.request_id, 1)[0]
        try:
            tree, version = await self._manifest("", "", uid)
        except RpcError as error:
            if error.code is not Code.NOT_FOUND:
                raise
        else:
            return fitted(Seen(tree, {}, version), ANSWER_BYTES, left_out=True)
        if await self._parts.requests.deleted(uid):
            raise deleted_since("what this request has made")
        return None

    async def ListExecutors(self, request: pb.ListExecutorsRequest, context: Context) -> pb.ListExecutorsResponse:
        """By id."""
        size = page_size(request.page_size)
        behind = read_behind(request.page_token)
        known = [e for e in self._parts.dispatch.executors.values() if e.link is not None]
        later = sorted((e for e in known if e.profile.id > behind), key=lambda e: e.profile.id)
        answer = pb.ListExecutorsResponse(executors=[_executor(e) for e in later[:size]])
        if len(later) > size:
            answer.next_page_token = write_behind(later[size - 1].profile.id)
        return answer

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _seen(self, found: Entry | Archived | Unread) -> Seen:
        """All of a workflow, with the nodes of running exit handlers."""
        if isinstance(found, Unread):
            return seen(found.tree(), found.number)
        if isinstance(found, Archived):
            return await self._parts.turns.through(found.looking())
        async with self.standing.writing.required():  # what is decided is shown once it is durable
            looked = await found.view()
        return await watch.merged(self._parts.peers, found, looked)

    async def _manifest(self, namespace: str, name: str, uid: str) -> tuple[dict[str, Any], int]:
        """A workflow without its nodes, and its version; whoever has it."""
        found = await self._parts.finder.find(None, namespace, name, uid)
        if isinstance(found, Entry):
            looked = await found.view(nodes=False)
            return looked.head, looked.version
        if isinstance(found, Archived):
            return found.head, found.version
        if isinstance(found, Unread):
            return found.tree(), found.number
        text, version = "", 0
        request = pb.ReadWorkflowRequest(namespace=namespace, name=name, uid=uid)
        async for answer in self._stream(found, "ReadWorkflow", request):
            text += answer.part.workflow.json
            version = version or answer.part.workflow.revision
            if not answer.part.unfinished:
                break
        tree: dict[str, Any] = json.loads(text)
        return tree, version

    async def _pass_on(self, found: Elsewhere, method: str, request: Any) -> Any:
        return await self._parts.peers.pass_on(found.address, method, request)

    async def _stream(self, found: Elsewhere, method: str, request: Any) -> AsyncGenerator[Any, None]:
        asked = getattr(self._parts.peers.workflows(found.address), method)
        call = asked(request, metadata=[(PASSED_ON, "1"), *metadata()])
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise received(error) from None
        finally:
            call.cancel()


def _check(field: str, check: Callable[[str], None], text: str) -> None:
    """Raises INVALID_ARGUMENT for what is wrong whatever state the workflow is in."""
    try:
        check(text)
    except Rejected as error:
        raise invalid(str(error), [(field, str(error))], reason=error.reason) from None


def _executor(executor: Executor) -> pb.ExecutorInfo:
    profile = executor.profile
    seen = Timestamp()
    seen.FromNanoseconds(int(executor.seen_at * 1e9))
    return pb.ExecutorInfo(
        id=profile.id,
        labels=profile.labels,
        capabilities=profile.capabilities,
        slots=profile.slots,
        exit_slots=profile.exit_slots,
        running=sorted(flight.where() for flight in executor.flights.values()),
        draining=executor.draining,
        seen_time=seen,
    )
