"""How large a message may be: one measure for everything that goes to NATS, taken before it goes.

A nats-server that is sent more than its `max_payload`, headers included, closes the connection; whoever sends the same
again after reconnecting never gets further. So nothing leaves without having been measured, and every writer keeps well
below the least limit that is accepted (`PAYLOAD_BYTES`): events, parts of commits, records, blobs.
"""

from __future__ import annotations

from exeunt.utf8 import cut

PAYLOAD_BYTES = 1024 * 1024
"""The least `max_payload` that a nats-server may have."""
CONTROL_LINE_BYTES = 4096
"""What nats-server takes of subject, reply and lengths (`max_control_line`); it does not tell when that is less."""
HEADER_BYTES = 64 * 1024 - 1
"""What JetStream takes of headers."""
BATCH_HEADER_BYTES = 160
"""Room for the headers that make a message one of an atomic batch."""


class TooLarge(Exception):  # noqa: N818 - an answer
    """A message over what NATS takes. It was not sent, and sending it again would not help."""

    def __init__(self, what: str, size: int, limit: int, setting: str = "") -> None:
        super().__init__(f"{what} has {size:,} bytes and the limit is {limit:,}{f' ({setting})' if setting else ''}")
        self.size = size
        self.limit = limit


def measure(most: int, subject: str, reply: str, headers: int, data: int) -> TooLarge | None:
    """Why a message cannot go to a server that takes `most` bytes; None when it can. `headers` and `data` in bytes."""
    if headers > HEADER_BYTES:
        return TooLarge(f"the headers of a message on {cut(subject, 100)}", headers, HEADER_BYTES)
    size = headers + data
    if size > most:
        return TooLarge(f"a message on {cut(subject, 100)}", size, most)
    line = len(subject.encode()) + len(reply.encode()) + 32
    if line > CONTROL_LINE_BYTES:
        return TooLarge(f"a subject that begins with {cut(subject, 100)}", line, CONTROL_LINE_BYTES)
    return None
