"""Words about exit handlers that Argo's grammar lacks: annotations under `exeunt.dev/`, and an operator's defaults.

`exeunt.dev/exit-handlers` names several handlers of one workflow, a list with commas. An entry is the name of a
template of the workflow, or `workflowtemplate/NAME/TEMPLATE`, or `clusterworkflowtemplate/NAME/TEMPLATE`; behind it may
stand ` after X` or ` after X+Y`, which names the handlers that have to end before. Each of them runs beside `onExit`,
as a handler in its own right: with the workflow's arguments, its own record in the ledger, and a hook name of its own:
TEMPLATE, or NAME.TEMPLATE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from exeunt.language.manifest import LifecycleHook, TemplateRef, Workflow

ANNOTATION = "exeunt.dev/exit-handlers"
EXIT_ON = "exeunt.dev/exit-on"
"""The annotation that says at which ends handlers run besides Argo's: a list with commas out of `ENDS`, or `NEVER`."""
FAIL_WORKFLOW = "exeunt.dev/handlers-fail-workflow"
"""The annotation that says whether a failing handler makes a Succeeded workflow Failed: true, as in Argo, or false."""
KINDS = {"workflowtemplate": False, "clusterworkflowtemplate": True}
"""The kinds of stored templates, and whether they are of the cluster."""
ENDS = ("terminate", "delete")
NEVER = "none"
ON_EXIT = "exit"
"""How the workflow's own handler (`onExit`, `hooks.exit`) is called behind `after`."""
_AFTER = re.compile(r"\s+after\s+")


def entries(text: str) -> list[str]:
    """The entries of a list, each once, in their order."""
    return list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))


def split(entry: str) -> tuple[str, tuple[str, ...]]:
    """The handler that an entry names, and the names of those that have to end before it."""
    handler, _, before = _AFTER.sub("\n", entry, count=1).partition("\n")
    return handler, tuple(name.strip() for name in before.split("+")) if before else ()


def wrong_entry(entry: str) -> str | None:
    """What is wrong with an entry's form; None when nothing is."""
    handler, before = split(entry)
    parts = handler.split("/")
    kind = len(parts) == 1 or (len(parts) == 3 and parts[0].lower() in KINDS and all(parts))
    if kind and not re.search(r"\s", handler) and all(before):
        return None
    return (
        f"{entry!r}: TEMPLATE, workflowtemplate/NAME/TEMPLATE or clusterworkflowtemplate/NAME/TEMPLATE is expected, "
        "and behind it nothing, or `after X`, or `after X+Y`"
    )


def handler_of(entry: str) -> tuple[str, LifecycleHook]:
    """The hook's name and the hook of a well-formed entry."""
    handler, _ = split(entry)
    kind, slash, rest = handler.partition("/")
    if not slash:
        return handler, LifecycleHook(template=handler)
    name, _, template = rest.partition("/")
    reference = TemplateRef(name=name, template=template, cluster_scope=KINDS.get(kind.lower(), False))
    return f"{name}.{template}", LifecycleHook(template_ref=reference)


def further_handlers(workflow: Workflow) -> dict[str, LifecycleHook]:
    """The handlers that the annotation names, by the names of their hooks: each behind those that it comes after."""
    hooks = dict(handler_of(entry) for entry in _well_formed(workflow))
    before = order(workflow)
    found: dict[str, LifecycleHook] = {}
    while len(found) < len(hooks):
        ready = [name for name in hooks if name not in found and not (set(before[name]) & hooks.keys()) - found.keys()]
        for name in ready or hooks.keys() - found.keys():  # a circle is refused at submission
            found[name] = hooks[name]
    return found


def order(workflow: Workflow) -> dict[str, tuple[str, ...]]:
    """Of each of these handlers the names of those that have to end before it."""
    return {handler_of(entry)[0]: split(entry)[1] for entry in _well_formed(workflow)}


