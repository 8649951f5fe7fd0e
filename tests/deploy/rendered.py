"""The Kubernetes manifests as kustomize puts them together, as far as deploy/ uses it. It needs no kubectl.

Where kubectl is, `test_manifests.test_it_is_what_kubectl_makes` holds the two against each other.
"""

from __future__ import annotations

import copy
import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
USED = {
    "apiVersion", "kind", "namespace", "resources", "labels", "configMapGenerator", "images", "replicas", "patches",
}  # fmt: skip
CLUSTER_WIDE = {"Namespace"}
PODS = {"Deployment", "StatefulSet"}

Document = dict[str, Any]


@functools.cache
def _made(folder: Path) -> list[Document]:
    wanted = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert wanted.keys() <= USED, f"{folder}: teach this renderer {wanted.keys() - USED}"
    made: list[Document] = []
    for name in wanted["resources"]:
        path = (folder / name).resolve()
        made += copy.deepcopy(_made(path)) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for maps in wanted.get("configMapGenerator", []):
        data = {file: (folder / file).read_text() for file in maps["files"]}
        made.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": maps["name"]}, "data": data})
    for patch in wanted.get("patches", []):
        change = yaml.safe_load(patch["patch"])
        [target] = [d for d in made if _key(d) == _key(change)]
        _merge(target, change)
    for document in made:
        _adapt(document, wanted)
    return made


def _adapt(document: Document, wanted: Document) -> None:
    metadata = document["metadata"]
    if "namespace" in wanted and document["kind"] not in CLUSTER_WIDE:
        metadata["namespace"] = wanted["namespace"]
    for label in wanted.get("labels", []):
        assert set(label) == {"pairs"}
        metadata["labels"] = {**metadata.get("labels", {}), **label["pairs"]}
    if document["kind"] in PODS:
        for count in wanted.get("replicas", []):
            if count["name"] == metadata["name"]:
                document["spec"]["replicas"] = count["count"]
        for container in document["spec"]["template"]["spec"]["containers"]:
            for image in wanted.get("images", []):
                if container["image"] == image["name"]:
                    container["image"] = f"{image['newName']}:{image['newTag']}"


def _key(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def _merge(into: Any, change: Any) -> None:
    """A strategic merge: lists of things with names go by the names."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif isinstance(value, list) and value and isinstance(value[0], dict) and "name" in value[0]:
            for item in value:
                known = [old for old in into[key] if old["name"] == item["name"]]
                if known:
                    _merge(known[0], item)
                else:
                    into[key].append(item)
        else:
            into[key] = value


def rendered(overlay: str) -> list[Document]:
    """What `kubectl apply -k deploy/kubernetes/OVERLAY` applies, but for the ends of generated names."""
    return copy.deepcopy(_made(KUBERNETES / overlay))


def by_kubectl(overlay: str) -> list[Document]:
    """The same by kubectl."""
    kubectl = shutil.which("kubectl")
    assert kubectl
    done = subprocess.run([kubectl, "kustomize", str(KUBERNETES / overlay)], capture_output=True, text=True, check=True)
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def workloads(overlay: str) -> dict[str, Document]:
    """What runs pods, by name."""
    return {d["metadata"]["name"]: d for d in rendered(overlay) if d["kind"] in PODS}


def of_kind(overlay: str, kind: str) -> Iterator[Document]:
    """The documents of a kind."""
    return (d for d in rendered(overlay) if d["kind"] == kind)


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for wanted in selector.get("matchExpressions", []):
        assert wanted["operator"] == "In"
        if labels.get(wanted["key"]) not in wanted["values"]:
            return False
    return True
