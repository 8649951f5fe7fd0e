"""How functions say what they take, and the errors when they get something else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any, Final, TypeAlias, TypeVar

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.values import Duration, Function, is_integer, is_number, type_name

_KINDS: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "s": ("string", lambda value: isinstance(value, str)),
    "i": ("int", is_integer),
    "n": ("number", is_number),
    "b": ("bool", lambda value: isinstance(value, bool)),
    "a": ("array", lambda value: isinstance(value, list | bytes)),
    "m": ("map", lambda value: isinstance(value, dict)),
    "d": ("time.Duration", lambda value: isinstance(value, Duration)),
    "t": ("time.Time", lambda value: isinstance(value, datetime)),
    "z": ("time.Location", lambda value: isinstance(value, tzinfo)),
    "*": ("any", lambda _: True),
}

Method: TypeAlias = Callable[..., Any]
F = TypeVar("F", bound=Callable[..., Any])


class Registry(dict[str, Function]):
    """Functions by name."""

    def add(self, name: str, takes: str = "") -> Callable[[F], F]:
        """Register a function; it is called with the frame first.

        `takes` has a letter for each argument: s text, i integer, n number, b boolean, a list, m map, d duration,
        t date, z time zone, * anything. `?` after it means that it and all after it may be left out, `…` that it may
        repeat.
        """

        def register(run: F) -> F:
            self[name] = Function(name, checked(name, takes, run))
            return run

        return register

    def twice(self, name: str, takes: str = "") -> Callable[[F], F]:
        """Register a function as `name` and as `mustName`: Sprig's second name is for errors instead of panics."""

        def register(run: F) -> F:
            self.add(name, takes)(run)
            return self.add(f"must{name[0].upper()}{name[1:]}", takes)(run)

        return register


def checked(name: str, takes: str, run: Callable[..., Any]) -> Callable[..., Any]:
    """A function that looks at its arguments before it runs."""
    repeats = takes.endswith("…")
    letters = takes.rstrip("…").replace("?", "")
    most = len(letters)
    least = takes.index("?") - 1 if "?" in takes else most - repeats
    last = letters[-1] if letters else "*"
    expected = str(most) if least == most else f"at least {least}" if repeats else f"{least} to {most}"

    def call(frame: Any, *given: Any) -> Any:
        count = len(given)
        if count < least or (count > most and not repeats):
            raise ExpressionError(f"invalid number of arguments for {name} (expected {expected}, got {count})")
        for place, value in enumerate(given):
            letter = letters[place] if place < most else last
            if letter == "*":
                continue
            wanted, fits = _KINDS[letter]
            if not fits(value):
                raise ExpressionError(f"cannot use {type_name(value)} as argument (type {wanted}) to call {name}")
        return run(frame, *given)

    return call


def methods(table: dict[str, tuple[str, Method]]) -> dict[str, Method]:
    """Methods of a kind of value: by name what each takes (as for `Registry.add`) and what it does to the value."""

    def bound(name: str, takes: str, run: Method) -> Method:
        return checked(name, f"*{takes}", lambda _, *given: run(*given))

    return {name: bound(name, takes, run) for name, (takes, run) in table.items()}
