"""Progress as Argo writes it."""

from __future__ import annotations

import pytest

from exeunt.language.progress import as_text, progress_of


@pytest.mark.parametrize("text", ["0/1", "1/1", "25/100\n", " 3/4 "])
def test_done_is_at_most_all(text: str) -> None:
    assert as_text(progress_of(text)) == text.strip()


@pytest.mark.parametrize(
    "text", ["", "1", "2/1", "0/0", "-1/2", "1/2/3", "a/b", "1.5/2", "1/2 and more", "9" * 19 + "/" + "9" * 19]
)
def test_other_texts_are_no_progress(text: str) -> None:
    assert as_text(progress_of(text)) == ""
