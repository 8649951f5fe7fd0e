"""Request ids: under which a call may be repeated."""

from __future__ import annotations

import uuid


def new_request_id() -> str:
    """An id under which a call may be repeated."""
    return str(uuid.uuid4())
