"""The email action: one mail over SMTP, with a Message-ID that stays the same however often it is tried.

RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 5322 §3.6.4 (Message-ID).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import smtplib
import ssl
from collections.abc import Iterator
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, getaddresses, parseaddr
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from exeunt.actions.arguments import BadArguments, listed, read
from exeunt.actions.context import Context, NotTaken
from exeunt.actions.guard import AddressGuard, AddressRefused
from exeunt.actions.message import full_summary
from exeunt.actions.secrets import secret_or
from exeunt.actions.watched import Watch, guarded
from exeunt.engine.facts import StepOutcome
from exeunt.language.actions import Email

OWN_HEADERS = frozenset(
    {"from", "to", "cc", "bcc", "subject", "message-id", "date", "reply-to", "sender", "mime-version"}
)
MOST_RECIPIENTS = 500


class SmtpServer(NamedTuple):
    """The server that takes the mail.

    With `tls` the connection is TLS from the first byte; otherwise STARTTLS is used when it is offered, and has to be
    offered when it is `needed`.
    """

    host: str
    port: int
    user: str
    password: str
    tls: bool
    needed: bool
    trusted: bool  # the operator's settings name it


async def perform(arguments: Any, context: Context) -> StepOutcome:
    """Sends the mail. Failed when the server refuses it or a recipient, or does not answer."""
    wanted = read("email", arguments, Email)
    server = await _server(wanted, context)
    mail, recipients = await _mail(wanted, context, server)
    tools = context.tools
    seconds = context.settings.smtp_timeout
    where = f"{server.host}:{server.port}"
    job = asyncio.get_running_loop().run_in_executor(
        tools.threads, send, server, mail, recipients, None if server.trusted else tools.guard, seconds
    )
    try:
        async with asyncio.timeout(seconds):
            refused = await job
    except TimeoutError:
        return StepOutcome(phase="Failed", message=f"mail server {where}: no answer within {seconds:g} s")
    except NotTaken as error:
        return StepOutcome(phase="Failed", message=f"mail server {where}: {error}")
    except AddressRefused as error:
        return StepOutcome(phase="Error", message=f"mail server {where}: {error}")
    except (OSError, smtplib.SMTPException) as error:
        return StepOutcome(phase="Failed", message=f"mail server {where}: {_words(error)}")
    taken = [r for r in recipients if r not in refused]
    answer = {"messageId": str(mail["Message-ID"]), "recipients": taken, "refused": refused}
    if refused:
        told = "; ".join(f"{who}: {why}" for who, why in refused.items())
        message = f"mail server {where}: {len(taken)} of {len(recipients)} recipients were taken; {told}"
        return StepOutcome(phase="Failed", message=message, answer=answer)
    return StepOutcome(
        phase="Succeeded", message=f"sent to {', '.join(recipients[:5])}{_more(recipients)}", answer=answer
    )


def send(
    server: SmtpServer, mail: EmailMessage, recipients: list[str], guard: AddressGuard | None, seconds: float
) -> dict[str, str]:
    """Sends the mail; answers the recipients that were refused, and why. Blocking.

    Raises NotTaken when the server refuses the mail, OSError or SMTPException when there is no connection to it.
    """
    with _watched(guard, server.host) as refusal:
        try:
            with _connected(server, seconds) as client:
                return {who: _reply(*why) for who, why in client.send_message(mail, to_addrs=recipients).items()}
        except smtplib.SMTPRecipientsRefused as error:
            told = "; ".join(f"{who}: {_reply(*why)}" for who, why in error.recipients.items())
            raise NotTaken(f"no recipient was taken; {told}") from None
        except smtplib.SMTPAuthenticationError as error:
            raise NotTaken(f"the user or password was refused: {_reply(error.smtp_code, error.smtp_error)}") from None
        except smtplib.SMTPNotSupportedError as error:
            raise NotTaken(str(error)) from None
        except smtplib.SMTPServerDisconnected:
            raise
        except smtplib.SMTPResponseException as error:
            raise NotTaken(_reply(error.smtp_code, error.smtp_error)) from None
        except OSError:
            if refusal():
                raise AddressRefused(refusal()) from None
            raise


@contextlib.contextmanager
def _watched(guard: AddressGuard | None, host: str) -> Iterator[Any]:
    if guard is None:
        yield lambda: ""
        return
    with guarded(Watch(guard)) as watch:
        watch.allow(host)
        yield lambda: watch.refusal


@contextlib.contextmanager
def _connected(server: SmtpServer, seconds: float) -> Iterator[smtplib.SMTP]:
    tls = ssl.create_default_context()
    client: smtplib.SMTP
    if server.tls:
        client = smtplib.SMTP_SSL(server.host, server.port, timeout=seconds, context=tls)
    else:
        client = smtplib.SMTP(server.host, server.port, timeout=seconds)
    with client:
        client.ehlo_or_helo_if_needed()
        if not server.tls and client.has_extn("starttls"):
            client.starttls(context=tls)
            client.ehlo()
        elif not server.tls and server.needed:
            raise NotTaken(
                "it offers no STARTTLS; a password is never sent in the clear (smtps:// is TLS from the start)"
            )
        if server.user:
            _log_in(client, server)
        yield client


def _log_in(client: smtplib.SMTP, server: SmtpServer) -> None:
    """Logs in once, in one way: a wrong password that is tried in several ways soon locks an account."""
    offered = client.esmtp_features.get("auth", "").upper().split()
    client.user, client.password = server.user, server.password
    ways: dict[str, Any] = {
        "PLAIN": client.auth_plain,
        "LOGIN": client.auth_login,
        "CRAM-MD5": client.auth_cram_md5,
    }
    way = next((name for name in ways if name in offered), None)
    if way is None:
        raise NotTaken(f"it knows none of the ways to log in that we do ({', '.join(ways)})")
    client.auth(way, ways[way])


async def _server(wanted: Email, context: Context) -> SmtpServer:
    url = wanted.server or context.settings.smtp_url
    field = "plugin.email.server" if wanted.server else "the setting smtp-url"
    if not url:
        raise BadArguments("plugin.email.server: name a mail server (smtp://HOST:587), or set smtp-url")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadArguments(f"{field}: smtp://USER@HOST:PORT or smtps://… is expected") from None
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise BadArguments(f"{field}: smtp://USER@HOST:PORT or smtps://… is expected")
    password = unquote(parts.password or "")
    if password:
        context.masker.add(password)
    if wanted.password_from is not None and not wanted.server:
        raise BadArguments("plugin.email.passwordFrom: goes with server, not with the setting's")
    password = await secret_or(wanted.password_from, password, "plugin.email.passwordFrom", context)
    tls = parts.scheme == "smtps"
    user = unquote(parts.username or "")
    if password and not user:
        raise BadArguments(f"{field}: a password goes with a user (smtp://USER@HOST)")
    return SmtpServer(parts.hostname, port or (465 if tls else 587), user, password, tls, bool(user), not wanted.server)


async def _mail(wanted: Email, context: Context, server: SmtpServer) -> tuple[EmailMessage, list[str]]:
    usual = await full_summary(context) if not (wanted.body and wanted.subject) else None
    mail = EmailMessage(policy=SMTP)
    sender = wanted.from_ or context.settings.smtp_from or (server.user if "@" in server.user else "")
    if not sender:
        raise BadArguments("plugin.email.from: say who the mail is from, or set smtp-from")
    recipients: dict[str, None] = {}
    mail["From"] = _addresses([sender], "from")[0]
    for field, header, given in (("to", "To", wanted.to), ("cc", "Cc", wanted.cc), ("bcc", "", wanted.bcc)):
        people = _addresses(listed(given) if not isinstance(given, str) else [given], field) if given else []
        if people and header:
            mail[header] = people
        recipients.update(dict.fromkeys(person.addr_spec for person in people))
    if not recipients:
        raise BadArguments("plugin.email.to: name at least one recipient")
    if len(recipients) > MOST_RECIPIENTS:
        raise BadArguments(f"plugin.email.to: {len(recipients)} recipients are more than {MOST_RECIPIENTS}")
    if wanted.reply_to:
        mail["Reply-To"] = _addresses([wanted.reply_to], "replyTo")
    mail["Subject"] = _line(wanted.subject or (usual.title if usual else ""))
    mail["Date"] = formatdate(localtime=False)
    mail["Message-ID"] = message_id(context.idempotency_key, sender)
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    for name, value in wanted.headers.items():
        if name.lower() in OWN_HEADERS or not name.isascii() or not name.replace("-", "").isalnum():
            raise BadArguments(f"plugin.email.headers: {name!r} cannot be set here")
        mail[name] = _line(value)
    mail.set_content(wanted.body or (usual.text if usual else ""))
    html = wanted.html or (usual.html if usual and not wanted.body else "")
    if html:
        mail.add_alternative(html, subtype="html")
    return mail, list(recipients)


def message_id(key: str, sender: str) -> str:
    """The Message-ID: the same for each try, so that mail servers and programs keep or show one copy."""
    domain = parseaddr(sender)[1].rpartition("@")[2] or "exeunt.invalid"
    return f"<{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}@{domain}>"


def _addresses(texts: list[str], field: str) -> list[Address]:
    found: list[Address] = []
    for name, spec in getaddresses([_line(text) for text in texts]):
        try:
            address = Address(name, addr_spec=spec)
        except (ValueError, IndexError):
            raise BadArguments(f"plugin.email.{field}: {spec or texts[0]!r} is no mail address") from None
        if not address.domain or not address.username:
            raise BadArguments(f"plugin.email.{field}: {spec or texts[0]!r} is no mail address")
        found.append(address)
    return found


def _line(text: str) -> str:
    """The text of a header, on one line, so that it cannot add other headers."""
    return " ".join(text.split())


def _reply(code: int, text: bytes | str) -> str:
    said = text.decode(errors="replace") if isinstance(text, bytes) else text
    later = " (for now; a retry may be taken)" if 400 <= code < 500 else ""
    return f"{code} {' '.join(said.split())}{later}"


def _more(recipients: list[str]) -> str:
    return f" and {len(recipients) - 5} more" if len(recipients) > 5 else ""


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return error.strerror
    return str(error) or type(error).__name__
