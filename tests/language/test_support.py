"""What is not built yet is refused, not left out in silence; what has no meaning here is let pass, with a warning."""

# ruff: noqa: E501 -- a row of these tables reads best on one line

from __future__ import annotations

import msgspec
import pytest

from exeunt.language.support import REFUSED, WITHOUT_EFFECT

from .manifests import HEAD, errors, warnings


def container(more: str) -> str:
    return f"{HEAD}spec:\n  entrypoint: main\n  templates:\n  - name: main\n    container: {{image: a}}\n    {more}\n"


def variable(source: str) -> str:
    return container("").replace("{image: a}", f"{{image: a, env: [{{name: a, {source}}}]}}")


def header(source: str) -> str:
    return container("").replace("container: {image: a}", f"http: {{url: u, headers: [{{name: a, {source}}}]}}")


def of_spec(more: str) -> str:
    return f"{HEAD}spec:\n  entrypoint: main\n  {more}\n  templates:\n  - {{name: main, suspend: {{}}}}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (container("memoize: {key: a}"), "w.yaml:9: spec.templates[0].memoize: memoization is"),
        (container("synchronization: {mutexes: [{name: a}]}"), "spec.templates[0].synchronization: synchronization is"),
        (container("initContainers: [{name: a, restartPolicy: Always}]"), "spec.templates[0].initContainers[0].restartPolicy: restartPolicy of containers is"),
        (container("daemon: true").replace("{image: a}", "{image: a, readinessProbe: {grpc: {port: 1}}}"), "readinessProbe.grpc: gRPC probes are"),
        (container("sidecars: [{name: a}]").replace("container: {image: a}", "resource: {action: create, manifest: 'kind: Workflow'}"), "spec.templates[0].sidecars: sidecars of resource templates is"),
        (container("").replace("{image: a}", "{image: a, volumeDevices: [{name: a}]}"), "container.volumeDevices: block devices are"),
        (container("").replace("{image: a}", "{image: a, env: [{name: a, valueFrom: {fileKeyRef: {key: b}}}]}"), "env[0].valueFrom.fileKeyRef: fileKeyRef is"),
        (container("").replace("container: {image: a}", "http: {url: u, bodyFrom: {bytes: a}}"), "http.bodyFrom: bodyFrom is"),
        (container("").replace("container: {image: a}", "plugin: {trigger: {template: a, artifacts: []}}"), "spec.templates[0].plugin.trigger.artifacts: artifacts of triggers are"),
        (container("").replace("container: {image: a}", "resource: {action: get}"), "resource.action: get is"),
        (container("").replace("container: {image: a}", "resource: {action: create, manifest: '{kind: ConfigMap, data: {a: \"{{workflow.name}}\"}}'}"), "creating a ConfigMap is"),
        (of_spec("volumes: [{name: a, nfs: {}}]"), "w.yaml:6: spec.volumes[0].nfs: volumes of nfs are"),
        (of_spec("volumes: [{name: a, projected: {sources: [{serviceAccountToken: {path: a}}]}}]"), "sources[0].serviceAccountToken: serviceAccountToken is"),
        (of_spec("volumes: [{name: a, downwardAPI: {items: [{path: a, resourceFieldRef: {resource: limits.cpu}}]}}]"), "items[0].resourceFieldRef: resourceFieldRef is"),
        (of_spec("volumes: [{name: a, emptyDir: {medium: HugePages}}]"), "emptyDir.medium: 'HugePages' is"),
        (of_spec("synchronization: {mutexes: [{name: a}]}"), "w.yaml:6: spec.synchronization: synchronization is"),
        (of_spec("podSpecPatch: '{}'"), "w.yaml:6: spec.podSpecPatch: podSpecPatch is"),
        (of_spec("templateDefaults: {metrics: {prometheus: []}}"), "spec.templateDefaults.metrics: metrics of templates are"),
    ],
)  # fmt: skip
def test_what_is_not_built_yet_is_refused_with_its_place(text: str, said: str) -> None:
    found = errors(text, support=True)
    assert any(said in problem and "not supported yet" in problem for problem in found), found
    assert not any("not supported yet" in problem for problem in errors(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (container("outputs: {artifacts: [{name: a, path: /a, artifactGC: {strategy: Nevr}}]}"), "w.yaml:9: spec.templates[0].outputs.artifacts[0].artifactGC.strategy: 'Nevr' is none of"),
        (of_spec("artifactGC: {strategy: OnCompletion}"), "w.yaml:6: spec.artifactGC.strategy: 'OnCompletion' is none of"),
        (of_spec("artifactGC: {strategy: Never, forceFinalizerRemoval: perhaps}"), "w.yaml:6: spec.artifactGC.forceFinalizerRemoval"),
        (variable("valueFrom: {}"), "env[0].valueFrom: one of configMapKeyRef, fieldRef, resourceFieldRef, secretKeyRef is expected here"),
        (variable("valueFrom: {fieldRef: {fieldPath: status.phase}}"), "env[0].valueFrom.fieldRef.fieldPath: 'status.phase' cannot be known here; metadata.name, "),
        (variable("valueFrom: {fieldRef: {fieldPath: metadata.labels}}"), "fieldRef.fieldPath: 'metadata.labels' cannot be known here"),
        (variable("valueFrom: {fieldRef: {}}"), "env[0].valueFrom.fieldRef: has no fieldPath"),
        (variable("value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}"), "env[0].valueFrom: cannot stand beside value"),
        (variable("valueFrom: {resourceFieldRef: {resource: limits.cpus}}"), "resourceFieldRef.resource: 'limits.cpus' cannot be known here; limits.cpu, limits.memory, requests.cpu, requests.memory can; did you mean"),
        (variable("valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1Mi}}"), "resourceFieldRef.divisor: '1Mi' is none of 1, 1m"),
        (variable("valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 2Mi}}"), "resourceFieldRef.divisor: '2Mi' is none of 1, 1k"),
        (variable("valueFrom: {resourceFieldRef: {resource: limits.memory, containerName: side}}"), "resourceFieldRef.containerName: there is no container 'side'"),
        (variable("value: x, valueFrom: {secretKeyRef: {name: b, key: c}}"), "env[0].valueFrom: cannot stand beside value"),
        (variable("valueFrom: {secretKeyRef: {name: b}}"), "env[0].valueFrom.secretKeyRef: has no key"),
        (variable("valueFrom: {configMapKeyRef: {key: b}}"), "env[0].valueFrom.configMapKeyRef: has no name"),
        (variable("valueFrom: {secretKeyRef: {name: b, kee: c}}"), "secretKeyRef.kee: unknown field"),
        (container("").replace("{image: a}", "{image: a, envFrom: [{prefix: a}]}"), "envFrom[0]: either configMapRef or secretRef is expected here"),
        (container("").replace("{image: a}", "{image: a, envFrom: [{secretRef: {}}]}"), "envFrom[0].secretRef: has no name"),
        (header("valueFrom: {}"), "headers[0].valueFrom: secretKeyRef is expected here"),
        (header("value: x, valueFrom: {secretKeyRef: {name: b, key: c}}"), "headers[0].valueFrom: cannot stand beside value"),
        (header("valueFrom: {secretKeyRef: {key: c}}"), "headers[0].valueFrom.secretKeyRef: has no name"),
    ],
)  # fmt: skip
def test_a_reference_that_leads_nowhere_is_refused_with_its_place(text: str, said: str) -> None:
    assert any(said in problem for problem in errors(text, support=True)), errors(text, support=True)


