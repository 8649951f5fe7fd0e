"""Properties are tried on the same examples each time, unless EXEUNT_EXAMPLES asks for more and other ones.

Tests of one group are kept to one worker.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

os.environ.setdefault("EXEUNT_RUNTIME", "process")  # many steps of tests leave their marks in the machine's own files

settings.register_profile("same", derandomize=True, deadline=None)
if not os.environ.get("EXEUNT_EXAMPLES"):
    settings.load_profile("same")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """pytest 9.2 does not read the name any more that xdist 3.8 gives to a test of a group, behind an `@`."""
    for item in items:
        grouped = getattr(item, "_nodeid", "")
        if grouped and grouped != item.nodeid:
            item._id = type(item.id).parse(grouped)