def wrong_order(before: Mapping[str, tuple[str, ...]]) -> str | None:
    """What is wrong with the order of handlers: one that is not there, or a circle. None when nothing is."""
    for name, earlier in before.items():
        for one in earlier:
            if one not in before and one != ON_EXIT:
                known = ", ".join([ON_EXIT, *(other for other in before if other != name)])
                return f"{name!r} comes after {one!r}, which is none of the handlers: {known}"
    left = dict(before)
    while left:
        ready = [name for name, earlier in left.items() if not set(earlier) & left.keys()]
        if not ready:
            return f"the handlers {', '.join(map(repr, left))} wait for each other"
        for name in ready:
            del left[name]
    return None


def wrong_ends(text: str) -> str | None:
    """What is wrong with the value of `EXIT_ON`; None when nothing is."""
    named = entries(text)
    if named == [NEVER] or set(named) <= set(ENDS):
        return None
    return f"{text!r}: a list out of {', '.join(ENDS)} is expected, or {NEVER}"


def _well_formed(workflow: Workflow) -> list[str]:
    named = entries(workflow.metadata.annotations.get(ANNOTATION, ""))
    return [entry for entry in named if wrong_entry(entry) is None]


class Defaults:
    """What an operator gives to every workflow of the cluster, or of a namespace.

    `handlers`: exit handlers, each `[NAMESPACE=]KIND/NAME/TEMPLATE`, of a stored template. `exit_on`: at which ends
    handlers run besides Argo's, each `[NAMESPACE=]terminate`, `delete`, `terminate+delete` or `none`. Raises ValueError
    for anything else.
    """

    def __init__(self, handlers: Iterable[str] = (), exit_on: Iterable[str] = ()) -> None:
        self.given = list(handlers), list(exit_on)
        """The settings as they were given."""
        handlers, exit_on = self.given
        self._of: dict[str, list[str]] = {}
        self._exit_on: dict[str, str] = {}
        for setting in handlers:
            namespace, _, entry = setting.rpartition("=")
            if "/" not in entry or wrong_entry(entry) is not None:
                kinds = " or ".join(f"{kind}/NAME/TEMPLATE" for kind in KINDS)
                raise ValueError(
                    f"--exit-handlers: {setting!r}: {kinds} is expected, for one namespace with NAMESPACE= before it"
                )
            self._of.setdefault(namespace, []).append(entry)
        for setting in exit_on:
            namespace, _, ends = setting.rpartition("=")
            named = [end.strip() for end in ends.split("+")]
            if named != [NEVER] and not set(named) <= set(ENDS):
                raise ValueError(
                    f"--exit-on: {setting!r}: {', '.join(ENDS)}, {'+'.join(ENDS)} or {NEVER} is expected, "
                    "for one namespace with NAMESPACE= before it"
                )
            if namespace in self._exit_on:
                of = f"the namespace {namespace}" if namespace else "the cluster"
                raise ValueError(f"--exit-on: {setting!r}: {of} has one already; join them with +")
            self._exit_on[namespace] = ",".join(dict.fromkeys(named))

    def add_to(self, workflow: Workflow) -> None:
        """Fixes in the workflow's annotations what it gets.

        Handlers are added behind those that the workflow names: those of its namespace, then those of the cluster, each
        once. At which ends they run says the workflow, or else its namespace, or else the cluster, each for all of it.
        """
        metadata = workflow.metadata
        more = [*self._of.get(metadata.namespace, []), *self._of.get("", [])]
        if more:
            metadata.annotations = with_handlers(metadata.annotations, more)
        ends = self._exit_on.get(metadata.namespace, self._exit_on.get("", ""))
        if ends and EXIT_ON not in metadata.annotations:
            metadata.annotations = {**metadata.annotations, EXIT_ON: ends}


def with_handlers(annotations: Mapping[str, str], more: Iterable[str]) -> dict[str, str]:
    """Annotations with further entries behind those that stand there, but for handlers that are named already."""
    joined: dict[str, str] = {}
    for entry in [*entries(annotations.get(ANNOTATION, "")), *more]:
        joined.setdefault(split(entry)[0], entry)
    return {**annotations, ANNOTATION: ",".join(joined.values())} if joined else dict(annotations)
