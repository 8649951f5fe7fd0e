"""Clean-up at real servers: PostgreSQL, MariaDB and one that speaks S3, with passwords and keys from secrets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.actions import servers
from tests.actions.test_cleanup_kinds import SOURCE, clean

pytestmark = [pytest.mark.services, pytest.mark.xdist_group("database servers")]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with servers.postgres() as url:
        yield url


@pytest.fixture(scope="module")
def mariadb() -> Iterator[str]:
    with servers.mariadb() as url:
        yield url


@pytest.fixture(scope="module")
def s3() -> Iterator[servers.S3]:
    with servers.s3() as server:
        yield server


def execute(url: str, *texts: str) -> list[Any]:
    """Has statements done; the rows of the last one."""
    from sqlalchemy import create_engine, text

    driver = url.replace("postgresql:", "postgresql+psycopg:").replace("mariadb:", "mariadb+pymysql:")
    engine = create_engine(driver, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        results = [connection.execute(text(one)) for one in texts]
        rows = list(results[-1]) if results[-1].returns_rows else []
    engine.dispose()
    return rows


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


async def test_databases_schemas_and_tables_of_postgresql(postgres: str) -> None:
    execute(postgres, 'CREATE DATABASE "run-1"', "CREATE SCHEMA run_1", "CREATE TABLE run_1.a (x int)")
    execute(postgres, "CREATE TABLE run_t (x int)", "CREATE VIEW v AS SELECT * FROM run_t", "CREATE TABLE keep (x int)")
    wanted = {
        "urlFrom": SOURCE,
        "prefix": "run",
        "databases": ["run-1"],
        "schemas": ["run_1"],
        "tables": ["run_t", "run_u"],
    }
    outcome = await clean({"databases": [wanted]}, secret=f"{postgres}\n")
    again = await clean({"databases": [wanted]}, secret=postgres)
    assert outcome.phase == "Succeeded", outcome.message
    assert outcome.answer["removed"] == ["table run_t", "schema run_1", "database run-1"]
    assert (again.phase, again.message) == ("Succeeded", "removed 0, absent already 4")
    assert execute(postgres, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("keep",)]


async def test_a_database_with_somebody_in_it_is_dropped_all_the_same(postgres: str) -> None:
    from sqlalchemy import create_engine

    execute(postgres, "CREATE DATABASE run_busy")
    url = postgres.replace("postgresql:", "postgresql+psycopg:").removesuffix("/postgres") + "/run_busy"
    engine = create_engine(url)
    with engine.connect():
        outcome = await clean(
            {"databases": [{"urlFrom": SOURCE, "prefix": "run_", "databases": ["run_busy"]}]}, secret=postgres
        )
    engine.dispose()
    assert outcome.phase == "Succeeded", outcome.message


async def test_a_database_of_no_encoding(postgres: str) -> None:
    """As `initdb` makes it where the locale is C: names come as bytes unless the client says what it wants."""
    execute(postgres, "CREATE DATABASE run_ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    url = postgres.removesuffix("/postgres") + "/run_ascii"
    execute(f"{url}?client_encoding=utf8", "CREATE TABLE run_t (x int)")
    wanted = {"urlFrom": SOURCE, "prefix": "run_", "tables": ["run_t", "run_u"]}
    outcome = await clean({"databases": [wanted]}, secret=url)
    assert (outcome.phase, outcome.message) == ("Succeeded", "removed 1, absent already 1")


# --- MariaDB ----------------------------------------------------------------------------------------------------------


async def test_databases_and_tables_of_mariadb_over_the_operators_connection(mariadb: str) -> None:
    execute(mariadb, "CREATE DATABASE run_1", "CREATE DATABASE run_2", "CREATE TABLE run_2.run_t (x int)")
    wanted = {"connection": "main", "databases": ["run_1", "run_3"], "tables": ["run_2.run_t"]}
    settings: dict[str, Any] = {"databases": {"main": mariadb}, "database_prefixes": ("run_",), "allow_loopback": False}
    outcome = await clean({"databases": [wanted]}, **settings)
    again = await clean({"databases": [wanted]}, **settings)
    assert outcome.phase == "Succeeded", outcome.message
    assert outcome.answer["removed"] == ["table run_2.run_t", "database run_1"]
    assert outcome.answer["absent"] == ["database run_3"]
    assert (again.phase, again.message) == ("Succeeded", "removed 0, absent already 3")
    assert ("run_2",) in execute(mariadb, "SHOW DATABASES")


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
async def test_a_wrong_password_is_an_error_that_does_not_show_it(request: pytest.FixtureRequest, kind: str) -> None:
    url = request.getfixturevalue(kind).replace(servers.PASSWORD, "wrong-pass-0815")
    outcome = await clean({"databases": [{"urlFrom": SOURCE, "prefix": "run_", "tables": ["run_t"]}]}, secret=url)
    assert outcome.phase != "Succeeded"
    assert "bot" in outcome.message
    assert "wrong-pass" not in repr(outcome)


# --- S3 ---------------------------------------------------------------------------------------------------------------


def objects(server: servers.S3, prefix: str, key_id: str = "AK1") -> dict[str, Any]:
    options = {"endpoint": server.url, "region": "us-east-1", "access_key_id": key_id}
    return {"url": f"s3://scratch/{prefix}", "options": options, "optionsFrom": {"secret_access_key": SOURCE}}


def bucket(server: servers.S3) -> Any:
    from obstore.store import S3Store

    (server.folder / "scratch").mkdir(exist_ok=True)
    options: dict[str, Any] = {"access_key_id": server.key_id, "secret_access_key": server.key, "region": "us-east-1"}
    return S3Store("scratch", endpoint=server.url, client_options={"allow_http": True}, **options)


async def fill(server: servers.S3, *keys: str) -> None:
    store = bucket(server)
    for key in keys:
        await store.put_async(key, b"content")


def kept(server: servers.S3) -> list[str]:
    root = server.folder / "scratch"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_objects_below_a_prefix_are_removed_and_counted(s3: servers.S3) -> None:
    await fill(s3, "run-1/a", "run-1/deep/b", "run-10/c", "keep")
    outcome = await clean({"objects": [objects(s3, "run-1")]}, secret=s3.key)
    again = await clean({"objects": [objects(s3, "run-1")]}, secret=s3.key)
    assert outcome.phase == "Succeeded", outcome.message
    assert outcome.answer["removed"] == ["s3://scratch/run-1 (2 objects, 14 bytes)"]
    assert (again.phase, again.message) == ("Succeeded", "removed 0, absent already 1")
    assert kept(s3) == ["keep", "run-10/c"]


async def test_more_objects_than_one_page_holds(s3: servers.S3) -> None:
    await fill(s3, *(f"many/{number}" for number in range(1100)))
    outcome = await clean({"objects": [objects(s3, "many")]}, secret=s3.key)
    assert outcome.phase == "Succeeded", outcome.message
    assert outcome.answer["removed"] == ["s3://scratch/many (1100 objects, 7700 bytes)"]
    assert not [key for key in kept(s3) if key.startswith("many")]


async def test_a_wrong_key_removes_nothing_and_is_not_shown(s3: servers.S3) -> None:
    await fill(s3, "run-2/a")
    outcome = await clean({"objects": [objects(s3, "run-2")]}, secret="wrong-key-of-mine")
    assert outcome.phase != "Succeeded"
    assert "403" in outcome.message
    assert "wrong-key-of-mine" not in repr(outcome)
    assert "Debug" not in outcome.message
    assert "run-2/a" in kept(s3)
