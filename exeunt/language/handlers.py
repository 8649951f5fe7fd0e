"""Several exit handlers of one workflow: the annotation `exeunt.dev/exit-handlers`, a list with commas.

An entry is the name of a template of the workflow, or `workflowtemplate/NAME/TEMPLATE`, or
`clusterworkflowtemplate/NAME/TEMPLATE`. Each of them runs beside `onExit`, as a handler in its own right: with the
workflow's arguments, its own record in the ledger, and a hook name of its own: TEMPLATE, or NAME.TEMPLATE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exeunt.language.manifest import LifecycleHook, TemplateRef, Workflow

ANNOTATION = "exeunt.dev/exit-handlers"
KINDS = {"workflowtemplate": False, "clusterworkflowtemplate": True}
"""The kinds of stored templates, and whether they are of the cluster."""


def entries(text: str) -> list[str]:
    """The entries of a list, each once, in their order."""
    return list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))


def wrong_entry(entry: str) -> str | None:
    """What is wrong with an entry's form; None when nothing is."""
    parts = entry.split("/")
    if len(parts) == 1 or (len(parts) == 3 and parts[0].lower() in KINDS and all(parts)):
        return None
    return f"{entry!r}: TEMPLATE, workflowtemplate/NAME/TEMPLATE or clusterworkflowtemplate/NAME/TEMPLATE is expected"


def handler_of(entry: str) -> tuple[str, LifecycleHook]:
    """The hook's name and the hook of a well-formed entry."""
    kind, slash, rest = entry.partition("/")
    if not slash:
        return entry, LifecycleHook(template=entry)
    name, _, template = rest.partition("/")
    reference = TemplateRef(name=name, template=template, cluster_scope=KINDS.get(kind.lower(), False))
    return f"{name}.{template}", LifecycleHook(template_ref=reference)


def further_handlers(workflow: Workflow) -> dict[str, LifecycleHook]:
    """The handlers that the annotation names, by the names of their hooks."""
    named = entries(workflow.metadata.annotations.get(ANNOTATION, ""))
    return dict(handler_of(entry) for entry in named if wrong_entry(entry) is None)


class Defaults:
    """The handlers that an operator gives to every workflow of the cluster, or of a namespace.

    Each setting is `[NAMESPACE=]KIND/NAME/TEMPLATE`, of a stored template. Raises ValueError for anything else.
    """

    def __init__(self, settings: Iterable[str] = ()) -> None:
        self._of: dict[str, list[str]] = {}
        for setting in settings:
            namespace, _, entry = setting.rpartition("=")
            if "/" not in entry or wrong_entry(entry) is not None:
                kinds = " or ".join(f"{kind}/NAME/TEMPLATE" for kind in KINDS)
                raise ValueError(f"{setting!r}: {kinds} is expected, for one namespace with NAMESPACE= before it")
            self._of.setdefault(namespace, []).append(entry)

    def add_to(self, workflow: Workflow) -> None:
        """Behind the handlers that the workflow names: those of its namespace, then those of the cluster, each once."""
        more = [*self._of.get(workflow.metadata.namespace, []), *self._of.get("", [])]
        if more:
            workflow.metadata.annotations = with_handlers(workflow.metadata.annotations, more)


def with_handlers(annotations: Mapping[str, str], more: Iterable[str]) -> dict[str, str]:
    """Annotations with further entries behind those that stand there."""
    own = annotations.get(ANNOTATION, "")
    joined = entries(",".join([own, *more]))
    return {**annotations, ANNOTATION: ",".join(joined)} if joined else dict(annotations)
