"""Mails, handed in at a real SMTP server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import email
import email.policy
import ipaddress
import json
import socket
import ssl
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from exeunt.actions import ActionSettings, open_toolbox, perform
from exeunt.engine.facts.work import PluginWork, StepOutcome
from tests.actions.conftest import context_of

FAILURE = {"displayName": "load <x>", "templateName": "loader", "phase": "Failed", "message": "disk full"}
FAILURES = json.dumps(json.dumps([FAILURE]))
FACTS = {"workflow.status": "Failed", "workflow.duration": "125.0", "workflow.failures": FAILURES}


class Post:
    """A mail server's memory; `refuse` are recipients that it does not take."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refuse: dict[str, str] = {}
        self.port = 0

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 OK"


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"bot", b"s3cret-word")
    return AuthResult(success=good, handled=False)


@contextlib.asynccontextmanager
async def serving(post: Post, **options: Any) -> AsyncIterator[Post]:
    def protocol() -> SMTP:
        return SMTP(post, hostname="localhost", authenticator=authenticate, loop=asyncio.get_running_loop(), **options)

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    post.port = server.sockets[0].getsockname()[1]
    async with server:
        yield post


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    async with serving(Post(), auth_require_tls=False) as post:
        yield post


@pytest.fixture
async def safe_post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Post]:
    """A server with STARTTLS, whose certificate this process trusts."""
    key, certificate = own_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    async with serving(Post(), tls_context=tls, require_starttls=True) as post:
        yield post


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate of 127.0.0.1 that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    written = (folder / "key.pem", folder / "certificate.pem")
    plain = serialization.NoEncryption()
    coded = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    written[0].write_bytes(coded)
    written[1].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return written


async def send(post: Post, arguments: Any, *, secret: str = "", **settings: Any) -> StepOutcome:
    async def lookup(namespace: str, name: str, key: str) -> str:
        return secret

    facts = {"allow_loopback": True, "smtp_url": f"smtp://127.0.0.1:{post.port}", **settings}
    async with open_toolbox(ActionSettings(**facts), secret=lookup) as tools:
        return await perform(PluginWork(name="email", arguments=arguments), context_of(tools, facts=FACTS))


async def test_a_mail_without_words_says_what_ended_and_what_failed(post: Post) -> None:
    outcome = await send(post, {"to": "ops@example.org", "from": "Exeunt <exeunt@example.org>"})
    assert (outcome.phase, outcome.message) == ("Succeeded", "sent to ops@example.org")
    mail = post.mails[0]
    assert (mail["Subject"], mail["From"]) == ("wf: Failed", "Exeunt <exeunt@example.org>")
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]  # there is one
    assert "Workflow ns/wf ended: Failed" in text
    assert "It took 2 min 5 s." in text
    assert "- load <x> (loader): Failed, disk full" in text
    html = mail.get_body(("html",)).get_content()  # type: ignore[union-attr]  # there is one
    assert "load &lt;x&gt; (loader): Failed, disk full" in html


async def test_each_try_has_the_same_message_id(post: Post) -> None:
    for _ in range(2):
        await send(post, {"to": "ops@example.org", "from": "a@example.org"})
    first, second = (mail["Message-ID"] for mail in post.mails)
    assert first == second
    assert first.endswith("@example.org>")


async def test_copies_and_own_words(post: Post) -> None:
    arguments = {
        "to": ["a@example.org", "B <b@example.org>"],
        "cc": "c@example.org, d@example.org",
        "bcc": ["e@example.org"],
        "from": "x@example.org",
        "replyTo": "team@example.org",
        "subject": "Night run\nBcc: evil@example.org",
        "body": "all is well",
        "html": "<b>all is well</b>",
        "headers": {"X-Team": "data"},
    }
    assert (await send(post, arguments)).phase == "Succeeded"
    mail = post.mails[0]
    assert mail["Subject"] == "Night run Bcc: evil@example.org"
    assert mail["Bcc"] is None
    assert (mail["Cc"], mail["Reply-To"], mail["X-Team"]) == (
        "c@example.org, d@example.org",
        "team@example.org",
        "data",
    )
    assert post.recipients == [[f"{letter}@example.org" for letter in "abcde"]]
    assert mail.get_body(("plain",)).get_content().strip() == "all is well"  # type: ignore[union-attr]  # there is one


