"""What a service can be told: one frozen dataclass each, filled from flags and EXEUNT_* variables.

A field `nats_url` is the variable EXEUNT_NATS_URL and the flag `--nats-url`; a flag wins over the variable. The help of
`exeunt serve` and docs/settings.md are made from the same fields, so there is one place to say what a setting means.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

S = TypeVar("S", bound="ServiceSettings")
Raw = str | Sequence[str] | None
TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off", ""})


class SettingsError(Exception):
    """Some settings cannot be used; `problems` has one line for each, with its names and what would do."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


def setting(
    help_text: str,
    default: Any = dataclasses.MISSING,
    *,
    factory: Callable[[], Any] | None = None,
    unit: str = "",
    shown: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Collection[str] = (),
) -> Any:
    """A field of a settings class: meaning, default, unit and bounds.

    `shown` stands for a default that is computed. `choices` are the only values of a text whose type does not list
    them.
    """
    metadata = {
        "help": help_text,
        "unit": unit,
        "shown": shown,
        "minimum": minimum,
        "maximum": maximum,
        "choices": tuple(choices),
    }
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """One setting, for help texts: the name as a variable and as a flag, its type, default and meaning."""

    name: str
    variable: str
    flag: str
    kind: str
    default: str
    unit: str
    help: str
    repeated: bool
    choices: tuple[str, ...]
    bounds: str


def _replica() -> str:
    return f"{socket.gethostname().split('.')[0]}-{os.getpid()}-{secrets.token_hex(3)}"


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What every service can be told. Services derive from it and add their own fields."""

    listen: str = setting("Where users are served gRPC; port 0 takes a free one", "127.0.0.1:0", unit="HOST:PORT")
    internal: str = setting(
        "Where the other services of the cluster are served gRPC: keep it from users; port 0 takes a free one",
        "127.0.0.1:0",
        unit="HOST:PORT",
    )
    advertise: str = setting("Where the other services reach this one; empty for `internal`", "", unit="HOST:PORT")
    nats_url: str = setting(
        "Where NATS with JetStream listens, as in nats://USER:PASSWORD@HOST:4222; several separated by commas",
        "nats://127.0.0.1:4222",
    )
    nats_password: str = setting(
        "Password for NATS, of any characters, where the address names only a user, as in nats://USER@HOST:4222", ""
    )
    token: str = setting(
        "Token that callers have to send, and that this service sends to others: at least 16 characters (openssl rand "
        "-hex 32), or file:PATH for a file that holds it; several with commas or line ends between while they change: "
        "all are taken, the first one is sent. Empty: whoever reaches the port is answered",
        "",
    )
    replica: str = setting(
        "Name of this process among the replicas", factory=_replica, shown="host name, process id and six random digits"
    )
    data_dir: Path = setting(  # noqa: RUF009 (makes a field)
        "Directory for files of this service; made where it is missing", Path("exeunt-data")
    )
    replicas: int = setting("Copies of every stream: 1 on a single NATS node, 3 on three", 1, minimum=1, maximum=5)
    log_level: Literal["debug", "info", "warning", "error"] = setting("The least severe log lines to write", "info")
    log_format: Literal["json", "text"] = setting("Form of log lines on standard error", "json")
    metrics: str = setting("Where Prometheus may read metrics; empty for nowhere", "", unit="HOST:PORT")
    shutdown_seconds: float = setting("How long work may take to end or be handed over", 20.0, unit="s", minimum=0)


def describe(cls: type[ServiceSettings]) -> list[Setting]:
    """All settings of a class, in their order."""
    hints = typing.get_type_hints(cls)
    described = []
    for field in dataclasses.fields(cls):
        kind, choices, repeated = _kind(hints[field.name], field.metadata)
        described.append(
            Setting(
                name=field.name,
                variable=f"EXEUNT_{field.name.upper()}",
                flag=f"--{field.name.replace('_', '-')}",
                kind=kind,
                default=field.metadata.get("shown") or _shown(field.default),
                unit=field.metadata.get("unit", ""),
                help=field.metadata.get("help", ""),
                repeated=repeated,
                choices=choices,
                bounds=_bounds(field.metadata),
            )
        )
    return described


def load(cls: type[S], environ: Mapping[str, str], overrides: Mapping[str, Raw] | None = None) -> S:
    """Fills a settings class. `overrides` maps field names to raw texts (lists for repeated flags) or None.

    Raises SettingsError with every problem at once. Unknown variables are left alone: others may be meant.
    """
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    problems = []
    given = overrides or {}
    for field in dataclasses.fields(cls):
        variable, flag = f"EXEUNT_{field.name.upper()}", f"--{field.name.replace('_', '-')}"
        raw = given.get(field.name)
        where = flag
        if raw is None:
            raw, where = environ.get(variable), variable
        if raw is None:
            continue
        try:
            values[field.name] = _convert(raw, hints[field.name], field.metadata)
        except ValueError as error:
            shown = raw if isinstance(raw, str) else ",".join(raw)
            problems.append(f"{where}={shown}: {error}")
    unknown = sorted(set(given) - {field.name for field in dataclasses.fields(cls)})
    problems += [f"--{name.replace('_', '-')}: there is no such setting" for name in unknown]
    if problems:
        raise SettingsError(problems)
    return cls(**values)


def environment(settings: ServiceSettings) -> dict[str, str]:
    """The settings as EXEUNT_* variables, for a child process that shall have the same."""
    return {f"EXEUNT_{f.name.upper()}": _text(getattr(settings, f.name)) for f in dataclasses.fields(settings)}


def split_address(address: str) -> tuple[str, int]:
    """`HOST:PORT` or `[V6]:PORT` taken apart; ValueError says what is wrong."""
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT, as in 127.0.0.1:7600")
    if ":" in host and bare == host:
        raise ValueError(f"{address!r}: an IPv6 address stands in brackets, as in [::1]:7600")
    return bare, int(port)


def join_address(host: str, port: int) -> str:
    """`HOST:PORT`, with brackets where the host needs them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _kind(hint: Any, metadata: Mapping[str, Any]) -> tuple[str, tuple[str, ...], bool]:
    """What kind of value a setting has, which values there are, and whether it may be given several times."""
    if metadata.get("choices"):
        return "choice", metadata["choices"], False
    if typing.get_origin(hint) is Literal:
        return "choice", tuple(map(str, typing.get_args(hint))), False
    if typing.get_origin(hint) is tuple:
        return _kind(typing.get_args(hint)[0], metadata)[0], (), True
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return _kind(next(a for a in typing.get_args(hint) if a is not type(None)), metadata)
    names = {str: "text", int: "integer", float: "number", bool: "flag", Path: "path"}
    return names[hint], (), False


