"""The words of Argo, as they stand in JSON, and the enums of exeunt.v1: each for the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from exeunt.v1.phase_pb2 import Finalization, Phase, Reason

E = TypeVar("E", bound=int)


class Words(Generic[E]):
    """The values of one enum as words: `PHASE_SUCCEEDED` is `Succeeded`, and what is unspecified an empty one."""

    def __init__(self, enum: Any) -> None:
        prefix = enum.Name(0).removesuffix("UNSPECIFIED")
        self._numbers: dict[str, E] = {
            name.removeprefix(prefix).capitalize() if number else "": number for name, number in enum.items()
        }
        self._words: dict[int, str] = {number: word for word, number in self._numbers.items()}

    def number(self, word: str) -> E:
        """The enum's value; unspecified for a word that it does not have."""
        return self._numbers.get(word, self._numbers[""])

    def word(self, number: int) -> str:
        """The word; empty for what is unspecified, and for a value that is newer than this program."""
        return self._words.get(number, "")

    def words(self, numbers: Iterable[int]) -> list[str]:
        """The same of several."""
        return [self.word(number) for number in numbers]


phases: Words[Phase.ValueType] = Words(Phase)
reasons: Words[Reason.ValueType] = Words(Reason)
finalizations: Words[Finalization.ValueType] = Words(Finalization)