async def test_a_refused_recipient_is_named_and_the_others_get_their_mail(post: Post) -> None:
    post.refuse = {"gone@example.org": "550 no such user"}
    outcome = await send(post, {"to": ["a@example.org", "gone@example.org"], "from": "x@example.org"})
    assert outcome.phase == "Failed"
    assert "1 of 2 recipients were taken; gone@example.org: 550 no such user" in outcome.message
    assert post.recipients == [["a@example.org"]]


async def test_a_refusal_for_now_says_so(post: Post) -> None:
    post.refuse = {"a@example.org": "451 greylisted"}
    outcome = await send(post, {"to": "a@example.org", "from": "x@example.org"})
    assert outcome.phase == "Failed"
    assert "451 greylisted (for now; a retry may be taken)" in outcome.message


async def test_a_password_is_never_sent_in_the_clear(post: Post) -> None:
    outcome = await send(
        post,
        {
            "to": "a@example.org",
            "from": "x@example.org",
            "server": f"smtp://bot@127.0.0.1:{post.port}",
            "passwordFrom": {"secretKeyRef": {"name": "mail", "key": "password"}},
        },
        secret="s3cret-word",
    )
    assert outcome.phase == "Failed"
    assert "offers no STARTTLS" in outcome.message
    assert post.mails == []


@pytest.mark.parametrize(("word", "phase"), [("s3cret-word", "Succeeded"), ("wr0ng-word", "Failed")])
async def test_a_password_over_starttls(safe_post: Post, word: str, phase: str) -> None:
    arguments = {
        "to": "a@example.org",
        "from": "x@example.org",
        "server": f"smtp://bot@127.0.0.1:{safe_post.port}",
        "passwordFrom": {"secretKeyRef": {"name": "mail", "key": "password"}},
    }
    outcome = await send(safe_post, arguments, secret=word)
    assert (outcome.phase, len(safe_post.mails)) == (phase, phase == "Succeeded"), outcome.message
    assert ("the user or password was refused: 535" in outcome.message) == (phase == "Failed")
    assert word not in repr(outcome)


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    safe_post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    outcome = await send(safe_post, {"to": "a@example.org", "from": "x@example.org"})
    assert (outcome.phase, "certificate" in outcome.message) == ("Failed", True)
    assert safe_post.mails == []


async def test_a_server_on_the_machine_itself_is_refused_unless_allowed(post: Post) -> None:
    arguments = {"to": "a@example.org", "from": "x@example.org", "server": f"smtp://127.0.0.1:{post.port}"}
    outcome = await send(post, arguments, allow_loopback=False)
    assert outcome.phase == "Error"
    assert "loopback" in outcome.message
    assert post.mails == []


async def test_the_operators_own_server_may_be_anywhere(post: Post) -> None:
    outcome = await send(post, {"to": "a@example.org", "from": "x@example.org"}, allow_loopback=False)
    assert outcome.phase == "Succeeded"


async def test_nobody_there_is_a_failure(post: Post) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        arguments = {"to": "a@example.org", "from": "x@example.org"}
        outcome = await send(post, arguments, smtp_url=f"smtp://127.0.0.1:{taken.getsockname()[1]}")
    assert (outcome.phase, "refused" in outcome.message) == ("Failed", True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"from": "x@example.org"}, "plugin.email.to: name at least one recipient"),
        ({"to": "nobody", "from": "x@example.org"}, "plugin.email.to: 'nobody' is no mail address"),
        ({"to": "a@example.org"}, "plugin.email.from"),
        ({"too": "a@example.org"}, "plugin.email.too: there is no field 'too'; did you mean to?"),
        ({"to": "a@example.org", "from": "x@example.org", "server": "mail.example.org"}, "smtp://USER@HOST:PORT"),
        ({"to": "a@example.org", "from": "x@example.org", "headers": {"Bcc": "e@x.org"}}, "'Bcc' cannot be set"),
    ],
)
async def test_wrong_arguments_are_named(post: Post, arguments: Any, words: str) -> None:
    outcome = await send(post, arguments)
    assert outcome.phase == "Error"
    assert words in outcome.message
    assert post.mails == []