def _convert(raw: str | Sequence[str], hint: Any, metadata: Mapping[str, Any]) -> Any:
    kind, choices, repeated = _kind(hint, metadata)
    if repeated:
        texts = [part.strip() for part in raw.split(",")] if isinstance(raw, str) else list(raw)
        return tuple(_scalar(text, kind, choices, metadata) for text in texts if text)
    return _scalar(raw if isinstance(raw, str) else raw[-1], kind, choices, metadata)


def _scalar(text: str, kind: str, choices: tuple[str, ...], metadata: Mapping[str, Any]) -> Any:
    text = text.strip()
    if kind == "choice":
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text
    if kind == "flag":
        if text.lower() not in TRUE | FALSE:
            raise ValueError("must be true or false")
        return text.lower() in TRUE
    if kind == "path":
        return Path(text)
    if kind == "text":
        if metadata.get("unit") == "HOST:PORT" and text:
            return join_address(*split_address(text))  # [10.0.0.1]:7600 too, from who cannot know the kind
        return text
    try:
        number = int(text) if kind == "integer" else float(text)
    except ValueError:
        raise ValueError(f"must be {'a whole number' if kind == 'integer' else 'a number'}") from None
    low, high = metadata.get("minimum"), metadata.get("maximum")
    if number != number or (low is not None and number < low) or (high is not None and number > high):  # noqa: PLR0124 (NaN)
        raise ValueError(f"must be {_bounds(metadata) or 'a number'}")
    return number


def _bounds(metadata: Mapping[str, Any]) -> str:
    """`at least 1 and at most 5`; empty without bounds."""
    named = (("at least", metadata.get("minimum")), ("at most", metadata.get("maximum")))
    return " and ".join(f"{name} {bound:,}" for name, bound in named if bound is not None)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _shown(default: Any) -> str:
    return "" if default is dataclasses.MISSING else _text(default)
