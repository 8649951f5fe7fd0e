"""Which variables may stand where, and whether the tags of a text name any of them.

Argo checks a tag when it starts with the name of something it knows (`steps.`, `inputs.`, …) and passes any other on as
it stands; so do we, with a warning (Argo: docs/variables.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from exeunt.language.expression import ExpressionError, required
from exeunt.language.manifest import Template
from exeunt.language.problems import Path, nearest, shorten
from exeunt.language.report import Place, Report
from exeunt.language.variables import CLOSE, NESTED, OPEN, tags
from exeunt.language.variables import text as text_of

_CHECKED = ("item.", "steps.", "inputs.", "outputs.", "pod.", "workflow.", "tasks.")
_AT_RUN_TIME = (
    "outputs.",
    "workflow.creationTimestamp",
    "workflow.scheduledTime",
    "workflow.duration",
    "steps.name",
    "tasks.name",
)
STAND_IN = "variable-0"
_NO_NAME = re.compile(r"[^-a-zA-Z0-9]+")
_INLINE_CHILD = ("plugin", "trigger", "workflow")
_PLAIN = re.compile(r"(item|retries|node\.name|lastRetry\.(exitCode|status|duration|message))")
_ROOTS = frozenset(
    {
        "cronworkflow",
        "duration",
        "exitCode",
        "inputs",
        "item",
        "lastRetry",
        "node",
        "outputs",
        "pod",
        "resourcesDuration",
        "retries",
        "status",
        "steps",
        "tasks",
        "workflow",
    }
)
"""What a variable of an expression may start with: variables.md, and what metrics and retries have."""


class Visible:
    """The variables of one template: name → its value where that is known before anything runs, else None.

    `shared` are the workflow's own, which grow while templates are looked at (`workflow.outputs.parameters.…`).
    `open` are prefixes under which any name will do, since what is there is known only later.
    """

    def __init__(self, shared: dict[str, str | None], open_: tuple[str, ...] = ()) -> None:
        self._shared = shared
        self._names: dict[str, str | None] = {}
        self._outer: Visible | None = None
        self._open = set(open_)
        self.siblings: frozenset[str] = frozenset()
        """`steps.NAME` or `tasks.NAME` for all of the template, also those that come later."""
        self.inline = False
        """An inline template's expressions may use what is around it."""

    def add(self, name: str, value: str | None = None) -> None:
        self._names[name] = value

    def add_open(self, prefix: str) -> None:
        self._open.add(prefix)

    def child(self) -> Visible:
        """The same and more: what is added there is not seen here."""
        inner = Visible(self._shared)
        inner._outer = self
        inner.siblings, inner.inline = self.siblings, self.inline
        return inner

    def has(self, name: str) -> bool:
        if name in self._names or name in self._shared or name.startswith(_AT_RUN_TIME):
            return True
        if any(name.startswith(prefix) for prefix in self._open):
            return True
        return self._outer is not None and self._outer.has(name)

    def value(self, name: str) -> str | None:
        if name in self._names:
            return self._names[name]
        return self._outer.value(name) if self._outer is not None else self._shared.get(name)

    def constant(self, text: str) -> str | None:
        """The text with its variables replaced, or None when one has no value yet."""
        parts: list[str] = []
        last = 0
        for tag in tags(text):
            value = self.value(tag.body.strip()) if tag.kind == "simple" else None
            if value is None:
                return None
            parts += [text[last : tag.start], value]
            last = tag.end
        return "".join([*parts, text[last:]])

    def named(self, text: str) -> str:
        """A name with its variables replaced; one that has no value yet by a word that stands for it."""
        parts: list[str] = []
        last = 0
        for tag in tags(text):
            value = self.value(tag.body.strip()) if tag.kind == "simple" else None
            parts += [text[last : tag.start], _NO_NAME.sub("-", tag.body.strip("= ")) if value is None else value]
            last = tag.end
        return "".join([*parts, text[last:]])

    def unknown(self, path: Path) -> str | None:
        """Why a variable of an expression can never be there, or None when it may be."""
        root, name = path[0], str(path[1]) if len(path) > 1 else ""
        if root not in _ROOTS:
            return f"there is no variable or function {shorten(str(root))!r}{nearest(str(root), _ROOTS)}"
        if self.inline or not name:
            return None
        if root in ("steps", "tasks") and name != "name" and f"{root}.{name}" not in self.siblings:
            of = [sibling.partition(".")[2] for sibling in self.siblings if sibling.startswith(f"{root}.")]
            kind = "step" if root == "steps" else "task"
            return f"there is no {kind} {shorten(name)!r} in this template{nearest(name, of)}"
        dotted = ".".join(str(part) for part in path[:3])
        if len(path) > 2 and name == "parameters" and root in ("inputs", "workflow") and not self.has(dotted):
            return f"{shorten(dotted)}: {_why(dotted)}{self.near(dotted)}"
        return None

    def near(self, name: str) -> str:
        known = [*self._names, *self._shared]
        return nearest(name, known if self._outer is None else [*known, *self._outer._names])


Also = Callable[[str], bool]


