"""Retries: a node stands for all attempts, and judges each (Argo: processNodeRetries; docs/retries.md).

Hooks are never attempts: what counts is the last attempt.
"""

from __future__ import annotations

import math

from exeunt.engine.facts import phases, timers
from exeunt.engine.facts.events import NodeEnded, NodeNoted, NodeStarted, TimerCleared, TimerSet
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.turn import NODE
from exeunt.engine.values.durations import seconds, spoken, spoken_time
from exeunt.engine.values.processed import attempt_scope, found_of, holder_of, lasted, locals_of
from exeunt.engine.values.scope import Scope
from exeunt.engine.values.templating import Processed, put_in
from exeunt.engine.walk import parallelism
from exeunt.engine.walk.start import MAX_NODES, TOO_MANY_NODES, Caller, Spot, body, exempt, retry_strategy
from exeunt.engine.walk.walking import Walk
from exeunt.language.expression import ExpressionError, evaluate_bool
from exeunt.language.manifest import RetryStrategy
from exeunt.language.variables import environment, text

OPERATION_ERROR = "Workflow operation error"
"""Of a root that could not be worked out; the workflow's message says why."""
_TRANSIENT = ("exceeded quota", "TooManyRequests", "i/o timeout", "connection reset by peer", "TLS handshake timeout")


def look(run: Run, node: Node) -> Walk:
    """Judges the last attempt, and starts the next one where there shall be one."""
    while not node.over:
        last = run.nodes[node.members[-1]] if node.members else None
        if last is not None and (last.serving or not last.fulfilled):
            return
        try:
            processed = _processed(run, node)
            if last is not None and not _again(run, node, last, processed):
                return
            if last is not None:
                run.turn.check()
            if not _place(run, node):
                run.blocked[node.key] = None
                return
            child = _attempt(run, node, processed)
        except NodeError as error:
            run.emit(NodeEnded(node.key, phases.ERROR, str(error), raised=True))
            return
        if child.type in phases.COMPOSITES and not child.fulfilled:
            yield child


def _processed(run: Run, node: Node) -> Processed:
    return put_in(run, found_of(run, node).template, node.given, locals_of(run, node), node.artifacts or ())


def _place(run: Run, node: Node) -> bool:
    """Whether the limits allow one more attempt. The first one always may: its Retry was let in already."""
    if not node.members:
        return True
    if parallelism.full(run):
        return False
    return node.boundary < 0 or not parallelism.resting(run, run.nodes[node.boundary], retry=True)


def _attempt(run: Run, node: Node, processed: Processed) -> Node:
    if len(run.nodes) >= MAX_NODES:
        raise NodeError(TOO_MANY_NODES)
    number = len(node.members)
    scope: Scope = attempt_scope(run, node, number)
    suffix = f"({number})"
    scope["pod.name"] = run.names.pod_of(node, suffix, processed.template.name)
    ready = put_in(run, processed.template, processed.inputs, scope, processed.artifacts)
    caller = Caller(holder_of(node), node.scope, {})
    spot = Spot(node.key, suffix, number, hooked=node.hooked)
    try:
        return body(run, spot, caller, found_of(run, node), ready, retried=True).node
    except NodeError as error:
        run.turn.took(NODE)
        run.emit(
            NodeStarted(
                owner=node.key,
                suffix=suffix,
                kind=phases.SKIPPED_TYPE,
                phase=phases.ERROR,
                template=node.template,
                index=number,
                message=str(error),
                retried=True,
                hooked=node.hooked,
            )
        )
        return run.nodes[-1]


def _again(run: Run, node: Node, last: Node, processed: Processed) -> bool:
    """Whether another attempt is to start now. Ends the node where there is none to come. Raises NodeError."""
    strategy = retry_strategy(run, processed.template)
    if strategy is None:
        strategy = RetryStrategy()
    if not last.failed:
        return end(run, node, phases.SUCCEEDED, "")
    if run.state.shutdown and not exempt(run, node):
        return end(run, node, last.phase, f"Stopped with strategy '{run.state.shutdown}'")
    deadline = run.state.timers.get(timers.DEADLINE)
    if not run.exit and (run.state.shutdown_reason == "Deadline" or (deadline is not None and run.now > deadline)):
        return end(run, node, last.phase, f"retry exceeded workflow deadline {spoken_time(run.state.deadline)}")
    if last.raised and _policy_name(strategy) == "OnFailure":
        return _raise(run, node, last)
    if strategy.backoff is not None and _backs_off(run, node, last, strategy):
        return False
    if node.over:
        return False
    failed, error = _policy(strategy, last)
    if (last.phase == phases.FAILED and not failed) or (last.phase == phases.ERROR and not error):
        return end(run, node, last.phase, last.message)
    limit = _limit(strategy)
    if limit is not None and len(node.members) > limit:
        return end(run, node, last.phase, "No more retries left")
    if strategy.expression and not _holds(run, node, last, strategy.expression):
        return end(run, node, last.phase, "retryStrategy.expression evaluated to false")
    return True


