"""The rows of runs: what an engine takes on, and what expressions may cost."""

from __future__ import annotations

import pytest

from exeunt.engine.facts import turn
from exeunt.engine.values.loops import items_of
from exeunt.engine.walk import start
from exeunt.language.manifest import Sequence, Step
from tests.engine.world import World
from tests.sizes.manifests import BYE, Tree, sh, steps, values, workflow
from tests.sizes.walk import Services, row


@row("Templates that call each other, and themselves")
async def calls(most: int, services: Services) -> None:
    again = {
        "name": "again",
        "template": "main",
        "when": "{{inputs.parameters.n}} > 1",
        "arguments": {"parameters": [{"name": "n", "value": "{{=asInt(inputs.parameters.n) - 1}}"}]},
    }
    for depth, phase in ((most, "Succeeded"), (most + 1, "Failed")):
        given = {"parameters": [{"name": "n", "value": str(depth)}]}
        main = steps("main", again, inputs={"parameters": [{"name": "n"}]})
        found = await services.run(workflow("calls", main, BYE, onExit="bye", arguments=given))
        assert found[0] == phase
        assert found[2][".onExit"]["phase"] == "Succeeded"
        said = [node.get("message", "") for node in found[2].values()]
        told = [one for one in said if one.startswith("Maximum recursion depth exceeded") and f"{most} deep" in one]
        assert bool(told) == (phase == "Failed")


@row("Nodes of one workflow, skipped ones too")
async def nodes_of_one(most: int, services: Services) -> None:
    """Through the engine, with less: a quarter of a million takes minutes."""
    assert most == start.MAX_NODES
    services.patch.setattr(start, "MAX_NODES", 50)
    for count, full in ((48, False), (49, True)):  # beside the main part and its group
        each = {"name": "x", "template": "bye", "withSequence": {"count": str(count)}}
        world = World({"entrypoint": "main", "templates": [steps("main", each), BYE]}).run()
        assert world.main.outcome == ("Failed" if full else "Succeeded")
        assert any(start.TOO_MANY_NODES in node.message for node in world.main.nodes) == full


@row("Items of one loop")
async def items(most: int, services: Services) -> None:
    """The largest loop is not run here: a bench does that."""
    assert len(items_of(Step(with_sequence=Sequence(count=str(most))))) == most
    each = {"name": "x", "template": "bye", "withSequence": {"count": str(most + 1)}}
    phase, message, by_name = await services.run(workflow("items", steps("main", each), BYE))
    assert (phase, by_name["[0]"]["phase"]) == ("Failed", "Error")
    assert f"at most {most} are possible" in message


@row("An expression")
async def expression(most: int, services: Services) -> None:
    await _run(services, ["'" + "x" * (most - 2) + "'"], ["'" + "x" * (most - 1) + "'"], f"longer than {most}")


@row("Parts of an expression")
async def parts(most: int, services: Services) -> None:
    half = most // 2
    await _run(services, ["1" + "+1" * (half - 1)], ["1" + "+1" * half], "maximum allowed nodes")


@row("How deep an expression is nested")
async def depth(most: int, services: Services) -> None:
    await _run(services, *(["(" * n + "1" + ")" * n] for n in (most, most + 1)), f"more than {most} deep")


@row("Steps that an expression takes")
async def spent(most: int, services: Services) -> None:
    await _run(
        services,
        *([f"len(filter(1..{n}, # > 0))"] for n in (most // 4 - 1, most // 4 + 1)),  # one more to write the number
        f"takes more than {most} steps",
    )


@row("Steps that all expressions of one template or step take together")
async def spent_together(most: int, services: Services) -> None:
    """A hair above is not refused: what the template's own pass leaves over, the step's pass works out with its own."""
    some = f"len(filter(1..{most // 8 - 1}, # > 0))"
    await _run(services, [some] * 2, [some] * 8, f"together more than {most} steps")


@row("Steps that all expressions of one loop take together; what they make counts as well")
async def spent_by_a_loop(most: int, services: Services) -> None:
    """Through the engine: it takes some seconds."""
    for count, too_much in ((99, False), (102, True)):
        world = World(_loop(f"len(filter(1..{most // 400 - 5}, # > 0))", count)).run()
        said = any(f"take together more than {most:,} steps" in node.message for node in world.main.nodes)
        assert said == too_much


@row("Steps that all expressions of a run take until everything is decided")
async def spent_by_a_decision(most: int, services: Services) -> None:
    """With less: half a minute of a processor is for a bench."""
    assert most == turn.DECISION_STEPS
    services.patch.setattr(turn, "DECISION_STEPS", 1_000_000)
    World(_loop("len(filter(1..900, # > 0))", 200)).run()
    with pytest.raises(turn.TooMuchToDecide, match="more than 1,000,000 steps of expressions"):
        World(_loop("len(filter(1..900, # > 0))", 300)).run()


def _loop(expression: str, count: int) -> Tree:
    each = {"name": "a", "template": "takes", "withSequence": {"count": str(count)}, "arguments": values(1, 0)}
    each["arguments"]["parameters"][0]["value"] = f"{{{{={expression} + asInt(item)}}}}"
    takes = sh("takes", "true", inputs={"parameters": [{"name": "b0"}]})
    return {"entrypoint": "main", "templates": [steps("main", each), takes]}


@row("A text or list that an expression makes")
async def made(most: int, services: Services) -> None:
    await _run(services, *([f"len(repeat('x', {n}))"] for n in (most, most + 1)), f"longer than {most}")


@row("All that an expression makes")
async def made_together(most: int, services: Services) -> None:
    below, above = (" + ".join([f"len(repeat('x', {n}))"] * 8) for n in (most // 8 - 1, most // 8 + 1))
    await _run(services, [below], [above], f"more than {most} items or characters")


async def _run(services: Services, below: list[str], above: list[str], said: str) -> None:
    """What an expression costs is seen when it is worked out."""
    assert (await services.run(_saying(*below)))[0] == "Succeeded"
    phase, message, _ = await services.run(_saying(*above))
    assert phase in ("Error", "Failed")
    assert said in message


def _saying(*expressions: str) -> Tree:
    given = [{"name": f"x{i}", "value": "{{=" + one + "}}"} for i, one in enumerate(expressions)]
    say = sh("say", "true", inputs={"parameters": [{"name": one["name"]} for one in given]})
    return workflow("says", steps("main", {"name": "a", "template": "say", "arguments": {"parameters": given}}), say)
