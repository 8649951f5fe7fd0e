"""Limits: of the workflow, of a template, and failFast (Argo: checkParallelism; docs/parallelism.md).

What meets a limit waits. Handlers are not held back by the workflow's limit, but while one runs it counts as a pod.
"""

from __future__ import annotations

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node, counts_as_bad
from exeunt.engine.facts.run import Run
from exeunt.engine.values import handlers
from exeunt.engine.values.processed import found_of
from exeunt.engine.walk import hooks
from exeunt.language.manifest import Template
from exeunt.language.template_lookup import scope_of


def full(run: Run) -> bool:
    """Whether the workflow has as many pods as it may. After a stop this counts no more."""
    limit = run.spec.parallelism
    if limit is None or run.exit or run.state.shutdown:
        return False
    return run.state.active_pods + _handlers(run) >= limit


def _handlers(run: Run) -> int:
    if not run.state.open_hooks:
        return 0
    return sum(1 for hook in run.state.hooks if hook.open and hooks.counts_as_pod(run, hook))


def boundary_full(run: Run, boundary: Node) -> bool:
    """Whether a steps or DAG template may start no further child now."""
    return bool(_without_defaults(run, boundary).fail_fast and boundary.bad) or _crowded(run, boundary)


def holds_back(run: Run, boundary: Node, child: Node) -> bool:
    """Whether the exit handler of a child has to wait: the template's own limit holds for handlers, too."""
    return handlers.hook_of_name(run, child, handlers.EXIT) is None and _crowded(run, boundary)


def _crowded(run: Run, boundary: Node) -> bool:
    limit = _without_defaults(run, boundary).parallelism
    return bool(limit and limit > 0 and boundary.active + _open_hooks(run, boundary) >= limit)


def _without_defaults(run: Run, boundary: Node) -> Template:
    """Argo reads a parent's limits from the template as it is written, without the templateDefaults."""
    found = found_of(run, boundary)
    if run.spec.template_defaults is None or not found.name:
        return found.template
    if found.scope == run.templates.local:
        written = run.spec.templates
    else:
        written = next((one.spec.templates for one in run.bundle.templates if scope_of(one) == found.scope), [])
    return next((template for template in written if template.name == found.name), found.template)


def resting(run: Run, boundary: Node, *, retry: bool = False) -> bool:
    """Whether a steps or DAG node is left alone: it has as many pods as its own template allows.

    A `retry` comes before the hooks that become due in the same decision.
    """
    limit = found_of(run, boundary).template.parallelism
    if not limit or limit < 0:
        return False
    now = 0 if retry else run.pods_started.get(boundary.key, 0)
    return boundary.active_pods - now + _hooks_that_are_pods(run, boundary) >= limit


def closed(run: Run, boundary: Node) -> bool:
    """Whether a node is left alone with all that stands in it: for its limit, or since it fails fast.

    After a stop all comes to its end.
    """
    if boundary.type not in phases.BOUNDARIES or boundary.fulfilled or run.state.shutdown:
        return False
    failing = not (boundary.retried and boundary.type == phases.STEPS) and _fails_fast(run, boundary, looked=False)
    return failing or resting(run, boundary)


def failing_fast(run: Run, boundary: Node) -> bool:
    """Whether something has failed that ends the node, and pods still run: nothing begins until they are over."""
    return _fails_fast(run, boundary, looked=False) and _busy(run, boundary)


def failed_fast(run: Run, boundary: Node, *, looked: bool = False) -> bool:
    """Whether the node ends now because of failFast: something failed, and no pod runs any more.

    Graphs that have failed in this very decision count when the node was `looked` at: it may end by itself.
    """
    return _fails_fast(run, boundary, looked=looked) and not _busy(run, boundary)


def _fails_fast(run: Run, boundary: Node, *, looked: bool) -> bool:
    if not boundary.bad or not found_of(run, boundary).template.fail_fast:
        return False
    nodes = [] if looked else [run.nodes[key] for key in run.graphs_ended]
    return boundary.bad > sum(node.boundary == boundary.key and node.failed and counts_as_bad(node) for node in nodes)


def _busy(run: Run, boundary: Node) -> bool:
    return bool(boundary.active_pods or _hooks_that_are_pods(run, boundary))


def _hooks_that_are_pods(run: Run, boundary: Node) -> int:
    """Hooks that count as pods: a killed hook does no more, an exit handler does until it is over."""
    if not run.state.open_hooks or run.exit:
        return 0
    return sum(
        1
        for hook in run.state.hooks[: run.hooks_before]
        if hook.open
        and not (hook.cancelled and hook.name != handlers.EXIT)
        and run.nodes[hook.parent].boundary == boundary.key
        and hooks.is_pod(run, hook)
    )


def _open_hooks(run: Run, boundary: Node) -> int:
    """Open handlers of the nodes inside: they count as children of the boundary."""
    if not run.state.open_hooks or run.exit:
        return 0
    return sum(
        1
        for hook in run.state.hooks
        if hook.open and run.nodes[hook.parent].boundary == boundary.key and hooks.counts_as_pod(run, hook)
    )


FAIL_FAST = "template has failed or errored children and failFast enabled"
