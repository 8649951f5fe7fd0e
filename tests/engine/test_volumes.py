"""What a step is given of volumes, and what a run knows of where the workflow's own ones are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exeunt.engine import decide
from exeunt.engine.facts import commit
from exeunt.engine.facts.claims import ClaimsHome
from exeunt.engine.facts.events import HookDue, RunClosed
from exeunt.engine.facts.volumes import FilesOf, StepMount, StepVolume, VolumeFile
from exeunt.engine.facts.work import StepOutcome
from exeunt.language.manifest import Bundle, ConfigMap
from tests.engine.world import World, bundle_of, failing, written

CONFIG = {"metadata": {"name": "conf"}, "data": {"a": "1"}, "binaryData": {"b": "/w=="}}


def bundle(volumes: list[Any], mounts: list[Any], template: dict[str, Any] | None = None, **spec: Any) -> Bundle:
    main = {"name": "main", "container": {"image": "a", "volumeMounts": mounts}, **(template or {})}
    made = bundle_of({"entrypoint": "main", "volumes": volumes, "templates": [main], **spec})
    return msgspec.structs.replace(made, config_maps=[msgspec.convert(CONFIG, ConfigMap, strict=False)])


def given(*args: Any, **more: Any) -> Any:
    world = World({}, bundle=bundle(*args, **more))
    [due] = world.steps.values()
    return due.step


def problem(*args: Any, **more: Any) -> str:
    run = World({}, bundle=bundle(*args, **more)).main
    assert run.phase == "Error"
    return run.message


def at(name: str, path: str = "/v", **more: Any) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **more}


def test_only_what_is_mounted_goes_along_and_the_templates_own_comes_first() -> None:
    volumes = [{"name": "a"}, {"name": "b", "emptyDir": {"medium": "Memory", "sizeLimit": "1Ki"}}]
    own = {"volumes": [{"name": "a", "hostPath": {"path": "/{{workflow.name}}", "type": "File"}}]}
    step = given(volumes, [at("a"), at("b", "/b", subPathExpr="$(X)", readOnly=True), at("b", "/c")], own)
    assert step.volumes == [
        StepVolume(name="a", kind="host", path="/w", type="File"),
        StepVolume(name="b", kind="empty", bytes=1024, memory=True),
    ]
    assert step.work.mounts == [
        StepMount(volume="a", path="/v"),
        StepMount(volume="b", path="/b", sub_path="$(X)", expand=True, read_only=True),
        StepMount(volume="b", path="/c"),
    ]


def test_variables_of_the_workflow_are_put_into_its_volumes() -> None:
    volumes = [{"name": "a", "persistentVolumeClaim": {"claimName": "c-{{workflow.uid}}-{{pod.name}}"}}]
    [volume] = given(volumes, [at("a")]).volumes
    assert volume == StepVolume(name="a", kind="named claim", path="c-uid-w")


def test_files_of_all_sources() -> None:
    sources = [
        {"configMap": {"name": "conf", "items": [{"key": "a", "path": "x/a", "mode": 256}]}},
        {"secret": {"name": "s", "optional": True}},
        {"downwardAPI": {"items": [
            {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
            {"path": "team", "fieldRef": {"fieldPath": "metadata.labels['team']"}},
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "none", "fieldRef": {"fieldPath": "metadata.annotations['none']"}},
        ]}},
    ]  # fmt: skip
    volumes = [{"name": "a", "projected": {"defaultMode": 384, "sources": sources}}]
    more = {
        "template": {"metadata": {"labels": {"team": 're"d'}}},
        "podMetadata": {"labels": {"of": "{{workflow.name}}"}},
    }
    [volume] = given(volumes, [at("a")], **more).volumes
    labels = 'of="w"\nteam="re\\"d"\nworkflows.argoproj.io/completed="false"\nworkflows.argoproj.io/workflow="w"'
    assert (volume.kind, volume.mode, volume.read_only) == ("files", 0o600, True)
    assert volume.files == [
        FilesOf(config_map="conf", files=[VolumeFile(path="x/a", key="a", mode=0o400)]),
        FilesOf(secret="s", optional=True, every=True),
        FilesOf(files=[
            VolumeFile(path="name", text="w"), VolumeFile(path="team", text='re"d'),
            VolumeFile(path="labels", text=labels), VolumeFile(path="none", text=""),
        ]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("volume", "mount", "words"),
    [
        ({"name": "b"}, {}, "volume 'a' not found in workflow spec"),
        ({"name": "a", "configMap": {"name": "none"}}, {}, "volume 'a': there is no ConfigMap none"),
        (
            {"name": "a", "configMap": {"name": "conf", "items": [{"key": "z", "path": "z"}]}},
            {},
            "volume 'a': ConfigMap conf has no key z",
        ),
        ({"name": "a", "emptyDir": {"sizeLimit": "{{workflow.name}}"}}, {}, "volume 'a': 'w' is no quantity"),
        ({"name": "a"}, {"subPath": "../b"}, "volumeMounts: a: subPath '../b' leads out of the volume"),
    ],
)
def test_what_cannot_be_is_the_nodes_error(volume: Any, mount: Any, words: str) -> None:
    assert words in problem([volume], [at("a", **mount)])


def test_a_config_map_that_may_be_missing_gives_no_files() -> None:
    [volume] = given([{"name": "a", "configMap": {"name": "none", "optional": True}}], [at("a")]).volumes
    assert volume.files == [FilesOf(config_map="none", optional=True, every=True)]


# --- the workflow's own ----------------------------------------------------------------------------------------------

OWN = """
    spec:
      entrypoint: main
      onExit: leaf
      volumeClaimTemplates: [{metadata: {name: work}}]
      templates:
      - {name: main, steps: [[{name: a, template: STEP}], [{name: b, template: plain}]]}
      - {name: leaf, container: {image: a, volumeMounts: [{name: work, mountPath: /w}]}}
      - {name: plain, container: {image: a}}