def end(run: Run, node: Node, phase: str, message: str) -> bool:
    """Ends a Retry, and what it waited for. Says that no attempt is to start."""
    timer = timers.pause(run.id(node))
    if timer in run.state.timers:
        run.emit(TimerCleared(timer))
    killed = bool(run.state.shutdown) and phase in phases.BAD and not exempt(run, node)
    run.emit(NodeEnded(node.key, phase, message, killed=killed))
    return False


def _raise(run: Run, node: Node, last: Node) -> bool:
    """The attempt could not be worked out, and no error is ever tried again: what holds the node ends with it."""
    message = OPERATION_ERROR if node.owner < 0 else last.message
    run.emit(NodeEnded(node.key, phases.ERROR, message, raised=True))
    return False


def _limit(strategy: RetryStrategy) -> int | None:
    if strategy.limit is None:
        return None
    written = text(strategy.limit)
    try:
        return int(written)
    except ValueError as error:
        raise NodeError(f'retryStrategy.limit: strconv.ParseInt: parsing "{written}": invalid syntax') from error


def _policy_name(strategy: RetryStrategy) -> str:
    return strategy.retry_policy or ("Always" if strategy.expression else "OnFailure")


def _policy(strategy: RetryStrategy, last: Node) -> tuple[bool, bool]:
    """Whether a failure and whether an error is tried again."""
    policy = _policy_name(strategy)
    if policy == "Always":
        return True, True
    if policy == "OnError":
        return False, True
    if policy == "OnFailure":
        return True, False
    if policy == "OnTransientError":
        transient = any(mark in last.message for mark in _TRANSIENT)
        return transient, transient
    raise NodeError(f"{policy} is not a valid RetryPolicy")


def _holds(run: Run, node: Node, last: Node, expression: str) -> bool:
    scope = {
        "retries": str(len(node.members) - 1),
        "lastRetry.exitCode": "-1",
        "lastRetry.status": last.phase,
        "lastRetry.duration": lasted(last),
        "lastRetry.message": last.message,
    }
    if last.outputs is not None and last.outputs.exit_code is not None:
        scope["lastRetry.exitCode"] = str(last.outputs.exit_code)
    try:
        return evaluate_bool(expression, environment(scope), now=run.now)
    except ExpressionError as error:
        raise NodeError(str(error)) from error


def _backs_off(run: Run, node: Node, last: Node, strategy: RetryStrategy) -> bool:
    """Whether the next attempt has to wait. Ends the node where that would last too long."""
    backoff = strategy.backoff
    assert backoff is not None
    longest = math.inf
    if backoff.max_duration:
        longest = run.nodes[node.members[0]].started + seconds(backoff.max_duration)
        if run.now > longest:
            return not end(run, node, last.phase, "Max duration limit exceeded")
    if not backoff.duration:
        raise NodeError("no base duration specified for retryStrategy")
    wait = seconds(backoff.duration)
    factor = text(backoff.factor) if backoff.factor is not None else ""
    if factor:
        try:
            number = int(factor)
        except ValueError as error:
            raise NodeError(f"retryStrategy.backoff.factor: {factor} is no whole number") from error
        if number > 0:
            wait = min(wait * float(min(number, 1_000_000)) ** min(len(node.members) - 1, 100), 1e9)
    if backoff.cap:
        wait = min(wait, seconds(backoff.cap))
    due = last.finished + wait
    if due > longest:
        return not end(run, node, last.phase, "Backoff would exceed max duration limit")
    limit = _limit(strategy)
    timer = timers.pause(run.id(node))
    if run.now < due and limit is not None and len(node.members) <= limit:
        if timer not in run.state.timers:
            run.emit(NodeNoted(node.key, f"Backoff for {spoken(wait)}"))
            run.emit(TimerSet(timer, due))
        return True
    if node.message:
        run.emit(NodeNoted(node.key, ""))
    return False
