"""The form of all that is stored in the log."""

from __future__ import annotations

import msgspec


class Struct(msgspec.Struct, array_like=True, omit_defaults=True, kw_only=True):
    """Base of what is stored in the log. Positional: fields are only ever added at the end, with a default."""