@pytest.mark.parametrize(
    "text",
    [
        container("nodeSelector: {disk: ssd}"),
        container("pendingTimeout: 5m"),
        container("").replace("{image: a}", "{image: a, livenessProbe: {}}"),
        of_spec("securityContext: {runAsUser: 1}"),
    ],
)
def test_what_only_a_pod_can_do_is_let_pass_with_a_warning(text: str) -> None:
    assert errors(text, support=True) == []
    assert any("has no effect outside of a Kubernetes pod" in problem for problem in warnings(text, support=True))


@pytest.mark.parametrize(
    "text",
    [
        container("").replace("{image: a}", "{image: a, resources: {limits: {cpu: 1}}, imagePullPolicy: Always}"),
        container("metadata: {labels: {a: b}}"),
        container("daemon: false"),
        container("sidecars: [{name: a, image: b}]"),
        container("daemon: true").replace("{image: a}", "{image: a, readinessProbe: {httpGet: {port: 80}}}"),
        container("outputs: {artifacts: []}"),
        container("").replace("{image: a}", "{image: a, env: [{name: a, valueFrom: {configMapKeyRef: {name: b, key: c}}}]}"),
        variable("valueFrom: {secretKeyRef: {name: b, key: c, optional: true}}"),
        variable("valueFrom: {secretKeyRef: {name: '{{workflow.name}}', key: c}}"),
        container("").replace("{image: a}", "{image: a, envFrom: [{secretRef: {name: b, optional: true}, prefix: P_}, {configMapRef: {name: c}}]}"),
        header("valueFrom: {secretKeyRef: {name: b, key: c}}"),
        container("").replace("container: {image: a}", "plugin: {webhook: {urlFrom: {secretKeyRef: {name: a, key: b, optional: true}}}}"),
        container("").replace("container: {image: a}", "resource: {action: create, manifest: 'kind: Workflow'}"),
        container("").replace("container: {image: a}", "plugin: {notify: {}}"),
        of_spec("serviceAccountName: argo"),
        of_spec("artifactGC: {strategy: OnWorkflowDeletion, serviceAccountName: a, podMetadata: {labels: {b: c}}, podSpecPatch: '{}', forceFinalizerRemoval: true}"),
        container("outputs: {artifacts: [{name: a, path: /a, artifactGC: {strategy: OnWorkflowCompletion}}]}"),
        of_spec("ttlStrategy: {secondsAfterCompletion: 5}"),
        of_spec("tolerations: [{key: a}]"),
    ],
)  # fmt: skip
def test_what_loses_nothing_passes_without_a_word(text: str) -> None:
    assert errors(text, support=True) == []
    assert warnings(text, support=True) == []


def test_the_tables_name_fields_that_there_are() -> None:
    for model, field in [*REFUSED, *WITHOUT_EFFECT]:
        assert field in {known.encode_name for known in msgspec.structs.fields(model)}
