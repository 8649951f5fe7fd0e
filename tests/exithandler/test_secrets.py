"""Secrets in exit handlers: read at the moment of acting, and nowhere in what is kept of it."""

from __future__ import annotations

from exeunt.exithandler.record import shown
from exeunt.journal.keyring import new_key, read_keys
from exeunt.journal.secrets import Secrets
from tests.exithandler.conftest import Handlers, Main, World
from tests.exithandler.test_exit_runs import workflow
from tests.nats_server import NatsServer

VALUE = "tok-4711-geheim"


def calling(url: str, key: str = "token") -> str:
    ref = f"{{secretKeyRef: {{name: api, key: {key}}}}}"
    return f"{{name: bye, http: {{url: '{url}', headers: [{{name: X-Api-Key, valueFrom: {ref}}}]}}}}"


async def test_a_handler_sends_its_secret_and_keeps_it_to_itself(
    main: Main, handlers: Handlers, world: World, nats_server: NatsServer
) -> None:
    key = new_key()
    handler = await handlers.start(secret_key=key)
    manifests = handler.projections.manifests
    sealed = Secrets(manifests, read_keys(key)).sealed("ns", "api", {"token": VALUE.encode()})
    await manifests.put("Secret", "ns", "api", sealed)
    world.reply(200, f"you sent {VALUE}")
    owed = await main.owe(workflow(calling(world.url)))
    assert (await main.result(owed)).state == "succeeded"
    assert world.requests[0]["headers"]["X-Api-Key"] == VALUE
    record = await handler.ledger.get(owed.hook_id)
    assert record is not None
    assert record.attempts[0].answer["body"] == "you sent ***"
    assert VALUE not in repr(shown(record))
    stored = b"".join(p.read_bytes() for p in (nats_server.folder / "store").rglob("*.blk"))
    assert owed.hook_id.encode() in stored
    assert VALUE.encode() not in stored


async def test_a_secret_that_is_missing_is_named_in_the_ledger(main: Main, handlers: Handlers, world: World) -> None:
    handler = await handlers.start(secret_key=new_key())
    owed = await main.owe(workflow(calling(world.url)))
    outcome = await main.result(owed)
    assert (outcome.state, outcome.phase) == ("failed", "Error")
    record = await handler.ledger.get(owed.hook_id)
    assert record is not None
    assert record.error == "http.headers[0] (X-Api-Key): there is no secret 'api' in namespace ns"
    assert world.requests == []


async def test_a_handler_without_the_key_says_which_setting_it_lacks(
    main: Main, handlers: Handlers, world: World, nats_server: NatsServer
) -> None:
    handler = await handlers.start()
    manifests = handler.projections.manifests
    sealed = Secrets(manifests, read_keys(new_key())).sealed("ns", "api", {"token": VALUE.encode()})
    await manifests.put("Secret", "ns", "api", sealed)
    owed = await main.owe(workflow(calling(world.url)))
    await main.result(owed)
    record = await handler.ledger.get(owed.hook_id)
    assert record is not None
    assert "the secret 'api' cannot be read: this service has no key" in record.error
    assert "EXEUNT_SECRET_KEY" in record.error
