"""Kubernetes' rules for names, namespaces and labels, which Argo's server holds for every manifest (RFC 1123)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from exeunt.language.expression import ExpressionError, parse
from exeunt.language.load import Document
from exeunt.language.manifest import Metadata, WorkflowMetadata
from exeunt.language.problems import Problem, shorten
from exeunt.language.report import Place, Report

MAX_NAME = 63
OURS = "exeunt.dev/"
CREATOR = f"{OURS}creator"
"""The annotation of a workflow: who submitted it, as he said."""
MAX_ANNOTATIONS = 256 * 1024
"""Bytes of all annotations together, as Kubernetes has it."""
MAX_LABELS = 16 * 1024
"""Bytes of all labels together: every event carries them, and every line of a list."""
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_PREFIX = re.compile(rf"({_LABEL}\.)*[a-z0-9][-a-z0-9]*\.?")
_NAMESPACE = re.compile(_LABEL)
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_KEY_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")


def check_metadata(metadata: Metadata, place: Place, report: Report) -> None:
    """A name (or a start of one), a namespace and labels as Kubernetes allows them."""
    if metadata.name:
        _name(metadata.name, place.at("name"), report)
    elif not metadata.generate_name:
        report.add(place, "has no name; give it 'name' or 'generateName'")
    elif len(metadata.generate_name) >= MAX_NAME or not _PREFIX.fullmatch(metadata.generate_name):
        shown = shorten(metadata.generate_name)
        told = f"{shown!r} must be at most {MAX_NAME - 1} lower case letters, digits, '-' and '.'"
        report.add(place.at("generateName"), told)
    if len(metadata.namespace or "") > MAX_NAME:
        _too_long(metadata.namespace, place.at("namespace"), report)
    elif metadata.namespace and not _NAMESPACE.fullmatch(metadata.namespace):
        report.add(place.at("namespace"), f"{shorten(metadata.namespace)!r} must be lower case letters, digits and '-'")
    for key, value in metadata.labels.items():
        _label(key, value, place.at("labels", key), report)
    for key in metadata.annotations:
        _key(key, place.at("annotations", key), report)
    _together("labels", metadata.labels, MAX_LABELS, place, report)
    _together("annotations", metadata.annotations, MAX_ANNOTATIONS, place, report)


def check_workflow_metadata(own: WorkflowMetadata, place: Place, report: Report) -> None:
    """What a workflow gives itself, labels by expressions too. Ours (`exeunt.dev/…`) are read before that."""
    for field, keys in (("labels", own.labels), ("annotations", own.annotations), ("labelsFrom", own.labels_from)):
        for key in keys:
            here = place.at(field, key)
            _key(key, here, report)
            if key.startswith(OURS):
                report.add(here, f"cannot be given here; put {key} into metadata")
    for key, source in own.labels_from.items():
        here = place.at("labelsFrom", key, "expression")
        try:
            parse(source.expression)
        except ExpressionError as error:
            report.add(here, f"is not readable: {error}")
    _together("labels", own.labels, MAX_LABELS, place, report)
    _together("annotations", own.annotations, MAX_ANNOTATIONS, place, report)


def _together(name: str, texts: Mapping[str, str], most: int, place: Place, report: Report) -> None:
    size = sum(len(key.encode()) + len(value.encode()) for key, value in texts.items())
    if size > most:
        report.add(place.at(name), f"{name} have {size:,} bytes together; {most:,} are allowed")


def check_stored(metadata: Metadata, document: Document) -> list[Problem]:
    """The same of a ConfigMap or a Secret, which others find by its name."""
    report = Report()
    place = Place(document, ("metadata",))
    if metadata.name:
        check_metadata(metadata, place, report)
    else:
        report.add(place.at("name"), "is missing: others refer to it by its name")
    return report.problems()


def _name(name: str, place: Place, report: Report) -> None:
    if len(name) > MAX_NAME:
        _too_long(name, place, report)
    elif not NAME.fullmatch(name):
        told = f"{shorten(name)!r} must be lower case letters, digits, '-' and '.', and end with a letter or digit"
        report.add(place, told)


def _too_long(name: str, place: Place, report: Report) -> None:
    report.add(place, f"is {len(name):,} characters long; {MAX_NAME} are allowed")


def _label(key: str, value: str, place: Place, report: Report) -> None:
    _key(key, place, report)
    if wrong := wrong_label_value(value):
        report.add(place, wrong, warning=True)  # Kubernetes refuses it; nothing here stumbles over it


def wrong_label_value(value: str) -> str:
    """What Kubernetes has against the value of a label; empty when nothing."""
    if len(value) <= MAX_NAME and _LABEL_VALUE.fullmatch(value):
        return ""
    return f"{shorten(value)!r} should be at most {MAX_NAME} letters, digits, '-', '_' and '.', or be an annotation"


def _key(key: str, place: Place, report: Report) -> None:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not NAME.fullmatch(prefix)):
        report.add(place, f"the part {shorten(prefix)!r} before '/' must be a domain name in lower case")
    if len(name) > MAX_NAME or not _KEY_NAME.fullmatch(name):
        report.add(place, f"{shorten(name)!r} must be 1 to {MAX_NAME} letters, digits, '-', '_' and '.'")
