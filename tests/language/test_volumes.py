"""What is wrong with volumes and mounts is said at submission, with its place; what has variables in it is let pass."""

# ruff: noqa: E501 -- a row of these tables reads best on one line

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.language.decode import load_manifests
from exeunt.language.manifest import ConfigMap, Metadata, Workflow
from exeunt.language.quantity import bytes_of
from exeunt.language.resolve import resolve
from tests.language.manifests import HEAD, errors, warnings


def workflow(volumes: str = "", mounts: str = "", more: str = "", template: str = "") -> str:
    return (
        f"{HEAD}spec:\n  entrypoint: main\n  volumes: [{volumes}]\n  {more}\n  templates:\n"
        f"  - name: main\n    {template}\n    container: {{image: a, volumeMounts: [{mounts}]}}\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (workflow("{emptyDir: {}}"), "spec.volumes[0]: has no name"),
        (workflow("{name: a}, {name: a}"), "spec.volumes[1].name: 'a' is not unique"),
        (workflow("{name: a_b}"), "spec.volumes[0].name: 'a_b' must be at most 63 of a-z"),
        (workflow("{name: a, emptyDir: {}, secret: {secretName: b}}"), "spec.volumes[0]: has 2 sources, emptyDir and secret; keep one"),
        (workflow("{name: a, emptyDir: {sizeLimit: lots}}"), "emptyDir.sizeLimit: 'lots' is no quantity"),
        (workflow("{name: a, secret: {}}"), "volumes[0].secret: has no secretName"),
        (workflow("{name: a, configMap: {items: [{key: a}]}}"), "configMap.items[0]: has no path"),
        (workflow("{name: a, configMap: {name: b, items: [{key: a, path: ../x}]}}"), "items[0].path: '../x' leads out of the volume"),
        (workflow("{name: a, configMap: {name: b, defaultMode: 777}}"), "configMap.defaultMode: 777 is no file mode"),
        (workflow("{name: a, downwardAPI: {items: [{path: a, fieldRef: {fieldPath: spec.nodeName}}]}}"), "fieldRef.fieldPath: 'spec.nodeName' cannot be known here"),
        (workflow("{name: a, projected: {sources: [{}]}}"), "projected.sources[0]: one source is expected here"),
        (workflow("{name: a, hostPath: {path: etc}}"), "hostPath.path: 'etc' must be absolute"),
        (workflow("{name: a, hostPath: {path: /etc, type: Direktory}}"), "hostPath.type: 'Direktory' is none of"),
        (workflow("{name: a, persistentVolumeClaim: {}}"), "persistentVolumeClaim: has no claimName"),
        (workflow("{name: a, emptyDir: {sizelimit: 1}}"), "emptyDir.sizelimit: unknown field; did you mean sizeLimit?"),
        (workflow(template="volumes: [{name: A}]"), "spec.templates[0].volumes[0].name: 'A' must be"),
        (workflow(mounts="{name: a}"), "container.volumeMounts[0].mountPath: is missing"),
        (workflow(mounts="{mountPath: /a}"), "container.volumeMounts[0]: names no volume"),
        (workflow(mounts="{name: a, mountPath: /a, subPath: /b}"), "subPath: '/b' must be relative"),
        (workflow(mounts="{name: a, mountPath: /a, subPath: b/../../c}"), "subPath: 'b/../../c' leads out of the volume"),
        (workflow(mounts="{name: a, mountPath: /a, subPath: b, subPathExpr: c}"), "subPathExpr: cannot stand beside subPath"),
        (workflow(more="volumeClaimTemplates: [{metadata: {}}]"), "volumeClaimTemplates[0]: has no metadata.name"),
        (workflow(more="volumeClaimTemplates: [{metadata: {name: a}}, {metadata: {name: a}}]"), "volumeClaimTemplates[1].metadata.name: 'a' is not unique"),
        (workflow(more="volumeClaimGC: {strategy: OnWorkflowSucces}"), "volumeClaimGC.strategy: 'OnWorkflowSucces' is none of"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    found = errors(text, support=True)
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(
    "text",
    [
        workflow("{name: a, emptyDir: {}}, {name: b, emptyDir: {medium: Memory, sizeLimit: 10Mi}}, {name: c}", "{name: a, mountPath: /a, readOnly: true}"),
        workflow("{name: a, configMap: {name: '{{workflow.parameters.x}}', items: [{key: a, path: b/c, mode: 256}], optional: true}}", more="arguments: {parameters: [{name: x, value: y}]}"),
        workflow("{name: '{{workflow.name}}', hostPath: {path: '{{workflow.name}}'}}"),
        workflow("{name: a, downwardAPI: {items: [{path: a, fieldRef: {fieldPath: \"metadata.labels['b/c']\"}}]}}"),
        workflow(more="volumeClaimTemplates: [{metadata: {name: a, creationTimestamp: null}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]\n  volumeClaimGC: {strategy: OnWorkflowCompletion}"),
        workflow(mounts="{name: a, mountPath: /a, subPathExpr: $(DAY)}, {name: a, mountPath: /b, mountPropagation: None}"),
    ],
)  # fmt: skip
def test_what_kubernetes_takes_is_taken(text: str) -> None:
    assert errors(text, support=True) == []


def test_two_mounts_of_one_path_are_refused_as_argo_does() -> None:
    text = workflow(mounts="{name: a, mountPath: /a}, {name: b, mountPath: /a}")
    assert errors(text) == [
        "w.yaml:11: spec.templates[0].container.volumeMounts[1].mountPath: '/a' is where the volume a is mounted already"
    ]


def test_an_input_artifact_cannot_have_the_path_of_a_mount() -> None:
    text = workflow(
        mounts="{name: a, mountPath: /a}", template="inputs: {artifacts: [{name: b, path: /a, raw: {data: c}}]}"
    )
    assert any("inputs.artifacts[0].path: '/a' is where the volume a is mounted" in one for one in errors(text))
    assert not errors(text.replace("path: /a, raw", "path: /a/b, raw"))


def test_a_mount_of_no_volume_is_told() -> None:
    text = workflow("{name: work}", "{name: wrok, mountPath: /a}, {name: work, mountPath: /b}")
    assert errors(text, support=True) == []
    [told] = warnings(text)
    assert told.endswith(
        "container.volumeMounts[0].name: warning: there is no volume 'wrok': the step would end in Error; did you mean work?"
    )
    assert not warnings(text.replace("wrok", "own").replace("container:", "volumes: [{name: own}]\n    container:"))
    assert not warnings(text.replace("wrok", "'{{workflow.name}}'"))


def test_a_claim_that_a_volume_hides_is_told() -> None:
    text = workflow("{name: a}", more="volumeClaimTemplates: [{metadata: {name: a}}]")
    assert any("hides this one" in one for one in warnings(text, support=True))


def test_config_maps_of_volumes_go_into_the_bundle() -> None:
    text = workflow(
        "{name: a, configMap: {name: one}}, {name: b, projected: {sources: [{configMap: {name: '{{workflow.parameters.x}}'}}]}}",
        more="arguments: {parameters: [{name: x, value: two}]}",
        template="volumes: [{name: c, configMap: {name: three}}]",
    )
    model = load_manifests(text)[0].model
    assert isinstance(model, Workflow)
    bundle = resolve(model, lambda *_: None, lambda _, name: ConfigMap(metadata=Metadata(name=name)))
    assert sorted(one.metadata.name for one in bundle.config_maps) == ["one", "three", "two"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("1k", 1000), ("1Ki", 1024), ("1.5Gi", 1610612736), ("500m", 1), ("1e3", 1000), ("2E", 2 * 10**18), (".5Mi", 524288), ("0", 0)],
)  # fmt: skip
def test_quantities(text: str, number: int) -> None:
    assert bytes_of(text) == number


@given(st.text(max_size=50))
def test_any_text_is_a_quantity_or_is_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert bytes_of(text) >= 0
