"""What actions work with: settings, connections, and ports to what they cannot do themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import aiohttp

from exeunt.actions.guard import AddressGuard, GuardedResolver
from exeunt.actions.masking import Masker
from exeunt.join import JoinRequest


@dataclass(frozen=True)
class ActionSettings:
    """Bounds and permissions of actions, which a service fills in from its own settings."""

    allow_loopback: bool = False  # requests to 127.0.0.0/8 and ::1; a local cluster allows them
    allow_private: bool = True  # requests to 10.0.0.0/8 and the like, where most clusters live
    allow_hosts: frozenset[str] = frozenset()  # names and addresses that are allowed whatever they resolve to
    answer_bytes: int = 1 << 20  # largest answer that is read
    result_bytes: int = 256 * 1024  # largest text that may become a result
    redirects: int = 5
    cleanup_roots: tuple[str, ...] = ()  # directories below which `cleanup` may remove things
    plugins: Mapping[str, str] = field(default_factory=dict)  # Argo executor plugins: name → base URL
    plugin_tokens: Mapping[str, str] = field(default_factory=dict)  # name → bearer token that the plugin expects
    notify_timeout: float = 30.0  # seconds for all targets of one notification
    plugin_timeout: float = 30.0  # seconds for one call of a plugin
    threads: int = 16  # blocking work at once
    workflow_link: str = ""  # where people look at workflows: https://…/{namespace}/{name}, also {uid}
    smtp_url: str = ""  # smtp://USER:PASSWORD@HOST:PORT (STARTTLS) or smtps://…
    smtp_from: str = ""
    smtp_timeout: float = 30.0  # seconds for one mail
    slack_webhook: str = ""
    slack_token: str = ""
    slack_api: str = "https://slack.com/api"
    webhook_secret: str = ""  # whsec_… with which webhooks are signed; several with blanks between
    pushgateway_url: str = ""
    grafana_url: str = ""
    grafana_token: str = ""
    cleanup_nats_url: str = ""
    cleanup_objects: tuple[str, ...] = ()  # URLs below which objects may be removed with the service's own credentials
    databases: Mapping[str, str] = field(default_factory=dict)  # name → URL, for `cleanup.databases[].connection`
    database_prefixes: tuple[str, ...] = ()  # what names dropped over these connections have to begin with
    cleanup_timeout: float = 120.0  # seconds for one clean-up


class StartedWorkflow(NamedTuple):
    """A workflow that was started."""

    name: str
    uid: str
    namespace: str


class StartRefused(Exception):  # noqa: N818 - it is an answer
    """The workflow cannot be started, and trying again will not help: the manifest is wrong, or its name is taken."""


class NotTaken(Exception):  # noqa: N818 - it is an answer
    """Whoever was to take what an action sends said no. The text is for people."""


class Unavailable(Exception):  # noqa: N818 - it is an answer
    """It cannot be done now: who has to do it does not answer. Another try may succeed."""


StartWorkflow = Callable[[dict[str, Any], str, str], Awaitable[StartedWorkflow]]
"""Starts the workflow of a manifest (in this namespace, unless the manifest names another) under a key.

A second call with the same key starts nothing and answers the workflow that is there. Raises StartRefused.
"""


class ExitChain(Protocol):
    """How an exit run starts workflows: it knows the one that ended, and the joins that it takes part in.

    All methods raise StartRefused.
    """

    async def start(self, manifest: dict[str, Any], namespace: str, key: str) -> StartedWorkflow:
        """See `StartWorkflow`."""

    async def origin(self) -> dict[str, Any]:
        """The manifest with which the workflow that ended would be submitted once more."""

    async def join(self, request: JoinRequest) -> StartedWorkflow:
        """Says that a member of a join has arrived; answers the join's own run. Safe to repeat."""


WaitWorkflow = Callable[[StartedWorkflow], AsyncIterator[Mapping[str, Any]]]
"""Follows a workflow: yields it in Argo's shape (with `status.phase` at least) whenever it changes, to its end."""

LookupSecret = Callable[[str, str, str], Awaitable[str]]
"""The text of a secret by namespace, name and key. Raises SecretMissing, SecretUnreadable."""

ListSteps = Callable[[str, str, float], Awaitable[list[dict[str, Any]]]]
"""The steps of a workflow that ended (by namespace and uid), in their order: node, phase, message, seconds.

It waits for the last ones to become known, for at most so many seconds. Raises LookupError.
"""


@dataclass(frozen=True)
class Toolbox:
    """What all actions of a process share. Made by `open_toolbox`."""

    settings: ActionSettings
    guard: AddressGuard
    session: aiohttp.ClientSession  # guarded: every address is checked as it is connected to
    trusted: aiohttp.ClientSession  # for addresses that the operator configured
    threads: ThreadPoolExecutor
    start_workflow: StartWorkflow | None = None
    wait_workflow: WaitWorkflow | None = None
    secret: LookupSecret | None = None
    steps: ListSteps | None = None


@dataclass
class Context:
    """One attempt of one action: whose it is, and what it works with.

    `timeout_seconds` bounds the whole attempt; 0 is no bound. `idempotency_key` is the same for each
    attempt of a node.
    """

    tools: Toolbox
    idempotency_key: str
    namespace: str = "default"
    uid: str = ""
    workflow: str = ""
    node: str = ""
    node_name: str = ""
    attempt: int = 0
    timeout_seconds: float = 0.0
    trace: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)  # for default texts, see `message`
    look_up: LookupSecret | None = None  # in place of the toolbox's: the secrets that came with the step
    chain: ExitChain | None = None  # in an exit run; it starts in place of the toolbox's `start_workflow`
    masker: Masker = field(default_factory=Masker)

    @property
    def settings(self) -> ActionSettings:
        """The bounds of this process."""
        return self.tools.settings


@asynccontextmanager
async def open_toolbox(
    settings: ActionSettings,
    *,
    start_workflow: StartWorkflow | None = None,
    wait_workflow: WaitWorkflow | None = None,
    secret: LookupSecret | None = None,
    steps: ListSteps | None = None,
) -> AsyncIterator[Toolbox]:
    """Opens the connections and threads that actions share, and closes them at the end."""
    guard = AddressGuard(settings.allow_loopback, settings.allow_private, settings.allow_hosts)
    threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="action")
    jar = aiohttp.DummyCookieJar()
    agent = {"User-Agent": "exeunt"}
    # each request has a connection of its own: one that was kept may be half closed, and then it is nobody's fault
    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(guard), socket_factory=guard.socket, limit=0, limit_per_host=64, force_close=True
    )
    plain = aiohttp.TCPConnector(force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=jar, headers=agent) as session,
            aiohttp.ClientSession(connector=plain, cookie_jar=jar, headers=agent) as trusted,
        ):
            for one in (session, trusted):  # it sends GET, PUT and DELETE again by itself, with no setting for that
                one._retry_connection = False
            yield Toolbox(settings, guard, session, trusted, threads, start_workflow, wait_workflow, secret, steps)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
