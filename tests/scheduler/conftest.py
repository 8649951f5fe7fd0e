"""Fixtures of the tests that speak with a scheduler's dispatch over streams."""

from tests.scheduler.streams import channel, rig

__all__ = ["channel", "rig"]
