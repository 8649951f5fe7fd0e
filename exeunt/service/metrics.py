"""Numbers that a service counts, cheap enough for every step: plain Python until somebody reads them.

Each number registers itself under an OpenTelemetry name; `exeunt.service.telemetry` hands all of them to the exporters
when metrics are on. Labels are few and of low cardinality: never a uid, never a workflow's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

Labels = tuple[tuple[str, str], ...]
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)

Number: TypeAlias = "Counter | Gauge | Histogram"

counters: dict[str, Counter] = {}
gauges: dict[str, Gauge] = {}
histograms: dict[str, Histogram] = {}
exporters: list[Callable[[Number], None]] = []
"""Whoever exports numbers wants to hear of those that are made later, too."""


class Counter:
    """Only ever grows."""

    __slots__ = ("help", "name", "unit", "values")

    def __init__(self, name: str, help_text: str, unit: str = "1") -> None:
        self.name, self.help, self.unit = name, help_text, unit
        self.values: dict[Labels, float] = {}
        counters[name] = self
        _announce(self)

    def add(self, amount: float = 1, labels: Labels = ()) -> None:
        """Counts; `labels` as in (("phase", "Failed"),), always in the same order."""
        self.values[labels] = self.values.get(labels, 0) + amount

    def current(self) -> Mapping[Labels, float]:
        """The values now."""
        return self.values


class Total(Counter):
    """Only ever grows, and is kept elsewhere: `read` says how large it is."""

    __slots__ = ("read",)

    def __init__(self, name: str, help_text: str, read: Callable[[], float], unit: str = "1") -> None:
        self.read = read
        super().__init__(name, help_text, unit)

    def current(self) -> Mapping[Labels, float]:
        """The value now."""
        return {(): self.read()}


class Gauge:
    """Is read when somebody asks: `read` returns the value for each set of labels, or one number."""

    __slots__ = ("help", "name", "read", "unit")

    def __init__(self, name: str, help_text: str, read: Callable[[], float | Mapping[Labels, float]], unit: str = "1"):
        self.name, self.help, self.unit, self.read = name, help_text, unit, read
        gauges[name] = self
        _announce(self)

    def current(self) -> Mapping[Labels, float]:
        """The values now."""
        value = self.read()
        return value if isinstance(value, Mapping) else {(): value}


class Histogram:
    """Counts durations (seconds unless said otherwise) in fixed buckets; does nothing while metrics are off."""

    __slots__ = ("bounds", "help", "name", "sink", "unit")

    def __init__(self, name: str, help_text: str, unit: str = "s", bounds: tuple[float, ...] = SECONDS) -> None:
        self.name, self.help, self.unit, self.bounds = name, help_text, unit, bounds
        self.sink: Callable[[float, Mapping[str, str]], None] | None = None
        histograms[name] = self
        _announce(self)

    def record(self, value: float, labels: Labels = ()) -> None:
        """Counts one value."""
        if self.sink is not None:
            self.sink(value, dict(labels))


def all_numbers() -> list[Number]:
    """Everything that is counted in this process so far."""
    return [*counters.values(), *gauges.values(), *histograms.values()]


def _announce(number: Number) -> None:
    for export in exporters:
        export(number)
