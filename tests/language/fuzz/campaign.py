"""Runs the fuzzer: what it tries, what it watches, and what it calls a fault."""

from __future__ import annotations

import random
import re
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from exeunt.language.expression import ExpressionError, evaluate, names, required, to_text, when
from exeunt.language.expression.limits import Budget
from exeunt.language.expression.render import format_value
from exeunt.language.variables import substitute
from tests.language.fuzz.grammar import ENV, Grammar

CORPUS = Path(__file__).with_name("corpus.txt")
MAX_SECONDS = 1.0
"""Of processor time for one expression."""
MAX_GROWTH = 256 * 1024
"""Kilobytes by which one expression may raise the most memory that the process has had."""
POOL = 4000
_SCOPE = {"inputs.parameters.n": "5", "workflow.name": "w", "steps.a.outputs.result": None, "item": "disk"}
_VARIED = re.compile(r"""'[^']*'|"[^"]*"|\d+|\S{25,}""")


class Fault(NamedTuple):
    """An expression that did what none may, and what that was."""

    source: str
    target: str
    what: str


class Report(NamedTuple):
    runs: int
    seconds: float
    outcomes: Counter[str]
    faults: list[Fault]
    found: list[str]  # expressions whose outcome was of a new kind
    slowest: tuple[float, str]
    memory: int  # kilobytes, the most that the process has had


def corpus() -> list[str]:
    """One expression a line; a line feed inside stands as the two characters \\n would in Python."""
    return [line.encode().decode("unicode_escape") for line in CORPUS.read_text("ascii").splitlines() if line]


def written(source: str) -> str:
    """An expression as a line of the corpus."""
    return source.encode("unicode_escape").decode("ascii")


def evaluated(source: str) -> str:
    """`{{= }}`, hooks and retry strategies: read, looked through, worked out, made a text."""
    names(source)
    required(source)
    value = evaluate(source, ENV, now=1.7e9, seed="s")
    format_value(Budget(), value)
    to_text(value)
    return f"value {type(value).__name__}"


def looked_at(source: str) -> str:
    return f"when {when(source)}"


def put_in(source: str) -> str:
    return f"text {substitute(f'a {{{{={source}}}}} {{{{{source}}}}}', _SCOPE, allow_unresolved=True, now=1.0)[:3]}"


TARGETS: dict[str, Callable[[str], str]] = {"expression": evaluated, "when": looked_at, "tag": put_in}


class _HangError(BaseException):
    """Raised in the midst of what takes too long."""


def _too_long(number: int, frame: FrameType | None) -> None:
    raise _HangError


class Watch:
    """Runs one expression after another, and says of each whether it kept within the bounds."""

    def __init__(self) -> None:
        self.slowest = (0.0, "")
        self.most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def __enter__(self) -> Watch:
        self._before = signal.signal(signal.SIGVTALRM, _too_long)
        return self

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, self._before)

    def run(self, target: str, source: str) -> tuple[str, Fault | None]:
        """The outcome, and the fault if it is one."""
        begun = time.process_time()
        fault = ""
        signal.setitimer(signal.ITIMER_VIRTUAL, MAX_SECONDS * 2)  # what is over by then is measured below
        try:
            outcome = TARGETS[target](source)
        except ExpressionError as error:
            outcome = f"error {_VARIED.sub('_', error.message)[:80]}"
        except _HangError:
            outcome = fault = "hangs"
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            outcome = fault = f"crash {type(error).__name__}: {error}"[:300]
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        took = time.process_time() - begun
        if took > self.slowest[0]:
            self.slowest = took, source
        faults = [fault] if fault else [f"took {took:.1f} s"] if took > MAX_SECONDS else []
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if most - self.most > MAX_GROWTH:
            faults.append(f"took {(most - self.most) // 1024} MiB")
        self.most = most
        return f"{target} {outcome}", Fault(source, target, ", ".join(faults)) if faults else None


def tries(chance: random.Random, pool: list[str]) -> Iterator[tuple[str, str]]:
    """What to try, for ever: new expressions, and changed ones of the pool, which may grow meanwhile."""
    grammar = Grammar(chance)
    while True:
        draw = chance.random()
        if draw < 0.12:
            source = grammar.condition()
            yield "when", source if draw < 0.08 else grammar.mutated(source, chance.choice(pool))
        else:
            if draw < 0.45:
                source = grammar.typed()
            elif draw < 0.65:
                source = grammar.expression()
            else:
                source = grammar.mutated(chance.choice(pool), chance.choice(pool))
            yield "tag" if draw > 0.95 else "expression", source


def campaign(
    runs: int, seed: int, *, seconds: float = float("inf"), told: Callable[[int], Any] = lambda at: None
) -> Report:
    """The whole corpus, and then `runs` new expressions, or as many as there is time for."""
    pool = corpus()
    outcomes: Counter[str] = Counter()
    faults: list[Fault] = []
    found: list[str] = []
    begun = time.monotonic()
    done = 0
    with Watch() as watch:
        for source in pool:
            for target in TARGETS:
                outcome, fault = watch.run(target, source)
                outcomes[outcome] += 1
                faults += [fault] if fault else []
        for target, source in tries(random.Random(seed), pool):
            if done >= runs or time.monotonic() - begun > seconds:
                break
            done += 1
            outcome, fault = watch.run(target, source)
            faults += [fault] if fault else []
            outcomes[outcome] += 1
            if outcomes[outcome] == 1 and len(source) < 200:
                found.append(source)
                pool.append(source)
                if len(pool) > POOL:
                    del pool[len(pool) // 2]
            if done % 50_000 == 0:
                told(done)
    return Report(done, time.monotonic() - begun, outcomes, faults, found, watch.slowest, watch.most)
