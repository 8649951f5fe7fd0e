"""Clean-up of what is no file: URLs, NATS streams, objects and databases, each at a real server."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import nats
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exeunt.actions import ActionSettings, open_toolbox, perform
from exeunt.engine.steps import PluginWork, StepOutcome
from tests.actions.conftest import World, context_of
from tests.nats_server import NatsServer

SOURCE = {"secretKeyRef": {"name": "store", "key": "key"}}


async def clean(arguments: Any, *, secret: str = "s3cret-of-store", **settings: Any) -> StepOutcome:
    async def lookup(namespace: str, name: str, key: str) -> str:
        return secret

    async with open_toolbox(ActionSettings(**{"allow_loopback": True, **settings}), secret=lookup) as tools:
        return await perform(PluginWork(name="cleanup", arguments=arguments), context_of(tools))


# --- URLs -------------------------------------------------------------------------------------------------------------


async def test_urls_get_a_delete_and_what_is_not_there_is_fine(world: World) -> None:
    world.reply(204)
    world.reply(404)
    outcome = await clean({"http": [f"{world.url}/a", {"url": f"{world.url}/b", "tokenFrom": SOURCE}]})
    assert (outcome.phase, outcome.message) == ("Succeeded", "removed 1, absent already 1")
    assert {r["method"] for r in world.requests} == {"DELETE"}
    by_path = {r["path"]: r["headers"] for r in world.requests}
    assert by_path["/b"]["Authorization"] == "Bearer s3cret-of-store"
    assert by_path["/a"]["Idempotency-Key"] != by_path["/b"]["Idempotency-Key"]


async def test_a_url_that_refuses_is_named(world: World) -> None:
    world.reply(403)
    outcome = await clean({"http": [f"{world.url}/a"]})
    assert outcome.phase == "Failed"
    assert "/a: it answered 403" in outcome.message


async def test_no_url_on_the_machine_itself_unless_allowed(world: World) -> None:
    outcome = await clean({"http": [f"{world.url}/a"]}, allow_loopback=False)
    assert (outcome.phase, world.requests) == ("Error", [])
    assert "loopback" in outcome.message


# --- NATS -------------------------------------------------------------------------------------------------------------


async def test_streams_and_buckets_are_deleted_and_absent_ones_are_fine(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url)
    js = client.jetstream()
    await js.add_stream(name="run-1", subjects=["run.1"])
    await js.create_key_value(bucket="run-1")
    await js.create_object_store("run-1")
    await js.add_stream(name="keep", subjects=["keep"])
    wanted = {"url": nats_server.url, "streams": ["run-1", "never"], "buckets": ["run-1"], "objectStores": ["run-1"]}
    outcome = await clean({"nats": [wanted]})
    assert (outcome.phase, outcome.message) == ("Succeeded", "removed 3, absent already 1")
    assert outcome.answer["removed"] == ["stream run-1", "bucket run-1", "object store run-1"]
    assert [info.config.name for info in await js.streams_info()] == ["keep"]
    await client.close()


@pytest.mark.parametrize("name", ["EXEUNT_LOG", "KV_EXEUNT_MEMBERS"])
async def test_exeunts_own_streams_stay(nats_server: NatsServer, name: str) -> None:
    outcome = await clean({"nats": [{"url": nats_server.url, "streams": [name]}]})
    assert outcome.phase == "Error"
    assert "is one of Exeunt's own" in outcome.message


async def test_no_nats_on_the_machine_itself_unless_allowed(nats_server: NatsServer) -> None:
    outcome = await clean({"nats": [{"url": nats_server.url, "streams": ["a"]}]}, allow_loopback=False)
    assert outcome.phase == "Error"
    assert "loopback" in outcome.message


# --- objects ----------------------------------------------------------------------------------------------------------


class Bucket:
    """As much of S3 as listing and removing needs."""

    def __init__(self, *keys: str) -> None:
        self.keys = set(keys)
        self.signed: set[str] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.signed.add(request.headers.get("Authorization", "").partition("/")[0])
        key = request.match_info["key"]
        if request.method == "GET":
            found = sorted(k for k in self.keys if k.startswith(request.query.get("prefix", "")))
            date = "2026-01-01T00:00:00.000Z"
            rows = "".join(
                f"<Contents><Key>{escape(k)}</Key><Size>7</Size><LastModified>{date}</LastModified></Contents>"
                for k in found
            )
            text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
            return web.Response(text=text, content_type="application/xml")
        if request.method == "HEAD":
            if key not in self.keys:
                return web.Response(status=404)
            headers = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "ETag": '"e"', "Content-Length": "7"}
            return web.Response(headers=headers)
        if request.method == "DELETE":
            self.keys.discard(key)
            return web.Response(status=204)
        body = await request.text()
        gone = [part.partition("</Key>")[0] for part in body.split("<Key>")[1:]]
        self.keys -= set(gone)
        rows = "".join(f"<Deleted><Key>{k}</Key></Deleted>" for k in gone)
        return web.Response(text=f"<DeleteResult>{rows}</DeleteResult>", content_type="application/xml")


@contextlib.asynccontextmanager
async def serving(bucket: Bucket) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/scratch{slash:/?}{key:.*}", bucket.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("")).rstrip("/")


async def test_objects_below_a_prefix_are_removed_and_counted() -> None:
    bucket = Bucket("run-1/a", "run-1/deep/b", "run-10/c", "keep")
    async with serving(bucket) as url:
        options = {"endpoint": url, "region": "eu", "access_key_id": "AK1"}
        wanted = {"url": "s3://scratch/run-1", "options": options, "optionsFrom": {"secret_access_key": SOURCE}}
        outcome = await clean({"objects": [wanted]})
        again = await clean({"objects": [wanted]})
    assert outcome.phase == "Succeeded", outcome.message
    assert outcome.answer["removed"] == ["s3://scratch/run-1 (2 objects, 14 bytes)"]
    assert (again.phase, again.message) == ("Succeeded", "removed 0, absent already 1")
    assert bucket.keys == {"run-10/c", "keep"}
    assert bucket.signed == {"AWS4-HMAC-SHA256 Credential=AK1"}


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("s3://scratch", "a prefix is expected"),
        ("s3://scratch/a/../b", "a prefix is expected"),
        ("ftp://scratch/a", "s3://, gs://, az:// or file://"),
        ("s3://other/run-1", "does not lie below what the setting cleanup-objects declares (s3://scratch/runs)"),
        ("s3://scratch/runs2/a", "does not lie below"),
        ({"url": "s3://scratch/runs/a", "options": {"secret_access_key": "x"}}, "name it in optionsFrom"),
        ({"url": "s3://scratch/runs/a", "options": {"endpoint": "http://127.0.0.1:9"}}, "goes with credentials"),
        ({"url": "s3://scratch/runs/a", "options": {"bucket": "x"}}, "there is no option 'bucket'"),
        (
            {
                "url": "s3://scratch/a",
                "options": {"endpoint": "http://intern.example.org", "access_key_id": "a"},
                "optionsFrom": {"secret_access_key": SOURCE},
            },
            "intern.example.org is not among the hosts",
        ),
    ],
)
async def test_objects_that_are_not_to_be_removed(wanted: Any, words: str) -> None:
    outcome = await clean({"objects": [wanted]}, cleanup_objects=("s3://scratch/runs",))
    assert outcome.phase == "Error"
    assert words in outcome.message


async def test_a_directory_as_an_object_store_keeps_to_the_roots(tmp_path: Path) -> None:
    (tmp_path / "in" / "run").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    good = await clean({"objects": [f"file://{tmp_path}/in/run"]}, cleanup_roots=(str(tmp_path / "in"),))
    bad = await clean({"objects": [f"file://{tmp_path}/out"]}, cleanup_roots=(str(tmp_path / "in"),))
    assert (good.phase, bad.phase) == ("Succeeded", "Failed")
    assert not (tmp_path / "in" / "run").exists()
    assert (tmp_path / "out").exists()


# --- databases --------------------------------------------------------------------------------------------------------


def statements(path: Path, *texts: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for text in texts:
            connection.execute(text)
        connection.commit()
        return connection.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()


async def test_tables_of_a_sqlite_file(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    statements(file, "CREATE TABLE run_1 (a)", "CREATE TABLE keep (a)")
    wanted = {"url": f"sqlite:///{file}", "prefix": "run_", "tables": ["run_1", "run_2"]}
    outcome = await clean({"databases": [wanted]}, cleanup_roots=(str(tmp_path),))
    assert (outcome.phase, outcome.message) == ("Succeeded", "removed 1, absent already 1")
    assert statements(file) == [("keep",)]


async def test_a_sqlite_file_outside_the_roots_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    statements(file, "CREATE TABLE run_1 (a)")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.db").symlink_to(file)
    for path in (file, tmp_path / "in" / "link.db"):
        wanted = {"url": f"sqlite:///{path}", "prefix": "run_", "tables": ["run_1"]}
        outcome = await clean({"databases": [wanted]}, cleanup_roots=(str(tmp_path / "in"),))
        assert outcome.phase == "Error"
        assert "does not lie below the declared roots" in outcome.message
    assert statements(file) == [("run_1",)]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"url": "sqlite:////x", "tables": ["run_1"]}, "prefix: say what the names begin with"),
        ({"url": "sqlite:////x", "prefix": "r", "tables": ["run_1"]}, "'r' is too short"),
        ({"url": "sqlite:////x", "prefix": "run_", "tables": ["other"]}, "other does not begin with the prefix 'run_'"),
        ({"url": "sqlite:////x", "prefix": "run_", "tables": ['run_"; DROP TABLE x']}, "is no name"),
        ({"url": "sqlite:////x", "prefix": "run_", "databases": ["run_1"]}, "SQLite has only tables"),
        ({"url": "postgresql://h/a", "prefix": "post", "databases": ["postgres"]}, "is the server's own"),
        ({"url": "postgresql://h/a?host=/run", "prefix": "run_", "tables": ["run_1"]}, "'host' cannot be set there"),
        ({"url": "oracle://h/a", "prefix": "run_", "tables": ["run_1"]}, "postgresql://, mysql://"),
        ({"connection": "main", "tables": ["run_1"], "prefix": "run_"}, "begins with no prefix of the setting"),
        ({"url": "postgresql://h/a", "prefix": "run_"}, "name databases, schemas or tables"),
    ],
)
async def test_what_is_not_to_be_dropped(wanted: Any, words: str) -> None:
    outcome = await clean({"databases": [wanted]}, databases={"main": "sqlite:////x"}, database_prefixes=("tmp_",))
    assert outcome.phase == "Error"
    assert words in outcome.message


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("the database server did not start")


def binary(name: str, *places: str) -> str:
    found = shutil.which(name) or next((p for place in places for p in sorted(glob.glob(f"{place}/{name}"))), "")
    if not found:
        pytest.skip(f"{name} is not installed (apt-get install postgresql mariadb-server)")
    return found


def as_user(name: str) -> dict[str, Any]:
    """Database servers refuse to be root."""
    return {"user": name, "group": name} if os.geteuid() == 0 else {}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="exeunt-db-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture(scope="module")
def postgres(folder: Path) -> Iterator[str]:
    places = "/usr/lib/postgresql/*/bin"
    initdb, server = binary("initdb", places), binary("postgres", places)
    data, port, who = folder / "pg", free_port(), as_user("postgres")
    subprocess.run(
        [initdb, "-D", data, "-U", "bot", "-A", "trust", "-N"], check=True, capture_output=True, cwd="/", **who
    )
    options = ["-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"]
    with subprocess.Popen([server, *options], cwd="/", stderr=subprocess.DEVNULL, **who) as process:
        wait_for(port, process)
        yield f"postgresql://bot@127.0.0.1:{port}/postgres"
        process.terminate()


@pytest.fixture(scope="module")
def mariadb(folder: Path) -> Iterator[str]:
    install, server = binary("mariadb-install-db"), binary("mariadbd", "/usr/sbin")
    data, port, who = folder / "my", free_port(), as_user("mysql")
    common = ["--no-defaults", f"--datadir={data}"]
    subprocess.run(
        [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True, capture_output=True, cwd="/", **who,
    )  # fmt: skip
    options = [
        *common,
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={folder}/my.sock",
        "--skip-grant-tables",
    ]
    with subprocess.Popen(
        [server, *options, "--skip-networking=0"], cwd="/", stderr=subprocess.DEVNULL, **who
    ) as process:
        wait_for(port, process)
        yield f"mariadb://root@127.0.0.1:{port}/mysql"
        process.terminate()


def execute(url: str, *texts: str) -> None:
    from sqlalchemy import create_engine, text

    driver = url.replace("postgresql:", "postgresql+psycopg:").replace("mariadb:", "mariadb+pymysql:")
    engine = create_engine(driver, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for one in texts:
            connection.execute(text(one))
    engine.dispose()


async def test_databases_schemas_and_tables_of_postgresql(postgres: str) -> None:
    execute(postgres, 'CREATE DATABASE "run-1"', "CREATE SCHEMA run_1", "CREATE TABLE run_1.a (x int)")
    execute(postgres, "CREATE TABLE run_t (x int)", "CREATE VIEW v AS SELECT * FROM run_t")
    wanted = {
        "url": postgres,
        "prefix": "run",
        "databases": ["run-1"],
        "schemas": ["run_1"],
        "tables": ["run_t", "run_u"],
    }
    outcome = await clean({"databases": [wanted]})
    again = await clean({"databases": [wanted]})
    assert outcome.phase == "Succeeded", outcome.message
    assert outcome.answer["removed"] == ["table run_t", "schema run_1", "database run-1"]
    assert (again.phase, again.message) == ("Succeeded", "removed 0, absent already 4")


async def test_databases_and_tables_of_mariadb_over_the_operators_connection(mariadb: str) -> None:
    execute(mariadb, "CREATE DATABASE run_1", "CREATE DATABASE run_2", "CREATE TABLE run_2.run_t (x int)")
    wanted = {"connection": "main", "databases": ["run_1", "run_3"], "tables": ["run_2.run_t"]}
    settings: dict[str, Any] = {"databases": {"main": mariadb}, "database_prefixes": ("run_",), "allow_loopback": False}
    outcome = await clean({"databases": [wanted]}, **settings)
    assert outcome.phase == "Succeeded", outcome.message
    assert outcome.answer["removed"] == ["table run_2.run_t", "database run_1"]
    assert outcome.answer["absent"] == ["database run_3"]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
async def test_no_database_on_the_machine_itself_unless_allowed(kind: str) -> None:
    wanted = {"url": f"{kind}://bot@127.0.0.1:{free_port()}/a", "prefix": "run_", "tables": ["run_1"]}
    outcome = await clean({"databases": [wanted]}, allow_loopback=False)
    assert outcome.phase == "Error"
    assert "loopback" in outcome.message
