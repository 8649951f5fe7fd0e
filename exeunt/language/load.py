"""From text to documents: YAML or JSON as Kubernetes reads it, with bounds on everything and a line for every value.

The tree is built from the parser's events, so that a bad text is refused before it costs: size first, then depth,
aliases, duplicate keys. Nothing a text holds can crash or stall the reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from exeunt.language import scalars
from exeunt.language.problems import ManifestError, Path, Problem, shorten, show_path

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 100
MAX_ALIASES = 1_000
MAX_ALIASED = 200_000
"""How many values aliases and merge keys may repeat in a document, all together."""

_SURROGATES = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_COLLECTION_TAGS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MERGE_TAGS = (None, "tag:yaml.org,2002:merge")


@dataclass
class Document:
    """One document of a file: a tree of dicts, lists and scalars, with a line for each. The tree is never changed."""

    file: str
    value: Any
    first_line: int = 1
    _lines: dict[int, dict[str, int] | list[int]] = field(default_factory=dict, repr=False)

    def line(self, path: Path) -> int:
        """The line of a value; where nothing is there, the line of what would hold it."""
        node, line = self.value, self.first_line
        for part in path:
            lines = self._lines.get(id(node))
            if isinstance(part, str) and isinstance(node, dict) and isinstance(lines, dict) and part in node:
                node, line = node[part], lines.get(part, line)
            elif isinstance(part, int) and isinstance(node, list) and isinstance(lines, list) and part < len(lines):
                node, line = node[part], lines[part]
            else:
                break
        return line

    def problem(self, path: Path, message: str, *, warning: bool = False) -> Problem:
        """A problem at a place in this document."""
        return Problem(self.file, self.line(path), show_path(path), message, warning)


def load_documents(text: str, file: str = "-") -> list[Document]:
    """All documents of a text that are not empty. Raises ManifestError; every problem has its line."""
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        size = len(text.encode(errors="replace"))
        raise ManifestError([Problem(file, 1, "", f"{size:,} bytes are too many; a manifest may have {MAX_BYTES:,}")])
    composer = _Composer(file)
    try:
        documents = list(composer.documents(_readable(text)))
    except yaml.MarkedYAMLError as error:
        raise ManifestError([*composer.problems, _syntax(error, text, file)]) from None
    except yaml.YAMLError as error:
        line = _line_of_character(text, error)
        said = getattr(error, "reason", "") or "it holds what YAML does not allow"
        raise ManifestError([*composer.problems, Problem(file, line, "", f"not readable as text: {said}")]) from None
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise ManifestError([Problem(file, line, "", "not readable as text: half a UTF-16 character")]) from None
    if composer.problems:
        raise ManifestError(composer.problems)
    return documents


def _readable(text: str) -> str:
    """JSON may write one character as two escapes (RFC 8259 §7); YAML's parser knows it only as itself."""
    text = text.removeprefix("\ufeff")
    if not text.lstrip().startswith(("{", "[")) or "\\u" not in text:
        return text

    def join(match: re.Match[str]) -> str:
        high, low = int(match[2], 16), int(match[3], 16)
        return match[1] + chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))

    return _SURROGATES.sub(join, text)


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    said = " ".join(part for part in (error.context, error.problem) if part) or "the syntax is wrong"
    lines = text.splitlines()
    if line <= len(lines) and "\t" in lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())]:
        said = "a tab at the start of the line; YAML is indented with spaces"
    return Problem(file, line, "", f"not readable as YAML: {shorten(said, 200)}")


def _line_of_character(text: str, error: yaml.YAMLError) -> int:
    position = getattr(error, "position", None)
    return text.count("\n", 0, position) + 1 if isinstance(position, int) else 1


@dataclass
class _Open:
    """A mapping or list whose end has not been seen yet."""

    value: dict[str, Any] | list[Any]
    lines: dict[str, int] | list[int]
    anchor: str | None
    line: int
    size: int = 1
    key: str | None = None
    key_line: int = 0
    merging: bool = False
    own: set[str] = field(default_factory=set)

    def expects_key(self) -> bool:
        return isinstance(self.value, dict) and self.key is None and not self.merging

    def here(self) -> str | int:
        return self.key or "" if isinstance(self.value, dict) else len(self.value)


