"""Drops databases, schemas and tables that a workflow made: PostgreSQL, MySQL, MariaDB and SQLite.

Everything that is dropped is named in full, and each name has to begin with a prefix that marks it as the workflow's:
the manifest's, and on a connection that the operator configured also one of those that the operator configured.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from exeunt.actions.arguments import BadArguments
from exeunt.actions.cleanup_report import CleanupReport, NotRemoved
from exeunt.actions.context import Context
from exeunt.actions.guard import AddressGuard, AddressRefused
from exeunt.actions.secrets import secret
from exeunt.actions.watched import Watch, guarded
from exeunt.language.actions import Database

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 60
SHORTEST_PREFIX = 3
PROTECTED = frozenset(
    {"postgres", "template0", "template1", "public", "information_schema", "mysql", "sys", "performance_schema", "main"}
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]{0,62}")
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "sqlite": "sqlite",
}
_FIELDS = {  # of a URL's query; others could read files or lead elsewhere
    "postgresql": frozenset({"sslmode", "application_name"}),
    "mysql": frozenset({"charset"}),
    "mariadb": frozenset({"charset"}),
    "sqlite": frozenset[str](),
}


class DatabaseServer(NamedTuple):
    """The server to drop things from.

    SQLite files have to lie below `roots`. `guard` is None for a server that the operator configured.
    """

    url: URL
    guard: AddressGuard | None
    roots: tuple[str, ...]

    @property
    def kind(self) -> str:
        """postgresql, mysql, mariadb or sqlite."""
        return self.url.get_backend_name()

    @property
    def shown(self) -> str:
        """As people may see it."""
        port = f":{self.url.port}" if self.url.port else ""
        return f"{self.kind}://{self.url.host or ''}{port}/{self.url.database or ''}"


async def databases(at: int, wanted: Database, context: Context) -> CleanupReport:
    """Drops what is named; says what became of each. Raises BadArguments."""
    where = f"plugin.cleanup.databases[{at}]"
    names = [*wanted.databases, *wanted.schemas, *wanted.tables]
    if not names:
        raise BadArguments(f"{where}: name databases, schemas or tables to drop")
    _check_names(names, wanted, where, context)
    try:
        import sqlalchemy.exc
    except ImportError:
        raise BadArguments(f"{where}: databases need the extra: pip install 'exeunt[databases]'") from None
    server = await _server(wanted, where, context)
    if server.kind == "sqlite" and (wanted.databases or wanted.schemas):
        raise BadArguments(f"{where}: SQLite has only tables to drop; a file is removed by `paths`")
    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(context.tools.threads, drop_all, server, wanted)
    except (sqlalchemy.exc.SQLAlchemyError, OSError, NotRemoved) as error:
        report = CleanupReport(unsent=isinstance(error, AddressRefused | NotRemoved))
        report.wrong(server.shown, _words(error))
        return report


def drop_all(server: DatabaseServer, wanted: Database) -> CleanupReport:
    """Drops each thing with a statement of its own. Blocking.

    Raises SQLAlchemyError, OSError or NotRemoved when there is no connection.
    """
    from sqlalchemy.exc import SQLAlchemyError

    report = CleanupReport()
    if server.kind == "sqlite" and not _file_below(server):
        for table in wanted.tables:
            report.note(f"table {table}", False)
        return report
    with _connected(server) as connection:
        for kind, names in (("table", wanted.tables), ("schema", wanted.schemas), ("database", wanted.databases)):
            for name in names:
                try:
                    report.note(f"{kind} {name}", _drop(connection, server.kind, kind, name))
                except SQLAlchemyError as error:
                    report.wrong(f"{kind} {name}", _words(error))
    return report


def _drop(connection: Connection, backend: str, kind: str, name: str) -> bool:
    """Drops one thing with everything in it; False when it is not there."""
    from sqlalchemy import inspect, text

    inspector = inspect(connection)
    schema, _, last = name.rpartition(".")
    if kind == "table":
        there = inspector.has_table(last, schema=schema or None)
    elif kind == "database" and backend == "postgresql":
        asked = text("SELECT 1 FROM pg_database WHERE datname = :name")
        there = connection.execute(asked, {"name": name}).first() is not None
    else:
        there = name in inspector.get_schema_names()
    if not there:
        return False
    quote = connection.dialect.identifier_preparer.quote_identifier
    target = ".".join(quote(part) for part in name.split("."))
    more = ""
    if backend == "postgresql":
        more = " WITH (FORCE)" if kind == "database" else " CASCADE"
    # Names cannot be bound as parameters; they were checked, and the dialect quotes them.
    connection.execute(text(f"DROP {kind.upper()} IF EXISTS {target}{more}"))
    return True


@contextmanager
def _connected(server: DatabaseServer) -> Iterator[Connection]:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    arguments: dict[str, Any] = {}
    host = server.url.host or ""
    if server.kind == "postgresql":
        arguments["connect_timeout"] = CONNECT_SECONDS
        arguments["client_encoding"] = "utf8"  # of a database in SQL_ASCII, texts would come as bytes
        arguments["options"] = f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={STATEMENT_SECONDS // 2}s"
        if server.guard is not None:
            arguments["hostaddr"] = _address(host, server.guard)  # libpq connects there and looks nothing up
    elif server.kind in {"mysql", "mariadb"}:
        arguments |= {"connect_timeout": CONNECT_SECONDS, "read_timeout": STATEMENT_SECONDS, "local_infile": False}
    engine = create_engine(server.url, poolclass=NullPool, connect_args=arguments, isolation_level="AUTOCOMMIT")
    try:
        if server.guard is None:
            with engine.connect() as connection:
                yield connection
        else:
            with guarded(Watch(server.guard)) as watch:
                watch.allow(host)
                try:
                    connection = engine.connect()
                except SQLAlchemyError:
                    if watch.refusal:
                        raise AddressRefused(watch.refusal) from None
                    raise
                with connection:
                    yield connection
    finally:
        engine.dispose()


def _address(host: str, guard: AddressGuard) -> str:
    guard.check_literal(host)
    found = guard.addresses(host)
    if not found:
        raise OSError(f"{host}: there is no such host")
    for address in found:
        guard.check(host, address)
    return found[0]


def _check_names(names: Sequence[str], wanted: Database, where: str, context: Context) -> None:
    prefixes = [wanted.prefix] if wanted.prefix else []
    own = bool(wanted.connection)
    declared = context.settings.database_prefixes
    if not prefixes and not (own and declared):
        raise BadArguments(f"{where}.prefix: say what the names begin with, at least {SHORTEST_PREFIX} characters")
    if wanted.prefix and len(wanted.prefix) < SHORTEST_PREFIX:
        raise BadArguments(f"{where}.prefix: {wanted.prefix!r} is too short; at least {SHORTEST_PREFIX} characters")
    for name in names:
        last = name.rpartition(".")[2]
        if not all(_NAME.fullmatch(part) for part in name.split(".")):
            raise BadArguments(f"{where}: {name!r} is no name that can be dropped; letters, digits, _ and - are")
        if last.lower() in PROTECTED:
            raise BadArguments(f"{where}: {name} is the server's own")
        if wanted.prefix and not last.startswith(wanted.prefix):
            raise BadArguments(f"{where}: {name} does not begin with the prefix {wanted.prefix!r}")
        if own and not any(last.startswith(prefix) for prefix in declared):
            told = ", ".join(declared) or "none is declared"
            raise BadArguments(f"{where}: {name} begins with no prefix of the setting database-prefixes ({told})")


async def _server(wanted: Database, where: str, context: Context) -> DatabaseServer:
    ways = [wanted.connection, wanted.url, wanted.url_from]
    if sum(1 for way in ways if way) != 1:
        raise BadArguments(f"{where}: one of connection, url and urlFrom is expected")
    if wanted.connection:
        text = context.settings.databases.get(wanted.connection, "")
        if not text:
            known = ", ".join(sorted(context.settings.databases)) or "none is set"
            raise BadArguments(
                f"{where}.connection: there is no {wanted.connection!r} in the setting databases ({known})"
            )
    elif wanted.url_from is not None:
        text = (await secret(wanted.url_from, f"{where}.urlFrom", context)).strip()
    else:
        text = wanted.url
    return server_of(text, where, context, trusted=bool(wanted.connection))


def server_of(text: str, where: str, context: Context, *, trusted: bool) -> DatabaseServer:
    """Reads `postgresql://USER:PASSWORD@HOST/DATABASE` and the like. Raises BadArguments."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    scheme, _, rest = text.partition("://")
    backend = "postgresql" if scheme == "postgres" else scheme
    driver = _DRIVERS.get(scheme)
    if driver is None:
        raise BadArguments(f"{where}.url: postgresql://, mysql://, mariadb:// or sqlite:// is expected")
    try:
        parts = urlsplit(text)
        if parts.password:
            context.masker.add(parts.password)
            context.masker.add(unquote(parts.password))
        query = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        url = make_url(f"{driver}://{rest}")
    except (ArgumentError, ValueError):
        raise BadArguments(f"{where}.url: this cannot be read; postgresql://USER@HOST/DATABASE is expected") from None
    if not trusted and (wrong := sorted(query - _FIELDS[backend])):
        raise BadArguments(f"{where}.url: {wrong[0]!r} cannot be set there")
    if backend != "sqlite" and not trusted and (not url.host or "/" in url.host or "," in url.host):
        raise BadArguments(f"{where}.url: a host is expected")
    return DatabaseServer(url, None if trusted else context.tools.guard, context.settings.cleanup_roots)


def _file_below(server: DatabaseServer) -> bool:
    """Whether the SQLite file is there. Raises NotRemoved when it does not lie below a root, links resolved."""
    path = os.path.realpath(server.url.database or "")
    if server.guard is not None:
        roots = [os.path.realpath(root) for root in server.roots]
        if not any(path.startswith(f"{root}/") for root in roots):
            raise NotRemoved(f"{server.url.database} does not lie below the declared roots ({', '.join(server.roots)})")
    return os.path.isfile(path)


def _words(error: BaseException) -> str:
    inner = getattr(error, "orig", None) or error
    arguments = inner.args
    said = str(arguments[1]) if len(arguments) > 1 and isinstance(arguments[0], int) else str(inner)
    return " ".join(said.split())[:500] or type(inner).__name__
