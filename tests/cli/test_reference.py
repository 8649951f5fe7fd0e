"""The page of settings says what the code says."""

from pathlib import Path

from exeunt.cli.reference import settings_page

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_what_the_settings_say() -> None:
    assert PAGE.read_text() == settings_page(), "python -m exeunt.cli.reference docs/settings.md"
