"""Settings come from flags and variables, and what is wrong with them is said at once."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from exeunt.service.settings import ServiceSettings, SettingsError, describe, environment, load, setting


@dataclass(frozen=True, kw_only=True)
class Settings(ServiceSettings):
    slots: int = setting("Steps at once", 16, minimum=1)
    drain: bool = setting("Take nothing new", False)
    labels: tuple[str, ...] = setting("Labels", ())
    runtime: Literal["process", "podman"] = setting("What runs steps", "process")


def test_a_flag_wins_over_a_variable() -> None:
    found = load(Settings, {"EXEUNT_SLOTS": "3", "EXEUNT_DRAIN": "yes"}, {"slots": "5", "drain": None})
    assert (found.slots, found.drain) == (5, True)


def test_lists_are_repeated_flags_or_separated_by_commas() -> None:
    assert load(Settings, {"EXEUNT_LABELS": "a=1, b=2"}).labels == ("a=1", "b=2")
    assert load(Settings, {}, {"labels": ["a=1,2", "b"]}).labels == ("a=1,2", "b")


def test_every_problem_is_told_with_the_name_that_was_used() -> None:
    with pytest.raises(SettingsError) as caught:
        load(
            Settings,
            {"EXEUNT_SLOTS": "many", "EXEUNT_RUNTIME": "docker", "EXEUNT_LISTEN": "7600"},
            {"shutdown_seconds": "-1", "colour": "red"},
        )
    assert caught.value.problems == [
        "EXEUNT_LISTEN=7600: '7600' is not HOST:PORT, as in 127.0.0.1:7600",
        "--shutdown-seconds=-1: must be at least 0",
        "EXEUNT_SLOTS=many: must be a whole number",
        "EXEUNT_RUNTIME=docker: must be one of process, podman",
        "--colour: there is no such setting",
    ]


def test_addresses_of_both_kinds_are_taken_with_brackets() -> None:
    """A manifest writes `[$(POD_IP)]:7600`, whatever address the pod will have."""
    for given, taken in (("[10.0.0.1]:7600", "10.0.0.1:7600"), ("[fd00::1]:7600", "[fd00::1]:7600"), ("h:1", "h:1")):
        assert load(ServiceSettings, {"EXEUNT_ADVERTISE": given}).advertise == taken
    with pytest.raises(SettingsError, match=r"an IPv6 address stands in brackets, as in \[::1\]:7600"):
        load(ServiceSettings, {"EXEUNT_ADVERTISE": "fd00::1:7600"})


def test_a_child_process_gets_the_same_settings_from_its_environment() -> None:
    mine = load(Settings, {}, {"slots": "5", "labels": ["a=1", "b=2"], "data_dir": "/tmp/x", "drain": "true"})
    assert load(Settings, environment(mine)) == mine


def test_the_replica_is_named_after_its_process() -> None:
    assert f"-{os.getpid()}-" in Settings().replica
    assert Settings().replica != Settings().replica


def test_help_says_variable_flag_default_and_bounds() -> None:
    by_name = {s.name: s for s in describe(Settings)}
    assert (by_name["nats_url"].variable, by_name["nats_url"].flag) == ("EXEUNT_NATS_URL", "--nats-url")
    assert by_name["slots"].default == "16"
    assert by_name["runtime"].choices == ("process", "podman")
    assert by_name["replica"].default == "host name, process id and six random digits"
    assert all(s.help for s in by_name.values())
    assert by_name["data_dir"].default == str(Path("exeunt-data"))
