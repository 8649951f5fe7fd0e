"""The base of all models of manifests."""

from __future__ import annotations

import msgspec


class Model(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """A piece of a manifest. Treated as immutable after loading."""
