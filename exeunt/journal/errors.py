"""What can go wrong with a write to the log, in the words that callers act on."""

from __future__ import annotations

_UNAVAILABLE = 503
_FORMING = frozenset({10004, 10005, 10008, 10009})
"""The servers of a cluster have not found each other, or have no leader."""


class NotOwner(Exception):  # noqa: N818 - an answer
    """This process does not own the partition (any more): drop its runs and stop acting."""


class LogFull(Exception):  # noqa: N818 - an answer
    """The log ended while it had no room. While it is open, a full log is waited for."""


class LogClosed(Exception):  # noqa: N818 - an answer
    """The log is closed in this process."""


class Refused(Exception):  # noqa: N818 - an answer
    """The server refused this one write for what it says; sending it again would not help. `code` is the server's."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"the server refused the write: {description} ({code})")
        self.code = code
        self.description = description


class JetStreamError(Exception):
    """A request to the JetStream API was refused. `code` is the server's; `passing` says that it may be taken later."""

    def __init__(self, subject: str, code: int, description: str, status: int = 0) -> None:
        super().__init__(f"{subject}: {description} ({code})")
        self.code = code
        self.description = description
        self.passing = status == _UNAVAILABLE or code in _FORMING