def check_text(
    text: str, visible: Visible, place: Place, report: Report, *, also: Also | None = None, warning: bool = False
) -> None:
    """Report tags of a text that name nothing. `also` may know further names; `warning`: only to be told."""
    end = 0
    of_a_child = _of_a_child(place.path)
    text = without_nested(
        text, visible, lambda inner: check_text(inner, visible, place, report, also=also, warning=warning)
    )
    for tag in tags(text):
        end = tag.end
        if tag.kind == "expression":
            _check_expression(tag.body, visible, place, report, warning=warning, of_a_child=of_a_child)
            continue
        name = tag.body.strip()
        if of_a_child and not visible.has(name):
            continue
        if not name.startswith(_CHECKED):
            if not _PLAIN.fullmatch(name) and OPEN not in name:
                told = f"{{{{{shorten(name)}}}}} is no variable and is passed on as it stands"
                report.add(place, told, warning=True)
        elif not visible.has(name) and not (also is not None and also(name)):
            report.add(place, f"{{{{{shorten(name)}}}}}: {_why(name)}{visible.near(name)}", warning=warning)
    start = text.find(OPEN, end)
    if start >= 0 and text[start + 2 :].lstrip().startswith(_CHECKED):
        report.add(place, f"{shorten(text[start:], 40)!r} is not closed with {CLOSE}", warning=warning)


def _of_a_child(path: Path) -> bool:
    """Whether a text belongs to the manifest of a workflow to be started: what is not known here is the child's own."""
    return path[-2:] == ("resource", "manifest") or _INLINE_CHILD in zip(path, path[1:], path[2:], strict=False)


def without_nested(text: str, visible: Visible, tell: Callable[[str], None] | None = None) -> str:
    """The text with the inner ones of nested tags put in as far as they are known; `tell` hears of each."""
    for _ in range(text.count(OPEN)):
        found = NESTED.search(text)
        if found is None:
            break
        if tell is not None:
            tell(found["inner"])
        text = text[: found.start("inner")] + visible.named(found["inner"]) + text[found.end("inner") :]
    return text


def _check_expression(
    source: str, visible: Visible, place: Place, report: Report, *, warning: bool, of_a_child: bool
) -> None:
    try:
        paths = required(source)
    except ExpressionError as error:  # Argo finds out when the template runs, if it ever does
        report.add(place, f"{{{{={shorten(source)}}}}} is not readable: {error}", warning=True)
        return
    for path in sorted(paths):
        if not of_a_child and (why := visible.unknown(path)):
            report.add(place, f"{{{{={shorten(source)}}}}}: {why}", warning=warning)


def _why(name: str) -> str:
    if name.startswith("item."):
        return "the step has no loop whose items have this"
    if name.startswith("workflow.parameters."):
        return "the workflow has no such parameter"
    if name.startswith("inputs."):
        return "the template has no such input"
    return "there is nothing of this name here"


class TaggedTexts:
    """The texts with tags in the parts of a workflow, each part looked through once however often it is asked for."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._tagged: dict[int, list[tuple[Path, str]]] = {}

    def check(
        self, value: Any, visible: Visible, place: Place, *, also: Also | None = None, warning: bool = False
    ) -> None:
        """check_text for every text inside a part of a manifest."""
        for path, text in self._in(value):
            if self._report.full:
                return
            check_text(text, visible, place.at(*path), self._report, also=also, warning=warning)

    def _in(self, value: Any) -> list[tuple[Path, str]]:
        """Inline templates nest at most as deep as a document may, so that this may call itself."""
        if isinstance(value, Template) and id(value) in self._tagged:
            return self._tagged[id(value)]
        found: list[tuple[Path, str]] = []
        stack: list[tuple[Path, Any]] = [((), value)]
        while stack:
            here, item = stack.pop()
            if isinstance(item, str):
                if OPEN in item:
                    found.append((here, item))
            elif isinstance(item, Template) and item is not value:
                found += [((*here, *path), text) for path, text in self._in(item)]
            else:
                stack += [((*here, part), inner) for part, inner in _parts(item)]
                if isinstance(item, dict):
                    found += [((*here, key), key) for key in item if OPEN in key]
        if isinstance(value, Template):
            self._tagged[id(value)] = found
        return found


def _parts(item: Any) -> list[tuple[str | int, Any]]:
    """What a model, mapping or list holds, last first."""
    if isinstance(item, msgspec.Struct):
        fields = zip(item.__struct_encode_fields__, item.__struct_fields__, strict=True)
        held = [(encoded, getattr(item, name)) for encoded, name in fields]
        return [part for part in reversed(held) if part[1]]
    if isinstance(item, dict):
        return list(reversed(list(item.items())))
    return list(reversed(list(enumerate(item)))) if isinstance(item, list) else []


def without_tags(text: str) -> str:
    """The text with a stand-in for every variable, to see whether it has the right form."""
    parts: list[str] = []
    last = 0
    for tag in tags(text):
        parts += [text[last : tag.start], STAND_IN]
        last = tag.end
    return "".join([*parts, text[last:]])


def constant(value: Any) -> str | None:
    """The text of a parameter's value when it is known before anything runs."""
    if value is msgspec.UNSET or value is None:
        return None
    said = text_of(value)
    return None if OPEN in said else said
