"""Workflows whose texts, lists and counts stand just below or above their limits: one dimension each, or two together.

A dimension is a row of the table of limits. It adds to a draft what has that size, and says what is to be said of it:
that the manifest is refused, or what stands in the message of a node. The main part goes on behind each error, so that
each of two dimensions is seen.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from exeunt.cli.limits import limits
from tests.sizes.manifests import BYE, Tree, outputs, sh, steps, workflow, written
from tests.sizes.walk import amount

TABLE = {limit.what: amount(limit.amount) for limit in limits()}
LARGE = 256 * 1024


@dataclass
class Draft:
    """A workflow in the making, and what is to be said of it. `about` says what it is made of."""

    chance: random.Random
    about: str = ""
    calls: list[Tree] = field(default_factory=list)
    templates: list[Tree] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    metadata: Tree = field(default_factory=dict)
    length: int = 0
    refused: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def call(self, template: Tree, **more: Any) -> None:
        """A step of the main part that calls a template of its own, and has an exit hook."""
        name = f"t{len(self.templates)}"
        self.templates.append({**template, "name": name})
        done = {"continueOn": {"error": True, "failed": True}, "hooks": {"exit": {"template": "bye"}}}
        self.calls.append({"name": name, "template": name, **done, **more})

    def value(self, size: int) -> str:
        """A parameter of the workflow of so many bytes, to be mentioned."""
        self.values.append("v" * size)
        return f"{{{{workflow.parameters.v{len(self.values) - 1}}}}}"

    def text(self) -> str:
        """The manifest."""
        given = {"parameters": [{"name": f"v{i}", "value": value} for i, value in enumerate(self.values)]}
        calls = self.calls or [{"name": "only", "template": "bye"}]
        main = steps("main", *calls)
        made = workflow("hair", main, BYE, *self.templates, onExit="bye", arguments=given, metadata=self.metadata)
        text = json.dumps(made)
        return text + "\n# " + "x" * (self.length - len(text) - 3) if self.length > len(text) + 3 else text


Dimension = Callable[[Draft, int, bool], None]
DIMENSIONS: dict[str, Dimension] = {}


def dimension(what: str) -> Callable[[Dimension], Dimension]:
    """The function makes, for this row of the table, a draft with such a size; it is told whether that is too much."""
    assert what in TABLE

    def note(made: Dimension) -> Dimension:
        DIMENSIONS[what] = made
        return made

    return note


def generate(seed: int) -> Iterator[Draft]:
    """Drafts without end: first each dimension below and above, then pairs."""
    chance = random.Random(seed)
    names = list(DIMENSIONS)
    single = [[(name, above)] for name in names for above in (False, True)]
    chance.shuffle(single)
    pairs = list(itertools.combinations(names, 2))
    for some in itertools.chain(single, _pairs(chance, pairs)):
        draft = Draft(chance)
        for name, above in some:
            size = _hair(chance, TABLE[name], above)
            DIMENSIONS[name](draft, size, above)
            draft.about = "; ".join(filter(None, [draft.about, f"{name}: {size:,} ({'above' if above else 'below'})"]))
        yield draft


def _pairs(chance: random.Random, pairs: list[tuple[str, str]]) -> Iterator[list[tuple[str, bool]]]:
    while True:
        yield [(name, chance.random() < 0.5) for name in chance.choice(pairs)]


def _hair(chance: random.Random, most: int, above: bool) -> int:
    """A size at the limit: mostly as near as can be."""
    return most + chance.choice([1, 1, 1, 1 + most // 50]) if above else most - chance.choice([0, 0, 1, most // 50])


@dimension("A manifest")
def _manifest(draft: Draft, size: int, above: bool) -> None:
    draft.length = size
    if above:
        draft.refused.append("a manifest may have")


@dimension("A value of a workflow's parameter")
def _parameter(draft: Draft, size: int, above: bool) -> None:
    seen = draft.value(size)
    draft.call(sh("", f"cat > /dev/null <<'E'\n{seen}\nE"))
    if above:
        draft.refused.append("at most 262,144 are allowed")


@dimension("All labels of a workflow together")
def _labels(draft: Draft, size: int, above: bool) -> None:
    draft.metadata["labels"] = _texts(size, 60)
    if above:
        draft.refused.append("16,384 are allowed")


@dimension("All annotations of a workflow together")
def _annotations(draft: Draft, size: int, above: bool) -> None:
    draft.metadata["annotations"] = _texts(size, draft.chance.choice([1000, size]))
    if above:
        draft.refused.append("262,144 are allowed")


def _texts(size: int, each: int) -> dict[str, str]:
    """Names and texts that have so many bytes together."""
    found: dict[str, str] = {}
    while size > 0:
        name = f"l{len(found):05d}"
        found[name] = "x" * max(0, min(each, size - len(name)))
        size -= len(name) + len(found[name])
    if size:  # the last name was too long
        found[name] = ""
        first = next(iter(found))
        found[first] = found[first][:size]
    return found


@dimension("A name, and a namespace")
def _name(draft: Draft, size: int, above: bool) -> None:
    draft.metadata["name"] = "".join(draft.chance.choices("bcdfghjklm", k=size))
    if above:
        draft.refused.append("63 are allowed")


@dimension("How deep a manifest is nested")
def _nesting(draft: Draft, size: int, above: bool) -> None:
    items: list[Any] = []
    for _ in range(size - 9):
        items = [items]
    draft.call(sh("", "true"), withItems=[items])
    if above:
        draft.refused.append("deeper than 100 levels")


@dimension("Items of one loop")
def _items(draft: Draft, size: int, above: bool) -> None:
    """Below the limit there are fewer, since each takes its time."""
    count = size if above else draft.chance.choice([1, 500, 2000])
    items = {"withSequence": {"count": str(count)}, "when": "{{item}} < 0"}  # each is looked at, and none runs
    draft.call({"steps": [[{"name": "s", "template": "bye", **items}]]})
    if above:
        draft.said.append("at most 100000 are possible")


@dimension("Templates that call each other, and themselves")
def _calls(draft: Draft, size: int, above: bool) -> None:
    again = {
        "name": "again",
        "template": f"t{len(draft.templates)}",
        "when": "{{inputs.parameters.n}} > 1",
        "arguments": {"parameters": [{"name": "n", "value": "{{=asInt(inputs.parameters.n) - 1}}"}]},
    }
    given = {"parameters": [{"name": "n", "value": str(size - 1)}]}  # the main part is one more
    draft.call(steps("", again, inputs={"parameters": [{"name": "n"}]}), arguments=given)
    if above:
        draft.said.append("Maximum recursion depth exceeded")


@dimension("Steps that an expression takes")
def _expression(draft: Draft, size: int, above: bool) -> None:
    count = size if above else size // 4 - 1  # four steps for each, and one to write the number
    _worked_out(draft, f"len(filter(1..{count}, # > 0))", "more than 200000 steps" if above else "")


@dimension("A text or list that an expression makes")
def _made(draft: Draft, size: int, above: bool) -> None:
    _worked_out(draft, f"len(repeat('x', {size}))", "longer than 4194304" if above else "")


@dimension("An expression")
def _source(draft: Draft, size: int, above: bool) -> None:
    _worked_out(draft, "'" + "x" * (size - 2) + "'", "longer than 65536" if above else "")


@dimension("Parts of an expression")
def _parts(draft: Draft, size: int, above: bool) -> None:
    sums = (size + above) // 2 - (not above)
    _worked_out(draft, "1" + "+1" * sums, "maximum allowed nodes" if above else "")


@dimension("How deep an expression is nested")
def _depth(draft: Draft, size: int, above: bool) -> None:
    _worked_out(draft, "(" * size + "1" + ")" * size, "more than 63 deep" if above else "")


@dimension("All that an expression makes")
def _made_together(draft: Draft, size: int, above: bool) -> None:
    each = (size + 7 * above) // 8 - (not above)
    said = "more than 16777216 items or characters" if above else ""
    _worked_out(draft, " + ".join([f"len(repeat('x', {each}))"] * 8), said)


def _worked_out(draft: Draft, expression: str, said: str) -> None:
    """Two templates deeper: what cannot be worked out, or read, ends the one that it stands in and its caller."""
    number = len(draft.templates)
    draft.call(steps("", {"name": "g", "template": f"t{number + 1}"}))
    given = {"name": "h", "template": f"t{number + 2}", "arguments": _argument(expression)}
    draft.templates += [steps(f"t{number + 1}", given), TAKES | {"name": f"t{number + 2}"}]
    draft.said += [said] if said else []


TAKES = sh("", "true", inputs={"parameters": [{"name": "x"}]})


def _argument(expression: str) -> Tree:
    return {"parameters": [{"name": "x", "value": f"{{{{={expression}}}}}"}]}


@dimension("One output parameter of a step")
def _one_output(draft: Draft, size: int, above: bool) -> None:
    draft.call(sh("", written(1, size), outputs=outputs(1)))
    if above:
        draft.said.append("EXEUNT_OUTPUT_BYTES")


@dimension("All outputs of a step together, with their names")
def _all_outputs(draft: Draft, size: int, above: bool) -> None:
    each = (size + 8 * above) // 9 - len("p0")  # nine of them, as eight would each be above the limit of one
    draft.call(sh("", written(9, each), outputs=outputs(9)))
    if above:
        draft.said.append("EXEUNT_STEP_OUTPUT_BYTES")


@dimension("The `result` of a step with a program")
def _result(draft: Draft, size: int, above: bool) -> None:
    name = f"t{len(draft.templates)}"
    letter = draft.chance.choice(["x", "'\"'", "'\\001'"])
    draft.call(sh("", f"head -c {size} /dev/zero | tr '\\000' {letter}"))
    draft.call(TAKES, arguments=_argument(f"len(steps.{name}.outputs.result)"))


@dimension("The message of a step")
def _message(draft: Draft, size: int, above: bool) -> None:
    draft.call({"container": {"image": "x", "command": ["y" * (size if above else size - 500)]}})
    if above:
        draft.said.append("bytes are left out]")


@dimension("The message of a node that could not be worked out")
def _why(draft: Draft, size: int, above: bool) -> None:
    bad = {"name": "b", "template": "bye", "withParam": draft.value(size if above else size - 500)}
    draft.call(steps("", bad))
    draft.said.append("bytes are left out]" if above else "could not be parsed as a JSON list")


@dimension("`ce-subject` of an event")
def _subject(draft: Draft, size: int, above: bool) -> None:
    draft.call(sh("", "true"), withItems=["ä" * size])


@dimension("Output of a step on its way to a scheduler")
def _output(draft: Draft, size: int, above: bool) -> None:
    draft.call(sh("", f"head -c {size} /dev/zero | tr '\\000' x; seq 1000"))


@dimension("A step with its arguments and secrets")
def _whole(draft: Draft, size: int, above: bool) -> None:
    seen = draft.value(LARGE)
    env = [{"name": f"E{i}", "value": seen} for i in range(size // LARGE + 1 if above else size // LARGE - 2)]
    draft.call({"container": {"image": "x", "command": ["true"], "env": env}})
    if above:
        draft.said.append("can be sent")
