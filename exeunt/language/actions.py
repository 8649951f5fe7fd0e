"""Our own actions by name, and the fields of each as they stand under `plugin: {NAME: …}`."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class SecretKey(msgspec.Struct):
    """A key of a secret. With `optional` it may be missing: then the value is empty, or the setting's."""

    name: str
    key: str
    optional: bool = False


class Source(msgspec.Struct, rename="camel"):
    """Where a value stands that must not stand in a manifest."""

    secret_key_ref: SecretKey


class Target(msgspec.Struct, rename="camel"):
    """Where a notification goes: an Apprise URL, or the secret that holds it."""

    url: str = ""
    url_from: Source | None = None
    tags: list[str] = []


class Notify(msgspec.Struct):
    """`notify`. Targets with tags are used only when one of the message's `tags` is theirs."""

    targets: list[str | Target] = []
    title: str = ""
    body: str = ""
    tags: list[str] = []
    format: str = "text"
    type: str = ""


class Join(msgspec.Struct, rename={"as_": "as"}):
    """Fan-in: the workflow is started once, when all of these have arrived under the key. `as`: which one this is."""

    key: str
    of: list[str]
    as_: str = ""
    within: int | str = ""


class Trigger(msgspec.Struct, rename="camel"):
    """`trigger`. A whole manifest, the name of a WorkflowTemplate, or the workflow that ended once more (`resubmit`).

    `parameters_from` are JSON objects, each with parameters; later ones come before earlier, `parameters` before all.
    """

    workflow: dict[str, Any] | str | None = None
    template: str = ""
    cluster_scope: bool = False
    resubmit: bool = False
    name: str = ""
    generate_name: str = ""
    entrypoint: str = ""
    parameters: dict[str, Any] = {}
    parameters_from: list[str] = []
    labels: dict[str, str] = {}
    artifacts: Any = None
    wait: bool = False
    success_condition: str = ""
    failure_condition: str = ""
    join: Join | None = None


class Email(msgspec.Struct, rename={"from_": "from", "reply_to": "replyTo", "password_from": "passwordFrom"}):
    """`email`. `server` is `smtp://USER@HOST:PORT` (STARTTLS) or `smtps://…` (TLS); the setting's when left out."""

    to: str | list[str] = []
    cc: str | list[str] = []
    bcc: str | list[str] = []
    from_: str = ""
    reply_to: str = ""
    subject: str = ""
    body: str = ""
    html: str = ""
    server: str = ""
    password_from: Source | None = None
    headers: dict[str, str] = {}


class Slack(msgspec.Struct, rename="camel"):
    """`slack`. By a webhook's URL or with a bot's token, from the settings when neither stands here."""

    to: str | list[str] = []
    text: str = ""
    blocks: list[dict[str, Any]] = []
    webhook: str = ""
    webhook_from: Source | None = None
    token_from: Source | None = None
    thread: str = ""
    username: str = ""
    icon: str = ""


class Webhook(msgspec.Struct, rename="camel"):
    """`webhook`: a CloudEvent, signed as Standard Webhooks says."""

    url: str = ""
    url_from: Source | None = None
    secret_from: Source | None = None
    mode: str = "structured"
    type: str = "dev.exeunt.exit.webhook.v1"
    subject: str = ""
    data: Any = None
    headers: dict[str, str] = {}
    timeout_seconds: float = 30.0


class Metric(msgspec.Struct):
    """One sample for the Pushgateway."""

    name: str
    value: float
    type: str = "gauge"
    help: str = ""
    labels: dict[str, str] = {}


class Pushgateway(msgspec.Struct, rename="camel"):
    """`pushgateway`. What is pushed takes the place of the group, as its job and grouping labels name it."""

    job: str
    url: str = ""
    grouping: dict[str, str] = {}
    metrics: list[Metric] = []
    method: str = "put"
    username: str = ""
    password_from: Source | None = None
    token_from: Source | None = None


class Grafana(
    msgspec.Struct, rename={"dashboard_uid": "dashboardUID", "panel_id": "panelId", "token_from": "tokenFrom"}
):
    """`grafana`: an annotation over the time that the workflow took."""

    url: str = ""
    token_from: Source | None = None
    text: str = ""
    tags: list[str] = []
    dashboard_uid: str = ""
    panel_id: int = 0


class Deletion(msgspec.Struct, rename="camel"):
    """A URL that gets a DELETE."""

    url: str
    headers: dict[str, str] = {}
    token_from: Source | None = None


class NatsThings(msgspec.Struct, rename="camel"):
    """What is deleted from a NATS server: streams, key-value buckets and object stores by their names."""

    url: str = ""
    credentials_from: Source | None = None
    streams: list[str] = []
    buckets: list[str] = []
    object_stores: list[str] = []


class Objects(msgspec.Struct, rename="camel"):
    """Objects by prefix: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`, `file:///…`; `options` are the store's own."""

    url: str
    options: dict[str, str] = {}
    options_from: dict[str, Source] = {}


class Database(msgspec.Struct, rename="camel"):
    """What is dropped from a database server. Names have to begin with `prefix`."""

    connection: str = ""
    url: str = ""
    url_from: Source | None = None
    prefix: str = ""
    databases: list[str] = []
    schemas: list[str] = []
    tables: list[str] = []


class Cleanup(msgspec.Struct):
    """`cleanup`: everything named is removed; what is gone already is fine."""

    paths: list[str] = []
    http: list[str | Deletion] = []
    nats: list[NatsThings] = []
    objects: list[str | Objects] = []
    databases: list[Database] = []


class Action(NamedTuple):
    """One of our own actions.

    `fields` are what stands under its name. `hidden` are those of them that are secrets as a rule: people see how many
    there are. With `starts_workflow`, doing it again finds the workflow that it started.
    """

    fields: type[msgspec.Struct]
    hidden: tuple[str, ...] = ()
    starts_workflow: bool = False


ACTIONS = {
    "cleanup": Action(Cleanup),
    "email": Action(Email),
    "grafana": Action(Grafana),
    "notify": Action(Notify, hidden=("targets",)),
    "pushgateway": Action(Pushgateway),
    "slack": Action(Slack),
    "trigger": Action(Trigger, starts_workflow=True),
    "webhook": Action(Webhook),
}
"""By name; each is done by the module of that name in `exeunt.actions`.

A plugin that an operator configured under one of these names comes first.
"""
