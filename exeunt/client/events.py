"""Subscribing to events from Python: live or from a point in time, each once, whatever happens to the connection.

    from exeunt.client import events

    async for event in events.subscribe("nats://127.0.0.1:4222", namespace="team-a", types=["workflow.failed"]):
        print(event.time, event.workflow, event.data["message"])

What the types and their bodies are: docs/events.md and docs/asyncapi.yaml.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from exeunt import cloudevents
from exeunt.client import ClientError
from exeunt.client.pull import messages
from exeunt.natspy import whole

ALL_KEPT = datetime.min.replace(tzinfo=UTC)
"""As `since`: everything that the stream still has."""
REMEMBERED = 65_536
"""Ids that are known to have been seen. The services publish again only what a crash left uncertain."""
CONNECT_SECONDS = 5.0
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TYPE = re.compile(r"(\*|[a-z]+)\.(\*|[a-z]+)")


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as in docs/asyncapi.yaml."""

    type: str
    """Without prefix and version: `workflow.failed`."""
    id: str
    """The same whenever the event is seen again."""
    time: datetime
    """When it happened."""
    namespace: str
    workflow: str
    """The workflow's name."""
    workflow_uid: str
    subject: str
    """Name of the workflow, or full name of the node that it is about."""
    data: Any
    """The body: a dict, by its type. A text where it is no JSON."""
    attributes: Mapping[str, str] = field(repr=False)
    """All attributes of the CloudEvent, by their names without `ce-`."""
    trace: Mapping[str, str] = field(repr=False)
    """W3C trace context (`traceparent`, `tracestate`); empty without one."""


async def subscribe(
    nats: str | list[str] | Nats = "nats://127.0.0.1:4222",
    *,
    namespace: str = "",
    types: Collection[str] = (),
    workflow: str = "",
    uid: str = "",
    since: datetime | None = None,
    follow: bool = True,
    durable: str = "",
) -> AsyncGenerator[Event, None]:
    """Events in the order in which they were published, each once, until you stop asking.

    `nats`: where NATS listens (`nats://USER:PASSWORD@HOST:PORT`), or a connection of your own, which stays open.
    `namespace`, `workflow` (a name), `uid`: only what is of these. `types`: `workflow.failed`, `exit.*`, …; none means
    all of them.
    `since`: from what was published at that time on; None means from now on, `ALL_KEPT` everything that is kept. A time
    without a zone is UTC.
    `follow`: False ends with the last event that is there now.
    `durable`: a name under which NATS keeps how far you came, also when this process ends. `since` then says where the
    very first start begins. An event counts as done when you ask for the next one, so that after a crash (or a `break`)
    the last one comes once more. One process at a time should use a name.

    A connection that breaks is taken up again where it was, for as long as it takes. To stop: break out of the loop,
    cancel the task, or close it with `contextlib.aclosing`. Raises ClientError when NATS cannot be reached at first
    (UNAVAILABLE), keeps no events (NOT_FOUND) or refuses (PERMISSION_DENIED, INVALID_ARGUMENT).
    """
    wanted = _EventFilter(namespace or "*", uid or "*", tuple(types), workflow)
    if durable and not _NAME.fullmatch(durable):
        raise _wrong(f"durable={durable!r}: letters, digits, - and _ are allowed")
    async with contextlib.AsyncExitStack() as stack:
        told: dict[str, None] = {}
        refusals: list[str] = []
        if isinstance(nats, Nats):
            connection = nats
        else:
            connection = await stack.enter_async_context(_connected(nats, refusals))
        start = _start(wanted.subject(), since)
        found = messages(connection, cloudevents.STREAM, start, durable=durable, follow=follow)
        await stack.enter_async_context(contextlib.aclosing(found))
        with _explained(refusals):
            async for message in found:
                event = read(message.subject, message.headers or {}, message.data)
                if event.id in told or not wanted.has(event):
                    continue
                if event.id:
                    told[event.id] = None
                if len(told) > REMEMBERED:
                    del told[next(iter(told))]
                yield event


async def last(
    nats: str | list[str] | Nats = "nats://127.0.0.1:4222", *, uid: str, namespace: str = "default"
) -> Event | None:
    """The last event of a workflow itself (`workflow.*`), which says what has become of it; None where none is kept.

    One request, whatever else happened. `nats` is as for `subscribe`. Raises ClientError.
    """
    _EventFilter(namespace, uid, (), "")
    async with contextlib.AsyncExitStack() as stack:
        refusals: list[str] = []
        connection = nats if isinstance(nats, Nats) else await stack.enter_async_context(_connected(nats, refusals))
        on = cloudevents.state_subject(namespace, uid)
        with _explained(refusals):
            try:
                message = await whole(connection.jetstream().get_last_msg(cloudevents.STATES, on, direct=True))
            except NotFoundError:
                return None
    headers = message.headers or {}
    kind = headers.get("ce-type", "").removeprefix("dev.exeunt.").rpartition(".")[0]
    _, _, found, _ = str(message.subject).split(".")
    return read(cloudevents.subject(found, uid, kind), headers, message.data or b"")


