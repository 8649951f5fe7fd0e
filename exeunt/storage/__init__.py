"""Logs and, later, artifacts: what is too big for the log."""
