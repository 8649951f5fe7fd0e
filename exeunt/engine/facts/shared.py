"""What follows from a bundle alone: worked out once for all runs of it, main runs and exit runs alike."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import msgspec

from exeunt.language.handlers import further_handlers, order
from exeunt.language.manifest import Bundle
from exeunt.language.model import Model
from exeunt.language.template_lookup import Templates

MAX_BUNDLES: Final = 128
MAX_FORMS: Final = 5000


class Forms:
    """Plain trees and JSON of pieces of the manifest, kept while they are few: the same ones are asked for again."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Model, Any, str]] = {}
        self._mentions: dict[tuple[int, str], bool] = {}

    def of(self, model: Model) -> tuple[Model, Any, str]:
        found = self._known.get(id(model))
        if found is None:
            if len(self._known) >= MAX_FORMS:
                self._known.clear()
                self._mentions.clear()
            tree = msgspec.to_builtins(model)
            found = self._known[id(model)] = (model, tree, msgspec.json.encode(tree).decode())
        return found

    def mentions(self, model: Model, word: str) -> bool:
        source = self.of(model)[2]
        found = self._mentions.get((id(model), word))
        if found is None:
            found = self._mentions[id(model), word] = word in source
        return found


class Shared:
    """The templates of a bundle and what is known of them."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.templates = Templates(bundle)
        self.forms = Forms()
        self.handlers = further_handlers(bundle.workflow)
        self.order = order(bundle.workflow)
        self.lively = _has_hooks(bundle)
        self.handled = _has_handlers(bundle)
        self.watching = self.lively and _asks_for_outputs(bundle)


_known: OrderedDict[int, Shared] = OrderedDict()


def shared_of(bundle: Bundle) -> Shared:
    """The bundle is not to be changed any more."""
    found = _known.get(id(bundle))
    if found is None:
        found = _known[id(bundle)] = Shared(bundle)
        if len(_known) > MAX_BUNDLES:
            _known.popitem(last=False)
    else:
        _known.move_to_end(id(bundle))
    return found


def _asks_for_outputs(bundle: Bundle) -> bool:
    """Whether anything may depend on what other parts of the workflow export."""
    source = msgspec.json.encode(bundle)
    return b"globalName" in source and (b"workflow.outputs" in source or b"workflow[" in source)


def _has_handlers(bundle: Bundle) -> bool:
    """Whether any step or task may have an exit handler: the word stands somewhere in the templates."""
    specs = [bundle.workflow.spec, *(stored.spec for stored in bundle.templates)]
    sources = [msgspec.json.encode([spec.templates, spec.template_defaults]) for spec in specs]
    return any(b'"onExit":' in source or b'"exit":' in source for source in sources)


def _has_hooks(bundle: Bundle) -> bool:
    specs = [bundle.workflow.spec, *(stored.spec for stored in bundle.templates)]
    if any(name != "exit" for spec in specs for name in spec.hooks):
        return True
    for template in (template for spec in specs for template in spec.templates):
        steps = [step for group in template.steps or [] for step in group]
        if any(name != "exit" for step in steps for name in step.hooks):
            return True
        if template.dag is not None and any(name != "exit" for task in template.dag.tasks for name in task.hooks):
            return True
    return False
