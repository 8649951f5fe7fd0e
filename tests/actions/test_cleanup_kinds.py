"""Clean-up of what is no file: URLs, NATS streams, files as objects and databases, and what none of them may touch."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import nats
import pytest

from exeunt.actions import ActionSettings, open_toolbox, perform
from exeunt.engine.facts.work import PluginWork, StepOutcome
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


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
async def test_no_database_on_the_machine_itself_unless_allowed(kind: str) -> None:
    wanted = {"url": f"{kind}://bot@127.0.0.1:9/a", "prefix": "run_", "tables": ["run_1"]}
    outcome = await clean({"databases": [wanted]}, allow_loopback=False)
    assert outcome.phase == "Error"
    assert "loopback" in outcome.message
