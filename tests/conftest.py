"""Properties are tried on the same examples each time, unless EXEUNT_EXAMPLES asks for more and other ones."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
if not os.environ.get("EXEUNT_EXAMPLES"):
    settings.load_profile("same")