def read(subject: str, headers: Mapping[str, str], data: bytes) -> Event:
    """The event that a NATS message holds, for those who subscribe by themselves."""
    attributes = {k.lower().removeprefix("ce-"): unquote(v) for k, v in headers.items() if k.lower().startswith("ce-")}
    _, _, namespace, uid, kind = subject.split(".", 4)
    try:
        body = json.loads(data) if data else None
    except ValueError:
        body = data.decode(errors="replace")
    return Event(
        type=kind,
        id=attributes.get("id", ""),
        time=_time(attributes.get("time", "")),
        namespace=namespace,
        workflow=attributes.get("source", "").rpartition("/")[2],
        workflow_uid=uid,
        subject=attributes.get("subject", ""),
        data=body,
        attributes=attributes,
        trace={key: headers[key] for key in ("traceparent", "tracestate") if headers.get(key)},
    )


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _EventFilter:
    """Which events are wanted. NATS chooses by subject, as far as one subject can say it; the rest is chosen here."""

    namespace: str
    uid: str
    types: tuple[str, ...]
    workflow: str

    def __post_init__(self) -> None:
        known = ", ".join(cloudevents.EVENTS)
        for kind in self.types:
            if not _TYPE.fullmatch(kind) or not any(_fits(kind, one) for one in cloudevents.EVENTS):
                raise _wrong(f"types: there is no {kind!r}; there are {known}, and * for either part")
        for name, value in (("namespace", self.namespace), ("uid", self.uid)):
            if value != "*" and not re.fullmatch(r"[^\s.*>]+", value):
                raise _wrong(f"{name}={value!r}: not a {name}")

    def subject(self) -> str:
        """The one subject with wildcards that holds them all."""
        if not self.types:
            return cloudevents.subject(self.namespace, self.uid, ">")
        parts = zip(*(kind.split(".") for kind in self.types), strict=True)
        kinds = (part[0] if len({*part}) == 1 else "*" for part in parts)
        return cloudevents.subject(self.namespace, self.uid, ".".join(kinds))

    def has(self, event: Event) -> bool:
        """Whether an event of that subject is wanted."""
        if self.workflow and event.workflow != self.workflow:
            return False
        return not self.types or any(_fits(kind, event.type) for kind in self.types)


def _fits(wanted: str, kind: str) -> bool:
    return all(w in ("*", k) for w, k in zip(wanted.split("."), kind.split("."), strict=False))


def _start(subject: str, since: datetime | None) -> ConsumerConfig:
    if since is None:
        return ConsumerConfig(filter_subject=subject, deliver_policy=DeliverPolicy.NEW)
    if since == ALL_KEPT:
        return ConsumerConfig(filter_subject=subject, deliver_policy=DeliverPolicy.ALL)
    at = since if since.tzinfo is not None else since.replace(tzinfo=UTC)
    return ConsumerConfig(filter_subject=subject, deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=at)


@contextlib.asynccontextmanager
async def _connected(servers: str | list[str], refusals: list[str]) -> AsyncIterator[Nats]:
    """A connection that is made again for as long as it takes, once it stood."""
    connection = Nats()
    patience = asyncio.timeout(CONNECT_SECONDS)

    async def on_error(error: Exception) -> None:
        refusals[:] = [str(error) or type(error).__name__]
        if waiting and "authorization violation" in refusals[0].lower():  # asking again would not help
            patience.reschedule(0)

    waiting = True
    try:
        try:
            async with patience:
                await whole(
                    connection.connect(
                        servers,
                        name="exeunt events",
                        error_cb=on_error,
                        max_reconnect_attempts=-1,
                        reconnect_time_wait=0.2,  # type: ignore[arg-type]  # seconds
                        ping_interval=5,
                        max_outstanding_pings=2,
                    )
                )
                waiting = False
        except (NatsError, OSError, TimeoutError, ValueError) as error:
            why = "; ".join(refusals) or str(error) or "no answer"
            raise ClientError("UNAVAILABLE", "NATS", f"NATS at {_shown(servers)} cannot be reached: {why}") from error
        yield connection
    finally:
        await whole(connection.close())


@contextlib.contextmanager
def _explained(refusals: list[str]) -> Iterator[None]:
    """What nats-py raises at the start, as a ClientError."""
    try:
        yield
    except NotFoundError as error:
        text = "no events are kept there: has a cluster run, and is this its NATS account?"
        raise ClientError("NOT_FOUND", "EVENTS", text) from error
    except ServiceUnavailableError as error:
        raise ClientError("UNAVAILABLE", "NATS", "NATS has no JetStream there (or is starting)") from error
    except APIError as error:
        raise ClientError("INVALID_ARGUMENT", "NATS", f"NATS refuses: {error.description}") from error
    except (NatsError, TimeoutError) as error:
        denied = [text for text in refusals if "permissions violation" in text.lower()]
        if denied:
            raise ClientError("PERMISSION_DENIED", "NATS", f"NATS refuses: {denied[0]}") from error
        raise ClientError("UNAVAILABLE", "NATS", f"NATS does not answer: {error}") from error


def _shown(servers: str | list[str]) -> str:
    """Addresses without their credentials."""
    named = [servers] if isinstance(servers, str) else servers
    return ", ".join(re.sub(r"//[^/@]*@", "//", server) for server in named)


def _wrong(text: str) -> ClientError:
    return ClientError("INVALID_ARGUMENT", "ARGUMENT", text)
