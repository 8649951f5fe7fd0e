"""Clean-up removes what it was told to, and nothing outside the declared roots."""

from __future__ import annotations

from pathlib import Path

import pytest

from exeunt.actions import ActionSettings, open_toolbox, perform
from exeunt.engine.facts.work import PluginWork, StepOutcome
from tests.actions.conftest import context_of


async def clean(root: Path | None, arguments: object) -> StepOutcome:
    roots = (str(root),) if root else ()
    async with open_toolbox(ActionSettings(cleanup_roots=roots)) as tools:
        return await perform(PluginWork(name="cleanup", arguments=arguments), context_of(tools))


def names(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "scratch"
    (root / "run" / "deep").mkdir(parents=True)
    (root / "run" / "deep" / "a.txt").write_text("a")
    (root / "keep.txt").write_text("keep")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("!")
    return root


async def test_files_and_directories_are_removed_and_named(root: Path) -> None:
    (root / "one").write_text("1")
    paths = [str(root / "run"), str(root / "one"), str(root / "never-was")]
    outcome = await clean(root, {"paths": paths})
    assert (outcome.phase, outcome.message) == ("Succeeded", "removed 2, absent already 1")
    assert outcome.answer["removed"] == paths[:2]
    assert outcome.answer["absent"] == paths[2:]
    assert names(root) == ["keep.txt"]


async def test_a_pattern_is_not_expanded_and_says_so(root: Path) -> None:
    (root / "a*b").write_text("a name like any other")
    outcome = await clean(root, {"paths": [str(root / "a*b"), str(root / "*.txt")]})
    assert outcome.phase == "Failed"
    assert "patterns are not expanded" in outcome.message
    assert outcome.answer["removed"] == [str(root / "a*b")]
    assert (root / "keep.txt").exists()


async def test_doing_it_twice_is_fine(root: Path) -> None:
    for _ in range(2):
        assert (await clean(root, {"paths": [str(root / "run")]})).phase == "Succeeded"


@pytest.mark.parametrize("path", ["outside", "scratch/../outside", "scratch", "scratch/.", "scratch2", ""])
async def test_nothing_outside_the_roots(root: Path, path: str) -> None:
    outcome = await clean(root, {"paths": [str(root.parent / path) if path else "relative/path"]})
    assert outcome.phase == "Failed"
    assert (root.parent / "outside" / "precious").read_text() == "!"
    assert (root / "keep.txt").exists()


async def test_a_link_is_removed_and_not_followed(root: Path) -> None:
    (root / "link").symlink_to(root.parent / "outside")
    outcome = await clean(root, {"paths": [str(root / "link")]})
    assert outcome.phase == "Succeeded"
    assert not (root / "link").is_symlink()
    assert (root.parent / "outside" / "precious").exists()


async def test_no_way_through_a_link(root: Path) -> None:
    (root / "way").symlink_to(root.parent / "outside")
    outcome = await clean(root, {"paths": [str(root / "way" / "precious")]})
    assert outcome.phase == "Failed"
    assert "links are not followed" in outcome.message
    assert (root.parent / "outside" / "precious").exists()


async def test_links_within_a_removed_directory_are_not_followed(root: Path) -> None:
    (root / "run" / "out").symlink_to(root.parent / "outside")
    assert (await clean(root, {"paths": [str(root / "run")]})).phase == "Succeeded"
    assert (root.parent / "outside" / "precious").exists()


async def test_a_root_may_itself_be_a_link(root: Path) -> None:
    alias = root.parent / "alias"
    alias.symlink_to(root)
    assert (await clean(alias, {"paths": [str(alias / "keep.txt")]})).phase == "Succeeded"
    assert not (root / "keep.txt").exists()


async def test_what_can_be_removed_is_removed_even_when_something_cannot(root: Path) -> None:
    precious = root.parent / "outside" / "precious"
    outcome = await clean(root, {"paths": [str(precious), str(root / "run")]})
    assert outcome.phase == "Failed"
    assert str(precious) in outcome.message
    assert precious.exists()
    assert not (root / "run").exists()


async def test_without_roots_nothing_is_removed(root: Path) -> None:
    outcome = await clean(None, {"paths": [str(root / "keep.txt")]})
    assert outcome.phase == "Failed"
    assert "no roots are declared" in outcome.message
    assert (root / "keep.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "name at least one thing to remove"),
        ({"paths": "x"}, "plugin.cleanup.paths: a list is expected, not a text"),
        ({"path": ["x"]}, "did you mean paths"),
        ({"databases": {}}, "plugin.cleanup.databases: a list is expected"),
        ({"http": [{"url": "http://x", "header": {}}]}, "plugin.cleanup.http[0].header: there is no field 'header'"),
    ],
)
async def test_wrong_arguments_are_named(root: Path, arguments: object, words: str) -> None:
    outcome = await clean(root, arguments)
    assert outcome.phase == "Error"
    assert words in outcome.message