"""


def owned(world: World) -> list[Any]:
    """The handlers that became due, as the log has them."""
    events = [event for log in world.logs.values() for data in log for event in decide_events(data)]
    return [event.obligation for event in events if isinstance(event, HookDue)]


def decide_events(data: bytes) -> list[Any]:
    return commit.decode(data).events


@pytest.mark.parametrize("restarts", [False, True])
def test_a_handler_knows_where_the_volumes_are(restarts: bool) -> None:
    world = written(OWN.replace("STEP", "leaf"), restarts=restarts)
    home = ClaimsHome(executor="e1", made=True)
    assert [owed.claims for owed in owned(world)] == [home]
    assert world.main.claims == home
    assert world.given["w[0].a"].volumes == [StepVolume(name="work", kind="claim", path="work")]


def test_a_workflow_learns_from_a_handler_where_they_are() -> None:
    world = written(OWN.replace("STEP", "plain"))
    assert [owed.claims for owed in owned(world)] == [ClaimsHome()]
    closings = [event for data in world.logs[owned(world)[0].hook_id] for event in decide_events(data)]
    assert [event.hook.claims for event in closings if isinstance(event, RunClosed) and event.hook is not None] == [
        ClaimsHome(executor="e1", made=True)
    ]
    assert world.main.claims == ClaimsHome(executor="e1", made=True)


def test_a_step_that_was_lost_has_not_made_them() -> None:
    world = written(OWN.replace("STEP", "leaf").replace("onExit: leaf", ""), lambda *_: StepOutcome(phase="Error"))
    assert world.main.claims == ClaimsHome(executor="e1")


@pytest.mark.parametrize(
    ("strategy", "fails", "kept"),
    [
        ("", False, False),
        ("", True, True),
        ("OnWorkflowSuccess", True, True),
        ("OnWorkflowCompletion", True, False),
        ("OnWorkflowCompletion", False, False),
    ],
)
def test_they_are_shown_for_as_long_as_they_are_there(strategy: str, fails: bool, kept: bool) -> None:
    gc = f"volumeClaimGC: {{strategy: {strategy}}}" if strategy else ""
    source = OWN.replace("STEP", "leaf").replace("onExit: leaf", gc)
    world = written(source, failing("w[1].b") if fails else failing())
    shown = [{"name": "work", "persistentVolumeClaim": {"claimName": "w-work"}}]
    assert decide.status(world.main)["status"].get("persistentVolumeClaims", []) == (shown if kept else [])
