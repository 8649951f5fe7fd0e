"""docs/asyncapi.yaml is what the code says, and is an AsyncAPI document.

asyncapi-3.1.0.json.gz is the schema of AsyncAPI 3.1.0 as the AsyncAPI initiative publishes it (Apache-2.0), packed.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from exeunt.cli.asyncapi import page
from exeunt.cloudevents import EVENTS

FOLDER = Path(__file__).parent
DOCUMENT = FOLDER.parents[1] / "docs" / "asyncapi.yaml"
DOCS = FOLDER.parents[1] / "docs" / "events.md"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text())
    return found


def test_the_document_is_what_the_code_says() -> None:
    assert DOCUMENT.read_text() == page(), "python -m exeunt.cli.asyncapi docs/asyncapi.yaml"


def test_it_is_an_asyncapi_document(document: dict[str, Any]) -> None:
    schema = json.loads(gzip.decompress((FOLDER / "asyncapi-3.1.0.json.gz").read_bytes()))
    assert [f"{e.json_path}: {e.message[:300]}" for e in Draft7Validator(schema).iter_errors(document)] == []


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in re.findall(r"\$ref: '#/([^']+)'", DOCUMENT.read_text()):
        found: Any = document
        for part in reference.split("/"):
            assert part in found, reference
            found = found[part]


def test_every_schema_in_it_is_one(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)
    Draft7Validator.check_schema(document["components"]["messageTraits"]["cloudEvent"]["headers"])


def test_the_page_about_events_names_every_type() -> None:
    """The first column of the table of types."""
    rows = re.findall(r"^\| (`[a-z]+\.[a-z]+`(?:, `[a-z.]+`)*) \|", DOCS.read_text(), re.MULTILINE)
    assert sorted(re.findall(r"`([a-z.]+)`", " ".join(rows))) == sorted(EVENTS)
