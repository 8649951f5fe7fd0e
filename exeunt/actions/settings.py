"""The settings of services that do actions: where mails, messages and metrics go, and what clean-ups may remove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from exeunt.actions.context import ActionSettings
from exeunt.service.settings import ServiceSettings, SettingsError, setting


@dataclass(frozen=True, kw_only=True)
class ActionServiceSettings(ServiceSettings):
    """What an exit handler and an executor are told for their actions."""

    allow_loopback: bool = setting("Actions may reach 127.0.0.0/8 and ::1", False)
    allow_private: bool = setting("Actions may reach private addresses, as 10.0.0.0/8", True)
    allow_hosts: tuple[str, ...] = setting("Hosts that actions may reach whatever their addresses are", ())
    plugins: tuple[str, ...] = setting("Argo executor plugins, each NAME=URL", ())
    plugin_tokens: tuple[str, ...] = setting("Bearer tokens that plugins expect, each NAME=TOKEN", ())
    workflow_link: str = setting("Where people look at workflows, as https://HOST/{namespace}/{name}; for messages", "")
    smtp_url: str = setting("Mail server: smtp://USER:PASSWORD@HOST:PORT (STARTTLS) or smtps://…", "")
    smtp_from: str = setting("Sender of mails that name none", "")
    slack_webhook: str = setting("Incoming webhook of Slack for messages that name none", "")
    slack_token: str = setting("Bot token of Slack for messages that name none", "")
    webhook_secret: str = setting("Secret (whsec_…) that signs webhooks without one of their own", "")
    pushgateway_url: str = setting("Pushgateway for metrics that name none", "")
    grafana_url: str = setting("Grafana for annotations that name none", "")
    grafana_token: str = setting("Token for that Grafana", "")
    cleanup_roots: tuple[str, ...] = setting("Directories below which the cleanup action may remove things", ())
    cleanup_objects: tuple[str, ...] = setting(
        "URLs below which cleanup may remove objects with the service's own credentials, as s3://BUCKET/scratch", ()
    )
    cleanup_nats_url: str = setting("NATS server for clean-ups that name none", "")
    databases: tuple[str, ...] = setting("Databases for cleanup, each NAME=URL", ())
    database_prefixes: tuple[str, ...] = setting("What names that cleanup drops from them have to begin with", ())
    cleanup_seconds: float = setting("How long each part of a clean-up may take", 120.0, unit="s", minimum=0.1)

    def action_settings(self, **more: Any) -> ActionSettings:
        """These settings as actions need them. Raises SettingsError."""
        return ActionSettings(
            allow_loopback=self.allow_loopback,
            allow_private=self.allow_private,
            allow_hosts=frozenset(self.allow_hosts),
            plugins=pairs("plugins", self.plugins),
            plugin_tokens=pairs("plugin-tokens", self.plugin_tokens),
            workflow_link=self.workflow_link,
            smtp_url=self.smtp_url,
            smtp_from=self.smtp_from,
            slack_webhook=self.slack_webhook,
            slack_token=self.slack_token,
            webhook_secret=self.webhook_secret,
            pushgateway_url=self.pushgateway_url,
            grafana_url=self.grafana_url,
            grafana_token=self.grafana_token,
            cleanup_roots=self.cleanup_roots,
            cleanup_objects=self.cleanup_objects,
            cleanup_nats_url=self.cleanup_nats_url,
            databases=pairs("databases", self.databases),
            database_prefixes=self.database_prefixes,
            cleanup_timeout=self.cleanup_seconds,
            **more,
        )


def pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE texts as a table. Raises SettingsError, without the values: they may be secrets."""
    wrong = [t for t in texts if not t.partition("=")[0] or "=" not in t]
    if wrong:
        raise SettingsError([f"--{flag}: NAME=VALUE is expected, not {t.partition(':')[0][:20]!r}" for t in wrong])
    return {name: value for name, _, value in (t.partition("=") for t in texts)}
