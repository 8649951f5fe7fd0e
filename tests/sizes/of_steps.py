"""The rows of steps, on an executor alone where the executor keeps them, else on a cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from exeunt.executor import attempts, run_step, session
from exeunt.executor.runtime import group
from exeunt.executor.slots import only_waits
from exeunt.internal.v1 import step_pb2 as pb
from tests.executor import test_sizes as alone
from tests.executor.conftest import Scheduler, inside, shell, step
from tests.executor.test_sizes import files, outputs
from tests.sizes.calls import client, submit
from tests.sizes.manifests import BYE, Tree, text, values, workflow
from tests.sizes.walk import Services, row


@row("A step with its arguments and secrets")
async def whole(most: int, services: Services) -> None:
    size = 256 * 1024
    env = [{"name": f"E{i}", "value": "{{workflow.parameters.b0}}"} for i in range(most // size - 1)]
    env.append({"name": "LAST", "value": "{{workflow.parameters.last}}"})
    main = {"name": "main", "container": {"image": "x", "command": ["true"], "env": env}}
    for last, refused in ((size - 4096, False), (size, True)):  # beside the values there are names, and what is done
        given = values(1, size)
        given["parameters"].append({"name": "last", "value": "w" * last})
        phase, message, found = await services.run(workflow("whole", main, BYE, onExit="bye", arguments=given))
        assert phase == ("Error" if refused else "Failed")  # no program takes as much
        assert (f"at most {most:,} can be sent" in message) == refused, message
        assert found[".onExit"]["phase"] == "Succeeded"


@row("All secrets of one step together")
async def secrets(most: int, services: Services) -> None:
    size = 100_000
    count = most // size + 1
    stored = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"s{i}"}, "stringData": {"k": "x" * size}}
        for i in range(count)
    ]
    async with client(services.cluster) as calls:
        await submit(calls, text(*stored))
    for used, phase in ((count - 1, "Succeeded"), (count, "Error")):
        env: list[Tree] = [
            {"name": f"E{i}", "valueFrom": {"secretKeyRef": {"name": f"s{i}", "key": "k"}}} for i in range(used)
        ]
        main = {"name": "main", "container": {"image": "x", "command": ["true"], "env": env}}
        found = await services.run(workflow("secrets", main, BYE, onExit="bye"))
        assert found[0] == phase, found[1]
        assert (f"{most:,} bytes together" in found[1]) == (phase == "Error")
        assert found[2][".onExit"]["phase"] == "Succeeded"


@row("One output parameter of a step")
async def one_output(most: int, services: Services) -> None:
    async with inside(services.scheduler, services.path):
        below, above = await services.scheduler.run(
            shell("a", files(1, most), outputs=outputs(1)), shell("b", files(1, most + 1), outputs=outputs(1))
        )
    assert (below.phase, [len(p.value) for p in below.parameters]) == ("Succeeded", [most])
    assert above.phase == "Error"
    assert f"output parameter p0: {most + 1} bytes, which is more than the {most}" in above.message
    assert "EXEUNT_OUTPUT_BYTES" in above.message


@row("The `result` of a step with a program")
async def result(most: int, services: Services) -> None:
    def says(name: str, size: int) -> pb.Step:
        return shell(name, f"printf a; head -c {size - 2} /dev/zero | tr '\\000' x; printf z", result=True)

    async with inside(services.scheduler, services.path):
        below, above = await services.scheduler.run(says("a", most), says("b", most + 1))
    assert below.result == "a" + "x" * (most - 2) + "z"
    assert above.result == "x" * (most - 1) + "z"


@row("The `result` of any other step")
async def other_result(_: int, services: Services) -> None:
    """With less: an answer that is larger than the default does not become a result in the first place."""
    async with receiver() as url, inside(services.scheduler, services.path, allow_loopback=True, output_bytes=1000):
        below, above = await services.scheduler.run(_get("a", f"{url}/1000"), _get("b", f"{url}/1001"))
    assert (below.phase, len(below.result)) == ("Succeeded", 1000)
    assert above.phase == "Error"
    assert "the 1000 that an output may have (EXEUNT_OUTPUT_BYTES)" in above.message


@row("The answer of an `http` step as its `result`")
async def answer_as_result(most: int, services: Services) -> None:
    async with receiver() as url, inside(services.scheduler, services.path, allow_loopback=True):
        below, above = await services.scheduler.run(_get("a", f"{url}/{most}"), _get("b", f"{url}/{most + 1}"))
    assert (below.phase, len(below.result), below.message) == ("Succeeded", most, "")
    assert (above.phase, above.result) == ("Succeeded", "")
    assert f"too large for a result ({most} bytes, EXEUNT_RESULT_BYTES)" in above.message


@row("An output of a plugin")
async def output_of_a_plugin(most: int, services: Services) -> None:
    async with receiver() as url, inside(services.scheduler, services.path, plugins=(f"large={url}",)):
        below, above = await services.scheduler.run(_plugin("a", most), _plugin("b", most + 1))
    assert (below.phase, len(below.result)) == ("Succeeded", most)
    assert above.phase == "Failed"
    assert f"larger than {most} bytes (EXEUNT_RESULT_BYTES)" in above.message


@row("An answer that an action reads")
async def answer(most: int, services: Services) -> None:
    async with receiver() as url, inside(services.scheduler, services.path, allow_loopback=True):
        below, above = await services.scheduler.run(_get("a", f"{url}/{most}"), _get("b", f"{url}/{most + 1}"))
    assert below.phase == "Succeeded"
    assert above.phase == "Failed"
    assert f"larger than {most} bytes (EXEUNT_ANSWER_BYTES)" in above.message


@asynccontextmanager
async def receiver() -> AsyncIterator[str]:
    """A server that answers with as many bytes as it is asked for, and a plugin that gives such an output."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * int(request.match_info["size"]))

    async def execute(request: web.Request) -> web.Response:
        given = await request.json()
        size = given["template"]["plugin"]["large"]["size"]
        return web.json_response({"node": {"phase": "Succeeded", "outputs": {"result": "x" * size}}})

    app = web.Application()
    app.add_routes([web.get("/{size}", answer), web.post("/api/v1/template.execute", execute)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _action(name: str, **done: Any) -> pb.Step:
    made = step(name)
    made.ClearField("container")
    made.MergeFrom(pb.Step(**done))
    return made


def _get(name: str, url: str) -> pb.Step:
    return _action(name, http=pb.HttpWork(method="GET", url=url))


def _plugin(name: str, size: int) -> pb.Step:
    given = {"size": size}
    template = json.dumps({"name": "t", "plugin": {"large": given}})
    return _action(name, plugin=pb.PluginWork(name="large", arguments_json=json.dumps(given), template_json=template))


@row("All outputs of a step together, with their names")
async def all_outputs(most: int, services: Services) -> None:
    size = most // 8 - len("p0")
    async with inside(services.scheduler, services.path):
        below, above = await services.scheduler.run(
            shell("a", files(8, size), outputs=outputs(8)), shell("b", files(8, size + 1), outputs=outputs(8))
        )
    assert (below.phase, len(below.parameters)) == ("Succeeded", 8)
    assert (above.phase, len(above.parameters)) == ("Error", 0)
    assert f"more than the {most} bytes" in above.message
    assert "EXEUNT_STEP_OUTPUT_BYTES" in above.message


@row("The message of a step")
async def message(most: int, services: Services) -> None:
    async with inside(services.scheduler, services.path):
        [short] = await services.scheduler.run(step("a", "y" * 1000))
        rest = len(short.message.encode()) - 1000
        below, above = await services.scheduler.run(step("b", "y" * (most - rest)), step("c", "y" * (most - rest + 1)))
    assert len(below.message.encode()) == most
    assert "left out" not in below.message
    assert above.message.endswith("bytes are left out]")
    assert len(above.message.encode()) <= most


@row("Last lines that come with a step's result")
async def last_lines(most: int, services: Services) -> None:
    def says(name: str, lines: int, characters: int) -> pb.Step:
        made = f"for n in $(seq {lines}); do printf a; head -c {characters - 1} /dev/zero | tr '\\000' b; echo; done"
        return shell(name, f"{made}; exit 1")

    async with inside(services.scheduler, services.path):
        below, above, long = await services.scheduler.run(
            says("a", most, 2000), says("b", most + 1, 2000), says("c", 1, 2001)
        )
    assert list(below.log_tail) == list(above.log_tail) == ["a" + "b" * 1999] * most
    assert list(long.log_tail) == ["b" * 2000]


@row("Output of a step on its way to a scheduler")
async def output(most: int, services: Services) -> None:
    await alone.test_without_a_scheduler_a_step_goes_on_and_its_last_lines_are_kept(services.scheduler, services.path)


@row("A frame from an executor")
async def frame(most: int, services: Services) -> None:
    assert most == session.FRAME_BYTES
    await alone.test_many_large_results_go_in_several_frames(services.scheduler, services.path)


@row("Attempts that an executor knows besides those in its slots")
async def known(most: int, services: Services) -> None:
    """With three: ten thousand steps take minutes."""
    assert most == attempts.MOST_KNOWN
    services.patch.setattr(attempts, "MOST_KNOWN", 3)
    scheduler = services.scheduler
    scheduler.acknowledges = False
    async with inside(scheduler, services.path, slots=4, exit_slots=1):
        await scheduler.run(*(step(f"n{n}", "true") for n in range(7)))
        await scheduler.until(lambda: scheduler.credits > 0)
        await scheduler.run(step("n7", "true"))
        await scheduler.until(lambda: scheduler.credits == 0)
        await scheduler.say(acknowledged=list(scheduler.results))
        await scheduler.until(lambda: scheduler.credits > 0)


@row("Steps of an executor that wait for a workflow and have no slot")
async def without_slot(most: int, services: Services) -> None:
    """With two, and steps that only say that they wait."""
    assert most == attempts.MOST_WAITING
    services.patch.setattr(attempts, "MOST_WAITING", 2)

    async def waits(*_: Any) -> pb.StepResult:
        only_waits.get()()
        await asyncio.Event().wait()
        raise AssertionError

    services.patch.setattr(run_step.StepWork, "_run", waits)
    scheduler = services.scheduler
    async with inside(scheduler, services.path, slots=1, exit_slots=1):
        for n in range(3):
            await scheduler.until(lambda: scheduler.credits == 1)
            await scheduler.say(dispatches=[step(f"n{n}", "true")])
        await scheduler.until(lambda: scheduler.credits == 0)


@row("Reading the output files of a step")
async def reading(most: int, services: Services) -> None:
    """As with a file system that does not answer."""
    assert most == run_step.READ_SECONDS
    services.patch.setattr(run_step, "READ_SECONDS", 0.5)
    reads = run_step.conclude

    async def slow(given: pb.Step, *args: Any, **more: Any) -> pb.StepResult:
        if given.node == "slow":
            await asyncio.Event().wait()
        return await reads(given, *args, **more)

    services.patch.setattr(run_step, "conclude", slow)
    async with inside(services.scheduler, services.path):
        below, above = await services.scheduler.run(step("quick", "true"), step("slow", "true"))
    assert below.phase == "Succeeded"
    assert above.phase == "Error"
    assert "could not be read in 0.5 s" in above.message


@row("The time from SIGKILL until a step is gone")
async def killed(most: int, services: Services) -> None:
    """As with a process that the kernel holds: the signal does not reach it until the step is over."""
    assert most == group.UNKILLABLE_SECONDS
    services.patch.setattr(group, "UNKILLABLE_SECONDS", 1.0)
    async with inside(services.scheduler, services.path):
        await services.scheduler.ready()
        assert "is there all the same" not in await _ended(services.scheduler, "below")
        services.patch.setattr(group.Process, "_signal", lambda *_: None)
        assert "was killed 1 s ago and is there all the same" in await _ended(services.scheduler, "above")
        services.patch.undo()


async def _ended(scheduler: Scheduler, name: str) -> str:
    """What is said of a step that is cancelled."""
    await scheduler.say(dispatches=[shell(name, "echo up; sleep 5", grace_seconds=0.1)])
    id = f"u1/{name}/0"
    await scheduler.until(lambda: scheduler.output(id))
    await scheduler.say(cancels=[id])
    await scheduler.until(lambda: id in scheduler.results)
    return scheduler.results[id].message
