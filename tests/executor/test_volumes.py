"""Volumes of steps on a real executor, in both local runtimes: what a container finds where, and what is left after."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.executor.claims import Claims
from exeunt.executor.host_paths import HostPaths
from exeunt.executor.mount_links import MountLinks
from exeunt.executor.runtime.base import Bind, NotStarted
from exeunt.executor.runtime.sandbox.probe import probe
from exeunt.executor.secrets import StepSecrets
from exeunt.executor.volume_files import VolumeProblem, projected_files
from exeunt.executor.volumes import VolumeContext, open_volumes
from exeunt.internal.v1 import step_pb2 as pb
from tests.executor.conftest import Scheduler, Service, inside, shell

SANDBOX = probe().problem
RUNTIMES = [
    "process",
    pytest.param("sandbox", marks=pytest.mark.skipif(bool(SANDBOX), reason=f"no sandbox here: {SANDBOX}")),
]


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Where the process runtime may put links: a directory that no other test has."""
    made = tmp_path / "mnt"
    made.mkdir()
    return made


@pytest.fixture
async def works(scheduler: Scheduler, tmp_path: Path, runtime: str) -> AsyncIterator[Scheduler]:
    """A scheduler with an executor of this runtime, which allows paths of the machine below `host`."""
    (tmp_path / "host").mkdir()
    (tmp_path / "named").mkdir()
    changes: dict[str, Any] = {
        "runtime": runtime,
        "host_paths": (str(tmp_path / "host"),),
        "named_claims": (f"shared={tmp_path / 'named'}",),
    }
    async with inside(scheduler, tmp_path / "executor", **changes):
        await scheduler.ready()
        yield scheduler


def mounting(name: str, text: str, mounts: list[pb.VolumeMount], *volumes: pb.Volume, **more: Any) -> pb.Step:
    """A step of shell with volumes."""
    made = shell(name, text, **more)
    made.container.mounts.extend(mounts)
    made.volumes.extend(volumes)
    return made


def at(volume: str, path: Path | str, **more: Any) -> pb.VolumeMount:
    return pb.VolumeMount(volume=volume, path=str(path), **more)


def empty(name: str = "work", **more: Any) -> pb.Volume:
    return pb.Volume(name=name, kind="empty", **more)


def files(name: str, *sources: pb.VolumeFiles, mode: int = 0o644) -> pb.Volume:
    return pb.Volume(name=name, kind="files", files=sources, mode=mode, read_only=True)


async def one(scheduler: Scheduler, step: pb.Step) -> tuple[pb.StepResult, str]:
    """How a step ended, and what it wrote."""
    [result] = await scheduler.run(step)
    return result, scheduler.output(step.id)


def left_in(directory: Path) -> list[str]:
    return [str(path) for path in directory.rglob("*")]


async def test_an_empty_volume_is_empty_for_each_step_and_gone_after_it(works: Scheduler, base: Path) -> None:
    text = f"ls {base}/vol; echo x >{base}/vol/x; cat {base}/vol/x; stat -c %a {base}/vol/."
    for name in ("a", "b"):
        result, output = await one(works, mounting(name, text, [at("work", base / "vol")], empty()))
        assert (result.phase, output) == ("Succeeded", "x\n777\n")
    assert left_in(base) == []


async def test_outputs_are_read_from_a_volume(works: Scheduler, base: Path) -> None:
    made = mounting("a", f"echo x >{base}/vol/x", [at("work", base / "vol")], empty())
    made.outputs.add(name="x", path=f"{base}/vol/x")
    result, _ = await one(works, made)
    assert [(p.name, p.value) for p in result.parameters] == [("x", "x")]


async def test_directories_on_the_way_are_made_and_go(works: Scheduler, base: Path) -> None:
    made = mounting("a", f"echo x >{base}/p/q/vol/x", [at("work", base / "p/q/vol")], empty())
    assert (await one(works, made))[0].phase == "Succeeded"
    assert left_in(base) == []


async def test_keys_of_config_maps_and_secrets_are_files(works: Scheduler, base: Path) -> None:
    every = files(
        "every",
        pb.VolumeFiles(config_map="c", every=True),
        pb.VolumeFiles(secret="s", files=[pb.VolumeFile(path="deep/token", key="token", mode=0o400)]),
        pb.VolumeFiles(files=[pb.VolumeFile(path="a", text="over")]),
        mode=0o640,
    )
    text = f"cd {base}/conf; cat a deep/token; wc -c <b; stat -c %a b deep/token"
    made = mounting("a", text, [at("every", base / "conf")], every)
    made.config_maps.add(name="c", values={"a": b"1\n", "b": b"\xff2\n"})
    made.secrets.add(name="s", values={"token": b"hush-4711"})
    result, output = await one(works, made)
    assert result.phase == "Succeeded", result.message
    assert output == "over***3\n640\n400\n"


