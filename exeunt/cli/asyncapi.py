"""The document docs/asyncapi.yaml, made from the public events: `python -m exeunt.cli.asyncapi docs/asyncapi.yaml`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

import exeunt
from exeunt import cloudevents
from exeunt.cloudevents import ATTRIBUTES, DAYS_KEPT, EVENTS, STREAM, Attribute, EventType

TOP = "# Made from the code: python -m exeunt.cli.asyncapi docs/asyncapi.yaml\n"
ABOUT = (
    "What happens to workflows and their exit handlers, as CloudEvents 1.0 in the binary mode of NATS: attributes are"
    f" headers, the body is JSON. Events are kept for {DAYS_KEPT} days in the JetStream stream {STREAM}, which can be"
    " replayed from any point in time. Delivery is at least once; ce-id is the same whenever an event is seen again."
)


def document() -> dict[str, Any]:
    """The whole document, an AsyncAPI 3.1 one, in the order in which it is written."""
    bodies, schemas = msgspec.json.schema_components(
        [event.body for event in EVENTS.values()], ref_template="#/components/schemas/{name}"
    )
    messages = {kind: _message(kind, event, body) for (kind, event), body in zip(EVENTS.items(), bodies, strict=True)}
    return {
        "asyncapi": "3.1.0",
        "id": cloudevents.DOCUMENT,
        "info": {
            "title": "Exeunt events",
            "version": exeunt.__version__,
            "description": ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {
                "host": "localhost:4222",
                "protocol": "nats",
                "description": "NATS with JetStream, wherever yours listens",
            }
        },
        "channels": {_key(kind): _channel(kind) for kind in EVENTS},
        "operations": {_key(kind): _operation(kind, event) for kind, event in EVENTS.items()},
        "components": {
            "messages": messages,
            "messageTraits": {"cloudEvent": {"headers": _headers(), "contentType": "application/json"}},
            "parameters": {
                "namespace": {"description": "The workflow's namespace"},
                "uid": {"description": "The workflow's uid"},
            },
            "schemas": dict(sorted(schemas.items())),
        },
    }


def page() -> str:
    """The document as YAML."""
    return TOP + yaml.dump(document(), sort_keys=False, allow_unicode=True, width=120, Dumper=_Plain)


def _key(kind: str) -> str:
    first, second = kind.split(".")
    return first + second.capitalize()


def _channel(kind: str) -> dict[str, Any]:
    return {
        "address": cloudevents.subject("{namespace}", "{uid}", kind),
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in ("namespace", "uid")},
        "messages": {_key(kind): {"$ref": f"#/components/messages/{kind}"}},
    }


def _operation(kind: str, event: EventType) -> dict[str, Any]:
    channel = f"#/channels/{_key(kind)}"
    return {
        "action": "send",
        "summary": event.when,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{_key(kind)}"}],
    }


def _message(kind: str, event: EventType, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": cloudevents.event_type(kind),
        "title": kind,
        "summary": event.when,
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "payload": body,
    }


def _headers() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: _header(attribute) for name, attribute in ATTRIBUTES.items()},
        "required": [name for name, attribute in ATTRIBUTES.items() if attribute.always],
    }


def _header(attribute: Attribute) -> dict[str, str]:
    pattern = {"pattern": attribute.pattern} if attribute.pattern else {}
    return {"type": "string", "description": attribute.meaning, **pattern}


class _Plain(yaml.SafeDumper):
    """Without anchors: what is said twice is written twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