class _Composer:
    """Builds documents from events. Problems that leave the tree sound are collected; others end the reading."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._lines: dict[int, dict[str, int] | list[int]] = {}
        self._root: Any = None
        self._aliases = 0
        self._aliased = 0

    def documents(self, text: str) -> Iterator[Document]:
        first = 1
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            mark = event.start_mark
            line = mark.line + 1 if mark is not None else 1
            if isinstance(event, yaml.ScalarEvent):
                self._add(self._scalar(event, line), line, 1, event.anchor, merge=_is_merge(event))
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._open(event, line)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self._close()
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event.anchor, line)
            elif isinstance(event, yaml.DocumentStartEvent):
                self._lines, self._anchors, self._root = {}, {}, None
                self._aliases, self._aliased, first = 0, 0, 0
            elif isinstance(event, yaml.DocumentEndEvent) and self._root is not None:
                yield Document(self._file, self._root, first or 1, self._lines)
            first = first or (line if self._root is not None or self._stack else 0)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> scalars.Scalar:
        text: str = event.value
        if event.tag is None and not event.implicit[0]:
            return text
        if event.tag is None and len(text) > 500:  # longer than any number
            return text
        try:
            return scalars.plain(text) if event.tag is None else scalars.tagged(text, event.tag)
        except scalars.ScalarError as error:
            self._problem(line, str(error))
            return text

    def _open(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if len(self._stack) >= MAX_DEPTH:
            self._fail(line, f"nested deeper than {MAX_DEPTH} levels")
        if self._stack and self._stack[-1].expects_key():
            self._fail(line, "a key must be text; this is a mapping or a list")
        if event.tag not in _COLLECTION_TAGS:
            self._problem(line, f"the tag {shorten(event.tag)} is not allowed; leave it out")
        mapping = isinstance(event, yaml.MappingStartEvent)
        self._stack.append(_Open({}, {}, event.anchor, line) if mapping else _Open([], [], event.anchor, line))

    def _close(self) -> None:
        done = self._stack.pop()
        self._lines[id(done.value)] = done.lines
        self._add(done.value, done.line, done.size, done.anchor)

    def _alias(self, anchor: str | None, line: int) -> None:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            self._fail(line, f"more than {MAX_ALIASES:,} aliases")
        anchor = anchor or ""
        if anchor not in self._anchors:
            inside = any(opened.anchor == anchor for opened in self._stack)
            why = "stands inside what it names" if inside else "names no anchor before it"
            self._fail(line, f"the alias *{shorten(anchor)} {why}")
        value, size = self._anchors[anchor]
        self._repeat(size, line)
        self._add(value, line, size, None)

    def _repeat(self, size: int, line: int) -> None:
        self._aliased += size
        if self._aliased > MAX_ALIASED:
            self._fail(line, f"aliases repeat more than {MAX_ALIASED:,} values")

    def _add(self, value: Any, line: int, size: int, anchor: str | None, *, merge: bool = False) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)
        if not self._stack:
            self._root = value
            return
        parent = self._stack[-1]
        parent.size += size
        if isinstance(parent.value, list) and isinstance(parent.lines, list):
            parent.value.append(value)
            parent.lines.append(line)
        elif parent.expects_key():
            self._key(parent, value, line, merge=merge)
        elif parent.merging:
            self._merge(parent, value, line)
        elif isinstance(parent.value, dict) and isinstance(parent.lines, dict) and parent.key is not None:
            parent.value[parent.key] = value
            parent.lines[parent.key] = parent.key_line
            parent.key = None

    def _key(self, parent: _Open, value: Any, line: int, *, merge: bool) -> None:
        parent.merging = merge
        if merge:
            return
        if isinstance(value, (dict, list)):
            self._fail(line, "a key must be text; this is a mapping or a list")
        try:
            parent.key, parent.key_line = scalars.key(value), line
        except scalars.ScalarError as error:
            self._fail(line, str(error))
        assert parent.key is not None
        if parent.key in parent.own:
            self._problem(line, "the key stands here a second time; remove one of the two")
        parent.own.add(parent.key)

    def _merge(self, parent: _Open, value: Any, line: int) -> None:
        """`<<`: the fields of other mappings, below one's own; of several the first wins (YAML 1.1 merge keys)."""
        parent.merging = False
        sources = value if isinstance(value, list) else [value]
        assert isinstance(parent.value, dict)
        assert isinstance(parent.lines, dict)
        for source in sources:
            if not isinstance(source, dict):
                self._fail(line, "<< takes a mapping or a list of mappings")
            lines = self._lines.get(id(source))
            self._repeat(len(source), line)
            for name, item in source.items():
                if name not in parent.value:
                    parent.value[name] = item
                    parent.lines[name] = lines.get(name, line) if isinstance(lines, dict) else line

    def _path(self) -> str:
        return show_path(tuple(opened.here() for opened in self._stack if opened.here() != ""))

    def _problem(self, line: int, message: str) -> None:
        self.problems.append(Problem(self._file, line, self._path(), message))
        if len(self.problems) >= 100:
            raise ManifestError(self.problems)

    def _fail(self, line: int, message: str) -> None:
        raise ManifestError([*self.problems, Problem(self._file, line, self._path(), message)])


def _is_merge(event: yaml.ScalarEvent) -> bool:
    return event.value == "<<" and event.tag in _MERGE_TAGS and (event.implicit[0] or event.tag is not None)