async def test_what_is_missing_is_an_error_unless_it_may_be(works: Scheduler, base: Path) -> None:
    missing = pb.VolumeFiles(secret="s", every=True)
    made = mounting("a", "true", [at("v", base / "v")], files("v", missing))
    made.secrets.add(name="s", missing=True)
    result, _ = await one(works, made)
    assert (result.phase, result.message) == (
        "Error", "volume 'v': there is no secret 's' in the workflow's namespace"
    )  # fmt: skip
    key = pb.VolumeFiles(config_map="c", files=[pb.VolumeFile(path="a", key="nope")])
    made = mounting("b", "true", [at("v", base / "v")], files("v", key))
    made.config_maps.add(name="c", values={"a": b"1"})
    result, _ = await one(works, made)
    assert (result.phase, result.message) == ("Error", "volume 'v': the ConfigMap 'c' has no key 'nope'")
    missing.optional = True
    made = mounting("c", f"ls {base}/v", [at("v", base / "v")], files("v", missing))
    made.secrets.add(name="s", missing=True)
    assert (await one(works, made)) == (works.results["u1/c/0"], "")
    assert works.results["u1/c/0"].phase == "Succeeded"


@pytest.mark.parametrize("path", ["../out", "/etc/x", "a/../../x", "", ".", "a\0b"])
async def test_a_file_cannot_leave_its_volume(works: Scheduler, base: Path, path: str) -> None:
    source = pb.VolumeFiles(files=[pb.VolumeFile(path=path, text="x")])
    result, _ = await one(works, mounting("a", "true", [at("v", base / "v")], files("v", source)))
    assert result.phase == "Error"
    assert "volume 'v': " in result.message


async def test_a_part_of_a_volume_by_sub_path(works: Scheduler, base: Path, tmp_path: Path) -> None:
    named = tmp_path / "named"
    (named / "one").mkdir()
    (named / "one/f").write_text("f\n")
    volume = pb.Volume(name="c", kind="named claim", path="shared")
    mounts = [
        at("c", base / "d", sub_path="one"),
        at("c", base / "file", sub_path="one/f"),
        at("c", base / "new", sub_path="$(DAY)/deep", expand=True),
    ]
    text = f"cat {base}/d/f {base}/file; echo y >{base}/new/y"
    result, output = await one(works, mounting("a", text, mounts, volume, env={"DAY": "monday"}))
    assert (result.phase, output) == ("Succeeded", "f\nf\n"), result.message
    assert (named / "monday/deep/y").read_text() == "y\n"
    assert left_in(base) == []


@pytest.mark.parametrize(
    ("sub_path", "said"),
    [
        ("../named2", "'..' is not allowed"),
        ("/etc", "must be relative"),
        ("away", "a link leads out of the volume"),
        ("away/passwd", "a link leads out of the volume"),
        ("deep/away", "a link leads out of the volume"),
        ("$(NOPE)", "names a variable that the container has not got"),
    ],
)
async def test_a_sub_path_cannot_leave_its_volume(
    works: Scheduler, base: Path, tmp_path: Path, sub_path: str, said: str
) -> None:
    named = tmp_path / "named"
    (named / "away").symlink_to("/etc")
    (named / "deep").mkdir()
    (named / "deep/away").symlink_to("../../host")
    volume = pb.Volume(name="c", kind="named claim", path="shared")
    mounts = [at("c", base / "d", sub_path=sub_path, expand="$" in sub_path)]
    result, _ = await one(works, mounting("a", f"ls {base}/d", mounts, volume))
    assert result.phase == "Error"
    assert said in result.message


async def test_links_inside_a_volume_are_followed(works: Scheduler, base: Path, tmp_path: Path) -> None:
    named = tmp_path / "named"
    (named / "v2").mkdir()
    (named / "v2/x").write_text("x\n")
    (named / "latest").symlink_to("v2")
    volume = pb.Volume(name="c", kind="named claim", path="shared")
    step = mounting("a", f"cat {base}/d/x", [at("c", base / "d", sub_path="latest")], volume)
    assert (await one(works, step))[1] == "x\n"


