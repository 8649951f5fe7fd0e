"""The pages that are made from the code say what it says."""

from pathlib import Path

import pytest

from exeunt.cli import failure
from exeunt.cli.main import COMMANDS
from exeunt.cli.reference import PAGES, commands_page

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), f"python -m exeunt.cli.reference docs/{name}"


def test_every_command_has_a_section() -> None:
    page = commands_page()
    assert [name for name in COMMANDS if f"\n## exeunt {name}" not in page] == []


def test_every_exit_code_says_what_it_means() -> None:
    codes = {value for name, value in vars(failure).items() if name.isupper() and isinstance(value, int)}
    assert codes == set(failure.MEANINGS)
