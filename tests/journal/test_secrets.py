"""Secrets in the store: sealed, bound to their names, read with old and new keys, and never there in the clear."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exeunt.journal.keyring import KEY_BYTES, CannotOpen, Keyring, Sealed, new_key, read_keys
from exeunt.journal.manifests import STREAM, Manifests, config
from exeunt.journal.repeat import RepeatOnReconnect
from exeunt.journal.secrets import Secrets
from exeunt.journal.streams import ensure_stream
from exeunt.journal.wire import connect, wire_of
from exeunt.language.secret import SecretMissing, SecretUnreadable
from exeunt.service.settings import SettingsError
from tests.nats_server import NatsServer

pytestmark = pytest.mark.services

VALUES = {"token": b"tok-4711-geheim", "blob": b"\xff\x00"}


@pytest.fixture
async def store(nats_server: NatsServer) -> AsyncIterator[Manifests]:
    nc = await connect(nats_server.url, "secrets")
    await ensure_stream(await wire_of(nc), config(1).as_dict())
    yield Manifests(nc.jetstream())
    await nc.close()


async def put(store: Manifests, keys: Keyring, namespace: str = "ns", name: str = "api") -> Secrets:
    secrets = Secrets(store, keys)
    await store.put("Secret", namespace, name, secrets.sealed(namespace, name, VALUES))
    return secrets


async def test_what_is_stored_is_sealed_and_comes_back(store: Manifests, nats_server: NatsServer) -> None:
    secrets = await put(store, read_keys(new_key()))
    assert await secrets.values("ns", "api") == VALUES
    assert await secrets.text("ns", "api", "token") == "tok-4711-geheim"
    nc = await connect(nats_server.url, "reader")
    message = await nc.jetstream().get_msg(STREAM, seq=1)
    await nc.close()
    assert message.data is not None
    decoded = message.data + b"".join(base64.b64decode(p + b"==") for p in message.data.split(b'"') if len(p) > 40)
    assert b"4711" not in decoded
    assert b"token" not in decoded


async def test_what_is_missing_is_named(store: Manifests) -> None:
    secrets = await put(store, read_keys(new_key()))
    with pytest.raises(SecretMissing, match="there is no secret 'none' in namespace ns"):
        await secrets.values("ns", "none")
    with pytest.raises(SecretMissing, match="the secret 'api' has no key 'nope'"):
        await secrets.text("ns", "api", "nope")
    with pytest.raises(SecretMissing):
        await secrets.values("other", "api")
    with pytest.raises(SecretUnreadable, match="the key 'blob' of the secret 'api' holds no text"):
        await secrets.text("ns", "api", "blob")


async def test_keys_can_be_changed_while_old_secrets_are_there(store: Manifests) -> None:
    old, new = new_key(), new_key()
    await put(store, read_keys(old))
    both = Secrets(store, read_keys(f"{new},{old}"))
    assert await both.values("ns", "api") == VALUES
    await put(store, read_keys(f"{new}\n{old}\n"))
    assert await Secrets(store, read_keys(new)).values("ns", "api") == VALUES
    with pytest.raises(SecretUnreadable, match=r"the secret 'api' was sealed with the key [0-9a-f]{8}, which is not"):
        await Secrets(store, read_keys(old)).values("ns", "api")


async def test_what_is_stored_is_sealed_anew_with_the_first_key(store: Manifests) -> None:
    old, new, gone = new_key(), new_key(), new_key()
    for number in range(3):
        await put(store, read_keys(old), name=f"old-{number}")
    await put(store, read_keys(new), name="new")
    await put(store, read_keys(gone), name="foreign")
    foreign = await store.get("Secret", "ns", "foreign")
    both = Secrets(store, read_keys(f"{new} {old}"))
    assert [await both.reseal(), await both.reseal()] == [3, 0]
    only = Secrets(store, read_keys(new))
    for name in ("old-0", "old-1", "old-2", "new"):
        assert await only.values("ns", name) == VALUES
    assert await store.get("Secret", "ns", "foreign") == foreign


async def test_sealing_anew_never_brings_an_old_value_back(store: Manifests) -> None:
    """A value that is stored between reading the old one and writing it again stays."""
    old, new = new_key(), new_key()
    await put(store, read_keys(old))
    async for stored in store.each("Secret"):
        later = Secrets(store, read_keys(old)).sealed("ns", "api", {"token": b"later"})
        await store.put("Secret", "ns", "api", later)
        assert await store.replace(stored, stored.tree) is False
    both = Secrets(store, read_keys(f"{new} {old}"))
    assert await both.reseal() == 1
    assert await Secrets(store, read_keys(new)).text("ns", "api", "token") == "later"


async def test_without_a_key_it_says_which_setting_is_missing(store: Manifests) -> None:
    await put(store, read_keys(new_key()))
    with pytest.raises(SecretUnreadable, match="EXEUNT_SECRET_KEY"):
        await Secrets(store, Keyring()).values("ns", "api")


async def test_reading_waits_for_nats(nats_server: NatsServer) -> None:
    nc = await connect(nats_server.url, "secrets")
    js = nc.jetstream()
    await ensure_stream(await wire_of(nc), config(1).as_dict())
    await put(Manifests(js), (keys := read_keys(new_key())))
    secrets = Secrets(Manifests(js), keys, RepeatOnReconnect(await wire_of(nc)))
    await nats_server.kill()
    reading = asyncio.create_task(secrets.values("ns", "api"))
    await nats_server.begin()
    async with asyncio.timeout(20):
        assert await reading == VALUES
    await nc.close()


async def test_one_secret_cannot_be_passed_off_as_another(store: Manifests) -> None:
    secrets = await put(store, read_keys(new_key()))
    tree = await store.get("Secret", "ns", "api")
    await store.put("Secret", "ns", "mine", tree)
    await store.put("Secret", "mine", "api", tree)
    for namespace, name in (("ns", "mine"), ("mine", "api")):
        with pytest.raises(SecretUnreadable, match="was changed, or belongs to another secret"):
            await secrets.values(namespace, name)


async def test_what_was_tampered_with_does_not_open() -> None:
    keys = read_keys(new_key())
    sealed = keys.seal(b"content", b"name")
    assert keys.open(sealed, b"name") == b"content"
    for at in range(len(sealed.data)):
        data = bytearray(sealed.data)
        data[at] ^= 1
        with pytest.raises(CannotOpen):
            keys.open(Sealed(sealed.key, bytes(data)), b"name")
    assert keys.seal(b"content", b"name").data != sealed.data


def test_a_key_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a, b.key"
    file.write_text(f"{new_key()}\n")
    assert read_keys(f"file:{file}").first
    assert not read_keys("")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("hushhush!", "--secret-key: key 1: this is not base64; make a key with: openssl rand -base64 32"),
        (base64.b64encode(b"hushhush").decode(), f"a key has {KEY_BYTES} bytes, this one 8"),
        ("file:/none/here", "--secret-key: /none/here: No such file or directory"),
        (f"file:{os.devnull}", "holds no key"),
    ],
)
def test_keys_that_are_none_are_refused_unseen(setting: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_keys(setting)
    [problem] = refused.value.problems
    assert words in problem
    assert "hush" not in problem
    assert base64.b64encode(b"hushhush").decode() not in problem