async def test_a_named_claim_that_nobody_has_made(works: Scheduler, base: Path) -> None:
    volume = pb.Volume(name="c", kind="named claim", path="nobody's")
    result, _ = await one(works, mounting("a", "true", [at("c", base / "d")], volume))
    assert result.phase == "Error"
    assert "knows no persistentVolumeClaim 'nobody's'" in result.message
    assert "--named-claims nobody's=DIRECTORY" in result.message


async def test_a_path_of_the_machine(works: Scheduler, base: Path, tmp_path: Path) -> None:
    made = pb.Volume(name="h", kind="host", path=f"{tmp_path}/host/new", type="DirectoryOrCreate")
    result, _ = await one(works, mounting("a", f"echo x >{base}/h/x", [at("h", base / "h")], made))
    assert result.phase == "Succeeded", result.message
    assert (tmp_path / "host/new/x").read_text() == "x\n"


@pytest.mark.parametrize(
    "case",
    [
        ("/etc", "", "is not allowed on this executor"),
        ("{}/host/../x", "", "must be absolute, and without '..'"),
        ("{}/host/away", "", "is not allowed on this executor"),
        ("{}/host/away/new", "DirectoryOrCreate", "is not allowed on this executor"),
        ("{}/host/none", "", "is not there"),
        ("{}/host/none", "Directory", "is not a directory"),
        ("{}/host/file", "Directory", "is not a directory"),
        ("{}/host/file", "Sucket", "is not known"),
    ],
)
async def test_a_path_of_the_machine_that_is_not_to_be_had(
    works: Scheduler, base: Path, tmp_path: Path, case: tuple[str, str, str]
) -> None:
    path, type, said = case
    (tmp_path / "host/away").symlink_to(tmp_path / "named")
    (tmp_path / "host/file").write_text("x")
    volume = pb.Volume(name="h", kind="host", path=path.format(tmp_path), type=type)
    result, _ = await one(works, mounting("a", "true", [at("h", base / "h")], volume))
    assert result.phase == "Error"
    assert said in result.message
    assert left_in(tmp_path / "named") == []


async def test_parts_and_kinds_of_paths_of_the_machine(works: Scheduler, base: Path, tmp_path: Path) -> None:
    host = tmp_path / "host"
    (host / "d").mkdir()
    (host / "d/x").write_text("x\n")
    (host / "d/up").symlink_to("..")
    volumes = [
        pb.Volume(name="d", kind="host", path=f"{host}/d", type="Directory"),
        pb.Volume(name="f", kind="host", path=f"{host}/new", type="FileOrCreate"),
        pb.Volume(name="all", kind="host", path=str(host)),
    ]
    mounts = [at("d", base / "x", sub_path="x"), at("f", base / "f"), at("all", base / "all")]
    text = f"cat {base}/x {base}/all/d/x; echo y >{base}/f"
    result, output = await one(works, mounting("a", text, mounts, *volumes))
    assert (result.phase, output) == ("Succeeded", "x\nx\n"), result.message
    assert (host / "new").read_text() == "y\n"
    result, _ = await one(works, mounting("b", "true", [at("d", base / "up", sub_path="up")], volumes[0]))
    assert (result.phase, result.message) == ("Error", "volume 'd': subPath 'up': a link leads out of the volume")


async def test_too_much_in_a_volume_ends_the_step(works: Scheduler, base: Path) -> None:
    text = f"head -c 3000000 /dev/zero >{base}/v/x; sleep 100"
    made = mounting("a", text, [at("work", base / "v")], empty(bytes=1_000_000))
    result, _ = await one(works, made)
    assert (result.phase, result.message) == (
        "Failed", "Usage of EmptyDir volume 'work' exceeds the limit of 1,000,000 bytes"
    )  # fmt: skip


async def test_steps_of_one_path_do_not_meet(works: Scheduler, base: Path) -> None:
    text = f"ls {base}/v; echo x >{base}/v/x; sleep 0.1; ls {base}/v"
    steps = [mounting(f"s{n}", text, [at("work", base / "v")], empty()) for n in range(4)]
    results = await works.run(*steps)
    assert [r.phase for r in results] == ["Succeeded"] * 4
    assert [works.output(s.id) for s in steps] == ["x\n"] * 4


async def test_volumes_in_each_other(works: Scheduler, base: Path) -> None:
    text = f"echo x >{base}/v/x; echo y >{base}/v/in/y; cat {base}/v/x {base}/v/in/y"
    mounts = [at("inner", base / "v/in"), at("outer", base / "v")]
    result, output = await one(works, mounting("a", text, mounts, empty("outer"), empty("inner")))
    assert (result.phase, output) == ("Succeeded", "x\ny\n"), result.message


async def test_a_step_that_is_cancelled_leaves_nothing(works: Scheduler, base: Path, tmp_path: Path) -> None:
    step = mounting("a", f"echo here >{base}/v/x; cat {base}/v/x; sleep 100", [at("work", base / "v")], empty())
    await works.say(dispatches=[step])
    await works.until(lambda: works.output(step.id))
    await works.say(cancels=[step.id])
    await works.until(lambda: step.id in works.results)
    assert (await one(works, mounting("b", f"ls {base}/v", [at("work", base / "v")], empty())))[1] == ""
    assert left_in(base) == []


class TestOfTheProcessRuntime:
    """Where steps see the machine's files, a mount is a link; nothing that stands there is ever hidden."""

    async def test_what_stands_at_the_path_is_not_hidden(self, scheduler: Scheduler, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        (tmp_path / "there/x").write_text("kept")
        async with inside(scheduler, tmp_path / "executor"):
            result, _ = await one(scheduler, mounting("a", "true", [at("work", tmp_path / "there")], empty()))
        assert result.phase == "Error"
        assert "is on this machine already" in result.message
        assert "--runtime sandbox" in result.message
        assert (tmp_path / "there/x").read_text() == "kept"

    async def test_links_of_an_executor_that_was_killed_are_removed(self, scheduler: Scheduler, tmp_path: Path) -> None:
        step = mounting("a", "echo here; sleep 100", [at("work", tmp_path / "p/v")], empty())
        async with Service(scheduler, tmp_path / "executor") as service:
            await scheduler.ready()
            await scheduler.say(dispatches=[step])
            await scheduler.until(lambda: scheduler.output(step.id))
            assert (tmp_path / "p/v").is_symlink()
            await service.end(9)
        scheduler.connected = False
        async with inside(scheduler, tmp_path / "executor"):
            await scheduler.ready()
            assert not (tmp_path / "p").exists()
            again = mounting("b", f"ls {tmp_path}/p/v", [at("work", tmp_path / "p/v")], empty())
            assert (await one(scheduler, again))[0].phase == "Succeeded"


class TestOfTheSandbox:
    """Where steps have mounts of their own, paths are free, and what is read only is."""

    pytestmark = pytest.mark.skipif(bool(SANDBOX), reason=f"no sandbox here: {SANDBOX}")

    async def test_read_only_is(self, scheduler: Scheduler, tmp_path: Path) -> None:
        source = pb.VolumeFiles(files=[pb.VolumeFile(path="a", text="x\n")])
        mounts = [at("v", "/etc/conf"), at("work", "/mnt/work", read_only=True)]
        text = "cat /etc/conf/a; touch /etc/conf/b || echo no; touch /mnt/work/b || echo no"
        async with inside(scheduler, tmp_path / "executor", runtime="sandbox"):
            step = mounting("a", text, mounts, files("v", source), empty())
            result, output = await one(scheduler, step)
        assert result.phase == "Succeeded", result.message
        assert [line for line in output.splitlines() if "touch" not in line] == ["x", "no", "no"]

    async def test_volumes_lie_over_the_machines_own_paths(self, scheduler: Scheduler, tmp_path: Path) -> None:
        paths = ["/tmp/v", "/dev/shm", "/usr/share/exeunt-test", "/home"]
        text = "; ".join(f"echo x >{path}/x" for path in paths) + "; grep -c exeunt-test /proc/mounts"
        mounts = [at("work", path, sub_path=str(n)) for n, path in enumerate(paths)]
        async with inside(scheduler, tmp_path / "executor", runtime="sandbox"):
            result, output = await one(scheduler, mounting("a", text, mounts, empty(memory=True)))
        assert (result.phase, output) == ("Succeeded", "1\n"), result.message
        assert not os.path.lexists("/usr/share/exeunt-test")  # noqa: ASYNC240 - it is a moment

    async def test_a_part_is_not_changed_for_a_link_while_it_is_mounted(
        self, scheduler: Scheduler, tmp_path: Path
    ) -> None:
        """One step changes a directory for a link out of the volume, again and again, while others mount it."""
        named, secret = tmp_path / "named", tmp_path / "secret"
        named.mkdir()
        secret.mkdir()
        (secret / "hush").write_text("hush")
        volume = pb.Volume(name="c", kind="named claim", path="shared")
        swap = f"cd /v; while true; do mkdir -p d; rmdir d; ln -sfn {secret} d; rm d; done"
        settings = {"runtime": "sandbox", "named_claims": (f"shared={named}",), "slots": 8, "host_paths": (str(named),)}
        path = pb.Volume(name="h", kind="host", path=f"{named}/d")
        async with inside(scheduler, tmp_path / "executor", **settings):
            await scheduler.ready()
            await scheduler.say(dispatches=[mounting("swap", swap, [at("c", "/v")], volume)])
            readers = [mounting(f"r{n}", "ls /d", [at("c", "/d", sub_path="d")], volume) for n in range(30)]
            readers += [mounting(f"h{n}", "ls /d", [at("h", "/d")], path) for n in range(30)]
            results = await asyncio.gather(*(one(scheduler, each) for each in readers))
            await scheduler.say(forgotten=["u1/swap/0"])
        assert not [output for _, output in results if "hush" in output]
        assert {result.phase for result, _ in results} <= {"Succeeded", "Error"}


async def test_what_is_in_volumes_is_the_executors_alone(scheduler: Scheduler, tmp_path: Path) -> None:
    async with inside(scheduler, tmp_path / "executor"):
        await scheduler.ready()
        assert stat.S_IMODE((tmp_path / "executor/volumes").stat().st_mode) == 0o700


class TestClaims:
    """Volumes of workflows: kept over restarts, released for good."""

    async def test_a_workflow_finds_what_it_left(self, scheduler: Scheduler, tmp_path: Path) -> None:
        claim = pb.Volume(name="w", kind="claim", path="work")
        path = tmp_path / "w"
        async with inside(scheduler, tmp_path / "executor"):
            await one(scheduler, mounting("a", f"echo x >{path}/x", [at("w", path)], claim))
        scheduler.connected = False
        async with inside(scheduler, tmp_path / "executor"):
            await scheduler.ready()
            assert list(scheduler.hellos[-1].hello.claims) == ["u1"]
            result, output = await one(
                scheduler, mounting("b", f"cat {path}/x", [at("w", path)], claim, claims_made=True)
            )
            assert (result.phase, output) == ("Succeeded", "x\n")
            await scheduler.say(released=["u1", "u2"])
            result, _ = await one(scheduler, mounting("c", "true", [at("w", path)], claim, claims_made=True))
        assert result.phase == "Error"
        assert "what the workflow had in it is gone from this executor" in result.message
        assert left_in(tmp_path / "executor/claims") == [str(tmp_path / "executor/claims/.gone")]

    async def test_schedulers_hear_of_new_ones(self, scheduler: Scheduler, tmp_path: Path) -> None:
        claim = pb.Volume(name="w", kind="claim", path="work")
        async with inside(scheduler, tmp_path / "executor"):
            await one(scheduler, mounting("a", "true", [at("w", tmp_path / "w")], claim))
            await scheduler.until(lambda: "u1" in scheduler.claims)

    @pytest.mark.parametrize("part", ["..", "a/b", "", ".gone", "a" * 300, "a\0b", "-a"])
    def test_odd_names_are_no_paths(self, tmp_path: Path, part: str) -> None:
        claims = Claims(tmp_path)
        for names in ((part, "u", "n"), ("d", part, "n"), ("d", "u", part)):
            with pytest.raises(VolumeProblem, match="cannot be part of a path"):
                claims.place(*names, made=False)
        assert left_in(tmp_path) == [str(tmp_path / ".gone")]
        claims.close()

    def test_there_is_a_bound(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("exeunt.executor.claims.MOST_WORKFLOWS", 1)
        claims = Claims(tmp_path)
        claims.place("d", "u1", "n", made=False)
        claims.place("d", "u1", "m", made=True)
        with pytest.raises(VolumeProblem, match="1 workflows have volumes on this executor, and more are not allowed"):
            claims.place("d", "u2", "n", made=False)
        claims.release(["u1"])
        assert claims.place("d", "u2", "n", made=False).is_dir()
        claims.close()


def context(directory: Path) -> VolumeContext:
    return VolumeContext(directory, secrets.token_hex(4), Claims(directory / "claims"), HostPaths(()), {})


async def test_a_path_of_a_container_leads_into_the_deepest_volume(tmp_path: Path) -> None:
    made = mounting("a", "", [at("o", "/v"), at("i", "/v/in"), at("o", "/part", sub_path="p")], empty("o"), empty("i"))
    async with open_volumes(context(tmp_path)) as volumes, volumes.made(made, StepSecrets(made)) as step:
        await step.binds("a", made.container, {})
        outer, inner = step.made["o"].path, step.made["i"].path
        found = {path: step.place_of("a", path) for path in ("/v", "/v/x/y", "/v/in/../in/z", "/vx", "/etc")}
        assert found == {
            "/v": (outer, "."), "/v/x/y": (outer, "x/y"), "/v/in/../in/z": (inner, "z"), "/vx": None, "/etc": None
        }  # fmt: skip
        part = step.place_of("a", "/part/x")
        assert part is not None
        assert os.path.samefile(part[0], f"{outer}/p")  # noqa: ASYNC240 - it is a moment


async def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source = pb.VolumeFiles(files=[pb.VolumeFile(path="a", text="x")])
    made = mounting("a", "", [at("e", "/e"), at("v", "/v")], empty("e"), files("v", source))
    async with open_volumes(context(tmp_path)) as volumes:
        monkeypatch.setattr(os, "fchmod", full)
        with pytest.raises(NotStarted, match="volume 'v' cannot be made: No space left on device"):
            async with volumes.made(made, StepSecrets(made)):
                pass
    assert left_in(tmp_path / "volumes") == []


class TestLinks:
    """What of the machine's files is touched: nothing that was there."""

    def test_what_came_to_stand_there_meanwhile_stays(self, tmp_path: Path) -> None:
        links, target = MountLinks(tmp_path / "notes"), tmp_path / "a/b/v"
        (tmp_path / "source").mkdir()
        links.put("1", [Bind(str(tmp_path / "source"), str(target))])
        target.unlink()
        target.write_text("somebody's")
        links.take_away("1")
        assert target.read_text() == "somebody's"

    def test_steps_that_share_a_directory_that_is_not_there_take_turns(self, tmp_path: Path) -> None:
        links = MountLinks(tmp_path / "notes")
        shared = str(tmp_path / "new")
        assert links.turns([f"{shared}/a", f"{shared}/b/c"]) == (shared,)
        links.put("1", [Bind(str(tmp_path), f"{shared}/a")])
        assert links.turns([f"{shared}/b/c", f"{tmp_path}/x"]) == (shared, f"{tmp_path}/x")
        links.take_away("1")
        assert not os.path.lexists(shared)

    def test_if_one_cannot_be_made_none_is(self, tmp_path: Path) -> None:
        links = MountLinks(tmp_path / "notes")
        (tmp_path / "there").mkdir()
        binds = [Bind(str(tmp_path), str(tmp_path / "new/v")), Bind(str(tmp_path), str(tmp_path / "there"))]
        with pytest.raises(VolumeProblem, match="is on this machine already"):
            links.put("1", binds)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "there"]
        assert left_in(tmp_path / "notes") == []


@given(st.lists(st.text(max_size=12) | st.text("./ab", max_size=8), max_size=5))
def test_no_file_of_a_volume_lies_outside_of_it(paths: list[str]) -> None:
    source = pb.VolumeFiles(files=[pb.VolumeFile(path=path, text="x") for path in paths])
    with contextlib.suppress(VolumeProblem):
        found = [os.path.normpath(path) for path in projected_files(files("v", source), pb.Step(), lambda _: {})]
        assert not [path for path in found if path in {".", ".."} or path.startswith(("../", "/"))]
        assert not [one for one in found for other in found if one.startswith(f"{other}/")], "a file in a file"


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="this machine has no directory in memory")
async def test_secrets_are_not_on_the_disk_while_a_step_has_them(works: Scheduler, base: Path, tmp_path: Path) -> None:
    volume = files("s", pb.VolumeFiles(secret="s", every=True))
    step = mounting("a", f"test -s {base}/s/token && echo here; sleep 100", [at("s", base / "s")], volume)
    step.secrets.add(name="s", values={"token": b"hush-4711"})
    await works.say(dispatches=[step])
    await works.until(lambda: "here" in works.output(step.id))
    found = [path for path in (tmp_path / "executor").rglob("*") if path.is_file() and not path.is_symlink()]
    assert found
    assert not [path for path in found if b"hush-4711" in path.read_bytes()]
    await works.say(cancels=[step.id])
    await works.until(lambda: step.id in works.results)
